"""Transform on a real Cassandra: what is new, late, a duplicate or in conflict, and what becomes a dead letter."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cassandra.cluster import Session
from cassandra.util import Date

from etl.admin.schema import create_tables
from etl.cassandra.connection import connect
from etl.errors import SettingsError
from etl.model import schemas as contract
from etl.model.measurements import Measurement, Measurements
from etl.model.schemas import DAY_MS
from etl.model.tables import pipeline_tables
from etl.run.runner import Work
from etl.run.workspace import Manifest, Range, Source, Workspace, begin, commit, open_workspace
from etl.settings import CassandraSettings, SchemaSettings, read_stage_settings
from etl.stages.transform import stage
from etl.stages.transform.stage import transform

MEASUREMENTS = Measurements((Measurement("voltage", "double", decimals=1), Measurement("mode", "text")))
NOON = 1_767_614_400_000
RECORD_TIME = NOON + 2 * DAY_MS


@pytest.fixture
def session(cassandra: Any, keyspace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    for name, value in {**cassandra.environment, "ETL_CASSANDRA_KEYSPACE": keyspace}.items():
        monkeypatch.setenv(name, str(value))
    settings = CassandraSettings()
    with connect(settings, keyspace=False) as session:
        list(create_tables(session, pipeline_tables(MEASUREMENTS), SchemaSettings(), settings))
        session.set_keyspace(keyspace)
        yield session


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(str(tmp_path / "workspace"), "run-1")


def reading(offset: int, seconds: int, voltage: float | None = 230.0, **more: Any) -> dict[str, Any]:
    return {
        "partition": 0,
        "offset": offset,
        "index": 0,
        "record_time": RECORD_TIME + offset,
        "equipment_id": "pump-1",
        "timestamp_ms": NOON + seconds * 1000,
        "voltage": voltage,
        "replays": 0,
        **more,
    }


def consumed(
    workspace: Workspace, *files: list[dict[str, Any]], records: list[dict[str, Any]] | None = None
) -> Manifest:
    """Leave what consume would: a readings file and a records file at a time."""
    attempt = begin(workspace, "consume")
    for number, rows in enumerate(files):
        attempt.write("readings", pa.Table.from_pylist(rows, schema=contract.consumed(MEASUREMENTS)))
        raw = records if number == 0 and records else []
        attempt.write("records", pa.Table.from_pylist(raw, schema=contract.RECORDS))
    total = sum(map(len, files))
    offsets = [Range("readings", 0, None, 0, total)]
    return commit(attempt, MEASUREMENTS.sha256, {"consumed": total, "rejected": 0}, offsets, None)


def transformed(workspace: Workspace, manifest: Manifest) -> Source:
    work = Work(workspace, MEASUREMENTS, Source(workspace, manifest), begin(workspace, "transform"))
    outcome = transform(work, *read_stage_settings("transform"))
    done = commit(work.output, MEASUREMENTS.sha256, outcome.counts, outcome.offsets, manifest)
    return Source(workspace, done)


def rows(source: Source, kind: str) -> list[dict[str, Any]]:
    return [row for table in source.tables(kind) for row in table.to_pylist()]


def counts(source: Source) -> dict[str, int]:
    return {name: count for name, count in source.manifest.summary.counts.items() if count}


def store(session: Session, seconds: int, voltage: float, mode: str | None, write_time: int) -> None:
    stamp = NOON + seconds * 1000
    session.execute(
        'INSERT INTO sensor_data (equipment_id, day, "timestamp", voltage, mode, quality)'
        f" VALUES (%s, %s, %s, %s, %s, %s) USING TIMESTAMP {write_time}",
        ("pump-1", Date(stamp // DAY_MS), stamp, voltage, mode, ""),
    )


def set_watermark(session: Session, seconds: int) -> None:
    session.execute(
        'INSERT INTO watermarks (equipment_id, "timestamp") VALUES (%s, %s)', ("pump-1", NOON + seconds * 1000)
    )


def test_transform_loads_all_when_there_is_no_watermark(session: Session, workspace: Workspace) -> None:
    source = transformed(
        workspace, consumed(workspace, [reading(0, 1, 230.06), reading(1, 0), reading(2, DAY_MS // 1000)])
    )
    assert counts(source) == {"consumed": 3, "loaded": 3}
    loaded = rows(source, "rows")
    assert [row["voltage"] for row in loaded] == [230.0, 230.1, 230.0]
    assert [row["write_time"] for row in loaded] == [(RECORD_TIME + offset) * 1000 for offset in (1, 0, 2)]
    assert [row["timestamp"].timestamp() * 1000 for row in rows(source, "watermarks")] == [NOON + DAY_MS]
    touched = [(str(row["day"]), row["hours"]) for row in rows(source, "touched")]
    assert touched == [("2026-01-05", [12]), ("2026-01-06", [12])]


def test_transform_finds_duplicates_when_the_table_holds_equal_rows(session: Session, workspace: Workspace) -> None:
    store(session, 0, 230.0, None, (RECORD_TIME - 5) * 1000)
    set_watermark(session, 0)
    source = transformed(workspace, consumed(workspace, [reading(0, 0, 230.04), reading(1, 1)]))
    assert counts(source) == {"consumed": 2, "loaded": 1, "duplicate": 1}
    assert not rows(source, "dead-letters")


def test_hours_of_duplicates_are_touched_too_when_a_run_before_may_have_been_given_up(
    session: Session, workspace: Workspace
) -> None:
    for hour in (0, 2):
        store(session, hour * 3600, 230.0, None, (RECORD_TIME - 5) * 1000)
    set_watermark(session, 3 * 3600)
    source = transformed(workspace, consumed(workspace, [reading(0, 0, 230.0), reading(1, 7200, 230.0)]))
    assert counts(source) == {"consumed": 2, "duplicate": 2}
    assert [row["hours"] for row in rows(source, "touched")] == [[12, 14]]


def test_transform_loads_late_readings_when_lateness_is_unlimited(session: Session, workspace: Workspace) -> None:
    set_watermark(session, 10)
    source = transformed(workspace, consumed(workspace, [reading(0, 5)]))
    assert counts(source) == {"consumed": 1, "loaded": 1, "late": 1}
    assert not rows(source, "watermarks")
    assert rows(source, "touched")


@pytest.mark.parametrize(("allowed", "loaded"), [("0", [11]), ("3", [7, 11])])
def test_transform_rejects_late_readings_when_they_are_beyond_the_allowed_lateness(
    session: Session, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, allowed: str, loaded: list[int]
) -> None:
    monkeypatch.setenv("ETL_TRANSFORM_ALLOWED_LATENESS", allowed)
    set_watermark(session, 10)
    source = transformed(workspace, consumed(workspace, [reading(0, 5), reading(1, 7), reading(2, 11)]))
    assert [row["timestamp"].timestamp() * 1000 for row in rows(source, "rows")] == [NOON + s * 1000 for s in loaded]
    letters = rows(source, "dead-letters")
    assert {letter["reason"] for letter in letters} == {"late"}
    assert len(letters) == 3 - len(loaded) == counts(source)["late_rejected"]


def test_transform_keeps_the_replaced_row_as_json_when_a_later_reading_wins(
    session: Session, workspace: Workspace
) -> None:
    store(session, 0, 229.0, "on", (RECORD_TIME + 50) * 1000)
    set_watermark(session, 0)
    source = transformed(workspace, consumed(workspace, [reading(60, 0)]))
    assert counts(source) == {"consumed": 1, "loaded": 1, "superseded": 1}
    (row,) = rows(source, "rows")
    assert (row["voltage"], row["mode"], row["replaces"]) == (230.0, None, True)
    assert row["write_time"] == (RECORD_TIME + 60) * 1000
    (letter,) = rows(source, "superseded")
    assert (letter["key"], letter["topic"], letter["partition"], letter["offset"]) == (b"pump-1", "readings", 0, 60)
    kept = json.loads(letter["value"])
    assert (kept["timestamp"], kept["voltage"], kept["mode"]) == ("2026-01-05T12:00:00.000Z", 229.0, "on")


def test_transform_keeps_the_row_when_an_older_reading_differs(session: Session, workspace: Workspace) -> None:
    store(session, 0, 229.0, "on", (RECORD_TIME + 50) * 1000)
    set_watermark(session, 0)
    source = transformed(workspace, consumed(workspace, [reading(40, 0)]))
    assert counts(source) == {"consumed": 1, "conflicting": 1}
    (letter,) = rows(source, "dead-letters")
    assert (letter["reason"], letter["topic"], letter["partition"], letter["offset"]) == (
        "conflicting",
        "readings",
        0,
        40,
    )


def test_transform_keeps_original_bytes_when_a_json_reading_is_rejected(session: Session, workspace: Workspace) -> None:
    raw = b'{"timestamp": "soon",   "voltage": 1e1, "extra": [1]}'
    record = {"partition": 0, "offset": 0, "record_time": RECORD_TIME, "key": b"pump-1", "value": raw}
    bad = reading(0, 0, timestamp="soon", timestamp_ms=None, replays=2)
    source = transformed(workspace, consumed(workspace, [bad, reading(1, 1)], records=[record]))
    assert counts(source) == {"consumed": 2, "loaded": 1, "rejected": 1}
    (letter,) = rows(source, "dead-letters")
    assert (letter["value"], letter["reason"], letter["replays"]) == (raw, "timestamp", 2)


def test_transform_keeps_the_clock_of_one_reading_from_moving_the_watermark_when_it_is_wrong(
    session: Session, workspace: Workspace
) -> None:
    in_2099 = 4_070_908_800_000
    wrong = [
        reading(0, 0, timestamp_ms=in_2099, record_time=-1),
        reading(1, 0, timestamp_ms=in_2099, record_time=in_2099),
        reading(2, 0, timestamp_ms=in_2099, record_time=2**62),
        reading(3, 0, timestamp_ms=in_2099, record_time=0),
        reading(4, 0, timestamp_ms=0),
        reading(5, 0, timestamp_ms=123_456),
        reading(6, 0, timestamp="0", timestamp_ms=None),
        reading(7, 0, timestamp="43349.3", timestamp_ms=None),
        reading(8, 0, timestamp="20260105", timestamp_ms=None),
        reading(9, 0, timestamp="202601050600", timestamp_ms=None),
        reading(10, 0, timestamp="20260105060000", timestamp_ms=None),
    ]
    good = [reading(11, 0, record_time=-1), reading(12, 1, record_time=in_2099), reading(13, 2, record_time=0)]
    records = [
        {"partition": 0, "offset": at, "record_time": 0, "key": b"pump-1", "value": b'{"voltage":230}'}
        for at in range(6, 11)
    ]
    source = transformed(workspace, consumed(workspace, [*wrong, *good], records=records))
    assert counts(source) == {"consumed": 14, "loaded": 3, "rejected": 11}
    letters = rows(source, "dead-letters")
    assert [letter["reason"] for letter in letters] == ["future"] * 4 + ["past"] * 4 + ["timestamp"] * 3
    assert [row["timestamp"].timestamp() * 1000 for row in rows(source, "watermarks")] == [NOON + 2000]
    assert {row["write_time"] for row in rows(source, "rows")} == {0, in_2099 * 1000}


@pytest.mark.parametrize(("oldest", "loaded"), [("2026-01-05", 2), ("2026-01-06", 1), ("1970-01-01", 3)])
def test_transform_takes_no_reading_when_it_is_older_than_the_oldest(
    session: Session, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, oldest: str, loaded: int
) -> None:
    monkeypatch.setenv("ETL_TRANSFORM_OLDEST", oldest)
    days = [reading(0, 0), reading(1, DAY_MS // 1000), reading(2, 0, timestamp_ms=0)]
    source = transformed(workspace, consumed(workspace, days))
    assert len(rows(source, "rows")) == loaded
    letters = rows(source, "dead-letters")
    assert [letter["reason"] for letter in letters] == ["past"] * (3 - loaded)
    assert all(f"before {oldest} (ETL_TRANSFORM_OLDEST)" in letter["detail"] for letter in letters)


def test_transform_keeps_a_one_row_stream_when_a_reading_of_a_batch_loses(
    session: Session, workspace: Workspace
) -> None:
    source = transformed(workspace, consumed(workspace, [reading(0, 0, 230.0612), reading(1, 0, 231.0)]))
    assert counts(source) == {"consumed": 2, "loaded": 1, "conflicting": 1}
    (letter,) = rows(source, "dead-letters")
    table = pa.ipc.open_stream(letter["value"]).read_all()
    assert table["voltage"].to_pylist() == [230.0612]
    assert table.num_rows == 1


def test_transform_joins_the_parts_of_a_row_when_it_merges(
    session: Session, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETL_TRANSFORM_PARTIAL", "merge")
    store(session, 0, 229.0, None, (RECORD_TIME - 5) * 1000)
    set_watermark(session, 0)
    parts = [
        reading(0, 0, None, mode="on"),
        reading(1, 0, 230.0),
        reading(2, 1, 231.0, bad="mode"),
        reading(3, 1, None, mode="off"),
        reading(4, 2, float("inf")),
        reading(5, 2, None, mode="on"),
    ]
    source = transformed(workspace, consumed(workspace, parts))
    assert counts(source) == {
        "consumed": 6, "loaded": 3, "merged": 2, "rejected": 1, "superseded": 1, "writes": 5,
    }  # fmt: skip
    lines = [(row["voltage"], row["mode"], row["quality"], row["write_time"]) for row in rows(source, "rows")]
    assert lines == [
        (None, "on", None, RECORD_TIME * 1000),
        (230.0, None, "", (RECORD_TIME + 1) * 1000),
        (231.0, None, None, (RECORD_TIME + 2) * 1000),
        (None, "off", "", (RECORD_TIME + 3) * 1000),
        (None, "on", "", (RECORD_TIME + 5) * 1000),
    ]
    assert not any(row["replaces"] for row in rows(source, "rows"))
    (lost,) = rows(source, "superseded")
    assert json.loads(lost["value"]) == {
        "timestamp": "2026-01-05T12:00:00.000Z",
        "voltage": 229.0,
        "write_time": (RECORD_TIME - 5) * 1000,
    }
    (letter,) = rows(source, "dead-letters")
    assert (letter["reason"], letter["offset"]) == ("no-measurement", 4)
    assert [row["timestamp"].timestamp() * 1000 for row in rows(source, "watermarks")] == [NOON + 2000]


def test_transform_classifies_alike_when_it_spills(
    session: Session, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        [reading(f * 100 + n, (n * 37) % 90 * 1000, float(n % 4), equipment_id=f"pump-{n % 7}") for n in range(100)]
        for f in range(3)
    ]
    whole = transformed(workspace, consumed(workspace, *files))
    monkeypatch.setattr(stage, "CHUNK_ROWS", 20)
    other = open_workspace(str(tmp_path / "other"), "run-1")
    spilled = transformed(other, consumed(other, *files))
    assert len(spilled.manifest.names("rows")) > 1
    assert counts(spilled) == counts(whole)

    def by_key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["equipment_id"], row["timestamp"]

    def by_origin(letter: dict[str, Any]) -> int:
        return int(letter["offset"])

    assert sorted(rows(spilled, "rows"), key=by_key) == sorted(rows(whole, "rows"), key=by_key)
    assert sorted(rows(spilled, "dead-letters"), key=by_origin) == sorted(rows(whole, "dead-letters"), key=by_origin)
    assert sorted(rows(spilled, "watermarks"), key=lambda row: row["equipment_id"]) == sorted(
        rows(whole, "watermarks"), key=lambda row: row["equipment_id"]
    )


def test_transform_classifies_against_the_same_watermarks_when_it_is_retried(
    session: Session, workspace: Workspace
) -> None:
    manifest = consumed(workspace, [reading(0, 5)])
    assert counts(transformed(workspace, manifest)) == {"consumed": 1, "loaded": 1}
    set_watermark(session, 10)
    assert counts(transformed(workspace, manifest)) == {"consumed": 1, "loaded": 1}


def test_transform_names_the_command_when_a_column_is_missing(session: Session, workspace: Workspace) -> None:
    more = Measurements((*MEASUREMENTS.declared, Measurement("speed", "double")))
    manifest = consumed(workspace, [reading(0, 0)])
    work = Work(workspace, more, Source(workspace, manifest), begin(workspace, "transform"))
    with pytest.raises(SettingsError, match=r"speed.*etl schema"):
        transform(work, *read_stage_settings("transform"))
    assert not work.output.files


def test_transform_passes_on_the_dead_letters_of_consume_when_there_are_some(
    session: Session, workspace: Workspace
) -> None:
    attempt = begin(workspace, "consume")
    letter = {"value": b"\xff", "reason": "undecodable", "stage": "consume", "partition": 0, "offset": 3, "replays": 0}
    attempt.write("dead-letters", pa.Table.from_pylist([letter], schema=contract.DEAD_LETTERS))
    manifest = commit(
        attempt, MEASUREMENTS.sha256, {"consumed": 1, "rejected": 1}, [Range("readings", 0, None, 3, 4)], None
    )
    source = transformed(workspace, manifest)
    assert counts(source) == {"consumed": 1, "rejected": 1}
    assert [kept["value"] for kept in rows(source, "dead-letters")] == [b"\xff"]
