"""The columns of decoded readings, the same for every format."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.kafka.records import Records
from etl.model.measurements import MAX_TEXT_BYTES, Measurements
from etl.model.schemas import consumed

JSON = "application/json"
# A reading as JSON whose fields are the measurements, also on a topic with a mapping.
READING = "application/vnd.sensor-etl.reading+json"
ARROW = "application/vnd.apache.arrow.stream"
CONTENT_TYPE = "content-type"
REPLAYS = "etl-replays"
# No timestamp is longer. Longer texts are cut, and the mark keeps the rest from being parsed as a timestamp.
MAX_TIMESTAMP = 64
CUT = "…"
Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class TooLarge(Exception):  # noqa: N818 - says what a block is
    """The readings of several records take too much memory together: decode fewer records at a time."""


class DeadRecord(NamedTuple):
    """A record without readings, or one element of it: its position in the block, the reason and its detail.

    `value` has the bytes of this element; None: the dead letter holds the whole record.
    """

    position: int
    reason: str
    detail: str
    element: int = 0
    value: bytes | None = None


class Part(NamedTuple):
    """Readings of a block: `positions` is the record of each reading, `indexes` its position in the record.

    `columns` are the timestamp as text, the timestamp in milliseconds, and the declared measurements in their order;
    `bad` are the flags of bad values of each measurement, None for no bad value. The texts of a `canonical` part are
    short enough. `equipment` has the IDs, None: those of the keys. `notes` are entries for the column `quality`.
    """

    positions: Positions
    indexes: Positions
    columns: list[pa.Array]
    bad: list[Mask | None]
    canonical: bool = False
    equipment: pa.Array | None = None
    notes: list[str | None] | None = None

    def only(self, rows: Positions) -> "Part":
        """Return the readings at these rows; every text is checked again."""
        return Part(
            self.positions[rows],
            self.indexes[rows],
            [column.take(pa.array(rows)) for column in self.columns],
            [None if mask is None else mask[rows] for mask in self.bad],
            False,
            None if self.equipment is None else self.equipment.take(pa.array(rows)),
            None if self.notes is None else [self.notes[row] for row in rows.tolist()],
        )


def format_of(content_type: str | None) -> str:
    """Return the format in a content type, without its parameters; JSON if there is none."""
    return JSON if content_type is None else content_type.partition(";")[0].strip().lower()


def readings_table(
    parts: list[Part],
    records: Records,
    replays: list[int],
    names: Mapping[bytes | None, str],
    measurements: Measurements,
) -> pa.Table:
    """Return the readings of a block (schema `schemas.consumed`) in the order of the topic.

    Args:
        parts: the decoded readings.
        records: the block.
        replays: the number of replays of each record.
        names: the equipment IDs by key.
        measurements: the declared measurements.
    """
    schema = consumed(measurements)
    if not parts:
        return schema.empty_table()
    positions = np.concatenate([part.positions for part in parts])
    columns: dict[str, Any] = {
        "partition": np.array(records.partitions, np.int32)[positions],
        "offset": np.array(records.offsets, np.int64)[positions],
        "index": np.concatenate([part.indexes for part in parts]).astype(np.int32),
        "record_time": np.array(records.times, np.int64)[positions],
        "equipment_id": _equipment(parts, pa.array([names.get(key) for key in records.keys], pa.string())),
        "replays": np.array(replays, np.int32)[positions],
    }
    checked = [part if part.canonical else _checked(part, measurements) for part in parts]
    for place, name in enumerate(("timestamp", "timestamp_ms", *measurements.names)):
        columns[name] = pa.chunked_array([part.columns[place] for part in checked], schema.field(name).type)
    columns["bad"] = pa.chunked_array([_bad_names(part, measurements.names) for part in checked], pa.string())
    table = pa.table({field.name: columns[field.name] for field in schema}, schema=schema)
    # Arrow and JSON are decoded separately. Restore the order of the topic if a block contains both.
    in_order = bool(np.all(positions[1:] >= positions[:-1]))
    return table if in_order else table.take(pa.array(np.argsort(positions, kind="stable")))


def _equipment(parts: list[Part], of_keys: pa.Array) -> pa.ChunkedArray:
    """Return the equipment IDs of the readings: their own, or those of the keys of their records."""
    ids = [of_keys.take(pa.array(p.positions)) if p.equipment is None else p.equipment for p in parts]
    return pa.chunked_array(ids, pa.string())


def _checked(part: Part, measurements: Measurements) -> Part:
    """Cut timestamps that are too long to be one, and replace texts that are too long by null."""
    columns, bad = [_shortened(part.columns[0]), *part.columns[1:]], list(part.bad)
    for place, measurement in enumerate(measurements.declared):
        if measurement.type == "text":
            columns[place + 2], bad[place] = _without_long_texts(columns[place + 2], bad[place])
    return part._replace(columns=columns, bad=bad)


def _bad_names(part: Part, names: Sequence[str]) -> pa.Array:
    """Join the names of the bad measurements of each reading, and its notes; null if there is none."""
    if all(mask is None for mask in part.bad) and part.notes is None:
        return pa.nulls(len(part.positions), pa.string())
    joined: list[str | None] = list(part.notes or [None] * len(part.positions))
    for name, mask in zip(names, part.bad, strict=True):
        if mask is not None:
            for at in np.flatnonzero(mask):
                before = joined[at]
                joined[at] = name if before is None else f"{before},{name}"
    return pa.array(joined, pa.string())


def _shortened(texts: pa.Array) -> pa.Array:
    """Cut texts that are too long for a timestamp."""
    longest = pc.max(pc.binary_length(texts)).as_py()
    if longest is None or longest <= MAX_TIMESTAMP:
        return texts
    long = pc.greater(pc.binary_length(texts), MAX_TIMESTAMP)
    cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(texts, 0, MAX_TIMESTAMP), CUT, "")
    return pc.if_else(long, cut, texts)


def _without_long_texts(texts: pa.Array, bad: Mask | None) -> tuple[pa.Array, Mask | None]:
    longest = pc.max(pc.binary_length(texts)).as_py()
    if longest is None or longest <= MAX_TEXT_BYTES:
        return texts, bad
    long = pc.greater(pc.binary_length(texts), MAX_TEXT_BYTES).fill_null(False)
    mask = long.to_numpy(zero_copy_only=False)
    return pc.if_else(long, None, texts), mask if bad is None else mask | bad
