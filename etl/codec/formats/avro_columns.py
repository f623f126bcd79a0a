"""Read Avro records of simple fields column by column, for all records of a block at once; fastavro reads all others.

A reader of one type takes all bytes and the place of a value in each of n records. It returns the values, the places
after them, and which of them are such values. Places only grow, so a record whose last place is its end is read right.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from fastavro.read import LOGICAL_READERS

from etl.codec.formats import LeafColumns, Names
from etl.codec.formats.avro_schema import Schema
from etl.mapping.ids import Column

Places: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
_LONGEST_VARINT = 8  # bytes; longer ones may wrap around
_PADDING = b"\0" * 32  # a reader looks at most this far behind the last record


class _Cells(NamedTuple):
    """The values of n records, the places after them, and whether they are values.

    Values are objects or of one type of numpy. `missing` are those doubles that are null.
    """

    values: npt.NDArray[Any]
    after: Places
    fits: Flags
    missing: Flags | None = None


class _Block(NamedTuple):
    """The bytes of some records: as they are, as numbers, and the last place that a value may begin at."""

    data: bytes
    text: npt.NDArray[np.uint8]
    last: int


_Read = Callable[[_Block, Places], _Cells]


# Takes one datum of each record by its position, and the paths of the fields whose cells are wanted.
ReadData = Callable[[Mapping[int, bytes], Collection[Names]], LeafColumns]


def column_reader(schema: Schema) -> ReadData | None:
    """Return the function that reads data of a schema; None if it is no record of simple fields.

    It leaves out what is not exactly one datum, and what may take too much memory.
    """
    shape = _shape(schema.parsed)
    fields = _fields(schema.parsed, ()) if shape else None
    if fields is None or shape is None:
        return None
    most = schema.most_bytes or sys.maxsize
    return lambda data, wanted: _read(fields, shape, {at: d for at, d in data.items() if len(d) <= most}, wanted)


def _shape(schema: Any) -> dict[str, Any] | None:
    if not isinstance(schema, dict) or schema.get("type") != "record" or not schema["fields"]:
        return None
    return {field["name"]: _shape(field["type"]) for field in schema["fields"]}


def _fields(schema: Any, before: Names) -> dict[Names, _Read] | None:
    """Return the reader of each leaf in the order of the bytes."""
    found: dict[Names, _Read] = {}
    for field in schema["fields"]:
        name = (*before, field["name"])
        if isinstance(field["type"], dict) and field["type"].get("type") == "record":
            inner = _fields(field["type"], name) or None
        else:
            read = _reader(field["type"])
            inner = None if read is None else {name: read}
        if inner is None:
            return None
        found |= inner
    return found


def _read(
    fields: Mapping[Names, _Read], shape: dict[str, Any], values: Mapping[int, bytes], wanted: Collection[Names]
) -> LeafColumns:
    data = b"".join([*values.values(), _PADDING])
    sizes = np.fromiter(map(len, values.values()), np.int64, len(values))
    ends = np.cumsum(sizes)
    block = _Block(data, np.frombuffer(data, np.uint8), len(data) - len(_PADDING) + 1)
    at, fits = ends - sizes, np.ones(len(values), np.bool_)
    cells: dict[Names, _Cells] = {}
    for name, read in fields.items():
        found = read(block, at)
        # A place behind the last record is no end of any, and may be read all the same.
        at, fits = np.minimum(found.after, block.last), fits & found.fits
        if name in wanted:
            cells[name] = found
    fits &= at == ends
    positions = np.fromiter(values, np.int64, len(values))[fits]
    return LeafColumns(positions.tolist(), {name: _column(column, fits) for name, column in cells.items()}, shape)


def _column(cells: _Cells, rows: Flags) -> Column:
    values, missing = cells.values[rows], cells.missing
    if values.dtype == np.float64:
        return pa.array(values, mask=None if missing is None else missing[rows])
    listed: list[Any] = values.tolist()
    return listed


def _reader(schema: Any) -> _Read | None:
    if isinstance(schema, list):
        branches = [_reader(branch) for branch in schema]
        known = [branch for branch in branches if branch]
        return _union(known) if branches and len(known) == len(branches) else None
    kind = schema if isinstance(schema, str) else schema["type"]
    read = _PRIMITIVE.get(kind)
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    convert = LOGICAL_READERS.get(f"{kind}-{logical}") if logical else None
    if read is None or convert is None:
        return read
    return _converted(read, lambda value: convert(value, schema, None))


def _union(branches: Sequence[_Read]) -> _Read:
    null = branches.index(_null) if _null in branches else None

    def union(block: _Block, at: Places) -> _Cells:
        codes = block.text[at]
        if len(codes) and codes[0] < 2 * len(branches) and codes[0] % 2 == 0 and (codes == codes[0]).all():
            return branches[int(codes[0]) // 2](block, at + 1)
        rows = [np.flatnonzero(codes == 2 * number) for number in range(len(branches))]
        parts = [read(block, at[some] + 1) for read, some in zip(branches, rows, strict=True)]
        return _merged(rows, parts, at, null)

    return union


def _merged(rows: Sequence[Places], parts: Sequence[_Cells], at: Places, null: int | None) -> _Cells:
    """Return the cells of all branches of a union; `null` is the number of the branch without a value."""
    kinds = {part.values.dtype for number, part in enumerate(parts) if number != null}
    doubles = kinds == {np.dtype(np.float64)}
    values = np.zeros(len(at)) if doubles else np.full(len(at), None, object)
    after, fits, missing = at + 1, np.zeros(len(at), np.bool_), np.zeros(len(at), np.bool_)
    for number, (some, part) in enumerate(zip(rows, parts, strict=True)):
        after[some], fits[some], missing[some] = part.after, part.fits, number == null
        if number != null:
            values[some] = part.values
    return _Cells(values, after, fits, missing if doubles else None)


def _converted(read: _Read, convert: Callable[[Any], Any]) -> _Read:
    def converted(block: _Block, at: Places) -> _Cells:
        found = read(block, at)
        fits = found.fits.copy()
        return _Cells(_each(found.values.tolist(), convert, fits), found.after, fits)

    return converted


def _each(values: Sequence[Any], convert: Callable[[Any], Any], fits: Flags) -> npt.NDArray[Any]:
    """Return the converted values; those that cannot be converted do not fit."""
    converted = np.full(len(values), None, object)
    try:
        converted[:] = [convert(value) for value in values]
    except Exception:
        for place, value in enumerate(values):
            try:
                converted[place] = convert(value)
            except Exception:
                fits[place] = False
    return converted


def _null(_: _Block, at: Places) -> _Cells:
    return _Cells(np.full(len(at), None, object), at, np.ones(len(at), np.bool_))


def _boolean(block: _Block, at: Places) -> _Cells:
    codes = block.text[at]
    return _Cells(codes == 1, at + 1, codes < 2)


def _number(kind: str) -> _Read:
    size = np.dtype(kind).itemsize

    def number(block: _Block, at: Places) -> _Cells:
        # One number at each place of the bytes: numpy reads those that begin at the wanted places.
        numbers = np.ndarray((len(block.data) - size + 1,), kind, block.data, strides=(1,))
        return _Cells(numbers[at].astype(np.float64), at + size, np.ones(len(at), np.bool_))

    return number


def _long(block: _Block, at: Places) -> _Cells:
    number, after, goes_on = np.zeros(len(at), np.int64), at.copy(), np.ones(len(at), np.bool_)
    for place in range(_LONGEST_VARINT):
        byte = block.text[after].astype(np.int64)
        number |= np.where(goes_on, byte & 127, 0) << (7 * place)
        after += goes_on
        goes_on &= byte > 127
        if not goes_on.any():
            break
    return _Cells((number >> 1) ^ -(number & 1), after, ~goes_on)


def _bytes(block: _Block, at: Places) -> _Cells:
    lengths, begins, fits, _ = _long(block, at)
    fits = fits & (lengths >= 0) & (lengths <= block.last - begins)
    ends = np.where(fits, begins + lengths, begins)
    values = np.full(len(at), None, object)
    values[:] = [block.data[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
    return _Cells(values, ends, fits)


_PRIMITIVE: dict[str, _Read] = {
    "null": _null,
    "boolean": _boolean,
    "int": _long,
    "long": _long,
    "float": _number("<f4"),
    "double": _number("<f8"),
    "bytes": _bytes,
    "string": _converted(_bytes, bytes.decode),
}
