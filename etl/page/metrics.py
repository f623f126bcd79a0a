"""`/metrics` of the page for Prometheus: the last run, the pipeline and the fleet, as the tables have them now."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version

from flask import Flask, Response, request
from prometheus_client.exposition import choose_encoder

from etl.errors import EtlError
from etl.model.tables import days_between
from etl.page.elements import STATES
from etl.results.reader import Reader
from etl.results.rows import EventRow, FleetDay, HealthRow
from etl.results.sums import lags_of, total
from etl.run.metrics import STAGE_METRICS, Metric, Sample, registry
from etl.run.metrics import measure as measure_stage

# A label has few values, however large the fleet is: the machines whose last reading is oldest.
STALEST = 50
FLEET_DAYS = 8
EVENT_DAYS = 31
UNKNOWN = "unknown"

_TIME = "seconds since 1970"
INFO = Metric("sensor_etl_build_info", "1, with the version of the page.", "none", ("version",))
MEASURED = Metric(
    "sensor_etl_health_timestamp_seconds",
    "Time at which the analysis measured lag, dead letters and watermarks.",
    _TIME,
)
REMAINING_LAG = Metric(
    "sensor_etl_remaining_lag_records",
    "Consumer lag at that time; partitions of further topics are TOPIC/PARTITION.",
    "records",
    ("partition",),
)
DEAD_LETTERS = Metric("sensor_etl_dead_letters", "Dead letters on their topic at that time.", "dead letters")
WATERMARKS = Metric("sensor_etl_watermarks", "Machines with a watermark at that time.", "machines")
OLDEST = Metric("sensor_etl_oldest_watermark_timestamp_seconds", "Oldest watermark of all machines.", _TIME)
NEWEST = Metric("sensor_etl_newest_watermark_timestamp_seconds", "Newest watermark of all machines.", _TIME)
MACHINES = Metric(
    "sensor_etl_machines",
    f"Machines with readings in the last {FLEET_DAYS} days, by state at their last reading.",
    "machines",
    ("state",),
)
LAST_READING = Metric(
    "sensor_etl_machine_last_reading_timestamp_seconds",
    f"Time of the last analysed reading of a machine; only the {STALEST} machines for which it is oldest.",
    _TIME,
    ("equipment_id",),
)
ENERGY = Metric("sensor_etl_energy_kwh", "Energy of all machines on the newest analysed day.", "kWh")
IDLE_ENERGY = Metric("sensor_etl_idle_energy_kwh", "The part of it while off or idle.", "kWh")
EXPECTED = Metric("sensor_etl_expected_readings", "Readings that machines should have sent on that day.", "readings")
RECEIVED = Metric("sensor_etl_received_readings", "Readings of them that were loaded.", "readings")
OPEN_EVENTS = Metric(
    "sensor_etl_open_events",
    f"Open events that began in the last {EVENT_DAYS} days; acknowledged: true or false.",
    "events",
    ("kind", "severity", "acknowledged"),
)
PAGE_METRICS = (
    *(INFO, MEASURED, REMAINING_LAG, DEAD_LETTERS, WATERMARKS, OLDEST, NEWEST),
    *(MACHINES, LAST_READING, ENERGY, IDLE_ENERGY, EXPECTED, RECEIVED, OPEN_EVENTS),
)
METRICS = (*STAGE_METRICS, *PAGE_METRICS)


def add_metrics(server: Flask, reader: Reader) -> None:
    """Serve `/metrics` in the text format that the client accepts."""

    @server.get("/metrics")
    def metrics() -> Response:
        try:
            samples = list(measure(reader, datetime.now(UTC)))
        except EtlError as error:
            return Response(f"{error}\n", 503)
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry(samples)), content_type=content_type)


def measure(reader: Reader, now: datetime) -> Iterator[Sample]:
    """Yield all samples; those of which the tables know nothing yet are left out.

    Raises:
        Unreachable: Cassandra does not answer.
    """
    yield Sample(INFO, 1, {"version": version("sensor-etl")})
    for run in reader.runs(1, now):
        for summary in run.stages:
            yield from measure_stage(summary)
    if day := reader.newest_health_day(now.date()):
        for row in reader.health(day, 1):
            yield from _of_health(row)
    if day := reader.newest_day(now.date()):
        yield from _of_fleet(reader.fleet_summary(_days_to(day, FLEET_DAYS)))
        yield from _of_events(reader.events(_days_to(day, EVENT_DAYS)))


def _days_to(last: date, count: int) -> list[date]:
    return days_between(last - timedelta(days=count - 1), last)


def _of_health(row: HealthRow) -> Iterator[Sample]:
    values = {
        MEASURED: _seconds(row["at"]),
        DEAD_LETTERS: row["dead_letters"],
        WATERMARKS: row["equipment"],
        OLDEST: _seconds(row["oldest"]),
        NEWEST: _seconds(row["newest"]),
    }
    yield from _known(values)
    for partition, lag in lags_of(row).items():
        yield Sample(REMAINING_LAG, lag, {"partition": partition})


def _of_fleet(rows: Iterable[FleetDay]) -> Iterator[Sample]:
    """Yield the sums of the newest day, and what each machine did last."""
    rows = sorted(rows, key=lambda row: row["day"])
    today = [row for row in rows if row["day"] == rows[-1]["day"]]
    sums = {ENERGY: "energy_kwh", IDLE_ENERGY: "idle_energy_kwh", EXPECTED: "expected", RECEIVED: "received"}
    yield from _known({metric: total(today, name) for metric, name in sums.items()})
    last = {row["equipment_id"]: row for row in rows}
    states = Counter(row["state"] or UNKNOWN for row in last.values())
    for state in (*STATES, UNKNOWN):
        yield Sample(MACHINES, states[state], {"state": state})
    newest = {equipment_id: seen for equipment_id, row in last.items() if (seen := _seconds(row["newest"])) is not None}
    for equipment_id in sorted(newest, key=newest.__getitem__)[:STALEST]:
        yield Sample(LAST_READING, newest[equipment_id], {"equipment_id": equipment_id})


def _of_events(events: Iterable[EventRow]) -> Iterator[Sample]:
    counts = Counter(
        (event["kind"], event["severity"], "true" if event["by"] else "false")
        for event in events
        if event["end"] is None
    )
    for values, count in counts.items():
        yield Sample(OPEN_EVENTS, count, dict(zip(OPEN_EVENTS.labels, values, strict=True)))


def _known(values: dict[Metric, float | None]) -> Iterator[Sample]:
    yield from (Sample(metric, value) for metric, value in values.items() if value is not None)


def _seconds(time: datetime | None) -> float | None:
    return time.timestamp() if time else None
