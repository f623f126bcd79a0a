"""The tables as data: their columns and keys. The measurements of a reading become columns of `sensor_data`."""

from dataclasses import dataclass, field

from etl.measurements import Measurements


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
        """What follows the name in CREATE TABLE, all names quoted."""
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
    },
    ["month"],
    {"run": "DESC", "stage": "ASC", "shard": "ASC"},
    "one row per run, stage and shard, which is one of so many shards; month is that of the run, as in 2026-01",
)
TOUCHED_DAYS = Table(
    "touched_days",
    {"run": "text", "equipment_id": "text", "day": "date"},
    ["run"],
    {"equipment_id": "ASC", "day": "ASC"},
    "the partitions of sensor_data that a run wrote to",
)


def sensor_data(measurements: Measurements) -> Table:
    """Return the table of the readings: one row per equipment and timestamp, newest first."""
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


def all_tables(measurements: Measurements) -> list[Table]:
    """Return every table of the keyspace."""
    return [sensor_data(measurements), WATERMARKS, EQUIPMENT, RUNS, TOUCHED_DAYS]
