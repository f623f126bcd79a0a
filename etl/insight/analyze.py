"""`analyze`: analyse the hours that loads have touched: indicators, events and trends of each machine.

Each load of the ledger is analysed at least once: readings of a day -> minutes, hours -> events, trends -> alerts ->
tables. A load is marked as analysed when all its results are written, so a crash repeats it with the same rows.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from pydantic import SecretStr

from etl.cassandra.checks import check_columns
from etl.cassandra.connection import connect
from etl.cassandra.store import Row, Store
from etl.cassandra.watermarks import read_watermarks
from etl.errors import NothingNew
from etl.insight import repository as insight
from etl.insight.alerts import alert, send
from etl.insight.detection import detect, merge, same_event, shortest_dropout, without_shared
from etl.insight.indicators import DAY_HOURS, by_day, by_hour, by_minute, hold_time, pack
from etl.insight.limits import Limits
from etl.insight.repository import Load, day_start
from etl.insight.trends import trends
from etl.insight.units import UNITS
from etl.kafka.client import Client
from etl.kafka.client import connect as connect_kafka
from etl.kafka.lag import read_lags
from etl.kafka.ports import Producer, open_producer
from etl.model.catalogue import ASSUMED_CURRENT, ASSUMED_VOLTAGE, Machine, as_stored
from etl.model.events import Event
from etl.model.measurements import Measurements
from etl.model.schemas import TIMESTAMP
from etl.model.tables import (
    FLEET_DAYS,
    INSIGHT,
    MACHINE_DAYS,
    MACHINE_HOURS,
    MACHINE_MINUTES,
    PIPELINE_HEALTH,
    days_between,
    pipeline_tables,
)
from etl.settings import AnalyzeSettings, CassandraSettings, KafkaSettings
from etl.terminal import progress

MINUTE_DAYS, HOUR_DAYS = 7, 28
# Most machine-days held in memory; loads that touched more are analysed one after another.
MOST_DAYS = 100_000

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
# A machine is silent if others continue for at least this long, and had sent within the two hours before it stopped.
CONTINUES, BESIDE = timedelta(minutes=30), timedelta(hours=2)
# Consecutive recordings may overlap by this much.
OVERLAP = timedelta(minutes=10)
# Most machines that are checked for having continued, the newest first.
MOST_OTHERS = 320
# Trends are replaced if the newest analysed day began at most this long before the watermark.
RECENT = timedelta(days=7)
# Hours of days: bit h stands for hour h.
Touched = dict[date, int]

log = structlog.get_logger("etl.analyze")


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


def analyze(
    measurements: Measurements,
    limits: Limits,
    settings: AnalyzeSettings,
    cassandra: CassandraSettings,
    kafka: KafkaSettings,
) -> Counter[str]:
    """Analyse new loads, also those that finish meanwhile, until none is left.

    A scheduler may not start another analysis for a load that finishes meanwhile. Return counts of loads, days, events
    and alerts.

    Raises:
        NothingNew: no load has finished since the last analysis.
        SettingsError: a table, topic or right is missing, or the webhook refuses.
        Unreachable: Cassandra, Kafka or the webhook does not answer.
    """
    counts: Counter[str] = Counter(loads=0, days=0, events=0, alerts=0)
    with connect_kafka(kafka) as client, connect(cassandra) as session:
        check_columns(session, [*pipeline_tables(measurements), *INSIGHT])
        client.partitions(kafka.events_topic)
        store = Store(session, cassandra.timeout)
        write_health(store, client, read_watermarks(session)["timestamp"], datetime.now(UTC))
        while loads := insight.pending_loads(store):
            counts["loads"] += len(loads)
            with open_producer(kafka) as producer:
                # Read again: a load that finished meanwhile has moved them.
                marks, now = read_watermarks(session), datetime.now(UTC)
                analysis = Analysis(
                    store,
                    producer,
                    kafka.events_topic,
                    settings.webhook,
                    measurements,
                    limits,
                    _reached(marks["timestamp"], now),
                    now,
                    counts,
                    dict(zip(marks["equipment_id"].to_pylist(), marks["timestamp"].to_pylist(), strict=True)),
                )
                _analyze_loads(analysis, loads)
    if not counts["loads"]:
        raise NothingNew("no load since the last analysis")
    return counts


def _analyze_loads(analysis: Analysis, loads: Sequence[Load]) -> None:
    machines = insight.read_machines(analysis.store)
    silent = _silent(analysis, machines)
    for part, touched in _parts(analysis.store, loads):
        _analyze_machines(analysis, machines, {name: {} for name in silent} | touched)
        insight.mark_analyzed(analysis.store, part, analysis.now)


def _reached(marks: pa.ChunkedArray, now: datetime) -> datetime:
    """Return the end of the plant's newest reading; readings from a clock that is ahead do not count."""
    known = marks.filter(pc.less_equal(marks, pa.scalar(now, marks.type)))
    newest: datetime | None = pc.max(known).as_py()
    return newest + timedelta(milliseconds=1) if newest else now


