"""Load on the real services: whatever kills or repeats it, table, dead letters, watermarks and offsets end the same."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from etl.errors import TERMINATED, DeliveryError, SettingsError
from etl.kafka.ports import open_producer
from etl.model.schemas import DAY_MS, DEAD_LETTERS, TIMESTAMP, TOUCHED, WATERMARKS, rows
from etl.run.runner import run_stage
from etl.run.workspace import Manifest, Range, begin, commit, find_manifest, open_workspace
from etl.settings import KafkaSettings, RunSettings, read_settings, read_stage_settings
from etl.stages import consume
from etl.stages.load import stage as load
from etl.stages.transform import stage as transform
from images import local
from tests.integration.plant import (
    DAY,
    MEASUREMENTS,
    MIDNIGHT,
    Plant,
    end_state,
    ledger,
    letters,
    losers,
    made_plant,
    table,
    touched,
    watermarks,
)

# A row that the run replaces: what is missing in the winner must go.
REPLACED = MIDNIGHT + 7000


@pytest.fixture
def plant(services: list[local.Service], topic: str, keyspace: str, tmp_path: Path) -> Iterator[Plant]:
    with made_plant(services, topic, keyspace, tmp_path) as plant:
        yield plant


def row(machine: str, stamp: int, voltage: float | None, mode: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "equipment_id": machine,
        "day": DAY,
        "timestamp": stamp,
        "voltage": voltage,
        "mode": mode,
        "quality": "",
        "write_time": stamp * 1000 + 5,
        "replaces": False,
        **more,
    }


def letter(offset: int | None, reason: str, value: bytes = b"?", **more: Any) -> dict[str, Any]:
    origin = {"topic": "readings", "partition": 0, "offset": offset, "index": 0}
    return {"value": value, "reason": reason, "stage": "transform", "replays": 0, **origin, **more}


def transformed(plant: Plant, run: str = "run-1", **changes: Any) -> Manifest:
    """Leave what transform would: 21 rows in two files, one of which replaces a stored one, and three dead letters."""
    workspace = open_workspace(str(plant.workspace), run)
    counts = {"consumed": 26, "loaded": 21, "duplicate": 3, "late_rejected": 0, "conflicting": 1, "rejected": 1}
    counts |= {"late": 2, "superseded": 1}
    offsets = changes.get("offsets") or [Range(plant.topic, 0, None, 0, 20), Range(plant.topic, 1, None, 0, 6)]
    consume = begin(workspace, "consume")
    before = commit(consume, MEASUREMENTS.sha256, {"consumed": 26, "rejected": 1}, offsets, None)
    attempt = begin(workspace, "transform")
    for machine in ("press-1", "press-2"):
        table = [row(machine, MIDNIGHT + i * 1000, 230.0 + i, "on" if i % 2 else None) for i in range(10)]
        if machine == "press-2":
            table.append(row(machine, MIDNIGHT + 10_000, None, "off"))
        else:
            table[7] |= {"replaces": True, "mode": None, "write_time": REPLACED * 1000 + 9}
        attempt.write("rows", pa.Table.from_pylist(table, schema=rows(MEASUREMENTS)))
    letters = [letter(3, "undecodable", b"\xff"), letter(4, "conflicting", b"{}", key=b"press-1")]
    attempt.write("dead-letters", pa.Table.from_pylist(letters, schema=DEAD_LETTERS))
    lost = letter(None, "superseded", b'{"voltage": 1.0}', key=b"press-1", topic=None, partition=None, index=None)
    attempt.write("superseded", pa.Table.from_pylist([lost], schema=DEAD_LETTERS))
    newest = pa.array([MIDNIGHT + 9000, MIDNIGHT + 10_000], pa.int64()).cast(TIMESTAMP)
    attempt.write("watermarks", pa.table([pa.array(["press-1", "press-2"]), newest], schema=WATERMARKS))
    touched_hours = pa.array([[0], [0, 23]], TOUCHED.types[2])
    attempt.write(
        "touched", pa.table([pa.array(["press-1", "press-2"]), pa.array([DAY, DAY]), touched_hours], schema=TOUCHED)
    )
    return commit(attempt, MEASUREMENTS.sha256, counts | changes.get("counts", {}), offsets, before)


def store_replaced(plant: Plant) -> None:
    plant.session.execute(
        'INSERT INTO sensor_data (equipment_id, day, "timestamp", voltage, mode, quality)'
        f" VALUES ('press-1', '2026-01-05', {REPLACED}, 1.0, 'gone', '') USING TIMESTAMP {REPLACED * 1000}"
    )


def run_load(run: str = "run-1") -> Manifest:
    return run_stage("load", load.load, read_settings(RunSettings, run_id=run), *read_stage_settings("load"))


# Runs load and kills it before the step of this number, or after the first file of rows.
KILLED = """
import os, signal, sys
from etl.stages.load import columnar
from etl.stages.load import stage as load
from etl.run import runner as stage
from etl.settings import RunSettings, read_settings, read_stage_settings

