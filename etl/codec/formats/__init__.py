"""The formats of records other than Arrow: each record becomes objects of JSON, in which a mapping finds readings.

All parsers have one interface, `Parser`. Its results are dicts, lists, texts, numbers, booleans and None, with:

- decimals as the double with the same shortest text, or as text if there is none
- logical timestamps as ISO 8601 text with all their digits, with Z if they are moments; dates and times as ISO text
- bytes as hex text, enums by name, NaN and infinities as doubles

A parser never raises an error for a record, takes memory in proportion to the size of a record, and its result does not
depend on the other records of a call. A list is several readings of one record, and an empty one a record that has
none, such as a death certificate.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from etl.codec.json_records import parse_json
from etl.kafka.records import Records
from etl.mapping.record_format import RecordFormat

# Parses records, all of which have a value; returns the object of each, or a ValueError with the reason in one line.
Parser = Callable[[Records], list[Any]]


def open_parser(format: RecordFormat, folder: Path) -> Parser:  # noqa: A002 - the word of the mapping file
    """Return the parser of a format.

    Args:
        format: the entry of the mapping file.
        folder: the folder of the mapping file, to which its other files are relative.

    Raises:
        SettingsError: a file of the format cannot be used, or a package is not installed.
    """
    if format.format == "csv":
        from etl.codec.formats import csv_lines

        return csv_lines.open_parser(format)
    if format.format == "avro":
        from etl.codec.formats import avro

        return avro.open_parser(folder / format.schema_file if format.schema_file else None)
    return lambda records: parse_json([value or b"" for value in records.values])
