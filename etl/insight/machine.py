"""The analysis of one machine: minutes and hours, events and trends, then alerts and days."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr

from etl.cassandra.store import Row, Store
from etl.insight import repository as insight
from etl.insight.alerts import alert, send
from etl.insight.detection import Watch, detect, merge, same_event
from etl.insight.indicators import DAY_HOURS, by_day, by_hour, by_minute, has_power, hold_time, pack
from etl.insight.limits import Limits
from etl.insight.trends import trends
from etl.insight.units import UNITS
from etl.insight.watching import ReadingsOf, watch_day
from etl.kafka.ports import Producer
from etl.model.catalogue import ASSUMED_CURRENT, ASSUMED_VOLTAGE, Machine, as_stored
from etl.model.events import Event, is_within
from etl.model.measurements import Measurements
from etl.model.schemas import TIMESTAMP
from etl.model.tables import FLEET_DAYS, MACHINE_DAYS, MACHINE_HOURS, MACHINE_MINUTES, day_start, days_between

# Days of minutes and of hours that detectors and trends read.
MINUTE_DAYS, HOUR_DAYS = 7, 28
# What is assumed of a machine on the mains.
_RATED = {"nominal_voltage": ASSUMED_VOLTAGE, "rated_current": ASSUMED_CURRENT}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# Hours of days: bit h stands for hour h.
Touched = dict[date, int]


@dataclass(frozen=True)
class Analysis:
    """The services and settings of an analysis.

    `until` is the end of the newest reading, `marks` are the watermarks by equipment ID.
    """

    store: Store
    producer: Producer
    topic: str
    webhook: SecretStr | None
    measurements: Measurements
    limits: Limits
    until: datetime
    now: datetime
    counts: Counter[str]
    marks: Mapping[str, datetime]


class MachineAnalysis(NamedTuple):
    """The results of a machine: the analysed days, its events with those known before, and rows of TRENDS."""

    machine: Machine
    days: list[date]
    events: list[Event]
    trends: list[Row]


def analyze_machine(
    analysis: Analysis, machine: Machine | None, equipment_id: str, touched: Touched, newest: datetime | None
) -> MachineAnalysis:
    """Aggregate days of a machine, in ascending order, write its minutes and hours, and find its events and trends.

    A machine that is not in the catalogue is assumed.
    """
    store, days = analysis.store, list(touched)
    watches: dict[date, Watch] = {}
    minutes = insight.read_minutes(store, equipment_id, _up_to(days, MINUTE_DAYS))
    hours = {row["hour"]: row for row in insight.read_hours(store, equipment_id, _up_to(days, HOUR_DAYS + 1))}
    machine = machine or _assumed(analysis, equipment_id, days)
    for day in days:
        # Nothing is expected of a machine before its very first reading, so its first day is aggregated as a whole.
        begin = day_start(day)
        is_first = not any(begin - timedelta(days=HOUR_DAYS) <= hour < begin for hour in hours)
        times = [] if is_first else [begin + hour * HOUR for hour in DAY_HOURS]
        aggregated = {time.hour for time in times if time in hours and (newest is None or time < newest)}
        for part in _stretches(_stale(analysis, machine, touched[day], aggregated)):
            readings = _readings(analysis, machine, day, part)
            since = readings["timestamp"][0].as_py() if is_first and len(readings) else None
            minutes[day] = _replaced(minutes.get(day), by_minute(readings, machine, day, part), day, part)
            of_day = by_hour(readings, machine, day, analysis.until, analysis.limits, since, part)
            hours |= {row["hour"]: row for row in of_day}
            store.write(MACHINE_HOURS, of_day)
        store.write(MACHINE_MINUTES, [{"equipment_id": equipment_id, "day": day, "minutes": pack(minutes[day])}])
        if len(minutes[day]) and not has_power(machine, minutes[day]):
            watches[day] = _watch(analysis, equipment_id, day, touched[day])
    until = _end(analysis, days[-1])
    past = [row for hour, row in hours.items() if until - timedelta(days=HOUR_DAYS) <= hour < until]
    found = trends(machine, past, until, analysis.limits, _units(analysis))
    return MachineAnalysis(machine, days, _events(analysis, machine, days, minutes, hours, watches), found)


def _up_to(days: Iterable[date], count: int) -> list[date]:
    """List the given days and the `count` - 1 days before each of them."""
    return sorted({day - timedelta(days=number) for day in days for number in range(count)})


def _units(analysis: Analysis) -> dict[str, str]:
    """Return the declared units of measurements; where none is declared, the usual ones."""
    declared = {one.name: one.unit for one in analysis.measurements.declared if one.unit and one.unit != "1"}
    return {name: unit for name, unit in UNITS.items() if name in analysis.measurements.names} | declared


def _stale(analysis: Analysis, machine: Machine, touched: int, aggregated: Container[int]) -> list[int]:
    """List the hours of a day to aggregate: those not aggregated yet, and those that touched readings extend into."""
    beside = -(-hold_time(machine, analysis.limits) // HOUR)
    near = {hour + off for hour in DAY_HOURS if touched >> hour & 1 for off in range(-beside, beside + 1)}
    return [hour for hour in DAY_HOURS if hour in near or hour not in aggregated]


def _stretches(hours: Sequence[int]) -> list[range]:
    """Join hours, in ascending order, that follow each other."""
    begins = [hour for hour in hours if hour - 1 not in hours]
    ends = [hour + 1 for hour in hours if hour + 1 not in hours]
    return [range(begin, end) for begin, end in zip(begins, ends, strict=True)]


def _readings(analysis: Analysis, machine: Machine, day: date, hours: range) -> pa.Table:
    """Read the readings of a day that affect some of its hours."""
    begin, around = day_start(day), hold_time(machine, analysis.limits)
    start, end = begin + hours.start * HOUR - around, begin + hours.stop * HOUR + around
    return insight.read_readings(
        analysis.store, analysis.measurements, machine.equipment_id, max(begin, start), min(begin + DAY, end)
    )


def _watch(analysis: Analysis, equipment_id: str, day: date, touched: int) -> Watch:
    """Watch the readings of a day; `touched` are the hours that have new ones."""
    changed = day_start(day) + next((hour for hour in DAY_HOURS if touched >> hour & 1), len(DAY_HOURS)) * HOUR
    newest = analysis.marks.get(equipment_id, analysis.until)
    source = ReadingsOf(analysis.store, analysis.measurements, equipment_id, analysis.limits)
    return watch_day(source, day, changed, newest, _end(analysis, day))


def _replaced(known: pa.Table | None, fresh: pa.Table, day: date, hours: range) -> pa.Table:
    """Return the known minutes of a day with those of some hours replaced."""
    if known is None:
        return fresh
    start, end = (pa.scalar(day_start(day) + hour * HOUR, TIMESTAMP) for hour in (hours.start, hours.stop))
    before, after = known.filter(pc.field("minute") < start), known.filter(pc.field("minute") >= end)
    return pa.concat_tables([before, fresh, after], promote_options="default")


def _assumed(analysis: Analysis, equipment_id: str, days: Iterable[date]) -> Machine:
    """Assume a machine that is not in the catalogue, with the interval of its readings on the first of some days."""
    for day in days:
        start = day_start(day)
        readings = insight.read_readings(analysis.store, analysis.measurements, equipment_id, start, start + DAY)
        if len(readings) > 1:
            break
    stamps = readings["timestamp"].cast(pa.int64())
    gaps = pc.pairwise_diff(stamps.combine_chunks()) if len(stamps) > 1 else None
    usual = pc.quantile(gaps.drop_null(), 0.5)[0].as_py() if gaps is not None else 1000.0
    return as_stored(
        equipment_id,
        **(_RATED if _is_on_mains(readings, analysis.limits) else {}),
        interval_seconds=min(max(usual / 1000.0, 0.001), 31_536_000.0),
    )


def _is_on_mains(readings: pa.Table, limits: Limits) -> bool:
    """Return whether the voltage of readings, if they have one, is about that of a mains of 400 V."""
    voltage = pc.quantile(readings["voltage"], 0.5)[0].as_py() if "voltage" in readings.column_names else None
    return voltage is not None and abs(voltage / ASSUMED_VOLTAGE - 1.0) <= limits.supply.voltage


def _end(analysis: Analysis, day: date) -> datetime:
    return min(day_start(day) + DAY, analysis.until)


def _stored(analysis: Analysis, equipment_id: str, days: Sequence[date]) -> dict[str, tuple[Event, datetime]]:
    """Read the known events of the years of some days and of the years before."""
    return insight.read_events(analysis.store, equipment_id, {day.year - back for day in days for back in (0, 1)})


def _events(
    analysis: Analysis,
    machine: Machine,
    days: Sequence[date],
    minutes: Mapping[date, pa.Table],
    hours: Mapping[datetime, Row],
    watches: Mapping[date, Watch],
) -> list[Event]:
    """Find the events of the days, and merge them with the known ones."""
    stored = _stored(analysis, machine.equipment_id, days)
    # An event that began within the days is found again, or does not exist.
    events = [event for event, _ in stored.values() if event.start.date() not in set(days)]
    for day in days:
        until = _end(analysis, day)
        known_minutes = [
            minutes[each] for each in days_between(day - timedelta(days=MINUTE_DAYS - 1), day) if each in minutes
        ]
        past = [row for hour, row in hours.items() if until - timedelta(days=HOUR_DAYS) <= hour < until]
        table = pa.concat_tables(known_minutes, promote_options="default")
        # Events that began later are left to later days.
        later = [event for event in events if event.start >= until]
        begun = [event for event in events if event.start < until]
        lasting = [event for event in begun if event.end is None]
        found = detect(machine, table, past, until, analysis.limits, _units(analysis), lasting, watches.get(day))
        # Events that ended on an earlier day were reported then, except those that lasted.
        own = [
            event
            for event in found
            if (event.end or until) >= day_start(day) or any(same_event(event, old) for old in lasting)
        ]
        events = merge(begun, own, until)
        if day != days[-1] and day + DAY not in days:
            # The next day is not analysed again: an event that lasts until then ends as known, or with the day.
            events = [_ended(event, stored, until) for event in events]
        events += later
    return events


def _ended(event: Event, stored: Mapping[str, tuple[Event, datetime]], until: datetime) -> Event:
    if event.end is not None:
        return event
    ended = replace(event, end=until)
    ends = [old.end for old, _ in stored.values() if same_event(ended, old) and (old.end or until) >= until]
    return event if None in ends else replace(event, end=max(filter(None, ends), default=until))


def publish_and_store(analysis: Analysis, machine: Machine, days: Sequence[date], events: Sequence[Event]) -> None:
    """Send alerts of changed events, and write events and days; a known event keeps its ID."""
    store, equipment_id = analysis.store, machine.equipment_id
    stored = _stored(analysis, equipment_id, days)
    named = _named(equipment_id, events, stored)
    changed = {name for name, event in named.items() if name not in stored or stored[name][0] != event}
    # An event that lasts becomes a little longer each time; that alone causes no alert.
    alerted = {name for name in changed if name not in stored or _state(stored[name][0]) != _state(named[name])}
    gone = stored.keys() - named.keys()
    first_found = {name: stored[name][1] if name in stored else analysis.now for name in named}
    alerts = [alert(equipment_id, name, named[name], first_found[name]) for name in sorted(alerted)]
    alerts += [alert(equipment_id, name, *stored[name], withdrawn=True) for name in sorted(gone)]
    send(alerts, analysis.producer, analysis.topic, analysis.webhook, store.patience)
    rows = [insight.event_rows(equipment_id, name, named[name], first_found[name]) for name in sorted(changed)]
    insight.write_events(store, rows)
    insight.remove_events(store, equipment_id, sorted(gone))
    _write_days(analysis, machine, days, named)
    analysis.counts.update(days=len(days), events=len(changed), alerts=len(alerts))


def _state(event: Event) -> tuple[str, bool]:
    return event.severity, event.end is None


def _named(
    equipment_id: str, events: Sequence[Event], stored: Mapping[str, tuple[Event, datetime]]
) -> dict[str, Event]:
    """Return the events by ID: the ID under which an event, or a part of it, is known, otherwise a new one."""
    named: dict[str, Event] = {}
    for event in events:
        same = (name for name in sorted(stored) if name not in named and same_event(stored[name][0], event))
        named[next(same, insight.event_id(equipment_id, event))] = event
    return named


def _write_days(analysis: Analysis, machine: Machine, days: Sequence[date], events: Mapping[str, Event]) -> None:
    minutes = insight.read_minutes(analysis.store, machine.equipment_id, days)
    rows = []
    for day in days:
        begin, end = day_start(day), day_start(day) + DAY
        within = {name: event for name, event in events.items() if is_within(event.start, event.end, begin, end)}
        hours = insight.read_hours(analysis.store, machine.equipment_id, [day])
        rows.append(by_day(hours, machine, day, within, minutes[day], analysis.limits))
    analysis.store.write(MACHINE_DAYS, rows)
    analysis.store.write(FLEET_DAYS, [{**row, "name": machine.name} for row in rows])
