"""Records that are one JSON reading."""

import codecs
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from etl.codec.columns import JSON, DeadRecord, Mask, Part
from etl.codec.magic import format_hint
from etl.model.measurements import Measurement, Measurements


def decode_json(values: Mapping[int, bytes], dead: list[DeadRecord]) -> dict[int, dict[str, Any]]:
    """Return the JSON objects by position; add the other values to `dead`."""
    objects = {}
    for position, item in zip(values, parse_json(list(values.values())), strict=True):
        if type(item) is dict:
            objects[position] = item
        elif isinstance(item, ValueError):
            dead.append(DeadRecord(position, "undecodable", f"no JSON: {item}{format_hint(values[position])}"))
        else:
            dead.append(DeadRecord(position, "undecodable", "the JSON is no object"))
    return objects


def parse_json(values: list[bytes]) -> list[Any]:
    """Parse JSON values; return a ValueError for each invalid one.

    All values are first parsed together, which is twice as fast. A random number between two values keeps invalid
    neighbours from forming a valid one.
    """
    secret = secrets.randbits(62)
    try:
        items = orjson.loads(b"[%b]" % (b",%d," % secret).join(values))
    except ValueError:
        return [_parse(value) for value in values]
    if len(items) == 2 * len(values) - 1 and items[1::2].count(secret) == len(values) - 1:
        return list(items[::2])
    return [_parse(value) for value in values]


def _parse(value: bytes) -> Any:
    # Some programs write a byte-order mark, or end texts with a zero byte as in C.
    value = value.removeprefix(codecs.BOM_UTF8).rstrip(b"\0")
    try:
        return orjson.loads(value)
    except ValueError as error:
        # Many programs write numbers that JSON does not allow. They are bad values; the others of the reading are good.
        try:
            return _parse_leniently(value.decode())
        except (ValueError, RecursionError):
            return error


def _parse_leniently(text: str) -> Any:
    """Parse JSON with NaN and infinities, also in C's form or as a number beyond the range of a double.

    Raises:
        ValueError: the value is not JSON, or not text.
    """
    try:
        item = _LENIENT.decode(text)
    except ValueError:
        if not _SPELLED.search(text):
            raise
        item = _LENIENT.decode(_TEXT_OR_SPELLED.sub(_literal, text))
    if "\\ud" in text.lower():
        json.dumps(item, ensure_ascii=False).encode()  # half a surrogate pair is not text
    return item


def _whole(digits: str) -> int | float:
    """Return a whole number; infinity for one so large that Python refuses to parse it."""
    return int(digits) if len(digits) < 400 else float(digits)


def _literal(found: re.Match[str]) -> str:
    """Return the standard library's name of such a number; text stays unchanged."""
    if found["text"] is not None:
        return found[0]
    return "NaN" if found["nan"] else f"{found['sign'].strip('+')}Infinity"


_LENIENT = json.JSONDecoder(parse_int=_whole)
_SPELLED = re.compile("nan|inf", re.IGNORECASE)
# An unterminated text extends to the end of the value, so that a search takes linear time.
_TEXT_OR_SPELLED = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*+"?)|(?P<sign>[+-]?)(?<![\w.])(?:(?P<nan>nan)|inf(?:inity)?)(?![\w.])',
    re.IGNORECASE | re.DOTALL,
)


def json_part(objects: Mapping[int, dict[str, Any]], measurements: Measurements) -> Part:
    """Return the readings of JSON objects by the position of their record."""
    items = list(objects.values())
    fields = _fields(items, ["timestamp", "quality", *measurements.names])
    columns = [json_timestamps(fields["timestamp"]), pa.nulls(len(items), pa.int64())]
    flags: list[Mask | None] = []
    for measurement in measurements.declared:
        column, bad = _json_column(fields[measurement.name], measurement)
        columns.append(column)
        flags.append(bad)
    notes = notes_of(fields["quality"], measurements)
    return Part(np.fromiter(objects, np.int64, len(items)), np.zeros(len(items), np.int64), columns, flags, notes=notes)