def _silent(analysis: Analysis, machines: Mapping[str, Machine]) -> list[str]:
    """List the machines that send nothing while others do, and that no load touches therefore.

    A machine that has sent nothing for a week is assumed to be removed.
    """
    found = []
    for equipment_id, newest in analysis.marks.items():
        machine = machines.get(equipment_id) or as_stored(equipment_id)
        least = timedelta(milliseconds=shortest_dropout(machine, analysis.limits))
        if analysis.until - newest >= least and _days_since(analysis, newest.date()):
            found.append(equipment_id)
    return found


def _own(analysis: Analysis, machine: Machine) -> Analysis:
    """Return the analysis of one machine: up to the plant's newest reading if the plant continued without it.

    Otherwise up to its own newest reading. A silence counts only if other machines had sent before it began and
    continue for at least half an hour. With consecutive recordings, or a plant of one machine, there are none.
    """
    newest = analysis.marks.get(machine.equipment_id)
    least = timedelta(milliseconds=shortest_dropout(machine, analysis.limits))
    if newest is None or analysis.until - newest < least or _continues_without(analysis, newest, max(least, CONTINUES)):
        return analysis
    return replace(analysis, until=newest + timedelta(milliseconds=1))


def _continues_without(analysis: Analysis, newest: datetime, least: timedelta) -> bool:
    """Return whether a machine that had sent before `newest` continues for at least this long after it."""
    if analysis.until - newest < least:
        return False
    others = [name for name, mark in analysis.marks.items() if newest + least <= mark <= analysis.now]
    others = heapq.nlargest(MOST_OTHERS, others, key=analysis.marks.__getitem__)
    return insight.any_sent(analysis.store, others, newest - 2 * least - BESIDE, newest - min(least, OVERLAP))


def _days_since(analysis: Analysis, day: date) -> list[date]:
    """List the days from one to the plant's newest reading; none if they are a week or more."""
    last = (analysis.until - timedelta(milliseconds=1)).date()
    return days_between(day, last) if (last - day).days < MINUTE_DAYS else []


def _parts(store: Store, loads: Sequence[Load]) -> Iterator[tuple[list[Load], dict[str, Touched]]]:
    """Yield groups of loads whose touched days fit in memory."""
    part: list[Load] = []
    touched: dict[str, Touched] = defaultdict(dict)
    for load in loads:
        for equipment_id, day, hours in insight.touched_days(store, load.run):
            touched[equipment_id][day] = touched[equipment_id].get(day, 0) | hours
        part.append(load)
        if sum(map(len, touched.values())) >= MOST_DAYS:
            yield part, touched
            part, touched = [], defaultdict(dict)
    if part:
        yield part, touched


def _analyze_machines(analysis: Analysis, machines: Mapping[str, Machine], touched: Mapping[str, Touched]) -> None:
    if unknown := sorted(touched.keys() - machines.keys()):
        log.warning(
            f"{len(unknown)} machines, such as {unknown[0]}, are not in table equipment and assumed to have"
            f" {ASSUMED_VOLTAGE:g} V and {ASSUMED_CURRENT:g} A: name a catalogue to `etl schema`"
        )
    analyses = {}
    with progress("analyze", len(touched)) as advance:
        for equipment_id in sorted(touched):
            own = _own(analysis, machines.get(equipment_id) or as_stored(equipment_id))
            newest = _newest_hour(own, equipment_id)
            if days := _days(own, touched[equipment_id], newest):
                hours = {day: touched[equipment_id].get(day, 0) for day in days}
                analyses[equipment_id] = analyze_machine(own, machines.get(equipment_id), equipment_id, hours, newest)
            advance(1)
    # Only all machines together distinguish a sensor's drift from the weather.
    kept = without_shared({equipment_id: one.events for equipment_id, one in analyses.items()})
    for equipment_id, one in analyses.items():
        publish_and_store(analysis, one.machine, one.days, kept[equipment_id])
        # A late reading of an old day does not change the forecasts.
        if day_start(one.days[-1]) + RECENT > analysis.marks.get(equipment_id, analysis.now):
            insight.replace_trends(analysis.store, equipment_id, analysis.measurements.names, one.trends)


