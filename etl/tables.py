"""The tables as data: their columns and keys. The measurements of a reading become columns of `sensor_data`."""

from dataclasses import dataclass

from etl.measurements import Measurement, Measurements


@dataclass(frozen=True)
class Table:
    """One table: CQL types by column, and what follows the columns in CREATE TABLE."""

    name: str
    columns: dict[str, str]
    key: str
    order: str = ""
    comment: str = ""


WATERMARKS = Table(
    "watermarks",
    {"equipment_id": "text", "timestamp": "timestamp"},
    "equipment_id",
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
    "equipment_id",
    comment="catalogue of machines: volts, amperes, expected seconds between readings",
)
RUNS = Table(
    "runs",
    {
        "month": "text",
        "run": "text",
        "stage": "text",
        "attempt": "text",
        "started": "timestamp",
        "seconds": "double",
        "counts": "map<text, bigint>",
        "offsets": "text",
        "versions": "map<text, text>",
    },
    "(month), run, stage",
    "run DESC, stage ASC",
    "one row per run and stage",
)
TOUCHED_DAYS = Table(
    "touched_days",
    {"run": "text", "equipment_id": "text", "day": "date"},
    "(run), equipment_id, day",
    comment="partitions of sensor_data that a run wrote to",
)


def sensor_data(measurements: Measurements) -> Table:
    """Return the table of the readings: one row per equipment and timestamp, newest first."""
    return Table(
        "sensor_data",
        {
            "equipment_id": "text",
            "day": "date",
            "timestamp": "timestamp",
            **{measurement.name: cql_type(measurement) for measurement in measurements.declared},
            "quality": "text",
        },
        "(equipment_id, day), timestamp",
        "timestamp DESC",
        "readings; quality names bad measurements, empty when all are good",
    )


def all_tables(measurements: Measurements) -> list[Table]:
    """Return every table of the keyspace."""
    return [sensor_data(measurements), WATERMARKS, EQUIPMENT, RUNS, TOUCHED_DAYS]


def cql_type(measurement: Measurement) -> str:
    """Return the CQL type of a measurement's column."""
    return measurement.type
