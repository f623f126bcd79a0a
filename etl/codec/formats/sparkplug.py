"""Records that are Sparkplug B payloads, as bridges from MQTT send them.

The result of a record is {"group", "node", "device", "timestamp", "seq", "metrics": [{"name", "timestamp", "value",
...}]}. Group, node and device are in the MQTT topic, which stands in the record key, a header or the name of the Kafka
topic. Commands, death certificates and states of hosts are no readings: an empty list.

The format: https://sparkplug.eclipse.org/specification/
"""

import re
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from google.protobuf.message_factory import GetMessageClass

from etl.codec.formats import Parser
from etl.codec.formats.births import Birth, Births, Device, Position
from etl.codec.formats.sparkplug_types import payload
from etl.codec.formats.texts import moment
from etl.kafka.records import Headers, Records

_KINDS = {"NBIRTH", "DBIRTH", "NDATA", "DDATA", "NDEATH", "DDEATH", "NCMD", "DCMD", "STATE"}
_BIRTHS, _DATA = ("NBIRTH", "DBIRTH"), ("NDATA", "DDATA")
_TOPIC = re.compile(r'spBv1\.0(?P<mark>[/._-])(?P<rest>[^"\x00-\x1f]*)')
_LONGEST_TOPIC = 2000
_MOST_BYTES = 4 * 1024 * 1024  # an empty metric has two bytes, and takes a hundred times as much memory
_REPLAYS = "etl-replays"
# Data types of the specification.
_NAMES = (
    *("Unknown", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float", "Double"),
    *("Boolean", "String", "DateTime", "Text", "UUID", "DataSet", "Bytes", "File", "Template", "PropertySet"),
    *("PropertySetList", "Int8Array", "Int16Array", "Int32Array", "Int64Array", "UInt8Array", "UInt16Array"),
    *("UInt32Array", "UInt64Array", "FloatArray", "DoubleArray", "BooleanArray", "StringArray", "DateTimeArray"),
)
_BITS = {1: 8, 2: 16, 3: 32, 4: 64}
_DATE_TIME = 13
_ARRAYS = dict(zip(range(22, 32), "bhiqBHIQfd", strict=True))
_UNSIGNED_FROM = {"int_value": 2**7, "long_value": 2**63}  # such a value may be a negative number


class Source(NamedTuple):
    """The origin of a payload; `kind` is None if no MQTT topic is known, and the node is then the key."""

    kind: str | None
    device: Device


# Returns name and data type of a metric, from itself or from a birth.
_Resolve = Callable[[Any], tuple[str, int]]


def open_parser(births: Births, topic: str) -> Parser:
    """Return the parser of payloads on a Kafka topic; it adds the births that it sees."""
    decode = GetMessageClass(payload()).FromString

    def parse(records: Records) -> list[Any]:
        found: list[Any] = []
        for at, value in enumerate(records.values):
            try:
                source = find_source(records.keys[at], records.headers[at], topic)
                message = _message(value or b"", source, decode)
                _add_birth(births, source, message, _position(records, at))
                found.append((source, message))
            except ValueError as error:
                found.append(error)
        for at, each in enumerate(found):
            if not isinstance(each, ValueError):
                source, message = each
                resolve = _resolver(source, _position(records, at), births, _replayed(records.headers[at]))
                try:
                    found[at] = [] if message is None else _parse(source, message, resolve)
                except ValueError as error:
                    found[at] = error
        return found

    return Parser(parse)


def learn(records: Records, births: Births, topic: str) -> None:
    """Add the births of a block. If births and data are in different partitions, call this for all blocks first."""
    decode = GetMessageClass(payload()).FromString
    for at, value in enumerate(records.values):
        with suppress(ValueError):  # the parser reports it
            source = find_source(records.keys[at], records.headers[at], topic)
            if source.kind in _BIRTHS or source.kind is None:
                _add_birth(births, source, _message(value or b"", source, decode), _position(records, at))


def _position(records: Records, at: int) -> Position:
    return Position(records.times[at], records.partitions[at], records.offsets[at])


def find_source(key: bytes | None, headers: Headers, topic: str) -> Source:
    """Return the origin of a payload, by the MQTT topic in its key, in a header, or in the name of the Kafka topic."""
    texts = [(key or b"").decode(errors="replace")]
    texts += [value.decode(errors="replace") for _, value in headers if value and len(value) < _LONGEST_TOPIC]
    for text in [*texts, topic]:
        if found := _TOPIC.search(text[:_LONGEST_TOPIC]):
            parts = found["rest"].strip().split(found["mark"])
            at = next((at for at, part in enumerate(parts) if part in _KINDS), None)
            if at is not None:
                group, (node, *device) = found["mark"].join(parts[:at]), parts[at + 1 :] or [""]
                return Source(parts[at], (group, node, found["mark"].join(device)))
    return Source(None, ("", texts[0][:_LONGEST_TOPIC], ""))


def _message(value: bytes, source: Source, parse: Callable[[bytes], Any]) -> Any:
    """Return the payload, None if it is none of readings."""
    if source.kind not in (None, *_BIRTHS, *_DATA):
        return None
    if len(value) > _MOST_BYTES:
        raise ValueError(f"a Sparkplug B payload of {len(value)} bytes is too large")
    try:
        return parse(value)
    # DecodeError of the library, or UnicodeDecodeError.
    except Exception as error:
        raise ValueError("no Sparkplug B payload") from error


def _add_birth(births: Births, source: Source, message: Any, at: Position) -> None:
    """Add the birth in a payload; without an MQTT topic, it is one if a metric has both name and alias."""
    if message is None or source.kind in _DATA:
        return
    named = [metric for metric in message.metrics if metric.HasField("name")]
    names = {metric.alias: metric.name for metric in named if metric.HasField("alias")}
    if names or source.kind:
        births.add(source.device, Birth(at, names, {each.name: each.datatype for each in named if each.datatype}))


def _replayed(headers: Headers) -> bool:
    return any(name.lower() == _REPLAYS and value for name, value in headers)


def _parse(source: Source, message: Any, resolve: _Resolve) -> dict[str, Any]:
    group, node, device = source.device
    found: dict[str, Any] = {"group": group, "node": node, "device": device or None}
    for name in ("timestamp", "seq"):
        if message.HasField(name):
            found[name] = getattr(message, name)
    found["metrics"] = [_metric(metric, resolve, found.get("timestamp")) for metric in message.metrics]
    return found


def _resolver(source: Source, at: Position, births: Births, replayed: bool) -> _Resolve:
    birth = births.before(source.device, at)
    if source.kind in _BIRTHS:  # a payload of births names its own metrics
        birth = None
    others = births.near(source.device, at, replayed) if birth else []

    def resolve(metric: Any) -> tuple[str, int]:
        if metric.HasField("name"):
            name = metric.name
        else:
            name = birth.names.get(metric.alias) if birth else None
            if name is None or not metric.HasField("alias"):
                raise ValueError(f"alias {metric.alias} has no birth certificate")
            if any(other.names.get(metric.alias, name) != name for other in others):
                raise ValueError(f"alias {metric.alias} has two birth certificates with different names")
        return name, metric.datatype or (birth.types.get(name, 0) if birth else 0)

    return resolve


def _metric(metric: Any, resolve: _Resolve, timestamp: int | None) -> dict[str, Any]:
    name, kind = resolve(metric)
    found: dict[str, Any] = {"name": name}
    if metric.HasField("alias"):
        found["alias"] = metric.alias
    given = metric.timestamp if metric.HasField("timestamp") else timestamp
    if given is not None:
        found["timestamp"] = given
    if kind:
        found["datatype"] = _NAMES[kind] if kind < len(_NAMES) else kind
    for flag in ("is_historical", "is_transient", "is_null"):
        if getattr(metric, flag):
            found[flag] = True
    found["value"] = None if metric.is_null else _value(metric, kind, name, resolve)
    if metric.HasField("properties"):
        found["properties"] = _properties(metric.properties)
    return found


def _value(holder: Any, kind: int, name: str, resolve: _Resolve | None) -> Any:
    """Return the value of a metric, a property, or a cell of a data set."""
    field = holder.WhichOneof("value")
    if field is None:
        return None
    value = getattr(holder, field)
    if field in _UNSIGNED_FROM:
        return _whole(value, kind, _UNSIGNED_FROM[field], name)
    if field == "bytes_value":
        return _array(value, kind)
    if field == "dataset_value":
        return _dataset(value)
    if field == "template_value":
        # Metrics of a template have names of their own.
        return {"metrics": [_metric(metric, resolve or _named, None) for metric in value.metrics]}
    if field == "propertyset_value":
        return _properties(value)
    if field == "propertysets_value":
        return [_properties(each) for each in value.propertyset]
    return value


def _named(metric: Any) -> tuple[str, int]:
    return metric.name, metric.datatype


def _whole(value: int, kind: int, unsigned_from: int, name: str) -> int | str:
    if kind == _DATE_TIME:
        return moment(value, 1000)
    bits = _BITS.get(kind)
    if bits:
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> (bits - 1) else value
    if not kind and value >= unsigned_from:
        raise ValueError(f"metric {name[:100]!r} has no data type, and no birth certificate")
    return value


def _array(value: bytes, kind: int) -> Any:
    code = _ARRAYS.get(kind)
    if code is None or len(value) % struct.calcsize(f"<{code}"):
        return value.hex()
    return list(struct.unpack(f"<{len(value) // struct.calcsize(f'<{code}')}{code}", value))


def _dataset(value: Any) -> dict[str, Any]:
    types = [*value.types]
    rows = [
        [_value(cell, types[at] if at < len(types) else 0, "", None) for at, cell in enumerate(row.elements)]
        for row in value.rows
    ]
    return {"columns": list(value.columns), "rows": rows}


def _properties(given: Any) -> dict[str, Any]:
    return {
        key: None if each.is_null else _value(each, each.type, key, None)
        for key, each in zip(given.keys, given.values, strict=False)
    }
