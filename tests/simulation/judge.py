"""The judge of a schedule: the guarantees of docs/delivery.md, checked on the twins."""

import json
from datetime import datetime
from typing import Any

import orjson
from cassandra import cqltypes

from etl.model.tables import RUNS, TOUCHED_DAYS, WATERMARKS
from etl.stages.load import stage as load
from tests.simulation.cassandra import PROTOCOL, Row, Write, type_of
from tests.simulation.plant import DEAD_LETTERS, Key, Reading, wanted
from tests.simulation.services import Services

HOUR_MS = 3_600_000
MEASURED = ("voltage", "current", "frequency")
# Reasons of dead letters that hold a whole reading.
LOSING = (b"conflicting", b"superseded", b"late")


class Violation(AssertionError):  # noqa: N818 - says what it is
    """A guarantee of docs/delivery.md does not hold after a schedule."""


def watch(services: Services, write: Write) -> None:
    """See that no watermark is ahead of the table, and none moves back."""
    if write.stored.table is not WATERMARKS:
        return
    machine = write.key[0]
    (cell,) = [cell for name, cell in write.cells.items() if name == "timestamp"]
    if not any(key[0] == machine and key[2] == cell.value for key in services.table("sensor_data")):
        services.complaints.append(f"the watermark of {machine!r} is ahead of the table")
    before = services.table(WATERMARKS.name).get(write.key)
    if before and before["timestamp"].time > cell.time and before["timestamp"].value < (cell.value or b""):
        services.complaints.append(f"the watermark of {machine!r} stays behind a newer one")


def judge(services: Services) -> None:
    """Compare table, dead letters, watermarks, ledger and touched days with what must be there.

    Raises:
        Violation: they differ; the message names the first difference.
    """
    if services.complaints:
        raise Violation(services.complaints[0])
    expected = wanted(services.plant)
    rows = {_key(key): _reading(_key(key), row) for key, row in services.table("sensor_data").items()}
    if services.plan.lateness is None:
        _judge_rows(rows, expected.table)
        lost = expected.lost
    else:
        # Which readings are too late depends on the schedule, but each one is a row or a dead letter.
        if extra := [row for row in rows.values() if row not in expected.readings]:
            raise Violation(f"{extra[0]} of the table was never produced")
        lost = {(each.key, each.voltage) for each in expected.readings if rows.get(each.key) != each}
    _judge_letters(services, lost - expected.unsure, expected.bad)
    _judge_watermarks(services, set(rows))
    _judge_ledger(services)
    _judge_touched(services, set(rows))


def _judge_rows(rows: dict[Key, Reading], table: dict[Key, Reading]) -> None:
    if extra := sorted(set(rows) - set(table)):
        raise Violation(f"row {extra[0]} of the table was never produced")
    for key, reading in table.items():
        if key not in rows:
            raise Violation(f"row {key} is missing, {reading}")
        if rows[key] != reading:
            raise Violation(f"row {key} holds {rows[key]}, not {reading}")


def _key(key: tuple[bytes, ...]) -> Key:
    return key[0].decode(), int.from_bytes(key[2], "big", signed=True)


def _reading(key: Key, row: Row) -> Reading:
    return Reading(key, *(_double(row.get(name)) for name in MEASURED))


def _double(cell: Any) -> Any:
    return None if cell is None or cell.value is None else float(cqltypes.DoubleType.deserialize(cell.value, PROTOCOL))


def _judge_letters(services: Services, lost: set[tuple[Key, float]], bad: set[bytes]) -> None:
    readings: set[tuple[Key, float]] = set()
    raw: set[bytes] = set()
    for record in services.broker.topics[DEAD_LETTERS][0].records():
        raw.add(record.value or b"")
        if dict(record.headers)["etl-reason"] in LOSING:
            document = orjson.loads(record.value or b"")
            stamp = document["timestamp"]
            milliseconds = stamp if isinstance(stamp, int) else _milliseconds(stamp)
            readings.add((((record.key or b"").decode(), milliseconds), document["voltage"]))
    if missing := sorted(lost - readings):
        raise Violation(f"the losing reading {missing[0]} is in no dead letter")
    if gone := sorted(bad - raw):
        raise Violation(f"the bad record {gone[0]!r} is in no dead letter")


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _judge_watermarks(services: Services, rows: set[tuple[str, int]]) -> None:
    newest: dict[str, int] = {}
    for machine, stamp in rows:
        newest[machine] = max(stamp, newest.get(machine, stamp))
    found = {
        key[0].decode(): int.from_bytes(row["timestamp"].value or b"", "big", signed=True)
        for key, row in services.table(WATERMARKS.name).items()
    }
    if found != newest:
        raise Violation(f"watermarks are {found}, the newest rows {newest}")


def _judge_ledger(services: Services) -> None:
    for key, row in services.table(RUNS.name).items():
        run, stage = key[1].decode(), key[2].decode()
        if stage != "load":
            continue
        counts = type_of(RUNS.columns["counts"]).deserialize(row["counts"].value, PROTOCOL)
        if counts["consumed"] != sum(counts[name] for name in load.CLASSES):
            raise Violation(f"run {run} does not balance: {dict(counts)}")
        offsets = json.loads((row["offsets"].value or b"").decode())
        if any(part["begin"] > part["end"] for part in offsets):
            raise Violation(f"run {run} ends before it begins: {offsets}")


def _judge_touched(services: Services, rows: set[tuple[str, int]]) -> None:
    touched = set()
    for key, row in services.table(TOUCHED_DAYS.name).items():
        day = int.from_bytes(key[2], "big") - 2**31
        touched |= {(key[1].decode(), day * 24 + name[1]) for name in row if isinstance(name, tuple)}
    if missing := sorted({(machine, stamp // HOUR_MS) for machine, stamp in rows} - touched):
        raise Violation(f"no run told the analysis of hour {missing[0]}")
