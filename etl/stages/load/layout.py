"""Encode the columns of a slice of rows as the entries of BATCH messages.

Native protocol specification v4/v5, section 4.1.7: a row has `kind, id, number of values`, then a length and the bytes
of each value. Each column is scattered to the positions of its values in the rows, for any width of a value, so missing
values and text need no separate path.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# Lengths that mean a deleted value, and an unset one.
NULL = -1
UNSET = -2
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Cells:
    """One column's [value]s: an int of length (negative = none), then as many bytes."""

    widths: int | NDArray[np.int64]
    # (rows, or None for all; offset in the cell; bytes per row as a void array)
    pieces: list[tuple[NDArray[np.intp] | None, int, NDArray[np.void]]]


def window(buffer: Bytes, width: int) -> NDArray[np.void]:
    """View a buffer as an array whose element i is the `width` bytes that begin at i."""
    return np.ndarray((buffer.size - width + 1,), dtype=f"V{width}", buffer=buffer, strides=(1,))


def _voids(values: NDArray[Any]) -> NDArray[np.void]:
    return values.view(f"V{values.dtype.itemsize}")


def _data(array: pa.Array, dtype: str) -> NDArray[Any]:
    """View the values of a fixed-width Arrow array; the values of nulls are arbitrary."""
    buffer = array.buffers()[1]
    return (
        np.frombuffer(buffer, dtype, count=array.offset + len(array))[array.offset :] if buffer else np.empty(0, dtype)
    )


def _double(array: pa.Array) -> NDArray[Any]:
    return _data(array, "<f8").astype(">f8")


def _int64(array: pa.Array) -> NDArray[Any]:
    return _data(array, "<i8").astype(">i8")


def _days(array: pa.Array) -> NDArray[Any]:
    # A CQL date is unsigned, with 1970-01-01 in the middle.
    return (_data(array, "<i4").astype(np.int64) + 2**31).astype(">u4")


def _fixed(array: pa.Array, big_endian: Callable[[pa.Array], NDArray[Any]], absent: NDArray[Any]) -> Cells:
    values = big_endian(array)
    cells = np.empty(len(array), dtype=[("length", ">i4"), ("value", values.dtype)])
    cells["length"] = values.dtype.itemsize
    cells["value"] = values
    if not array.null_count:
        return Cells(cells.dtype.itemsize, [(None, 0, _voids(cells))])
    valid = _valid(array)
    there, missing = np.flatnonzero(valid), np.flatnonzero(~valid)
    return Cells(
        np.where(valid, cells.dtype.itemsize, 4),
        [(there, 0, _voids(cells[there])), (missing, 0, _voids(absent[missing]))],
    )


def _text(array: pa.Array, absent: NDArray[Any]) -> Cells:
    """Lay out text: rows of the same length are copied together."""
    _, offsets_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offsets_buffer, "<i4", count=array.offset + len(array) + 1)[array.offset :].astype(np.int64)
    lengths = np.diff(offsets)
    fields = lengths.astype(">i4")
    if array.null_count:
        missing = ~_valid(array)
        lengths[missing] = 0
        fields[missing] = absent[missing]
    cells = Cells(lengths + 4, [(None, 0, _voids(fields))])
    if not lengths.any():
        return cells
    data = np.frombuffer(data_buffer, np.uint8)
    if lengths.min() == lengths.max():
        cells.pieces.append((None, 4, window(data, int(lengths[0]))[offsets[:-1]]))
        return cells
    order = np.argsort(lengths, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if width := int(lengths[rows[0]]):
            cells.pieces.append((rows, 4, window(data, width)[offsets[rows]]))
    return cells


def _valid(array: pa.Array) -> NDArray[np.bool_]:
    valid: NDArray[np.bool_] = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


_FIXED: dict[tuple[str, pa.DataType], Callable[[pa.Array], NDArray[Any]]] = {
    ("double", pa.float64()): _double,
    ("bigint", pa.int64()): _int64,
    ("date", pa.date32()): _days,
    ("timestamp", pa.timestamp("ms")): _int64,
    ("timestamp", pa.timestamp("ms", "UTC")): _int64,
}
_TEXT = {"text", "varchar"}


def cells(array: pa.Array, cql_type: str, absent: NDArray[Any]) -> Cells:
    """Encode one column; `absent` is the length field of a missing value for each row."""
    if cql_type in _TEXT:
        return _text(array, absent)
    return _fixed(array, _FIXED[cql_type, array.type], absent)


def is_columnar(cql_type: str, arrow_type: pa.DataType) -> bool:
    """Return whether `cells` can encode values of this Arrow type for a column of this CQL type."""
    return (cql_type in _TEXT and arrow_type == pa.string()) or (cql_type, arrow_type) in _FIXED


def absent_lengths(rows: pa.RecordBatch) -> NDArray[Any]:
    """Return the length field of a missing value for each row."""
    if "replaces" not in rows.schema.names:
        return np.full(rows.num_rows, UNSET, ">i4")
    replaces = pc.fill_null(rows.column("replaces"), False).to_numpy(zero_copy_only=False)
    return np.where(replaces, NULL, UNSET).astype(">i4")
