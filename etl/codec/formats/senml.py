"""Records that are SenML packs (RFC 8428), in JSON or CBOR: a list of resolved values.

Base name, time, unit, value and sum of earlier entries apply to later ones. A time below 2**28 is relative to now: to
the record timestamp.
"""

import json
import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from io import BytesIO
from typing import Any

from etl.codec.formats import Parser
from etl.codec.formats.texts import exact, moment

_VERSION = 10
_RELATIVE = 2**28
_DEEPEST = 8
_NANOS = 1_000_000_000
# The labels of CBOR, and their names in JSON.
_LABELS = {
    -1: "bver",
    -2: "bn",
    -3: "bt",
    -4: "bu",
    -5: "bv",
    -6: "bs",
    0: "n",
    1: "u",
    2: "v",
    3: "vs",
    4: "vb",
    5: "s",
    6: "t",
    7: "ut",
    8: "vd",
}
_VALUES = {"v", "vs", "vb", "vd", "s"}
_TYPES: dict[str, tuple[type, ...]] = {"vs": (str,), "vb": (bool,), "vd": (str, bytes)}
_BASES = ("bn", "bt", "bu", "bv", "bs", "bver")


def open_parser() -> Parser:
    """Return the parser of SenML."""

    def parse(value: bytes, time: int) -> Any:
        try:
            return _resolved(_pack(value), time)
        except ValueError as error:
            return error

    return Parser(lambda records: [parse(v or b"", t) for v, t in zip(records.values, records.times, strict=True)])


def _pack(value: bytes) -> list[dict[str, Any]]:
    first = value.lstrip()[:1]
    try:
        items = json.loads(value, parse_float=_written, parse_int=_written) if first in (b"[", b"{") else _cbor(value)
    except RecursionError as error:
        raise ValueError("no SenML: it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"no SenML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("no SenML: it is no list of objects")
    return [{_LABELS.get(name, name): given for name, given in item.items()} for item in items]


def _written(digits: str) -> Decimal | float:
    try:
        return Decimal(digits)
    except InvalidOperation:  # an exponent of twenty digits
        return float(digits)


def _cbor(value: bytes) -> Any:
    from cbor2 import CBORDecoder

    stream = BytesIO(value)
    try:
        items = CBORDecoder(stream, max_depth=_DEEPEST).decode()
    # cbor2 raises errors of several types.
    except Exception as error:
        raise ValueError(f"neither JSON nor CBOR: {error}") from error
    if stream.tell() != len(value):
        raise ValueError("bytes follow the CBOR")
    return items


def _resolved(items: list[dict[str, Any]], time: int) -> list[dict[str, Any]]:
    bases: dict[str, Any] = {}
    found = []
    for item in items:
        bases |= {name: item[name] for name in _BASES if name in item}
        if (version := _number(bases, "bver", Decimal(_VERSION))) > _VERSION:
            raise ValueError(f"SenML version {version} is newer than {_VERSION}")
        for name in item:
            if isinstance(name, str) and name.endswith("_"):
                raise ValueError(f"SenML label {name[:40]!r} is unknown, and must be understood")
        with_value = bool(_VALUES & set(item))
        if with_value or ("n" in item and "bv" in bases):
            found.append(_entry(item, bases, time))
        elif "n" in item or "t" in item:  # without them, it is an entry of bases alone
            raise ValueError(f"SenML entry {str(item.get('n', ''))[:100]!r} has no value")
    return found


def _entry(item: Mapping[str, Any], bases: Mapping[str, Any], time: int) -> dict[str, Any]:
    bn, n = _text(bases, "bn"), _text(item, "n")
    if not bn + n:
        raise ValueError("a SenML entry has no name")
    found: dict[str, Any] = {"bn": bn, "n": n, "name": bn + n, "time": _time(item, bases, time)}
    unit = item.get("u", bases.get("bu"))
    if isinstance(unit, str):
        found["unit"] = unit
    if "v" in item or not _VALUES & set(item):
        found["value"] = _sum(item, "v", bases, "bv")
    for name, types in _TYPES.items():
        if name in item:
            given = item[name]
            if not isinstance(given, types):
                raise ValueError(f"SenML {name} has the wrong type")
            found["value"] = given.hex() if isinstance(given, bytes) else given
    if "s" in item:
        found["sum"] = _sum(item, "s", bases, "bs")
    return found


def _sum(item: Mapping[str, Any], name: str, bases: Mapping[str, Any], base: str) -> int | float | str:
    given = item.get(name)
    if type(given) is float and not math.isfinite(given):
        return given
    number = _number(item, name) + _number(bases, base)
    return int(number) if number == number.to_integral_value() and abs(number) < 2**53 else exact(number)


def _time(item: Mapping[str, Any], bases: Mapping[str, Any], time: int) -> str:
    seconds = _number(item, "t") + _number(bases, "bt")
    if seconds < _RELATIVE:
        seconds += Decimal(time) / 1000
    return moment(int((seconds * _NANOS).to_integral_value()), _NANOS)


def _text(entries: Mapping[str, Any], name: str) -> str:
    given = entries.get(name, "")
    if not isinstance(given, str):
        raise ValueError(f"SenML {name} is no text")
    return given


def _number(entries: Mapping[str, Any], name: str, default: Decimal = Decimal(0)) -> Decimal:
    given = entries.get(name, default)
    try:
        number = given if isinstance(given, Decimal) else Decimal(repr(given)) if type(given) in (int, float) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or abs(number.adjusted()) > 400:
        raise ValueError(f"SenML {name} is no number")
    return number
