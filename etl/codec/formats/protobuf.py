"""Records that are Protobuf messages, by the descriptors of their types.

The format: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from etl.codec.formats import Parser
from etl.codec.formats.texts import decimal_value, exact, moment
from etl.codec.magic import registry_hint
from etl.errors import SettingsError

MOST_MEMORY = 256 * 1024 * 1024
_OBJECT = 64  # bytes of memory of a small object of Python
_NANOS = 1_000_000_000
Convert = Callable[[Any], Any]


def open_parser(schema_file: Path, message: str) -> Parser:
    """Return the parser of messages of one type; the schema file is a descriptor set (`protoc --descriptor_set_out`).

    Raises:
        SettingsError: the schema file cannot be used, or has no such type.
    """
    try:
        pool = descriptors(schema_file.read_bytes())
        read = reader(pool.FindMessageTypeByName(message))
    except OSError as error:
        raise SettingsError(f"descriptor set {schema_file} cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise SettingsError(f"descriptor set {schema_file} has no message {message!r}") from error
    except ValueError as error:
        raise SettingsError(f"descriptor set {schema_file}: {error}") from error

    def parse(value: bytes) -> Any:
        try:
            return read(value)
        except ValueError as error:
            return ValueError(f"{error}{registry_hint(value)}")

    return Parser(lambda records: [parse(value or b"") for value in records.values])


def descriptors(data: bytes) -> DescriptorPool:
    """Return the types of a serialized descriptor set.

    Raises:
        ValueError: it is none, or lacks a file that it imports.
    """
    pool = DescriptorPool()
    try:
        for file in FileDescriptorSet.FromString(data).file:
            pool.AddSerializedFile(file.SerializeToString())
    # The library raises errors of several types.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"no descriptor set with all of its imports (protoc --include_imports): {reason}") from error
    return pool


def reader(descriptor: Descriptor) -> Callable[[bytes], Any]:
    """Return a function that reads one message; it raises ValueError for bytes that are none.

    A field that was not sent is absent if its type knows this (`optional`, messages, parts of `oneof`); another one has
    its default, such as 0, which proto3 never sends.
    """
    parse = GetMessageClass(descriptor).FromString
    plan = _Plan()
    convert = plan.message(descriptor)
    most = int(MOST_MEMORY / plan.ratio())

    def read(value: bytes) -> Any:
        if len(value) > most:
            raise ValueError(f"{len(value)} bytes may take too much memory as a Protobuf message")
        try:
            message = parse(value)
        # DecodeError of the library, or UnicodeDecodeError for a text that is not UTF-8.
        except Exception as error:
            raise ValueError(f"no Protobuf message {descriptor.full_name}") from error
        return convert(message)

    return read


class _Plan:
    """Functions that convert messages, one for each type, because a type may contain itself."""

    def __init__(self) -> None:
        self.known: dict[str, Convert] = {}
        self.memory = 4 * _OBJECT

    def ratio(self) -> float:
        # A message may have no bytes beyond its tag and its length.
        return self.memory / 2

    def message(self, descriptor: Descriptor) -> Convert:
        name = descriptor.full_name
        if name in _WELL_KNOWN:
            return _WELL_KNOWN[name]
        if name not in self.known:
            fields: list[tuple[str, str, bool, Convert | None]] = []

            def convert(message: Message) -> dict[str, Any]:
                found = {}
                for attribute, _, presence, each in fields:
                    if presence and not message.HasField(attribute):
                        continue
                    value = getattr(message, attribute)
                    found[attribute] = value if each is None else each(value)
                return found

            self.known[name] = convert
            self.memory = max(self.memory, _OBJECT * (4 + 2 * len(descriptor.fields)))
            fields += [(field.name, field.full_name, *self._field(field)) for field in descriptor.fields]
        return self.known[name]

    def _field(self, field: FieldDescriptor) -> tuple[bool, Convert | None]:
        """Return whether the message knows that a field was sent, and how to convert its value (None: not at all)."""
        kind = field.message_type
        if field.is_repeated and kind is not None and kind.GetOptions().map_entry:
            return False, self._map(kind)
        each = self._single(field)
        if field.is_repeated:
            return False, list if each is None else lambda values: [each(value) for value in values]
        return field.has_presence, each

    def _map(self, entry: Descriptor) -> Convert:
        each = self._single(entry.fields_by_name["value"])
        if each is None:
            return lambda values: {_key(key): value for key, value in values.items()}
        return lambda values: {_key(key): each(value) for key, value in values.items()}

    def _single(self, field: FieldDescriptor) -> Convert | None:
        if field.message_type is not None:
            return self.message(field.message_type)
        if field.enum_type is not None:
            names = {number: value.name for number, value in field.enum_type.values_by_number.items()}
            return lambda number: names.get(number, number)
        texts: dict[int, Convert] = {FieldDescriptor.TYPE_BYTES: bytes.hex, FieldDescriptor.TYPE_STRING: _text}
        return texts.get(field.type)


def _text(value: Any) -> str:
    if not isinstance(value, str):  # proto2 does not check it
        raise ValueError("a text of the Protobuf message is not UTF-8")
    return value


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool | int) else _text(key)


def _timestamp(message: Any) -> str:
    return moment(message.seconds * _NANOS + message.nanos, _NANOS)


def _duration(message: Any) -> float | int | str:
    """Return seconds."""
    return decimal_seconds(message.seconds, message.nanos)


def decimal_seconds(seconds: int, nanos: int) -> float | int | str:
    """Return a duration in seconds, exact."""
    from decimal import Decimal

    return seconds if not nanos else exact(Decimal(seconds * _NANOS + nanos).scaleb(-9))


def _wrapped(message: Any) -> Any:
    return message.value.hex() if isinstance(message.value, bytes) else message.value


def _json_value(message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "struct_value":
        return _struct(message.struct_value)
    if kind == "list_value":
        return _list(message.list_value)
    return None if kind in (None, "null_value") else getattr(message, kind)


def _struct(message: Any) -> dict[str, Any]:
    return {name: _json_value(value) for name, value in message.fields.items()}


def _list(message: Any) -> list[Any]:
    return [_json_value(value) for value in message.values]


def _any(message: Any) -> dict[str, Any]:
    return {"@type": message.type_url, "value": message.value.hex()}


_WRAPPERS = ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
_WELL_KNOWN: dict[str, Convert] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
    "google.protobuf.Value": _json_value,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Any": _any,
    "google.protobuf.FieldMask": lambda message: list(message.paths),
    **{f"google.protobuf.{name}Value": _wrapped for name in _WRAPPERS},
    "confluent.type.Decimal": lambda message: decimal_value(message.value, message.scale),
    "google.type.Decimal": lambda message: message.value,
}
