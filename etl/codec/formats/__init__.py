"""The formats of records other than Arrow: each record becomes objects of JSON, in which a mapping finds readings.

All parsers have one interface, `Parser`. Its results are dicts, lists, texts, numbers, booleans and None, with:

- decimals as the double with the same shortest text, or as text if there is none
- logical timestamps as ISO 8601 text with all their digits, with Z if they are moments; dates and times as ISO text
- bytes as hex text, enums by name, NaN and infinities as doubles

A parser never raises an error for a record, takes memory in proportion to the size of a record, and its result does not
depend on the other records of a call. A list is several readings of one record, and an empty one a record that has
none, such as a death certificate.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from etl.codec.formats.births import Births
from etl.codec.json_records import parse_json
from etl.codec.magic import format_hint
from etl.errors import SettingsError
from etl.kafka.records import Records
from etl.mapping.ids import Column
from etl.mapping.record_format import RecordFormat
from etl.settings import RegistrySettings

Names = tuple[str, ...]


class LeafColumns(NamedTuple):
    """n records: the position of each in its block, its cells by the path of a field, and the shape of its object.

    The cells of a field of doubles are an Arrow array, and those of other fields a list.
    """

    positions: list[int]
    cells: dict[Names, Column]
    shape: dict[str, Any]


ReadColumns = Callable[[Records, Collection[Names]], list[LeafColumns]]


@dataclass(frozen=True)
class Parser:
    """A parser of records, all of which have a value.

    `parse` returns the object of each record, or a ValueError with the reason in one line. `columns` returns the cells
    of these fields of the records that it can read column by column; the others are left to `parse`.
    """

    parse: Callable[[Records], list[Any]]
    columns: ReadColumns | None = None


def open_parser(
    format: RecordFormat,  # noqa: A002
    folder: Path,
    registry: RegistrySettings | None = None,
    topic: str = "",
    births: Births | None = None,
) -> Parser:
    """Return the parser of a format.

    Args:
        format: the entry of the mapping file.
        folder: the folder of the mapping file, to which its other files are relative.
        registry: the schema registry, for format `registry` alone.
        topic: the name of the Kafka topic, for format `sparkplug` alone.
        births: the birth certificates before this run, also for `sparkplug`; the parser adds those of the records.

    Raises:
        SettingsError: a file or a setting of the format cannot be used, or its packages are not installed.
    """
    try:
        if format.format == "sparkplug":
            from etl.codec.formats import sparkplug

            return sparkplug.open_parser(Births() if births is None else births, topic)
        return _open(format, folder, registry)
    except ImportError as error:
        raise SettingsError(f"format {format.format} needs the extra `formats` or `registry`: {error}") from error


def _open(format: RecordFormat, folder: Path, registry: RegistrySettings | None) -> Parser:  # noqa: A002
    """Import the module of a format only here, because its libraries are large."""
    file = folder / (format.schema_file or "")
    if format.format == "csv":
        from etl.codec.formats import csv_lines

        return csv_lines.open_parser(format)
    if format.format == "avro":
        from etl.codec.formats import avro

        return avro.open_parser(file if format.schema_file else None)
    if format.format == "protobuf":
        from etl.codec.formats import protobuf

        return protobuf.open_parser(file, format.message or "")
    if format.format == "registry":
        from etl.codec.formats import registry as with_registry

        if registry is None:
            raise SettingsError("format registry is read from a topic alone")
        return with_registry.open_parser(registry)
    if format.format == "senml":
        from etl.codec.formats import senml

        return senml.open_parser()
    return Parser(_parse_json)


def _parse_json(records: Records) -> list[Any]:
    values = [value or b"" for value in records.values]
    found = parse_json(values)
    for at, item in enumerate(found):
        if isinstance(item, ValueError):
            found[at] = ValueError(f"no JSON: {item}{format_hint(values[at])}")
    return found
