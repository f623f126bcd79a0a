"""The original of a reading, for its dead letter."""

from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from etl.codec.arrow_records import stream
from etl.codec.columns import ARROW, format_of
from etl.codec.elements import one_element
from etl.model.measurements import Measurements
from etl.model.schemas import TIMESTAMP


class Originals(NamedTuple):
    """Original values, keys, content types and headers that a mapping uses, one per reading."""

    values: list[bytes]
    keys: list[bytes | None]
    content_types: list[str | None]
    headers: list[Any]


def originals(readings: pa.Table, records: pa.Table, measurements: Measurements) -> Originals:
    """Return the originals of a few readings (`schemas.consumed`), for their dead letters.

    Args:
        readings: the selected readings.
        records: the raw records of the same file (`schemas.RECORDS`).
        measurements: the declared measurements.

    Returns:
        The bytes of a JSON reading, or of the element that holds it; for a reading of a micro-batch an Arrow stream of
        one row with the batch's schema.
    """
    wanted = records.filter(pc.is_in(records["offset"], pc.unique(readings["offset"]))).to_pylist()
    raw = {(record["partition"], record["offset"]): record for record in wanted}
    found = Originals([], [], [], [])
    names = ["partition", "offset", "index", "equipment_id"]
    for at, row in enumerate(readings.select(names).to_pylist()):
        record = raw.get((row["partition"], row["offset"]))
        if record is None:
            value, kind = stream(_rebuilt(readings.slice(at, 1), measurements)), ARROW
        else:
            kind = record["content_type"]
            value = _own(record, row["index"])
        found.values.append(value)
        found.keys.append(row["equipment_id"].encode() if record is None else record["key"])
        found.content_types.append(kind)
        found.headers.append(record and record["headers"])
    return found


def _own(record: dict[str, Any], index: int) -> bytes:
    """Return the bytes of one reading of a record; those of the whole record if they cannot be cut out."""
    value: bytes = record["value"]
    if format_of(record["content_type"]) == ARROW:
        return one_row(value, index)
    return value if record["elements"] is None else one_element(value, record["elements"], index)


def one_row(value: bytes, index: int) -> bytes:
    """Return one reading of an Arrow stream as a stream with the same schema."""
    with pa.ipc.open_stream(value) as reader:
        for batch in reader:
            if index < batch.num_rows:
                return stream(batch.slice(index, 1))
            index -= batch.num_rows
    raise IndexError(f"the stream ends {index + 1} readings before")


def _rebuilt(reading: pa.Table, measurements: Measurements) -> pa.RecordBatch:
    names = [name for name in measurements.names if reading[name].null_count == 0]
    columns = [reading["timestamp_ms"].combine_chunks().cast(pa.timestamp("ms")).cast(TIMESTAMP)]
    columns += [reading[name].combine_chunks() for name in names]
    return pa.RecordBatch.from_arrays(columns, names=["timestamp", *names])
