"""`analyze`: analyse the hours that loads have touched: indicators, events and trends of each machine.

Each load of the ledger is analysed at least once: readings of a day -> minutes, hours -> events, trends -> alerts ->
tables. A load is marked as analysed when all its results are written, so a crash repeats it with the same rows.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import structlog

from etl.cassandra.checks import check_columns
from etl.cassandra.connection import connect
from etl.cassandra.store import Store
from etl.cassandra.watermarks import read_watermarks
from etl.errors import NothingNew
from etl.insight import repository as insight
from etl.insight.detection import shortest_dropout, without_shared
from etl.insight.limits import Limits
from etl.insight.machine import MINUTE_DAYS, Analysis, Touched, analyze_machine, publish_and_store
from etl.insight.repository import Load
from etl.kafka.client import Client
from etl.kafka.client import connect as connect_kafka
from etl.kafka.lag import read_lags
from etl.kafka.ports import open_producer
from etl.model.catalogue import ASSUMED_CURRENT, ASSUMED_VOLTAGE, Machine, as_stored
from etl.model.measurements import Measurements
from etl.model.tables import INSIGHT, PIPELINE_HEALTH, day_start, days_between, pipeline_tables
from etl.settings import AnalyzeSettings, CassandraSettings, KafkaSettings
from etl.terminal import progress

# Most machine-days held in memory; loads that touched more are analysed one after another.
MOST_DAYS = 100_000

# A machine is silent if others continue for at least this long, and had sent within the two hours before it stopped.
CONTINUES, BESIDE = timedelta(minutes=30), timedelta(hours=2)
# Consecutive recordings may overlap by this much.
OVERLAP = timedelta(minutes=10)
# Most machines that are checked for having continued, the newest first.
MOST_OTHERS = 320
# Trends are replaced if the newest analysed day began at most this long before the watermark.
RECENT = timedelta(days=7)

log = structlog.get_logger("etl.analyze")


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


def write_health(store: Store, client: Client, marks: pa.ChunkedArray, now: datetime) -> None:
    """Write lag, dead letters and watermarks, so that the page does not need Kafka."""
    spans = client.log_spans(client.settings.dead_letter_topic)
    ends: dict[str, Any] = pc.min_max(marks).as_py()
    lags, topic = read_lags(client), client.settings.topic
    row = {
        "day": now.date(),
        "at": now,
        "lags": {lag.partition: lag.lag for lag in lags if lag.topic == topic},
        "more_lags": {f"{lag.topic}/{lag.partition}": lag.lag for lag in lags if lag.topic != topic},
        "dead_letters": sum(span.end - span.begin for span in spans.values()),
        "equipment": len(marks),
        "oldest": ends["min"],
        "newest": ends["max"],
    }
    store.write(PIPELINE_HEALTH, [row])
