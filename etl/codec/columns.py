"""The columns of decoded readings, the same for every format."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.model.measurements import MAX_TEXT_BYTES, Measurements
from etl.model.schemas import consumed

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
CONTENT_TYPE = "content-type"
# No timestamp is longer. Longer texts are cut, and the mark keeps the rest from being parsed as a timestamp.
MAX_TIMESTAMP = 64
CUT = "…"
Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class DeadRecord(NamedTuple):
    """A record without readings: its position in the block, the reason and its detail."""

    position: int
    reason: str
    detail: str


class Part(NamedTuple):
    """Readings of a block: `positions` is the record of each reading, `indexes` its position in the record."""

    positions: Positions
    indexes: Positions
    batch: pa.RecordBatch


def format_of(content_type: str | None) -> str:
    """Return the format in a content type, without its parameters; JSON if there is none."""
    return JSON if content_type is None else content_type.partition(";")[0].strip().lower()


def payload_schema(measurements: Measurements) -> pa.Schema:
    """Return the columns of `schemas.consumed` that come from a value; the others come from the record."""
    names = ["timestamp", "timestamp_ms", *measurements.names, "bad"]
    schema = consumed(measurements)
    return pa.schema([schema.field(name) for name in names])


def bad_names(masks: Mapping[str, Mask], number: int) -> pa.Array:
    """Join the names of the bad measurements of each reading, null if there is none."""
    names: list[str | None] = [None] * number
    for name, mask in masks.items():
        for at in np.flatnonzero(mask):
            before = names[at]
            names[at] = name if before is None else f"{before},{name}"
    return pa.array(names, pa.string())


def shortened(texts: pa.Array) -> pa.Array:
    """Cut texts that are too long for a timestamp."""
    longest = pc.max(pc.binary_length(texts)).as_py()
    if longest is None or longest <= MAX_TIMESTAMP:
        return texts
    long = pc.greater(pc.binary_length(texts), MAX_TIMESTAMP)
    cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(texts, 0, MAX_TIMESTAMP), CUT, "")
    return pc.if_else(long, cut, texts)


def checked_texts(texts: pa.Array, bad: Mask | None) -> tuple[pa.Array, Mask | None]:
    """Cut texts that are too long."""
    longest = pc.max(pc.binary_length(texts)).as_py()
    if longest is None or longest <= MAX_TEXT_BYTES:
        return texts, bad
    long = pc.greater(pc.binary_length(texts), MAX_TEXT_BYTES).fill_null(False)
    mask = long.to_numpy(zero_copy_only=False)
    return pc.if_else(long, None, texts), mask if bad is None else mask | bad
