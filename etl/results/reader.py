"""All reads of the page and the report, and the one write of the page.

Each statement reads one partition. There is one exception: if no recent day has data, one statement reads the list of
days.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import numpy as np
import pyarrow as pa
from cassandra.cluster import Session

from etl.cassandra.cql import literal
from etl.cassandra.retry import driver_errors
from etl.cassandra.store import Store, as_dicts, select
from etl.insight.repository import read_minutes
from etl.model.measurements import Measurements
from etl.model.tables import (
    ACKNOWLEDGEMENTS,
    EQUIPMENT,
    EVENTS,
    FLEET_DAYS,
    MACHINE_DAYS,
    MACHINE_EVENTS,
    MACHINE_HOURS,
    PIPELINE_HEALTH,
    TRENDS,
    WATERMARKS,
    Table,
    day_start,
    days_between,
    months_between,
    sensor_data,
)
from etl.results.rows import EventRow, FleetDay, HealthRow, MachineDay, MachineRow, Row, TrendRow
from etl.results.series import Level, Series, milliseconds
from etl.run.ledger import LoadedRun, read_last_runs

PATIENCE = 5.0
MOST_READINGS = 50_000
MOST_DAYS = 31
_PROBES = 31
_ENERGY = ["equipment_id", "name", "energy_kwh", "idle_energy_kwh", "idle_seconds", "running_seconds"]
_SUMMARY = ["equipment_id", "state", "newest", "energy_kwh", "idle_energy_kwh", "expected", "received"]
_WITHIN_HOURS = ' AND "hour" >= ? AND "hour" < ?'


class Reader:
    """The queries of the views; one object for all threads."""

    def __init__(self, session: Session, measurements: Measurements) -> None:
        """Use this session and these measurements."""
        self.store = Store(session, PATIENCE)
        self.measurements = measurements
        self.doubles = [found.name for found in measurements.declared if found.type == "double"]
        self.units = {found.name: found.unit for found in measurements.declared}

    def answers(self) -> None:
        """Check that a node answers, with its own partition of `system.local`."""
        with driver_errors():
            self.store.session.execute("SELECT key FROM system.local WHERE key = 'local'", timeout=PATIENCE)

    def newest_day(self, today: date) -> date | None:
        """Return the newest analysed day, however old it is."""
        return self._newest_day(FLEET_DAYS, today)

    def newest_health_day(self, today: date) -> date | None:
        """Return the newest day with measurements of the pipeline, however old it is."""
        return self._newest_day(PIPELINE_HEALTH, today)

    def _newest_day(self, table: Table, today: date) -> date | None:
        """Read a row of the last partitions (day) of a table; if they have none, the keys of all partitions."""
        query = f"{select(table, table.partition, table.partition)} LIMIT 1"
        days = [today - timedelta(days=back) for back in range(-1, _PROBES)]
        found = zip(days, self.store.ask(query, [(day,) for day in days]), strict=True)
        if newest := next((day for day, rows in found if rows), None):
            return newest
        # A key is a day, so there are few keys, and no row is read.
        pages = self.store.page_by_page(f'SELECT DISTINCT "day" FROM "{table.name}"')  # noqa: S608 - names from code
        every = [row["day"] for row in as_dicts(["day"], pages)]
        return max((day for day in every if day <= today), default=max(every, default=None))

    def fleet(self, day: date) -> list[FleetDay]:
        """Return all machines of a day: partition (day) of `fleet_days`."""
        return self._rows(FLEET_DAYS, [(day,)])

    def fleet_energy(self, days: Iterable[date]) -> list[FleetDay]:
        """Return the energy of all machines on these days: partitions (day) of `fleet_days`, one statement each."""
        return self._rows(FLEET_DAYS, [(day,) for day in days], ["day", *_ENERGY])

    def fleet_summary(self, days: Iterable[date]) -> list[FleetDay]:
        """Return state, energy and readings of all machines on these days: as `fleet_energy`."""
        return self._rows(FLEET_DAYS, [(day,) for day in days], ["day", *_SUMMARY])

    def events(self, days: Iterable[date]) -> list[EventRow]:
        """Return the events that began on these days: partitions (day) of `events` and `acknowledgements`."""
        keys = [(day,) for day in days]
        return self._acknowledged(self._rows(EVENTS, keys), keys)

    def ranking_events(self, fleet: Sequence[FleetDay], day: date) -> list[EventRow]:
        """Return the events that rank the machines of a day, whenever they began.

        `events` reads the days in the IDs of the worst events. For machines whose worst event is acknowledged,
        `lasting_events` reads all events that lasted into the day.
        """
        began = {start for row in fleet if (start := event_day(row.get("worst_event")))}
        found = {event["event_id"]: event for event in self.events(sorted(began))}
        seen = {event_id for event_id, event in found.items() if event["by"]}
        hidden = [row["equipment_id"] for row in fleet if row["worst_event"] in seen and (row["events"] or 0) > 1]
        more = self.lasting_events(hidden, day_start(day), day_start(day + timedelta(days=1)))
        return list((found | {event["event_id"]: event for event in more}).values())

    def knows(self, equipment_id: str) -> bool:
        """Return whether a machine is in the catalogue or has readings: as `machine` and `watermark`."""
        return self.machine(equipment_id) is not None or self.watermark(equipment_id) is not None

    def machine(self, equipment_id: str) -> MachineRow | None:
        """Return a machine of the catalogue: partition (equipment_id) of `equipment`."""
        return next(iter(self._rows(EQUIPMENT, [(equipment_id,)])), None)

    def names(self, machines: Iterable[str]) -> dict[str, str]:
        """Return the names of machines that have one: partitions (equipment_id) of `equipment`, one statement each."""
        rows = self._rows(EQUIPMENT, [(name,) for name in machines], ["equipment_id", "name"])
        return {row["equipment_id"]: row["name"] for row in rows if row["name"]}

    def watermark(self, equipment_id: str) -> datetime | None:
        """Return the watermark of a machine: partition (equipment_id) of `watermarks`."""
        rows = self._rows(WATERMARKS, [(equipment_id,)], ["timestamp"])
        return rows[0]["timestamp"] if rows else None

    def machine_days(self, equipment_id: str, first: date, last: date) -> list[MachineDay]:
        """Return days of a machine, oldest first: partitions (equipment_id, year) of `machine_days`."""
        keys = [(equipment_id, year, first, last) for year in range(first.year, last.year + 1)]
        return self._rows(MACHINE_DAYS, keys, more=' AND "day" >= ? AND "day" <= ?')[::-1]

    def machine_events(self, equipment_id: str, start: datetime, end: datetime) -> list[EventRow]:
        """Return the events of a machine in a time span: as `lasting_events`."""
        return self.lasting_events([equipment_id], start, end)

    def lasting_events(self, machines: Iterable[str], start: datetime, end: datetime) -> list[EventRow]:
        """Return the events of machines in a time span, each once.

        Partitions (equipment_id, year) of `machine_events` and (day) of `acknowledgements`, one statement each.
        """
        keys = [(equipment_id, year) for equipment_id in machines for year in range(start.year - 1, end.year + 1)]
        columns = [name for name in MACHINE_EVENTS.columns if name != "year"]
        found = self._rows(MACHINE_EVENTS, keys, columns)
        touching = [row for row in found if row["start"] < end and (row["end"] is None or row["end"] > start)]
        days = {day for row in touching if (day := event_day(row["event_id"]))}
        return self._acknowledged(touching, [(day,) for day in sorted(days)])

    def trends(self, equipment_id: str | None = None) -> list[TrendRow]:
        """Return the trends of all machines or of one: partitions (measurement) of `trends`, one statement each."""
        if equipment_id is None:
            return self._rows(TRENDS, [(name,) for name in self.doubles])
        return self._rows(TRENDS, [(name, equipment_id) for name in self.doubles], more=' AND "equipment_id" = ?')

    def hours(self, equipment_id: str, start: datetime, end: datetime, columns: Sequence[str]) -> list[Row]:
        """Return hours of a machine, oldest first: partitions (equipment_id, month) of `machine_hours`."""
        keys = [(equipment_id, month, start, end) for month in months_between(start.date(), end.date())]
        rows = self._rows(MACHINE_HOURS, keys, ["hour", *columns], _WITHIN_HOURS)
        return sorted(rows, key=lambda row: row["hour"])

    def series(
        self, equipment_id: str, names: Sequence[str], start: datetime, end: datetime, level: Level
    ) -> dict[str, Series]:
        """Return measurements at one level, from the partitions of `_hour_series` and its siblings."""
        read = {"hours": self._hour_series, "minutes": self._minute_series, "readings": self._reading_series}[level]
        return read(equipment_id, names, start, end)

    def _hour_series(
        self, equipment_id: str, names: Sequence[str], start: datetime, end: datetime
    ) -> dict[str, Series]:
        """Read partitions (equipment_id, month) of `machine_hours`, and only the wanted measurements of its maps."""
        cells = [f'"{part}"[{literal(name)}]' for name in names for part in ("lows", "means", "highs")]
        query = (
            f'SELECT "hour", {", ".join(cells)} FROM "machine_hours"'  # noqa: S608 - declared names
            f' WHERE "equipment_id" = ? AND "month" = ?{_WITHIN_HOURS}'
        )
        keys = [(equipment_id, month, start, end) for month in months_between(start.date(), end.date())]
        rows = [row for part in self.store.ask(query, keys) for row in part[::-1]]
        stamps = _stamps(row[0] for row in rows)
        columns = _floats(rows, 3 * len(names))
        return {name: Series(stamps, *columns[3 * i : 3 * i + 3]) for i, name in enumerate(names)}

    def _minute_series(
        self, equipment_id: str, names: Sequence[str], start: datetime, end: datetime
    ) -> dict[str, Series]:
        """Read partitions (equipment_id, day) of `machine_minutes`."""
        parts = read_minutes(self.store, equipment_id, days_between(start.date(), end.date()))
        if not parts:
            return {name: _series_of([]) for name in names}
        table = pa.concat_tables(parts.values(), promote_options="default")
        stamps = table["minute"].cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).to_numpy()
        inside = (stamps >= milliseconds(start)) & (stamps < milliseconds(end))
        return {
            name: Series(stamps[inside], *(_column(table, name, part)[inside] for part in _PARTS)) for name in names
        }

    def _reading_series(
        self, equipment_id: str, names: Sequence[str], start: datetime, end: datetime
    ) -> dict[str, Series]:
        """Read partitions (equipment_id, day) of `sensor_data`, at most `MOST_READINGS` rows of each."""
        rows = self.readings(equipment_id, names, start, end)
        stamps = _stamps(row[0] for row in rows)
        columns = _floats(rows, len(names))
        return {name: Series(stamps, column, column, column) for name, column in zip(names, columns, strict=True)}

    def readings(
        self, equipment_id: str, names: Sequence[str], start: datetime, end: datetime
    ) -> list[tuple[Any, ...]]:
        """Return readings of a machine, oldest first: partitions (equipment_id, day) of `sensor_data`, with a LIMIT."""
        table = sensor_data(self.measurements)
        query = select(table, ["timestamp", *names], table.partition)
        query += f' AND "timestamp" >= ? AND "timestamp" < ? LIMIT {MOST_READINGS}'
        keys = [(equipment_id, day, start, end) for day in days_between(start.date(), end.date())]
        return [row for part in self.store.ask(query, keys) for row in part[::-1]]

    def health(self, day: date, count: int = 500) -> list[HealthRow]:
        """Return the health of the pipeline on a day, newest first: partition (day) of `pipeline_health`."""
        return self._rows(PIPELINE_HEALTH, [(day,)], more=f" LIMIT {count}")

    def runs(self, count: int, now: datetime) -> list[LoadedRun]:
        """Return the last runs: partitions (month) of `runs`, of this month and the previous one."""
        return read_last_runs(self.store, count, now)

    def event(self, event_id: str) -> EventRow | None:
        """Return one event, from the partition (day) of `events` in its ID."""
        day = event_day(event_id)
        if day is None:
            return None
        return next(iter(self._rows(EVENTS, [(day, event_id)], more=' AND "event_id" = ?')), None)

    def acknowledge(self, event_id: str, by: str, note: str, at: datetime) -> None:
        """Store the acknowledgement of an event: a row in partition (day) of `acknowledgements`."""
        row = {"day": event_day(event_id), "event_id": event_id, "by": by, "at": at, "note": note}
        self.store.write(ACKNOWLEDGEMENTS, [row])

    def _acknowledged(self, events: list[Row], keys: list[tuple[date]]) -> list[EventRow]:
        columns = [name for name in ACKNOWLEDGEMENTS.columns if name != "day"]
        found = self._rows(ACKNOWLEDGEMENTS, keys, columns)
        seen = {row["event_id"]: row for row in found}
        nobody = dict.fromkeys(columns)
        whole = [
            {**nobody, **seen.get(event["event_id"], {}), **event, "end": whole_end(event["end"])} for event in events
        ]
        return cast("list[EventRow]", whole)

    def _rows(
        self, table: Table, keys: Sequence[tuple[Any, ...]], columns: Sequence[str] = (), more: str = ""
    ) -> list[Any]:
        """Read rows of partitions as dictionaries; `more` restricts them further. The caller knows their type."""
        names = list(columns or table.columns)
        found = as_dicts(names, self.store.ask(select(table, names, table.partition) + more, keys))
        return [{name: None if value != value else value for name, value in row.items()} for row in found]


_PARTS = ("low", "mean", "high")


def _stamps(times: Iterable[datetime]) -> Any:
    return np.array([milliseconds(time.replace(tzinfo=UTC)) for time in times], dtype=np.int64)


def _floats(rows: list[tuple[Any, ...]], count: int) -> list[Any]:
    """Return all columns except the first as numbers; missing values are NaN."""
    if not rows:
        return [np.array([], dtype=float)] * count
    return [np.array(column, dtype=float) for column in list(zip(*rows, strict=True))[1:]]


def _column(table: pa.Table, name: str, part: str) -> Any:
    column = f"{name}_{part}"
    if column not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return table[column].cast(pa.float64()).to_numpy()


def _series_of(values: list[float]) -> Series:
    empty = np.array(values, dtype=float)
    return Series(np.array([], dtype=np.int64), empty, empty, empty)


def whole_end(end: datetime | None) -> datetime | None:
    """Return the time of an event's last reading if the end is one millisecond later.

    The analysis reads up to a millisecond after the newest reading.
    """
    return end.replace(microsecond=0) if end and end.microsecond == 1_000 else end


def event_day(event_id: str | None) -> date | None:
    """Return the day at the begin of an event ID."""
    try:
        return date.fromisoformat((event_id or "")[:10])
    except ValueError:
        return None
