"""The judge of a schedule: the guarantees of docs/delivery.md, checked on the twins."""

import json
from typing import Any

from cassandra import cqltypes

from etl.model.tables import RUNS, TOUCHED_DAYS, WATERMARKS
from tests.simulation.cassandra import PROTOCOL, Row, Write, type_of
from tests.simulation.cassandra import Key as CellKey
from tests.simulation.judging import Found, Letter, Load, Violation, compare, compare_parts
from tests.simulation.partial import rows
from tests.simulation.plant import DEAD_LETTERS, Key, Reading, sent, wanted
from tests.simulation.services import Services

MEASURED = ("voltage", "current", "frequency")


def watch(services: Services, write: Write) -> None:
    """See that no watermark is ahead of the table, and none moves back."""
    if write.stored.table is not WATERMARKS:
        return
    machine = write.key[0]
    (cell,) = [cell for name, cell in write.cells.items() if name == "timestamp"]
    rows = services.database.tables["sensor_data"]
    if not rows.truth(lambda key: key[0] == machine and key[2] == cell.value):
        services.complaints.append(f"the watermark of {machine!r} is ahead of the table")
    before = write.stored.truth(lambda key: key == write.key).get(write.key)
    if before and before["timestamp"].time > cell.time and before["timestamp"].value < (cell.value or b""):
        services.complaints.append(f"the watermark of {machine!r} stays behind a newer one")


def judge(services: Services) -> None:
    """Compare the twins with what must be there.

    Raises:
        Violation: they differ, or something was seen on the way.
    """
    if services.complaints:
        raise Violation(services.complaints[0])
    found, rejects_late = _found(services), services.plan.lateness is not None
    if services.plan.partial == "merge":
        quality = {_key(key): _text(row.get("quality")) for key, row in services.table("sensor_data").items()}
        by_arrival = services.plan.skew is None
        compare_parts(rows(sent(services.plant)), found, quality, rejects_late=rejects_late, by_arrival=by_arrival)
    else:
        compare(wanted(sent(services.plant)), found, rejects_late=rejects_late)


def _found(services: Services) -> Found:
    """Read all twins."""
    stored = services.table("sensor_data").items()
    return Found(
        table={_key(key): _reading(_key(key), row) for key, row in stored},
        letters=[
            Letter(record.key or b"", record.value or b"", {name: raw or b"" for name, raw in record.headers})
            for record in services.broker.topics[DEAD_LETTERS][0].records()
        ],
        watermarks={
            key[0].decode(): int.from_bytes(row["timestamp"].value or b"", "big", signed=True)
            for key, row in services.table(WATERMARKS.name).items()
        },
        loads=[_load(key, row) for key, row in services.table(RUNS.name).items() if key[2] == b"load"],
        touched={
            (key[1].decode(), (int.from_bytes(key[2], "big") - 2**31) * 24 + name[1])
            for key, row in services.table(TOUCHED_DAYS.name).items()
            for name in row
            if isinstance(name, tuple)
        },
    )


def _key(key: CellKey) -> Key:
    return key[0].decode(), int.from_bytes(key[2], "big", signed=True)


def _reading(key: Key, row: Row) -> Reading:
    return Reading(key, *(_double(row.get(name)) for name in MEASURED))


def _double(cell: Any) -> Any:
    return None if cell is None or cell.value is None else float(cqltypes.DoubleType.deserialize(cell.value, PROTOCOL))


def _text(cell: Any) -> str:
    return "none" if cell is None or cell.value is None else str(cell.value.decode())


def _load(key: CellKey, row: Row) -> Load:
    counts = type_of(RUNS.columns["counts"]).deserialize(row["counts"].value, PROTOCOL)
    return Load(key[1].decode(), counts, json.loads((row["offsets"].value or b"").decode()))