def notes_of(cells: Sequence[Any], measurements: Measurements) -> list[str | None] | None:
    """Return the notes that a mapped file gives its readings, such as `voltage=Bad`; ignore other texts."""
    if str not in set(map(type, cells)) or not any(type(cell) is str and "=" in cell for cell in cells):
        return None
    entry = f"(?:{'|'.join(measurements.names)})=[^,=]{{1,40}}"
    matches = re.compile(f"{entry}(?:,{entry})*").fullmatch
    return [cell if type(cell) is str and matches(cell) else None for cell in cells]


def _fields(items: list[dict[str, Any]], names: list[str]) -> dict[str, Sequence[Any]]:
    """Convert objects to columns; objects of one program mostly have the same names in the same order."""
    shapes = set(map(tuple, items))
    if len(shapes) > 1:
        return {name: [item.get(name) for item in items] for name in names}
    given = dict(zip(shapes.pop(), zip(*map(dict.values, items), strict=True), strict=True))
    return {name: given.get(name) or [None] * len(items) for name in names}


def json_timestamps(values: Sequence[Any]) -> pa.Array:
    """Return JSON timestamps as texts, for transform to read."""
    kinds = set(map(type, values))
    if kinds <= {str, type(None)}:
        return pa.array(values, pa.string())
    if kinds <= {int, type(None)}:
        with suppress(OverflowError):
            return pa.array(values, pa.int64()).cast(pa.string())
    return pa.array([_timestamp_text(value) for value in values], pa.string())


def _timestamp_text(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    return repr(value) if type(value) in (int, float) else json.dumps(value)


def _json_column(values: Sequence[Any], measurement: Measurement) -> tuple[pa.Array, Mask | None]:
    """Return the values of a measurement, null if missing or bad, and flags of bad ones (None: no bad one)."""
    kinds = set(map(type, values))
    if measurement.type == "text":
        texts = [value if type(value) is str else None for value in values]
        bad = None if kinds <= {str, type(None)} else _differ(values, texts)
        return pa.array(texts, pa.string()), bad
    if kinds <= {float, type(None)}:
        return pa.array(values, pa.float64()), None
    doubles = [_double(value) for value in values]
    return pa.array(doubles, pa.float64()), _differ(values, doubles)


def _double(value: Any) -> float | None:
    """Return a JSON number as the nearest double, None for anything else (a bool is an int in Python, not in JSON)."""
    try:
        return float(value) if type(value) in (int, float) else None
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _differ(values: Sequence[Any], good: Sequence[object]) -> Mask | None:
    bad = np.fromiter((v is not None and g is None for v, g in zip(values, good, strict=True)), np.bool_, len(values))
    return bad if bad.any() else None


def encode_json(readings: pa.Table, measurements: Measurements) -> Iterator[tuple[bytes, bytes, str, int]]:
    """Encode readings (`schemas.generated`) as one JSON record each, in order; yield the same as `encode_arrow`."""
    names = ["timestamp", *measurements.names]
    columns = [_iso_texts(readings["timestamp"]), *(_jsonable(readings[name]) for name in measurements.names)]
    ids, given = readings["equipment_id"].to_pylist(), readings["json"].to_pylist()
    keys = {name: name.encode() for name in set(ids)}
    for name, raw, values in zip(ids, given, zip(*columns, strict=True), strict=True):
        if raw is None:
            raw = orjson.dumps({n: value for n, value in zip(names, values, strict=True) if value is not None})
        yield keys[name], raw, JSON, 1


def _iso_texts(timestamps: pa.ChunkedArray) -> list[str | None]:
    """Return ISO 8601 texts in UTC with milliseconds; numpy formats them twenty times as fast as pyarrow."""
    milliseconds = timestamps.cast(pa.int64()).fill_null(0).to_numpy().astype("datetime64[ms]")
    texts: list[str | None] = np.datetime_as_string(milliseconds, timezone="UTC").tolist()
    if timestamps.null_count:
        return [text if known else None for text, known in zip(texts, timestamps.is_valid().to_pylist(), strict=True)]
    return texts


def _jsonable(column: pa.ChunkedArray) -> list[Any]:
    """Return values for JSON. It has no NaN and no infinity, so these become text, which is a bad value, too."""
    values: list[Any] = column.to_pylist()
    if pa.types.is_floating(column.type) and pc.all(pc.is_finite(column)).as_py() is False:
        return [repr(v) if v is not None and not np.isfinite(v) else v for v in values]
    return values
