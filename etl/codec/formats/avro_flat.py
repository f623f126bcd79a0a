"""Read Avro records of simple fields, three times as fast as fastavro, which reads all others.

A function of one type takes the bytes and a place in them, and returns the value and the place after it. It raises any
error for bytes that it does not expect; fastavro then reads them, or finds the reason.
"""

import struct
from collections.abc import Callable
from itertools import groupby
from typing import Any, NamedTuple

from fastavro.read import LOGICAL_READERS

Read = Callable[[bytes, int], tuple[Any, int]]
_unpack_double = struct.Struct("<d").unpack_from
_unpack_float = struct.Struct("<f").unpack_from
_FORMATS = {"double": "d", "float": "f"}
_LONGEST_SHIFT = 56  # of a varint of eight bytes; longer ones may wrap around


def flat(schema: Any) -> Read | None:
    """Return the function of a parsed schema; None if it is no record of simple fields."""
    if not isinstance(schema, dict) or schema.get("type") != "record":
        return None
    fields = [(field["name"], _simple(field["type"])) for field in schema["fields"]]
    readers = {name: read for name, read in fields if read is not None}
    if len(readers) < len(fields):
        return None

    runs = _runs({field["name"]: field["type"] for field in schema["fields"]})

    def record(data: bytes, at: int) -> tuple[Any, int]:
        found: dict[str, Any] = {}
        for names, size, unpack, branches in runs:
            if unpack is not None and len(data) - at >= size:
                values = unpack(data, at)
                if not branches or values[::2] == branches:
                    found.update(zip(names, values[1::2] if branches else values, strict=True))
                    at += size
                    continue
            for name in names:
                found[name], at = readers[name](data, at)
        return found, at

    return record


class _Run(NamedTuple):
    """Doubles in a row, which are read together if none is null: `branches` are the bytes before those of unions.

    A field of another type is alone, and `unpack` is None.
    """

    names: list[str]
    size: int = 0
    unpack: Callable[[bytes, int], tuple[Any, ...]] | None = None
    branches: tuple[int, ...] = ()


def _runs(types: dict[str, Any]) -> list[_Run]:
    runs = []
    doubles = {name: _double_or_null(kind) for name, kind in types.items()}
    for nullable, names in groupby(types, lambda name: (found := doubles[name]) and found[1] is not None):
        group = list(names)
        if nullable is None:
            runs += [_Run([name]) for name in group]
            continue
        found = [double for name in group if (double := doubles[name])]
        layout = struct.Struct("<" + "".join(f"B{kind}" if nullable else kind for kind, _ in found))
        branches = tuple(branch for _, branch in found if branch is not None)
        runs.append(_Run(group, layout.size, layout.unpack_from, branches))
    return runs


def _double_or_null(schema: Any) -> tuple[str, int | None] | None:
    """Return the format of a double or float for `struct`, and the byte before it in a union with null."""
    if isinstance(schema, str):
        return (_FORMATS[schema], None) if schema in _FORMATS else None
    if isinstance(schema, list) and len(schema) == 2 and "null" in schema:
        place = 1 - schema.index("null")
        kind = schema[place]
        return (_FORMATS[kind], 2 * place) if isinstance(kind, str) and kind in _FORMATS else None
    return None


def _simple(schema: Any) -> Read | None:
    if isinstance(schema, list):
        branches = [_simple(branch) for branch in schema]
        return _union([branch for branch in branches if branch]) if all(branches) else None
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind == "record":
        return flat(schema)
    read = _PRIMITIVE.get(kind)
    logical = schema.get("logicalType") if isinstance(schema, dict) else None
    convert = LOGICAL_READERS.get(f"{kind}-{logical}") if logical else None
    if read is None or convert is None:
        return read
    return _converted(read, convert, schema)


def _converted(read: Read, convert: Callable[..., Any], schema: Any) -> Read:
    def converted(data: bytes, at: int) -> tuple[Any, int]:
        value, at = read(data, at)
        return convert(value, schema, None), at

    return converted


def _union(branches: list[Read]) -> Read:
    def union(data: bytes, at: int) -> tuple[Any, int]:
        branch = data[at]
        if branch & 129:
            raise ValueError(branch)  # negative, or of two bytes
        return branches[branch >> 1](data, at + 1)

    return union


def _null(_data: bytes, at: int) -> tuple[None, int]:
    return None, at


def _boolean(data: bytes, at: int) -> tuple[bool, int]:
    return (False, True)[data[at]], at + 1


def _double(data: bytes, at: int) -> tuple[float, int]:
    return _unpack_double(data, at)[0], at + 8


def _float(data: bytes, at: int) -> tuple[float, int]:
    return _unpack_float(data, at)[0], at + 4


def _long(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    number, shift = byte & 127, 7
    while byte > 127:
        at += 1
        byte = data[at]
        number |= (byte & 127) << shift
        shift += 7
    if shift > _LONGEST_SHIFT:
        raise ValueError(shift)
    return (number >> 1) ^ -(number & 1), at + 1


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = _long(data, at)
    end = at + length
    if not at <= end <= len(data):
        raise ValueError(length)
    return data[at:end], end


def _string(data: bytes, at: int) -> tuple[str, int]:
    byte = data[at]
    end = at + 1 + (byte >> 1)
    if byte & 129 or end > len(data):  # long, or wrong
        value, end = _bytes(data, at)
        return value.decode(), end
    return data[at + 1 : end].decode(), end


_PRIMITIVE: dict[str, Read] = {
    "null": _null,
    "boolean": _boolean,
    "int": _long,
    "long": _long,
    "float": _float,
    "double": _double,
    "bytes": _bytes,
    "string": _string,
}
