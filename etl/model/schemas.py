"""The Arrow schemas of what one stage leaves for the next."""

import pyarrow as pa

from etl.model.measurements import Measurements

TIMESTAMP = pa.timestamp("ms", tz="UTC")
# With the equipment ID, the day is the partition of a row.
DAY_MS, HOUR_MS = 86_400_000, 3_600_000

# At most this many readings, and this many bytes of raw records, are held at once.
CHUNK_ROWS = 250_000
CHUNK_BYTES = 32 * 1024 * 1024

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
    ]
)

RECORDS = pa.schema(
    [
        pa.field("partition", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("record_time", pa.int64()),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("content_type", pa.string()),
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
    """Readings to be produced, in that order; `json` holds a reading that only its own JSON can carry."""
    return pa.schema(
        [
            pa.field("equipment_id", pa.string()),
            pa.field("timestamp", TIMESTAMP),
            *measurements.fields,
            pa.field("json", pa.binary()),
        ]
    )


def consumed(measurements: Measurements) -> pa.Schema:
    """Readings as they came off the topic.

    `timestamp` is the raw text or number, `timestamp_ms` a typed one (UTC milliseconds, floored); one of both is null.
    `record_time` is Kafka's own, in milliseconds; `index` counts within a micro-batch; `bad` names, joined by commas,
    the measurements whose value had the wrong type; `replays` counts how often a dead letter was replayed to get here.
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


def rows(measurements: Measurements) -> pa.Schema:
    """Rows for `sensor_data`, grouped by (equipment_id, day).

    `write_time` is in microseconds, for USING TIMESTAMP; `replaces` tells a row that beat another one, so that its
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
