"""The data of a report, read from the tables of the analysis."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from html import escape
from typing import cast

from etl.errors import SettingsError
from etl.model.tables import day_start
from etl.results.energy import EnergyUse, uses
from etl.results.ranking import (
    Judged,
    judge,
    rank,
)
from etl.results.reader import Reader
from etl.results.rows import EventRow, FleetDay, HealthRow, TrendRow

MOST_TRENDS = 5
HISTORY = timedelta(days=30)
AHEAD = timedelta(days=90)


@dataclass(frozen=True)
class ReportData:
    """The data of a report."""

    days: list[date]
    judged: list[Judged]
    rows: list[FleetDay]
    uses: list[EnergyUse]
    events: list[EventRow]
    trends: list[TrendRow]
    histories: dict[tuple[str, str], list[tuple[datetime, float]]]
    health: HealthRow | None
    units: dict[str, str]

    def name_of(self, equipment_id: str) -> str:
        """Return the name of a machine as HTML."""
        names = (machine.name for machine in self.judged if machine.equipment_id == equipment_id)
        return escape(next(names, equipment_id))

    @property
    def end(self) -> datetime:
        """The end of the last day."""
        return day_start(self.days[-1] + timedelta(days=1))


def gathered(reader: Reader, days: list[date]) -> ReportData:
    """Read the data of the report."""
    by_day = {day: rows for day in days if (rows := reader.fleet(day))}
    if not by_day:
        raise SettingsError(_no_data(reader, days))
    newest = max(by_day)
    events = _events_in(reader, days, by_day)
    ends = day_start(newest + timedelta(days=1))
    trends = sorted(
        (trend for trend in reader.trends() if trend["reached"] and trend["reached"] <= ends + AHEAD),
        key=lambda trend: (trend["reached"], trend["equipment_id"]),
    )
    last = {row["equipment_id"]: row for rows in by_day.values() for row in rows}
    health = reader.health(days[-1], 1) or reader.health(newest, 1)
    return ReportData(
        days=days,
        judged=judge(with_worst(last.values(), events), events, trends, newest, reader.units),
        rows=[row for rows in by_day.values() for row in rows],
        uses=uses(row for rows in by_day.values() for row in rows),
        events=sorted(events, key=lambda event: (rank(event["severity"]), event["start"])),
        trends=trends,
        histories={trend_key(trend): _history(reader, trend) for trend in trends[:MOST_TRENDS]},
        health=health[0] if health else None,
        units=reader.units,
    )


def _no_data(reader: Reader, days: list[date]) -> str:
    newest = reader.newest_day(datetime.now(UTC).date())
    there = f"choose other days, the newest analysed one is {newest}" if newest else "run `etl analyze` first"
    return f"no analysed data from {days[0]} to {days[-1]}: {there}"


def _events_in(reader: Reader, days: list[date], by_day: Mapping[date, list[FleetDay]]) -> list[EventRow]:
    """Read the events that began on these days, or began before and lasted into them."""
    start = day_start(days[0])
    machines = {row["equipment_id"] for rows in by_day.values() for row in rows if row["events"]}
    lasting = reader.lasting_events(sorted(machines), start, start + timedelta(days=len(days)))
    return list({event["event_id"]: event for event in [*lasting, *reader.events(days)]}.values())


def with_worst(rows: Iterable[FleetDay], events: Iterable[EventRow]) -> list[FleetDay]:
    """Return machines with their worst event of all days, an unacknowledged one if there is any."""
    own: dict[str, list[EventRow]] = {}
    for event in events:
        own.setdefault(event["equipment_id"], []).append(event)
    found = []
    for row in rows:
        theirs = own.get(row["equipment_id"], [])
        worst = min(theirs, key=lambda event: (event["by"] is not None, rank(event["severity"])), default=None)
        ids = {
            "worst_event": worst["event_id"] if worst else None,
            "worst_kind": worst["kind"] if worst else None,
            "worst_severity": worst["severity"] if worst else None,
        }
        found.append(cast(FleetDay, {**row, "events": len(theirs), **ids}))
    return found


def trend_key(trend: TrendRow) -> tuple[str, str]:
    """Return equipment ID and measurement of a trend."""
    return trend["equipment_id"], trend["measurement"]


def _history(reader: Reader, trend: TrendRow) -> list[tuple[datetime, float]]:
    until = trend["as_of"]
    days = reader.machine_days(trend["equipment_id"], (until - HISTORY).date(), until.date())
    means = [(row["day"], (row["means"] or {}).get(trend["measurement"])) for row in days]
    return [(datetime.combine(day, time(12), UTC), mean) for day, mean in means if mean is not None]
