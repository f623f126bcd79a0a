"""Schemas of Avro, prepared for reading: values in JSON's types, and a limit to the memory of a record."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from fastavro import parse_schema
from fastavro.read import LOGICAL_READERS

from etl.codec.formats.texts import clock, day, decimal_value, moment

MOST_MEMORY = 256 * 1024 * 1024
_LARGEST_SCHEMA = 1024 * 1024
_DEEPEST = 50
_OBJECT = 64  # bytes of memory of a small object of Python
_PRIMITIVE = {"null": 0, "boolean": 1, "int": 1, "long": 1, "float": 4, "double": 8, "bytes": 1, "string": 1, "enum": 1}
_OWN = "etl-"  # prefix of the logical types below, so that fastavro's own do not apply
_TIMES = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}


class Schema(NamedTuple):
    """A schema for fastavro; the fewest bytes of a datum, and the most that it may have (0: no limit)."""

    parsed: Any
    least_bytes: int
    most_bytes: int


class _Size(NamedTuple):
    """The fewest bytes of a datum, its memory, and the largest memory that a byte of it may take."""

    least: int
    memory: int
    ratio: float


def read_schema(text: bytes, references: Sequence[bytes] = ()) -> Schema:
    """Read a schema.

    Args:
        text: its JSON.
        references: schemas of the named types that it uses, each after those that it uses itself.

    Raises:
        ValueError: it is no schema, it contains itself, or its data may take much memory.
    """
    named: dict[str, Any] = {}
    try:
        for reference in references:
            parse_schema(prepared(reference), named)
        parsed = parse_schema(prepared(text), named)
        size = _sizes(parsed, named, {})
    except ValueError:
        raise
    # fastavro raises errors of many types for wrong schemas.
    except Exception as error:
        raise ValueError(f"no Avro schema: {' '.join(str(error).split())[:200]}") from error
    return Schema(parsed, size.least, int(MOST_MEMORY / size.ratio) if size.ratio else 0)


def prepared(text: bytes) -> Any:
    """Return a schema with logical types of our own.

    Raises:
        ValueError: it is no JSON, or too large.
    """
    if len(text) > _LARGEST_SCHEMA:
        raise ValueError("an Avro schema is larger than 1 MiB")
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        # The schema of a primitive type may come without its quotes.
        if text.isalpha():
            return _prepared(text.decode(), 0)
        raise ValueError(f"no Avro schema: {error}") from error
    return _prepared(schema, 0)


def _prepared(schema: Any, depth: int) -> Any:
    """Replace logical types and bytes by logical types of our own."""
    if depth > _DEEPEST:
        raise ValueError("an Avro schema is nested too deeply")
    if schema == "bytes":
        return {"type": "bytes", "logicalType": f"{_OWN}hex"}
    if isinstance(schema, list):
        return [_prepared(branch, depth + 1) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if isinstance(kind, dict | list):
        return _prepared(kind, depth + 1)
    schema = {name: value for name, value in schema.items() if name not in ("logicalType", "default")} | _logical(
        schema
    )
    if kind in ("record", "error") and isinstance(schema.get("fields"), list):
        schema["fields"] = [_field(field, depth) for field in schema["fields"]]
    for part in ("items", "values"):
        if part in schema:
            schema[part] = _prepared(schema[part], depth + 1)
    return schema


def _field(field: Any, depth: int) -> Any:
    # Defaults are for readers with another schema; fastavro would check them against ours.
    if not isinstance(field, dict):
        return field
    kept = {name: value for name, value in field.items() if name in ("name", "type")}
    return kept | {"type": _prepared(field.get("type"), depth + 1)}


def _logical(schema: dict[str, Any]) -> dict[str, str]:
    kind, logical = schema.get("type"), schema.get("logicalType")
    named = f"{kind}-{_OWN}{logical}"
    if named in LOGICAL_READERS and (logical != "decimal" or _is_decimal(schema)):
        return {"logicalType": f"{_OWN}{logical}"}
    return {"logicalType": f"{_OWN}hex"} if kind in ("bytes", "fixed") else {}


def _is_decimal(schema: dict[str, Any]) -> bool:
    scale, precision = schema.get("scale", 0), schema.get("precision")
    return type(scale) is int and type(precision) is int and 0 <= scale <= precision


def _sizes(schema: Any, named: dict[str, Any], known: dict[str, _Size | None]) -> _Size:
    """Return the size of data of a parsed schema; `known` has the sizes of named types, None for those begun."""
    if isinstance(schema, list):
        parts = [_sizes(branch, named, known) for branch in schema]
        return _Size(
            1 + min((part.least for part in parts), default=0),
            max((part.memory for part in parts), default=0),
            max((part.ratio for part in parts), default=0.0),
        )
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind in _PRIMITIVE:
        return _Size(_PRIMITIVE[kind], _OBJECT, 2.0)
    if kind in ("array", "map"):
        item = _sizes(schema["items" if kind == "array" else "values"], named, known)
        least = item.least + (kind == "map")
        if not least:
            raise ValueError("an Avro schema has an array of items without bytes")
        return _Size(1, 2 * _OBJECT, max(item.ratio, (item.memory + 3 * _OBJECT) / least))
    name = schema if isinstance(schema, str) else schema["name"]
    if name not in known:
        known[name] = None
        known[name] = _of_named(named[name], named, known)
    size = known[name]
    if size is None:
        raise ValueError(f"the Avro type {name[:100]!r} contains itself: readings do not")
    return size


def _of_named(schema: dict[str, Any], named: dict[str, Any], known: dict[str, _Size | None]) -> _Size:
    kind = schema["type"]
    if kind == "enum":
        return _Size(1, 0, 2.0)
    if kind == "fixed":
        return _Size(schema["size"], _OBJECT, 2.0)
    parts = [_sizes(field["type"], named, known) for field in schema["fields"]]
    return _Size(
        sum(part.least for part in parts),
        sum(part.memory + 2 * _OBJECT for part in parts) + 4 * _OBJECT,
        max((part.ratio for part in parts), default=2.0),
    )


def _decimal(data: bytes, schema: Any, *_: object) -> int | float | str:
    return decimal_value(data, schema.get("scale", 0))


def _hex(data: bytes, *_: object) -> str:
    return data.hex()


def _uuid(data: bytes, *_: object) -> str:
    return str(UUID(bytes=data)) if len(data) == 16 else data.hex()


def _moment(per_second: int, zone: str) -> Any:
    return lambda count, *_: moment(count, per_second, zone)


def _clock(per_second: int) -> Any:
    return lambda count, *_: clock(count, per_second)


for _unit, _per_second in _TIMES.items():
    LOGICAL_READERS[f"long-{_OWN}timestamp-{_unit}"] = _moment(_per_second, "Z")
    LOGICAL_READERS[f"long-{_OWN}local-timestamp-{_unit}"] = _moment(_per_second, "")
LOGICAL_READERS[f"int-{_OWN}time-millis"] = _clock(1_000)
LOGICAL_READERS[f"long-{_OWN}time-micros"] = _clock(1_000_000)
LOGICAL_READERS[f"int-{_OWN}date"] = lambda count, *_: day(count)
LOGICAL_READERS[f"fixed-{_OWN}uuid"] = _uuid
for _kind in ("bytes", "fixed"):
    LOGICAL_READERS[f"{_kind}-{_OWN}decimal"] = _decimal
    LOGICAL_READERS[f"{_kind}-{_OWN}hex"] = _hex
