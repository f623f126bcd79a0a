"""The port to what the analysis reads and writes: loads not analysed yet, readings of a day, earlier results, new ones.

Every statement stays within one partition, but for two that read the keys of small tables.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, NamedTuple

import pyarrow as pa
from cassandra.cluster import Session
from cassandra.query import BatchStatement, BatchType, PreparedStatement

from etl.cassandra import gather, identifier, pages, retrying
from etl.catalogue import Machine
from etl.detection import Event
from etl.indicators import unpack
from etl.measurements import Measurements
from etl.readings import TIMESTAMP
from etl.tables import (
    ANALYZED_RUNS,
    EQUIPMENT,
    EVENTS,
    MACHINE_EVENTS,
    MACHINE_HOURS,
    MACHINE_MINUTES,
    RUNS,
    TOUCHED_DAYS,
    TRENDS,
    Table,
    months_between,
)

Row = dict[str, Any]

LOAD = "load"
PAGE_ROWS = 5_000
BATCH_ROWS = 24
ALL_HOURS = 2**24 - 1


class Load(NamedTuple):
    """A finished load in the ledger, of one shard of a run."""

    month: str
    run: str
    shard: int
    attempt: str


@dataclass(frozen=True)
class Store:
    """A session in the keyspace, with the statements prepared in it so far; `patience` is seconds of retries."""

    session: Session
    patience: float
    statements: dict[str, PreparedStatement] = field(default_factory=dict)

    def prepared(self, query: str) -> PreparedStatement:
        """Prepare a statement once."""
        if query not in self.statements:
            self.statements[query] = retrying(lambda: self.session.prepare(query), self.patience)
        return self.statements[query]

    def rows(self, query: str, *keys: Sequence[Any]) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows for each key, in order."""
        statement = self.prepared(query)
        return gather(self.session, (statement.bind(key) for key in keys), patience=self.patience)

    def page_by_page(self, query: str, key: Sequence[Any] = ()) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of one statement page by page."""
        statement = self.prepared(query).bind(key)
        statement.fetch_size = PAGE_ROWS
        return pages(self.session, statement, self.patience)


def pending_loads(store: Store) -> list[Load]:
    """List the loads of the ledger that have not been analysed, oldest run first.

    Months before the one ahead of the newest that was analysed are not looked at again.
    """
    (known,) = store.rows(f'SELECT DISTINCT "month" FROM "{ANALYZED_RUNS.name}"', ())  # noqa: S608
    (there,) = store.rows(f'SELECT DISTINCT "month" FROM "{RUNS.name}"', ())  # noqa: S608
    since = _month_before(max(month for (month,) in known)) if known else ""
    months = sorted(month for (month,) in there if month >= since)
    found = store.rows(
        f'SELECT "month", "run", "shard", "attempt", "stage" FROM "{RUNS.name}" WHERE "month" = ?',  # noqa: S608
        *((month,) for month in months),
    )
    loads = [Load(*row[:4]) for rows in found for row in rows if row[4] == LOAD]
    query = f'SELECT "month", "run", "shard", "attempt" FROM "{ANALYZED_RUNS.name}" WHERE "month" = ?'  # noqa: S608
    done = {Load(*row) for rows in store.rows(query, *((month,) for month in months)) for row in rows}
    return sorted(load for load in loads if load not in done)


def _month_before(month: str) -> str:
    return f"{date.fromisoformat(f'{month}-01') - timedelta(days=1):%Y-%m}"


def touched_days(store: Store, run: str) -> Iterator[tuple[str, date, int]]:
    """Yield the (equipment ID, day) pairs that a run wrote to, and of which hours: bit h stands for hour h."""
    query = f'SELECT "equipment_id", "day", "hours" FROM "{TOUCHED_DAYS.name}" WHERE "run" = ?'  # noqa: S608
    for rows in store.page_by_page(query, (run,)):
        for equipment, day, hours in rows:
            yield equipment, day.date(), sum(1 << hour for hour in hours) if hours else ALL_HOURS


def read_machines(store: Store) -> dict[str, Machine]:
    """Read the catalogue, by equipment ID."""
    names = list(EQUIPMENT.columns)
    query = f"SELECT {_quoted(names)} FROM {EQUIPMENT.name}"  # noqa: S608
    machines = (Machine(**dict(zip(names, row, strict=True))) for rows in store.page_by_page(query) for row in rows)
    return {machine.equipment_id: machine for machine in machines}


def read_readings(
    store: Store, measurements: Measurements, equipment_id: str, start: datetime, end: datetime
) -> pa.Table:
    """Read a machine's readings from `start` up to before `end`, which are of one UTC day, oldest first.

    Gives `timestamp`, the measurements and `quality`.
    """
    fields = [pa.field("timestamp", TIMESTAMP), *measurements.fields, pa.field("quality", pa.string())]
    schema = pa.schema(fields)
    query = (
        f'SELECT toUnixTimestamp("timestamp"), {_quoted(schema.names[1:])} FROM "sensor_data"'  # noqa: S608
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
    query = f'SELECT "minutes" FROM "{MACHINE_MINUTES.name}" WHERE "equipment_id" = ? AND "day" = ?'  # noqa: S608
    found = store.rows(query, *((equipment_id, day) for day in days))
    return {day: unpack(rows[0][0]) for day, rows in zip(days, found, strict=True) if rows}


def read_hours(store: Store, equipment_id: str, start: datetime, end: datetime) -> list[Row]:
    """Read the hours of a machine that begin from `start` up to before `end`, oldest first."""
    names = list(MACHINE_HOURS.columns)
    query = (
        f'SELECT {_quoted(names)} FROM "{MACHINE_HOURS.name}"'  # noqa: S608
        ' WHERE "equipment_id" = ? AND "month" = ? AND "hour" >= ? AND "hour" < ?'
    )
    months = months_between(start.date(), end.date())
    found = store.rows(query, *((equipment_id, month, start, end) for month in months))
    rows = [_plain(names, row) for rows in found for row in rows]
    return sorted(rows, key=lambda row: row["hour"])


def newest_hour(store: Store, equipment_id: str, since: date, until: date) -> datetime | None:
    """Give the begin of the newest hour of a machine that has a row, of those in the months of these days."""
    query = (
        f'SELECT "hour" FROM "{MACHINE_HOURS.name}" WHERE "equipment_id" = ? AND "month" = ?'  # noqa: S608
        ' ORDER BY "hour" DESC LIMIT 1'
    )
    found = store.rows(query, *((equipment_id, month) for month in months_between(since, until)))
    return max((row[0].replace(tzinfo=UTC) for rows in found for row in rows), default=None)


def read_events(store: Store, equipment_id: str, years: Iterable[int]) -> dict[str, tuple[Event, datetime]]:
    """Read the events of a machine by event ID, each with the time when it was found."""
    own = [each.name for each in fields(Event)]
    names = [*own, "event_id", "found"]
    query = f'SELECT {_quoted(names)} FROM "{MACHINE_EVENTS.name}" WHERE "equipment_id" = ? AND "year" = ?'  # noqa: S608
    found = store.rows(query, *((equipment_id, year) for year in sorted(years)))
    rows = [_plain(names, row) for rows in found for row in rows]
    return {row["event_id"]: (Event(**{name: row[name] for name in own}), row["found"]) for row in rows}


def _plain(names: Sequence[str], row: Sequence[Any]) -> Row:
    """Make a row of Python's own types: aware times, empty maps rather than null."""
    values = dict(zip(names, row, strict=True))
    for name, value in values.items():
        if isinstance(value, datetime):
            values[name] = value.replace(tzinfo=UTC)
        elif name in ("means", "lows", "highs"):
            values[name] = dict(value or {})
    return values


