"""Records in Avro: one datum, a datum in the single-object encoding, or an object container file.

The format: https://avro.apache.org/docs/1.12.0/specification/
"""

import re
import sys
from collections.abc import Callable, Collection
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from fastavro import schemaless_reader
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from etl.codec.formats import LeafColumns, Names, Parser, ReadColumns
from etl.codec.formats.avro_blocks import decompressed
from etl.codec.formats.avro_columns import ReadData, column_reader
from etl.codec.formats.avro_schema import Schema, prepared, read_schema
from etl.codec.magic import registry_hint
from etl.errors import SettingsError
from etl.kafka.records import Records

_CONTAINER = b"Obj\x01"
_SINGLE = b"\xc3\x01"
_HEADER = Schema(parse_schema({"type": "map", "values": "bytes"}), 1, 0)
_LONG = Schema(parse_schema("long"), 1, 0)
_SYNC_BYTES = 16
_STREAM = re.compile(r" from <[^>]*>")
Read = Callable[[bytes], Any]


def open_parser(schema_file: Path | None) -> Parser:
    """Return the parser of Avro records; without a schema file each record must be an object container file.

    Raises:
        SettingsError: the schema file cannot be used.
    """
    datum: Read | None = None
    columns: ReadData | None = None
    prefix = b""
    if schema_file is not None:
        try:
            text = schema_file.read_bytes()
            schema, prefix = read_schema(text), _SINGLE + _fingerprint(text)
            datum, columns = reader(schema), column_reader(schema)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"Avro schema file {schema_file} cannot be used: {reason}") from error

    def parse(value: bytes) -> Any:
        try:
            return _parse(value, datum, prefix)
        except ValueError as error:
            return error

    by_column = None if columns is None else _by_column(columns, prefix)
    return Parser(lambda records: [parse(value or b"") for value in records.values], by_column)


def _by_column(read: ReadData, prefix: bytes) -> ReadColumns:
    """Return the function that reads data by column, with or without the prefix; it leaves out containers."""

    def read_columns(records: Records, wanted: Collection[Names]) -> list[LeafColumns]:
        data = {
            at: value.removeprefix(prefix)
            for at, value in enumerate(records.values)
            if value and not value.startswith(_CONTAINER)
        }
        return [read(data, wanted)] if data else []

    return read_columns


def _parse(value: bytes, datum: Read | None, prefix: bytes) -> Any:
    if value.startswith(_CONTAINER):
        return _container(value)
    if datum is None:
        raise ValueError(f"no Avro object container, and the mapping names no schema_file{registry_hint(value)}")
    if value.startswith(prefix):
        return datum(value[len(prefix) :])
    try:
        return datum(value)
    except ValueError as error:
        if value.startswith(_SINGLE):
            raise ValueError("the record was written with another schema than schema_file") from error
        raise ValueError(f"{error}{registry_hint(value)}") from error


def _fingerprint(text: bytes) -> bytes:
    """Return the CRC-64-AVRO fingerprint of a schema as it stands in a record: with the lowest byte first."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(prepared(text)), "CRC-64-AVRO"))


def reader(schema: Schema) -> Read:
    """Return a function that reads one datum; it raises ValueError for bytes that are not exactly one."""
    most = schema.most_bytes or sys.maxsize

    def read(value: bytes) -> Any:
        if len(value) > most:
            raise ValueError(f"{len(value)} bytes may take too much memory with this schema")
        stream = BytesIO(value)
        item = _datum(stream, schema)
        if stream.tell() != len(value):
            raise ValueError(f"no Avro with this schema: {len(value) - stream.tell()} bytes follow the datum")
        return item

    return read


def _datum(stream: BytesIO, schema: Schema) -> Any:
    try:
        return schemaless_reader(stream, schema.parsed, None)
    except Exception as error:
        raise _wrong(error) from error


def _wrong(error: Exception) -> ValueError:
    """Return the error of bytes that do not fit the schema; fastavro has many, such as IndexError for a wrong union."""
    # The address of the stream would be another one in each attempt.
    reason = " ".join(_STREAM.sub("", str(error)).split())[:200] or type(error).__name__
    return ValueError(f"no Avro with this schema: {reason}")


def _container(value: bytes) -> list[Any]:
    """Return the data of an object container file."""
    stream = BytesIO(value)
    stream.seek(len(_CONTAINER))
    meta = _datum(stream, _HEADER)
    sync = stream.read(_SYNC_BYTES)
    schema = _written(meta.get("avro.schema", b""))
    codec = meta.get("avro.codec", b"null").decode(errors="replace")
    found: list[Any] = []
    while stream.tell() < len(value):
        number, size = _datum(stream, _LONG), _datum(stream, _LONG)
        block = stream.read(size) if size >= 0 else b""
        if len(block) != size or stream.read(_SYNC_BYTES) != sync:
            raise ValueError("the Avro object container is damaged")
        found += _block(decompressed(block, codec), number, schema)
    return found


def _block(data: bytes, number: int, schema: Schema) -> list[Any]:
    if len(data) > schema.most_bytes > 0:
        raise ValueError(f"{len(data)} bytes may take too much memory with this schema")
    if number < 0 or number * schema.least_bytes > len(data) or (not schema.least_bytes and number > 1):
        raise ValueError(f"an Avro block of {len(data)} bytes claims to hold {number} data")
    stream = BytesIO(data)
    found = [_datum(stream, schema) for _ in range(number)]
    if stream.tell() != len(data):
        raise ValueError("the Avro object container is damaged")
    return found


@lru_cache(maxsize=100)
def _written(text: bytes) -> Schema:
    return read_schema(text)
