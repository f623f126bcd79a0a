"""The tables of the analysis: new loads, readings of a day, earlier results and new ones.

Every statement stays within one partition, but for two that read the keys of small tables.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa

from etl.cassandra.cql import identifier
from etl.cassandra.store import Row, Store, as_dicts, select
from etl.insight.indicators import unpack
from etl.model.catalogue import Machine, as_stored
from etl.model.events import Event
from etl.model.measurements import Measurements
from etl.model.schemas import TIMESTAMP
from etl.model.tables import (
    ANALYZED_RUNS,
    EQUIPMENT,
    EVENTS,
    MACHINE_EVENTS,
    MACHINE_HOURS,
    MACHINE_MINUTES,
    MACHINE_WATCHES,
    RUNS,
    TOUCHED_DAYS,
    TRENDS,
    day_start,
    days_between,
    months_between,
)

LOAD = "load"
ALL_HOURS = 2**24 - 1
# Watches of older days are removed: a late reading of that time begins with a new one.
_WATCHES_KEPT = timedelta(days=28)
# Machines that are asked at once for a reading.
_ASKED = 32


class Load(NamedTuple):
    """A finished load in the ledger, of one shard of a run."""

    month: str
    run: str
    shard: int
    attempt: str


def pending_loads(store: Store) -> list[Load]:
    """List the loads of the ledger that have not been analysed, oldest run first.

    Months earlier than the one before the newest analysed month are not read again.
    """
    (known,) = store.ask(f'SELECT DISTINCT "month" FROM "{ANALYZED_RUNS.name}"', [()])  # noqa: S608
    (there,) = store.ask(f'SELECT DISTINCT "month" FROM "{RUNS.name}"', [()])  # noqa: S608
    since = _month_before(max(month for (month,) in known)) if known else ""
    months = sorted([month] for (month,) in there if month >= since)
    found = store.ask(select(RUNS, [*Load._fields, "stage"], RUNS.partition), months)
    loads = [Load(*row[:4]) for rows in found for row in rows if row[4] == LOAD]
    analyzed = store.ask(select(ANALYZED_RUNS, Load._fields, ANALYZED_RUNS.partition), months)
    done = {Load(*row) for rows in analyzed for row in rows}
    return sorted(load for load in loads if load not in done)


def _month_before(month: str) -> str:
    return f"{date.fromisoformat(f'{month}-01') - timedelta(days=1):%Y-%m}"


def touched_days(store: Store, run: str) -> Iterator[tuple[str, date, int]]:
    """Yield the (equipment ID, day) pairs that a run wrote to, and of which hours: bit h stands for hour h."""
    query = select(TOUCHED_DAYS, ["equipment_id", "day", "hours"], TOUCHED_DAYS.partition)
    for rows in store.page_by_page(query, [run]):
        for equipment, day, hours in rows:
            yield equipment, day.date(), sum(1 << hour for hour in hours) if hours else ALL_HOURS


def read_machines(store: Store) -> dict[str, Machine]:
    """Read the catalogue, by equipment ID."""
    rows = as_dicts(list(EQUIPMENT.columns), store.page_by_page(select(EQUIPMENT)))
    rated = ("nominal_voltage", "rated_current")
    known = [{name: value for name, value in row.items() if value is not None or name in rated} for row in rows]
    return {row["equipment_id"]: as_stored(**row) for row in known}


def read_readings(
    store: Store, measurements: Measurements, equipment_id: str, start: datetime, end: datetime
) -> pa.Table:
    """Read a machine's readings from `start` up to before `end`, which are of one UTC day, oldest first.

    Gives `timestamp`, the measurements and `quality`.
    """
    fields = [pa.field("timestamp", TIMESTAMP), *measurements.fields, pa.field("quality", pa.string())]
    schema = pa.schema(fields)
    query = (
        f'SELECT toUnixTimestamp("timestamp"), {", ".join(map(identifier, schema.names[1:]))} FROM "sensor_data"'  # noqa: S608
        ' WHERE "equipment_id" = ? AND "day" = ? AND "timestamp" >= ? AND "timestamp" < ? ORDER BY "timestamp" ASC'
    )
    batches = []
    for rows in store.page_by_page(query, (equipment_id, start.date(), start, end)):
        if rows:
            stamps, *values = zip(*rows, strict=True)
            columns = [pa.array(column, field.type) for column, field in zip(values, fields[1:], strict=True)]
            batches.append(pa.record_batch([pa.array(stamps, pa.int64()).cast(TIMESTAMP), *columns], schema=schema))
    return pa.Table.from_batches(batches, schema=schema).combine_chunks()


def read_minutes(store: Store, equipment_id: str, days: Sequence[date]) -> dict[date, pa.Table]:
    """Read the minutes of a machine by day, where there are any."""
    query = select(MACHINE_MINUTES, ["minutes"], MACHINE_MINUTES.partition)
    found = store.ask(query, ((equipment_id, day) for day in days))
    return {day: unpack(rows[0][0]) for day, rows in zip(days, found, strict=True) if rows and rows[0][0]}


def read_watch(store: Store, equipment_id: str, day: date, before: datetime) -> tuple[datetime, bytes] | None:
    """Return the newest watch of a machine up to a day, packed, and its time, which is at most `before`."""
    names = ["at", "watch"]
    query = f'{select(MACHINE_WATCHES, names, MACHINE_WATCHES.partition)} AND "day" <= ? LIMIT 2'
    rows = as_dicts(names, store.ask(query, [(equipment_id, day)]))
    return next(((row["at"], row["watch"]) for row in rows if row["at"] <= before), None)


def write_watch(store: Store, equipment_id: str, day: date, at: datetime, packed: bytes) -> None:
    """Write the watch of a machine as of a day, and remove the one of four weeks before."""
    store.write(MACHINE_WATCHES, [{"equipment_id": equipment_id, "day": day, "at": at, "watch": packed}])
    store.remove(MACHINE_WATCHES, [{"equipment_id": equipment_id, "day": day - _WATCHES_KEPT}])


def read_hours(store: Store, equipment_id: str, days: Iterable[date]) -> list[Row]:
    """Read the hours of a machine on some days, oldest first."""
    query = f'{select(MACHINE_HOURS, given=MACHINE_HOURS.partition)} AND "hour" >= ? AND "hour" < ?'
    found = store.ask(query, ((equipment_id, *span) for span in _spans(days)))
    nothing: Row = {"means": {}, "lows": {}, "highs": {}}
    # Cassandra does not tell an empty map from none.
    rows = [
        row | {name: row[name] or empty for name, empty in nothing.items()}
        for row in as_dicts(list(MACHINE_HOURS.columns), found)
    ]
    return sorted(rows, key=lambda row: row["hour"])


def _spans(days: Iterable[date]) -> Iterator[tuple[str, datetime, datetime]]:
    """Join days that follow each other within a month: give the month, the begin and the end."""
    first = last = None
    for day in [*sorted(set(days)), None]:
        if first and last and (day is None or day - last > timedelta(days=1) or day.month != first.month):
            yield f"{first:%Y-%m}", day_start(first), day_start(last) + timedelta(days=1)
            first = None
        first, last = first or day, day


def any_sent(store: Store, equipment_ids: Sequence[str], start: datetime, end: datetime) -> bool:
    """Return whether any machine has a reading from `start` up to `end`; those named first are asked first."""
    query = (
        'SELECT "timestamp" FROM "sensor_data" WHERE "equipment_id" = ? AND "day" = ? AND "timestamp" >= ?'
        ' AND "timestamp" <= ? LIMIT 1'
    )
    days = days_between(start.date(), end.date())
    for place in range(0, len(equipment_ids), _ASKED):
        some = equipment_ids[place : place + _ASKED]
        found = store.ask(query, ((name, day, start, end) for name in some for day in days))
        # All answers are read, so that none is still under way afterwards.
        if sum(len(rows) for rows in found):
            return True
    return False


def newest_hour(store: Store, equipment_id: str, since: date, until: date) -> datetime | None:
    """Return the begin of the newest hour of a machine that has a row, of those in the months of these days."""
    query = f'{select(MACHINE_HOURS, ["hour"], MACHINE_HOURS.partition)} ORDER BY "hour" DESC LIMIT 1'
    found = store.ask(query, ((equipment_id, month) for month in months_between(since, until)))
    return max((row["hour"] for row in as_dicts(["hour"], found)), default=None)


def read_events(store: Store, equipment_id: str, years: Iterable[int]) -> dict[str, tuple[Event, datetime]]:
    """Read the events of a machine by event ID, each with the time when it was found."""
    own = [each.name for each in fields(Event)]
    names = [*own, "event_id", "found"]
    query = select(MACHINE_EVENTS, names, MACHINE_EVENTS.partition)
    rows = as_dicts(names, store.ask(query, ((equipment_id, year) for year in sorted(years))))
    return {row["event_id"]: (Event(**{name: row[name] for name in own}), row["found"]) for row in rows}


def event_rows(equipment_id: str, event_id: str, event: Event, found: datetime) -> tuple[Row, Row]:
    """Return the rows of an event in EVENTS and MACHINE_EVENTS."""
    began = event_start(event_id)
    row = {
        "event_id": event_id,
        "equipment_id": equipment_id,
        "found": found,
        **asdict(event),
    }
    return {**row, "day": began.date()}, {**row, "year": began.year}


def write_events(store: Store, rows: Sequence[tuple[Row, Row]]) -> None:
    """Write events to both tables; first by day, since the other tells a repeated analysis what is known."""
    store.write(EVENTS, [by_day for by_day, _ in rows])
    store.write(MACHINE_EVENTS, [by_machine for _, by_machine in rows])


def remove_events(store: Store, equipment_id: str, event_ids: Iterable[str]) -> None:
    """Remove events from both tables."""
    began = {event_id: event_start(event_id) for event_id in event_ids}
    store.remove(EVENTS, [{"day": start.date(), "event_id": event_id} for event_id, start in began.items()])
    store.remove(
        MACHINE_EVENTS,
        [{"equipment_id": equipment_id, "year": start.year, "event_id": event_id} for event_id, start in began.items()],
    )


def replace_trends(store: Store, equipment_id: str, measurements: Iterable[str], rows: Sequence[Row]) -> None:
    """Write the trends of a machine, and remove those of other measurements."""
    store.write(TRENDS, rows)
    gone = set(measurements) - {row["measurement"] for row in rows}
    store.remove(TRENDS, [{"measurement": name, "equipment_id": equipment_id} for name in sorted(gone)])


def mark_analyzed(store: Store, loads: Sequence[Load], now: datetime) -> None:
    """Note that the days which these loads touched have been analysed."""
    store.write(ANALYZED_RUNS, [{**load._asdict(), "at": now} for load in loads])


def event_id(equipment_id: str, event: Event) -> str:
    """Return the permanent ID of an event, by its start when first found, so that IDs sort by time."""
    parts = [f"{event.start:%Y-%m-%dT%H:%M:%SZ}", equipment_id, event.kind]
    return ".".join([*parts, event.measurement] if event.measurement else parts)


def event_start(event_id: str) -> datetime:
    """Return when an event began, as first found, from its ID."""
    return datetime.strptime(event_id.partition(".")[0], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
