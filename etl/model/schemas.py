"""The Arrow schemas of the files between stages."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import pyarrow as pa

from etl.model.measurements import Measurements

TIMESTAMP = pa.timestamp("ms", tz="UTC")
# Equipment ID and day are the partition of a row.
DAY_MS, HOUR_MS = 86_400_000, 3_600_000

# The most readings, and the most bytes of raw records, that are in memory at a time.
CHUNK_ROWS = 250_000
CHUNK_BYTES = 32 * 1024 * 1024

# More than the partitions of any topic: see `partition` of `consumed`.
PARTITIONS = 2**20

DEAD_LETTERS = pa.schema(
    [
        pa.field("value", pa.binary()),
        pa.field("key", pa.binary()),
        pa.field("content_type", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("stage", pa.string()),
        pa.field("topic", pa.string()),
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("index", pa.int32()),
        pa.field("file", pa.string()),
        pa.field("line", pa.int64()),
        pa.field("record_time", pa.int64()),
        pa.field("replays", pa.int32()),
        pa.field("headers", pa.map_(pa.string(), pa.binary())),
    ]
)


def dead_letter_table(number: int, columns: Mapping[str, Any]) -> pa.Table:
    """Return a number of dead letters (schema `DEAD_LETTERS`).

    Args:
        number: the rows of the table.
        columns: an array or list by name; a text or a number applies to all rows; a missing column is null.
    """

    def column(field: pa.Field) -> pa.Array | pa.ChunkedArray:
        given = columns.get(field.name)
        if given is None or isinstance(given, str | int):
            return pa.repeat(pa.scalar(given, field.type), number)
        if not isinstance(given, pa.Array | pa.ChunkedArray):
            return pa.array(given, field.type)
        return given if given.type == field.type else given.cast(field.type)

    return pa.table([column(field) for field in DEAD_LETTERS], schema=DEAD_LETTERS)


RECORDS = pa.schema(
    [
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("record_time", pa.int64()),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("content_type", pa.string()),
        # The path to the elements of a record with several readings; null: a dead letter holds the whole record.
        pa.field("elements", pa.string()),
        # The headers that the mapping of the topic uses.
        pa.field("headers", pa.map_(pa.string(), pa.binary())),
    ]
)

WATERMARKS = pa.schema([pa.field("equipment_id", pa.string()), pa.field("timestamp", TIMESTAMP)])

TOUCHED = pa.schema(
    [
        pa.field("equipment_id", pa.string()),
        pa.field("day", pa.date32()),
        pa.field("hours", pa.list_(pa.field("hour", pa.int8()))),
    ]
)


def generated(measurements: Measurements) -> pa.Schema:
    """Return the schema of readings in the order of sending; `json` holds a reading that only JSON can represent."""
    return pa.schema(
        [
            pa.field("equipment_id", pa.string()),
            pa.field("timestamp", TIMESTAMP),
            *measurements.fields,
            pa.field("json", pa.binary()),
        ]
    )


# Each block of records needs it.
@lru_cache(maxsize=8)
def consumed(measurements: Measurements) -> pa.Schema:
    """Return the schema of readings as read from the topic.

    `partition` is that of Kafka, plus PARTITIONS for each earlier topic among the `offsets` of the manifest, so it is
    unique in a run; that of RECORDS is the same. `timestamp` is the raw text or number, `timestamp_ms` a typed one (UTC
    milliseconds, rounded down); one of them is null. `record_time` is Kafka's own, in milliseconds. `index` is the
    position in a record. `bad` names, joined by commas, the measurements whose value has the wrong type; an entry
    `name=word` is a note for the column `quality`. `replays` is the number of replays of a dead letter.
    """
    return pa.schema(
        [
            pa.field("partition", pa.int32()),
            pa.field("offset", pa.int64()),
            pa.field("index", pa.int32()),
            pa.field("record_time", pa.int64()),
            pa.field("equipment_id", pa.string()),
            pa.field("timestamp", pa.string()),
            pa.field("timestamp_ms", pa.int64()),
            *measurements.fields,
            pa.field("bad", pa.string()),
            pa.field("replays", pa.int32()),
        ]
    )


@lru_cache(maxsize=8)
def rows(measurements: Measurements) -> pa.Schema:
    """Return the schema of rows for `sensor_data`, grouped by (equipment_id, day).

    `write_time` is in microseconds, for USING TIMESTAMP. `replaces` marks a row that replaces another one, so its
    missing values must be written as null rather than left unset.
    """
    return pa.schema(
        [
            pa.field("equipment_id", pa.string()),
            pa.field("day", pa.date32()),
            pa.field("timestamp", TIMESTAMP),
            *measurements.fields,
            pa.field("quality", pa.string()),
            pa.field("write_time", pa.int64()),
            pa.field("replaces", pa.bool_()),
        ]
    )
