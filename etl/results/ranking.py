"""Rank machines by attention, and describe the reasons."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import isfinite

from etl.model.events import SEVERITIES, is_within
from etl.model.tables import day_start
from etl.results import formats
from etl.results.rows import EventRow, FleetDay, TrendRow

WORST_FIRST = SEVERITIES[::-1]
FINE = "fine"
ACKNOWLEDGED = "acknowledged"
ACKNOWLEDGING = (
    "An acknowledged event no longer counts in the order of attention, but stays in all lists. Other events of the"
    " machine still count. It does not end the event."
)
LEVELS = (*WORST_FIRST, FINE)
ICONS = {"severe": "▲", "moderate": "◆", "mild": "●", FINE: "✓"}
SOON = timedelta(days=7)
LATER = timedelta(days=30)
FEW_READINGS = 0.5
MISSING_READINGS = 0.95
LOW_EFFICIENCY = 50.0


@dataclass(frozen=True)
class Concern:
    """One reason to look at a machine. `seen`: a person has acknowledged it, so it does not rank the machine."""

    severity: str
    text: str
    seen: bool = False


@dataclass(frozen=True)
class Judged:
    """The day of a machine with the reasons to look at it, worst first."""

    row: FleetDay
    concerns: list[Concern]

    @property
    def equipment_id(self) -> str:
        """The ID of the machine."""
        return str(self.row["equipment_id"])

    @property
    def name(self) -> str:
        """The name of the machine for people."""
        return str(self.row.get("name") or self.row["equipment_id"])

    @property
    def level(self) -> str:
        """The severity of the worst reason that is not acknowledged, or `fine`."""
        return next((concern.severity for concern in self.concerns if not concern.seen), FINE)

    @property
    def attention(self) -> str:
        """The level in a word: `acknowledged` instead of `fine` if all reasons are acknowledged."""
        return ACKNOWLEDGED if self.level == FINE and self.concerns else self.level

    @property
    def why(self) -> str:
        """The first reason in words."""
        return self.concerns[0].text if self.concerns else "nothing found"


def judge(
    rows: Iterable[FleetDay],
    events: Iterable[EventRow],
    trends: Iterable[TrendRow],
    day: date,
    units: Mapping[str, str],
) -> list[Judged]:
    """Rank the machines of a day by attention.

    Args:
        rows: rows of `fleet_days`.
        events: events with their acknowledgements (`by`): the worst event of each row, and all events of the machines
            whose worst event is acknowledged.
        trends: rows of `trends`.
        day: the day of the rows.
        units: unit by measurement.
    """
    known: dict[str | None, list[EventRow]] = defaultdict(list)
    event_by_id: dict[str, EventRow] = {}
    for event in events:
        event_by_id[event["event_id"]] = event
        known[event.get("equipment_id")].append(event)
    trends_by_machine = defaultdict(list)
    for trend in trends:
        trends_by_machine[trend["equipment_id"]].append(trend)
    judged = []
    for row in rows:
        concerns = [
            *_of_events(row, event_by_id, known[row["equipment_id"]], day, units),
            *_of_trends(trends_by_machine[row["equipment_id"]], day, units),
            *_of_readings(row),
            *_of_efficiency(row),
        ]
        judged.append(Judged(row, sorted(concerns, key=_order)))
    return sorted(judged, key=_urgency)


def _order(concern: Concern) -> tuple[bool, int]:
    return concern.seen, rank(concern.severity)


def _urgency(machine: Judged) -> tuple[int, int, float, str]:
    unseen = sum(not concern.seen for concern in machine.concerns)
    efficiency = machine.row.get("efficiency")
    return rank(machine.level), -unseen, 101.0 if efficiency is None else efficiency, machine.equipment_id


def rank(severity: str | None) -> int:
    """Return the position of a severity, worst first; an unknown one comes last."""
    return LEVELS.index(severity) if severity in LEVELS else len(SEVERITIES) - 1


def _of_events(
    row: FleetDay, event_by_id: Mapping[str, EventRow], own: Iterable[EventRow], day: date, units: Mapping[str, str]
) -> list[Concern]:
    severity = row.get("worst_severity")
    if not severity:
        return []
    worst = event_by_id.get(row.get("worst_event") or "")
    others = (row.get("events") or 1) - 1
    if worst is None:
        return [Concern(severity, f"{formats.kind(row['worst_kind'])}, {severity}{_more(others)}")]
    if not worst.get("by"):
        return [Concern(worst["severity"], f"{describe(worst, day, units)}{_more(others)}")]
    rest = [event for event in own if event["event_id"] != worst["event_id"] and in_day(event, day)]
    still_open = sorted((event for event in rest if not event.get("by")), key=_worst_first)
    text = f"{describe(worst, day, units)} ({ACKNOWLEDGED} by {worst['by']})"
    seen = Concern(worst["severity"], text + _more(others - len(still_open)), seen=True)
    if not still_open:
        return [seen]
    worst_open = still_open[0]
    return [Concern(worst_open["severity"], describe(worst_open, day, units) + _more(len(still_open) - 1)), seen]


def _more(events: int) -> str:
    return f"; {formats.count(events, 'more event')}" if events > 0 else ""


def _worst_first(event: EventRow) -> tuple[int, datetime]:
    return rank(event["severity"]), event["start"]


def worst_measurement(events: Iterable[EventRow]) -> str | None:
    """Return the measurement of the worst event that has one; acknowledged events come last."""
    measured = [event for event in events if event["measurement"]]
    worst = min(measured, key=lambda event: (bool(event["by"]), *_worst_first(event)), default=None)
    return worst["measurement"] if worst else None


def in_day(event: EventRow, day: date) -> bool:
    """Return whether an event lasted into a day (UTC)."""
    return is_within(event["start"], event["end"], day_start(day), day_start(day + timedelta(days=1)))


def describe(event: EventRow, day: date, units: Mapping[str, str]) -> str:
    """Describe an event in one line: kind, severity, deviation and start."""
    text = f"{formats.kind(event['kind'])}, {event['severity']}"
    name = event.get("measurement")
    if name and _is_known(event.get("observed")):
        text += f": {formats.measurement(name)} {formats.number(event['observed'], units.get(name, ''))}"
        if _is_known(event.get("expected")):
            text += f", expected {formats.number(event['expected'], units.get(name, ''))}"
    if event["end"] is None:
        return f"{text}, since {formats.clock(event['start'], day)}, still lasting"
    lasted = formats.length((event["end"] - event["start"]).total_seconds())
    ended = formats.clock(event["end"], event["start"].date())
    return f"{text}, from {formats.clock(event['start'], day)} to {ended} ({lasted})"


def _is_known(value: float | None) -> bool:
    return value is not None and isfinite(value)


def _of_trends(trends: Iterable[TrendRow], day: date, units: Mapping[str, str]) -> list[Concern]:
    now = day_start(day + timedelta(days=1))
    return [
        Concern("moderate" if trend["reached"] - now <= SOON else "mild", forecast(trend, now, units))
        for trend in trends
        if trend["reached"] and trend["reached"] - now <= LATER
    ]


def forecast(trend: TrendRow, now: datetime, units: Mapping[str, str]) -> str:
    """Describe when a trend reaches its threshold."""
    name = trend["measurement"]
    text = f"{formats.measurement(name)} reaches {formats.number(trend['threshold'], units.get(name, ''))}"
    text += f" {formats.ahead(trend['reached'], now)}"
    if trend["earliest"] and trend["latest"]:
        text += f" ({trend['earliest']:%-d %b} to {trend['latest']:%-d %b})"
    return text


def _of_readings(row: FleetDay) -> list[Concern]:
    expected, received = row.get("expected"), row.get("received")
    if not expected or received is None or received / expected >= MISSING_READINGS:
        return []
    severity = "moderate" if received / expected < FEW_READINGS else "mild"
    return [Concern(severity, f"only {formats.share(received / expected)} of the expected readings arrived")]


def _of_efficiency(row: FleetDay) -> list[Concern]:
    efficiency = row.get("efficiency")
    if efficiency is None or efficiency >= LOW_EFFICIENCY:
        return []
    reasons = row.get("reasons")
    because = f": {reasons[0]}" if reasons else ""
    return [Concern("mild", f"efficiency {formats.number(efficiency, digits=2)} of 100{because}")]


def summary(judged: list[Judged]) -> str:
    """Return a sentence about how many machines need attention."""
    counts = {level: sum(machine.level == level for machine in judged) for level in WORST_FIRST}
    urgent = sum(counts.values())
    seen = sum(machine.attention == ACKNOWLEDGED for machine in judged)
    rest = f" Of {formats.count(seen, 'other machine')} all events are acknowledged." if seen else ""
    if not urgent:
        return f"None of {len(judged):,} machines needs attention.{rest}"
    parts = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    return f"{urgent:,} of {len(judged):,} machines {'need' if urgent > 1 else 'needs'} attention: {parts}.{rest}"
