"""The judge of a schedule: the guarantees of docs/delivery.md, checked on the twins."""

import json
from typing import Any

from cassandra import cqltypes

from etl.model.tables import RUNS, TOUCHED_DAYS, WATERMARKS
from tests.simulation.cassandra import PROTOCOL, Row, Write, merged, type_of
from tests.simulation.cassandra import Key as CellKey
from tests.simulation.judging import HOUR_MS, Found, Letter, Load, Violation, compare, compare_parts
from tests.simulation.partial import rows
from tests.simulation.plant import DEAD_LETTERS, Key, Reading, sent, wanted
from tests.simulation.services import Hour, Services

MEASURED = ("voltage", "current", "frequency")


def watch(services: Services, write: Write) -> None:
    """See each write to the database before its effect."""
    name = write.stored.table.name
    if name == WATERMARKS.name:
        _watch_watermark(services, write)
    elif name == "sensor_data":
        _watch_row(services, write)
    elif name == RUNS.name and write.key[2] == b"load":
        _watch_load(services, write.key[1])


def _watch_watermark(services: Services, write: Write) -> None:
    """See that no watermark is ahead of the table, and none moves back."""
    machine, cell = write.key[0], write.cells["timestamp"]
    rows = services.database.tables["sensor_data"]
    if not rows.truth(lambda key: key[0] == machine and key[2] == cell.value):
        services.complaints.append(f"the watermark of {machine!r} is ahead of the table")
    before = write.stored.row(write.key).get("timestamp")
    if before is None:
        return
    larger = (cell.value or b"") > (before.value or b"")
    if before.time > cell.time and larger:
        services.complaints.append(f"the watermark of {machine!r} stays behind a newer one")
    if cell.beats(before) and not larger and cell.value != before.value:
        services.complaints.append(f"the watermark of {machine!r} moves back")


def _watch_row(services: Services, write: Write) -> None:
    """Note the hour of a row that changes."""
    before = write.stored.row(write.key)
    after = merged([before, write.cells])
    if any(name not in before or cell.value != before[name].value for name, cell in after.items()):
        services.changed[_hour(write.key)] = services.world.calls


def _watch_load(services: Services, run: bytes) -> None:
    """Note the hours that the analysis reads once it finds this load in the ledger."""
    for key, row in services.table(TOUCHED_DAYS.name).items():
        if key[0] == run:
            services.told |= dict.fromkeys(_hours(key, row), services.world.calls)


def judge(services: Services) -> None:
    """Compare the twins with what must be there.

    Raises:
        Violation: they differ, or something was seen on the way.
    """
    if services.complaints:
        raise Violation(services.complaints[0])
    if moves := services.broker.moves_back:
        raise Violation(moves[0])
    if untold := sorted(hour for hour, at in services.changed.items() if services.told.get(hour, 0) < at):
        raise Violation(f"no load told the analysis of hour {untold[0]} after its last row")
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
        touched={hour for key, row in services.table(TOUCHED_DAYS.name).items() for hour in _hours(key, row)},
    )


def _hours(key: CellKey, row: Row) -> set[Hour]:
    """Return the hours of a row of touched days."""
    first = (int.from_bytes(key[2], "big") - 2**31) * 24
    return {(key[1].decode(), first + name[1]) for name in row if isinstance(name, tuple)}


def _hour(key: CellKey) -> Hour:
    machine, stamp = _key(key)
    return machine, stamp // HOUR_MS


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
