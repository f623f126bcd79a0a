"""The tables as data: their columns and keys. The measurements of a reading become columns of `sensor_data`."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from etl.model.measurements import Measurements


@dataclass(frozen=True)
class Table:
    """One table: CQL types by column, the partition key, and the clustering columns with their order."""

    name: str
    columns: dict[str, str]
    partition: list[str]
    clustering: dict[str, str] = field(default_factory=dict)
    comment: str = ""

    @property
    def definition(self) -> str:
        """The part of CREATE TABLE after the name, with all names quoted."""
        columns = ", ".join(f'"{name}" {cql_type}' for name, cql_type in self.columns.items())
        partition = ", ".join(f'"{name}"' for name in self.partition)
        key = ", ".join([f"({partition})", *(f'"{name}"' for name in self.clustering)])
        comment = f"comment = '{self.comment}'"
        order = ", ".join(f'"{name}" {order}' for name, order in self.clustering.items())
        options = f"CLUSTERING ORDER BY ({order}) AND {comment}" if order else comment
        return f"({columns}, PRIMARY KEY ({key})) WITH {options}"


WATERMARKS = Table(
    "watermarks",
    {"equipment_id": "text", "timestamp": "timestamp"},
    ["equipment_id"],
    comment="newest timestamp per equipment whose load is complete",
)
EQUIPMENT = Table(
    "equipment",
    {
        "equipment_id": "text",
        "name": "text",
        "nominal_voltage": "double",
        "rated_current": "double",
        "phases": "int",
        "interval_seconds": "double",
    },
    ["equipment_id"],
    comment="catalogue of machines: volts, amperes, expected seconds between readings",
)
RUNS = Table(
    "runs",
    {
        "month": "text",
        "run": "text",
        "stage": "text",
        "shard": "int",
        "shards": "int",
        "attempt": "text",
        "started": "timestamp",
        "seconds": "double",
        "counts": "map<text, bigint>",
        "offsets": "text",
        "versions": "map<text, text>",
        "unknown": "map<text, bigint>",
    },
    ["month"],
    {"run": "DESC", "stage": "ASC", "shard": "ASC"},
    "one row per run, stage and shard, with the number of shards; month is that of the run, as in 2026-01; unknown: the"
    " elements by field that is not mapped",
)
TOUCHED_DAYS = Table(
    "touched_days",
    {"run": "text", "equipment_id": "text", "day": "date", "hours": "set<int>"},
    ["run"],
    {"equipment_id": "ASC", "day": "ASC"},
    "partitions of sensor_data that a run wrote to, with the hours of the day; no hours: any hour",
)


# Indicators of a machine in an hour or a day; null if unknown.
#   bad: readings with a bad measurement; *_seconds: time in that state or outside those limits; idle energy: energy in
#   states off and idle; means, lows and highs: of every measurement, for charts
_PERFORMANCE = {
    "expected": "int",
    "received": "int",
    "bad": "int",
    "off_seconds": "double",
    "idle_seconds": "double",
    "running_seconds": "double",
    "overload_seconds": "double",
    "energy_kwh": "double",
    "idle_energy_kwh": "double",
    "peak_kw": "double",
    "power_factor": "double",
    "voltage_outside_seconds": "double",
    "frequency_outside_seconds": "double",
    "temperature": "double",
    "temperature_highest": "double",
    "vibration": "double",
    "vibration_highest": "double",
    "vibration_zone": "text",
}
_SPREAD = {"means": "map<text, double>", "lows": "map<text, double>", "highs": "map<text, double>"}
# Additional columns of a day: shares from 0 to 1; the efficiency index from 0 to 100 with its reasons, largest first;
# state and time of the last reading; the number of events that lasted into the day, and the worst of them.
_JUDGED = {
    "availability": "double",
    "utilisation": "double",
    "load_factor": "double",
    "idle_share": "double",
    "efficiency": "double",
    "reasons": "list<text>",
    "state": "text",
    "newest": "timestamp",
    "events": "int",
    "worst_event": "text",
    "worst_kind": "text",
    "worst_severity": "text",
}
MACHINE_HOURS = Table(
    "machine_hours",
    {"equipment_id": "text", "month": "text", "hour": "timestamp", **_PERFORMANCE, **_SPREAD},
    ["equipment_id", "month"],
    {"hour": "DESC"},
    "indicators of a machine in an hour (UTC); month as in 2026-01",
)
MACHINE_DAYS = Table(
    "machine_days",
    {"equipment_id": "text", "year": "int", "day": "date", **_PERFORMANCE, **_SPREAD, **_JUDGED},
    ["equipment_id", "year"],
    {"day": "DESC"},
    "indicators of a machine on a day (UTC)",
)
FLEET_DAYS = Table(
    "fleet_days",
    {"day": "date", "equipment_id": "text", "name": "text", **_PERFORMANCE, **_JUDGED},
    ["day"],
    {"equipment_id": "ASC"},
    "indicators of all machines by day",
)
MACHINE_MINUTES = Table(
    "machine_minutes",
    {"equipment_id": "text", "day": "date", "minutes": "blob"},
    ["equipment_id", "day"],
    comment="readings of a day by minute, as an Arrow IPC stream: lowest, mean and highest of each measurement",
)
_EVENT = {
    "equipment_id": "text",
    "kind": "text",
    "severity": "text",
    "measurement": "text",
    "start": "timestamp",
    "end": "timestamp",
    "observed": "double",
    "expected": "double",
    "evidence": "text",
    "found": "timestamp",
}
EVENTS = Table(
    "events",
    {"day": "date", "event_id": "text", **_EVENT},
    ["day"],
    {"event_id": "ASC"},
    "events of machines by the day in the event ID, the start as first found; no end: the event continues",
)
MACHINE_EVENTS = Table(
    "machine_events",
    {"year": "int", "event_id": "text", **_EVENT},
    ["equipment_id", "year"],
    {"event_id": "DESC"},
    "events by machine and year",
)
TRENDS = Table(
    "trends",
    {
        "measurement": "text",
        "equipment_id": "text",
        "as_of": "timestamp",
        "value": "double",
        "per_day": "double",
        "threshold": "double",
        "reached": "timestamp",
        "earliest": "timestamp",
        "latest": "timestamp",
        "evidence": "text",
    },
    ["measurement"],
    {"equipment_id": "ASC"},
    "trends: value and slope, and when the threshold is reached, with an 80 % confidence interval",
)
MACHINE_WATCHES = Table(
    "machine_watches",
    {"equipment_id": "text", "day": "date", "at": "timestamp", "watch": "blob"},
    ["equipment_id"],
    {"day": "DESC"},
    "what is usual for a machine, as known on a day before `at`: the analysis continues from there",
)
ACKNOWLEDGEMENTS = Table(
    "acknowledgements",
    {"day": "date", "event_id": "text", "by": "text", "at": "timestamp", "note": "text"},
    ["day"],
    {"event_id": "ASC"},
    "acknowledgements of events",
)
PIPELINE_HEALTH = Table(
    "pipeline_health",
    {
        "day": "date",
        "at": "timestamp",
        "lags": "map<int, bigint>",
        "more_lags": "map<text, bigint>",
        "dead_letters": "bigint",
        "equipment": "int",
        "oldest": "timestamp",
        "newest": "timestamp",
    },
    ["day"],
    {"at": "DESC"},
    "lag of each partition (more_lags: TOPIC/PARTITION of further topics), dead letters on their topic, and the span of"
    " the watermarks, at one moment",
)
ANALYZED_RUNS = Table(
    "analyzed_runs",
    {"month": "text", "run": "text", "shard": "int", "attempt": "text", "at": "timestamp"},
    ["month"],
    {"run": "DESC", "shard": "ASC"},
    "the loads whose touched days have been analysed",
)
INSIGHT = [
    MACHINE_HOURS,
    MACHINE_DAYS,
    FLEET_DAYS,
    MACHINE_MINUTES,
    EVENTS,
    MACHINE_EVENTS,
    TRENDS,
    MACHINE_WATCHES,
    ACKNOWLEDGEMENTS,
    PIPELINE_HEALTH,
    ANALYZED_RUNS,
]


def day_start(day: date) -> datetime:
    """Return the first moment of a UTC day."""
    return datetime.combine(day, time(), UTC)


def days_between(first: date, last: date) -> list[date]:
    """Return all days from the first to the last: keys of the tables by day."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def months_between(first: date, last: date) -> list[str]:
    """Return all months from the first day to the last, as in 2026-01: keys of the tables by month."""
    return sorted({f"{day:%Y-%m}" for day in days_between(first, last)})


def sensor_data(measurements: Measurements) -> Table:
    """Return the table of the readings: one row per machine and timestamp, newest first."""
    return Table(
        "sensor_data",
        {
            "equipment_id": "text",
            "day": "date",
            "timestamp": "timestamp",
            **{measurement.name: measurement.type for measurement in measurements.declared},
            "quality": "text",
        },
        ["equipment_id", "day"],
        {"timestamp": "DESC"},
        "readings; quality names the bad measurements of a row and is empty when there are none",
    )


def pipeline_tables(measurements: Measurements) -> list[Table]:
    """Return the tables of the stages."""
    return [sensor_data(measurements), WATERMARKS, EQUIPMENT, RUNS, TOUCHED_DAYS]