def kill(*_):
    os.kill(os.getpid(), signal.{signal})

if sys.argv[1] == "halfway":
    write = columnar.write
    def halfway(session, statement, tables, **options):
        done = write(session, statement, [next(iter(tables))], **options)
        kill()
        return done
    columnar.write = halfway
else:
    step = int(sys.argv[1])
    load.STEPS = (*load.STEPS[:step], kill, *load.STEPS[step:])
stage.run_stage("load", load.load, read_settings(RunSettings), *read_stage_settings("load"))
"""


def run_killed(where: str, how: str = "SIGKILL") -> int:
    command = [sys.executable, "-c", KILLED.replace("{signal}", how), where]
    return subprocess.run(command, env=os.environ, check=False, timeout=120).returncode


def test_load_writes_everything_when_it_runs_through(plant: Plant) -> None:
    store_replaced(plant)
    transformed(plant)

    manifest = run_load()

    stored = table(plant)
    assert len(stored) == 21
    assert stored[0][3:] == (230.0, None, "", MIDNIGHT * 1000 + 5)
    assert stored[7][3:] == (237.0, None, "", REPLACED * 1000 + 9)
    assert stored[20][3:] == (None, "off", "", (MIDNIGHT + 10_000) * 1000 + 5)
    assert [entry[-4:] for entry in letters(plant)] == [
        ("superseded", b'{"voltage": 1.0}', b"press-1", "run-1"),
        ("undecodable", b"\xff", None, "run-1"),
        ("conflicting", b"{}", b"press-1", "run-1"),
    ]
    assert watermarks(plant) == {
        "press-1": datetime(2026, 1, 5, 0, 0, 9),
        "press-2": datetime(2026, 1, 5, 0, 0, 10),
    }
    assert touched(plant) == [("run-1", "press-1", "2026-01-05", {0}), ("run-1", "press-2", "2026-01-05", {0, 23})]
    assert plant.client.committed(plant.topic) == {0: 20, 1: 6}
    counts = manifest.summary.counts
    expected = {"consumed": 26, "loaded": 21, "duplicate": 3, "conflicting": 1, "rejected": 1, "dead_letters": 3}
    assert counts.items() >= expected.items()
    assert ledger(plant).keys() == {"consume", "transform", "load"}
    assert ledger(plant)["load"].items() >= expected.items()


def test_load_leaves_no_tombstone_when_a_value_is_missing(plant: Plant) -> None:
    transformed(plant)
    run_load()
    unset, replaced = (
        plant.session.execute(
            f'SELECT WRITETIME(mode) FROM sensor_data WHERE equipment_id = %s AND day = %s AND "timestamp" = {stamp}',
            ("press-1", "2026-01-05"),
        ).one()
        for stamp in (MIDNIGHT, REPLACED)
    )
    assert unset == replaced == (None,)
    # Only what was left unset lets an older value of the same cell be seen.
    for stamp in (MIDNIGHT, REPLACED):
        plant.session.execute(
            f"UPDATE sensor_data USING TIMESTAMP 1 SET mode = 'old' WHERE equipment_id = 'press-1'"
            f" AND day = '2026-01-05' AND \"timestamp\" = {stamp}"
        )
    modes = {stored[2].second: stored[4] for stored in table(plant) if stored[0] == "press-1"}
    assert (modes[0], modes[7]) == ("old", None)


@pytest.fixture(scope="module")
def uninterrupted(services: list[local.Service], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with made_plant(services, "uninterrupted", "uninterrupted", tmp_path_factory.mktemp("uninterrupted")) as plant:
        store_replaced(plant)
        transformed(plant)
        run_load()
        return end_state(plant)


@pytest.mark.parametrize("where", ["halfway", *map(str, range(len(load.STEPS) + 1))])
def test_load_ends_the_same_when_killed_and_repeated(plant: Plant, uninterrupted: dict[str, Any], where: str) -> None:
    store_replaced(plant)
    manifest = transformed(plant)
    steps = [step.__name__ for step in load.STEPS]
    done = steps[: steps.index("write_rows") if where == "halfway" else int(where)]

    assert run_killed(where) == -signal.SIGKILL

    assert find_manifest(open_workspace(str(plant.workspace), manifest.run), "load") is None
    assert bool(watermarks(plant)) == ("write_watermarks" in done)
    assert bool(ledger(plant)) == ("write_ledger" in done)
    assert (plant.client.committed(plant.topic) == {0: 20, 1: 6}) == ("commit_offsets" in done)
    run_load()
    assert end_state(plant) == uninterrupted


def send(topic: str, *readings: tuple[int, object]) -> None:
    """Send readings of one machine, each a second of the day and a voltage."""
    with open_producer(read_settings(KafkaSettings)) as producer:
        for second, voltage in readings:
            value = json.dumps({"timestamp": MIDNIGHT + second * 1000, "voltage": voltage}).encode()
            producer.send(topic, b"press-1", value, [])
        producer.send(topic, b"press-1", b"no JSON", [])
        producer.flush()


def run_before_load(run: str) -> None:
    for name, stage in (("consume", consume.consume), ("transform", transform.transform)):
        run_stage(name, stage, read_settings(RunSettings, run_id=run), *read_stage_settings(name))


@pytest.mark.parametrize(("where", "further"), [("1", False), ("halfway", False), ("5", False), ("3", True)])
def test_new_run_ends_the_same_when_load_was_killed_in_the_one_before(
    services: list[local.Service],
    topic: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    further: bool,
) -> None:
    tables, marks, dead = [], [], []
    for name in ("killed", "spared"):
        (tmp_path / name).mkdir()
        with made_plant(services, topic, f"{topic.replace('-', '_')}_{name}", tmp_path / name) as plant:
            if name == "killed":
                send(topic, (0, 230.0), (1, 231.0))
            monkeypatch.setenv("ETL_CONSUME_MAX_READINGS", "3")
            run_before_load("run-0")
            run_load("run-0")
            monkeypatch.delenv("ETL_CONSUME_MAX_READINGS")
            if name == "killed":
                send(topic, (1, 1.5), (1, 1.75), (1, 1.75), (2, 232.0))
                run_before_load("run-1")
                assert run_killed(where) == -signal.SIGKILL
                if further:
                    send(topic, (1, 2.0), (3, 233.0))
            run_before_load("run-2")
            run_load("run-2")
            tables.append(table(plant))
            marks.append(watermarks(plant))
            dead.append(losers(plant) if further else [entry[:-1] for entry in letters(plant)])
    assert [entry[3] for entry in tables[1]] == ([230.0, 2.0, 232.0, 233.0] if further else [230.0, 1.75, 232.0])
    assert tables[0] == tables[1]
    assert marks[0] == marks[1]
    assert dead[0] == dead[1]


def test_load_leaves_nothing_behind_when_terminated(plant: Plant) -> None:
    transformed(plant)
    started = time.monotonic()

    assert run_killed("halfway", "SIGTERM") == TERMINATED

    assert time.monotonic() - started < 30
    assert not list(plant.workspace.glob("run-1/load/*/manifest.json"))
    assert watermarks(plant) == {}
    assert plant.client.committed(plant.topic) == {0: None, 1: None}


def test_load_fails_when_another_run_has_committed_before(plant: Plant) -> None:
    transformed(plant)
    transformed(plant, "run-2")
    run_load("run-2")
    before = end_state(plant)

    with pytest.raises(DeliveryError, match="another run has interfered") as raised:
        run_load("run-1")

    assert raised.value.exit_code == 5
    assert end_state(plant) == before


def test_load_fails_when_another_run_commits_meanwhile(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    transformed(plant)

    def other_run(_: load.Loading) -> None:
        plant.client.commit(plant.topic, {0: 12})

    monkeypatch.setattr(load, "STEPS", (*load.STEPS[:-1], other_run, load.STEPS[-1]))

    with pytest.raises(DeliveryError, match="another run has interfered"):
        run_load()

    assert plant.client.committed(plant.topic) == {0: 12, 1: None}
    assert not list(plant.workspace.glob("run-1/load/*"))


def test_two_loads_end_like_one_when_they_run_at_once(plant: Plant, uninterrupted: dict[str, Any]) -> None:
    store_replaced(plant)
    transformed(plant)
    processes = [subprocess.Popen([sys.executable, "-m", "etl", "load"], env=os.environ) for _ in range(2)]
    codes = [process.wait(timeout=120) for process in processes]

    assert 0 in codes
    assert end_state(plant) == uninterrupted


def test_hours_touched_by_others_stay_when_a_load_adds_its_own(plant: Plant) -> None:
    plant.session.execute(
        "INSERT INTO touched_days (run, equipment_id, day, hours) VALUES ('run-1', 'press-2', '2026-01-05', {7})"
    )
    transformed(plant)
    run_load()
    assert touched(plant)[1] == ("run-1", "press-2", "2026-01-05", {0, 7, 23})


def test_load_does_nothing_when_it_has_been_done(plant: Plant) -> None:
    transformed(plant)
    first = run_load()
    plant.session.execute("TRUNCATE touched_days")

    assert run_load() == first
    assert touched(plant) == []


@pytest.mark.parametrize(
    "counts",
    [
        {"duplicate": 4},
        {"loaded": 20, "duplicate": 4},
        {"duplicate": 4, "rejected": 0},
        {"merged": 1},
        {"loaded": 20, "merged": 1},
        {"writes": 22},
        {"superseded": 2},
        {"consumed": 27, "duplicate": 4},
    ],
)
def test_load_writes_nothing_when_the_run_does_not_balance(plant: Plant, counts: dict[str, int]) -> None:
    transformed(plant, counts=counts)

    with pytest.raises(DeliveryError, match="does not balance"):
        run_load()

    assert (table(plant), letters(plant), watermarks(plant), ledger(plant)) == ([], [], {}, {})


def test_load_does_not_take_the_group_back_when_old_records_were_read_again(plant: Plant) -> None:
    plant.client.commit(plant.topic, {0: 50, 1: 6})
    transformed(plant, offsets=[Range(plant.topic, 0, 50, 10, 20), Range(plant.topic, 1, 6, 0, 6)])

    run_load()

    assert plant.client.committed(plant.topic) == {0: 50, 1: 6}
    assert len(table(plant)) == 21


def test_watermark_stays_when_an_older_run_is_loaded_later(plant: Plant) -> None:
    later = MIDNIGHT + DAY_MS
    plant.session.execute(
        f"INSERT INTO watermarks (equipment_id, timestamp) VALUES ('press-1', {later}) USING TIMESTAMP {later * 1000}"
    )
    transformed(plant)

    run_load()

    assert watermarks(plant)["press-1"] == datetime(2026, 1, 6)
    assert watermarks(plant)["press-2"] == datetime(2026, 1, 5, 0, 0, 10)


def test_load_stops_before_it_writes_when_a_column_is_missing(plant: Plant) -> None:
    transformed(plant)
    plant.session.execute("ALTER TABLE sensor_data DROP mode")

    with pytest.raises(SettingsError, match="no column mode: run `etl schema`"):
        run_load()

    assert (letters(plant), watermarks(plant)) == ([], {})


def test_load_stops_before_it_writes_when_the_dead_letter_topic_is_missing(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformed(plant)
    monkeypatch.setenv("ETL_KAFKA_DEAD_LETTER_TOPIC", "nowhere")

    with pytest.raises(SettingsError, match="topic nowhere does not exist"):
        run_load()

    assert table(plant) == []