def _newest_hour(analysis: Analysis, equipment_id: str) -> datetime | None:
    """Return the newest known hour of a machine; None if the machine is new, or was removed."""
    last = analysis.until.date()
    newest = insight.newest_hour(analysis.store, equipment_id, last - timedelta(days=MINUTE_DAYS), last)
    return newest if newest and _days_since(analysis, newest.date()) else None


def _days(analysis: Analysis, touched: Touched, newest: datetime | None) -> list[date]:
    """List the days to analyse: the touched days, and those since the newest known one, even without readings."""
    known = max([*touched, *([newest.date()] if newest else [])], default=None)
    return sorted({*touched, *(_days_since(analysis, known) if known else [])})


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
    minutes = insight.read_minutes(store, equipment_id, _up_to(days, MINUTE_DAYS))
    hours = {row["hour"]: row for row in insight.read_hours(store, equipment_id, _up_to(days, HOUR_DAYS + 1))}
    machine = machine or _assumed(analysis, equipment_id, days)
    for day in days:
        # Nothing is expected of a machine before its very first reading, so its first day is aggregated as a whole.
        begin = day_start(day)
        is_first = not any(begin - timedelta(days=HOUR_DAYS) <= hour < begin for hour in hours)
        times = [] if is_first else [day_start(day) + hour * HOUR for hour in DAY_HOURS]
        aggregated = {time.hour for time in times if time in hours and (newest is None or time < newest)}
        for part in _stretches(_stale(analysis, machine, touched[day], aggregated)):
            readings = _readings(analysis, machine, day, part)
            since = readings["timestamp"][0].as_py() if is_first and len(readings) else None
            minutes[day] = _replaced(minutes.get(day), by_minute(readings, machine, day, part), day, part)
            of_day = by_hour(readings, machine, day, analysis.until, analysis.limits, since, part)
            hours |= {row["hour"]: row for row in of_day}
            store.write(MACHINE_HOURS, of_day)
        store.write(MACHINE_MINUTES, [{"equipment_id": equipment_id, "day": day, "minutes": pack(minutes[day])}])
    until = _end(analysis, days[-1])
    past = [row for hour, row in hours.items() if until - timedelta(days=HOUR_DAYS) <= hour < until]
    found = trends(machine, past, until, analysis.limits, _units(analysis))
    return MachineAnalysis(machine, days, _events(analysis, machine, days, minutes, hours), found)


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
        nominal_voltage=ASSUMED_VOLTAGE,
        rated_current=ASSUMED_CURRENT,
        interval_seconds=min(max(usual / 1000.0, 0.001), 31_536_000.0),
    )


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
        found = detect(machine, table, past, until, analysis.limits, _units(analysis), lasting)
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
        within = {name: event for name, event in events.items() if _within(event, begin, end)}
        hours = insight.read_hours(analysis.store, machine.equipment_id, [day])
        rows.append(by_day(hours, machine, day, within, minutes[day], analysis.limits))
    analysis.store.write(MACHINE_DAYS, rows)
    analysis.store.write(FLEET_DAYS, [{**row, "name": machine.name} for row in rows])


def _within(event: Event, begin: datetime, end: datetime) -> bool:
    """Return whether a part of an event is within a time; one that ends when the time begins is not."""
    return event.start < end and (event.end is None or event.end > begin or event.start >= begin)


def write_health(store: Store, client: Client, marks: pa.ChunkedArray, now: datetime) -> None:
    """Write lag, dead letters and watermarks, so that the page does not need Kafka."""
    spans = client.log_spans(client.settings.dead_letter_topic)
    ends: dict[str, Any] = pc.min_max(marks).as_py()
    row = {
        "day": now.date(),
        "at": now,
        "lags": {lag.partition: lag.lag for lag in read_lags(client)},
        "dead_letters": sum(span.end - span.begin for span in spans.values()),
        "equipment": len(marks),
        "oldest": ends["min"],
        "newest": ends["max"],
    }
    store.write(PIPELINE_HEALTH, [row])