def write(store: Store, table: Table, rows: Sequence[Row]) -> None:
    """Write rows, each with all columns of the table; those of one partition go together."""
    names = list(table.columns)
    marks = ", ".join("?" * len(names))
    insert = store.prepared(f'INSERT INTO "{table.name}" ({_quoted(names)}) VALUES ({marks})')  # noqa: S608

    def batches() -> Iterator[BatchStatement]:
        for _, together in groupby(rows, lambda row: [row[name] for name in table.partition]):
            part = list(together)
            for begin in range(0, len(part), BATCH_ROWS):
                batch = BatchStatement(BatchType.UNLOGGED)
                for row in part[begin : begin + BATCH_ROWS]:
                    batch.add(insert, [row[name] for name in names])
                yield batch

    for _ in gather(store.session, batches(), patience=store.patience):
        pass


def remove(store: Store, table: Table, rows: Sequence[Row]) -> None:
    """Remove rows by their primary key."""
    key = [*table.partition, *table.clustering]
    where = " AND ".join(f'"{name}" = ?' for name in key)
    delete = store.prepared(f'DELETE FROM "{table.name}" WHERE {where}')  # noqa: S608
    for _ in gather(store.session, (delete.bind([row[name] for name in key]) for row in rows), patience=store.patience):
        pass


def event_rows(equipment_id: str, event_id: str, event: Event, found: datetime) -> tuple[Row, Row]:
    """Give the rows of an event in EVENTS and MACHINE_EVENTS."""
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
    write(store, EVENTS, [by_day for by_day, _ in rows])
    write(store, MACHINE_EVENTS, [by_machine for _, by_machine in rows])


def remove_events(store: Store, equipment_id: str, event_ids: Iterable[str]) -> None:
    """Remove events from both tables."""
    began = {event_id: event_start(event_id) for event_id in event_ids}
    remove(store, EVENTS, [{"day": start.date(), "event_id": event_id} for event_id, start in began.items()])
    remove(
        store,
        MACHINE_EVENTS,
        [{"equipment_id": equipment_id, "year": start.year, "event_id": event_id} for event_id, start in began.items()],
    )


def replace_trends(store: Store, equipment_id: str, measurements: Iterable[str], rows: Sequence[Row]) -> None:
    """Write the trends of a machine, and remove those of other measurements."""
    write(store, TRENDS, rows)
    gone = set(measurements) - {row["measurement"] for row in rows}
    remove(store, TRENDS, [{"measurement": name, "equipment_id": equipment_id} for name in sorted(gone)])


def mark_analyzed(store: Store, loads: Sequence[Load], now: datetime) -> None:
    """Note that the days which these loads touched have been analysed."""
    write(store, ANALYZED_RUNS, [{**load._asdict(), "at": now} for load in loads])


def event_id(equipment_id: str, event: Event) -> str:
    """Name an event for good by its start when first found, so that IDs sort by time."""
    parts = [f"{event.start:%Y-%m-%dT%H:%M:%SZ}", equipment_id, event.kind]
    return ".".join([*parts, event.measurement] if event.measurement else parts)


def event_start(event_id: str) -> datetime:
    """Tell from its ID when an event began, as first found."""
    return datetime.strptime(event_id.partition(".")[0], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def day_start(day: date) -> datetime:
    """Give the first moment of a UTC day."""
    return datetime.combine(day, time(), UTC)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(identifier, names))
