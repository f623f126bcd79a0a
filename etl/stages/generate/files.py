"""Read recorded readings from files of any format, in blocks; a bad line never stops the others."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import structlog

from etl.errors import SettingsError
from etl.mapping.language import ColumnMapping
from etl.model.measurements import Measurements
from etl.model.schemas import dead_letter_table
from etl.model.timestamps import OLDEST_MS
from etl.stages.generate import lines
from etl.stages.generate.cells import BrokenLine, Parsed, to_readings
from etl.stages.generate.delimited import csv_rows
from etl.stages.generate.lines import MAX_LINE_BYTES, open_text
from etl.stages.generate.listing import list_files
from etl.stages.generate.objects import is_array, json_lines, json_values
from etl.stages.generate.opening import Found, endings, file_format, opened, reading
from etl.stages.generate.parquet import parquet_rows
from etl.stages.generate.repeated import told_apart

_TEXTS = {"csv": csv_rows, "jsonl": json_lines, "json": json_values}
_SOUGHT = ("parquet", "excel")  # formats whose readers seek
_NO_FORMAT = "recorded file {}: its ending names no format: add `format: csv`, or another, to the mapping"
log = structlog.get_logger("etl.recorded")


@dataclass(frozen=True)
class Recorded:
    """Rows of a file: readings (schema `generated`) and dead letters (schema `DEAD_LETTERS`), in file order."""

    readings: pa.Table
    dead_letters: pa.Table


def recorded_readings(
    url: str, mapping: ColumnMapping, measurements: Measurements, oldest_ms: int = OLDEST_MS
) -> Iterator[Recorded]:
    """Read all files that a path or fsspec URL names, one after the other; see `list_files` and `file_readings`."""
    for found in list_files(url, mapping).files:
        yield from file_readings(found, mapping, measurements, oldest_ms)


def file_readings(
    found: Found, mapping: ColumnMapping, measurements: Measurements, oldest_ms: int = OLDEST_MS
) -> Iterator[Recorded]:
    """Read a file, or all members of a zip, in blocks of about BLOCK_ROWS rows.

    An epoch number before `oldest_ms` is not a timestamp.

    Raises:
        SettingsError: the file is missing, has not the mapped format or columns, or is damaged. The error may come
            after some tables; then the caller must discard these.
        Unreachable: the storage does not answer.
    """
    outer = mapping.format or file_format(found.name)
    if outer is None and endings(found.name)[-1:] != ["zip"]:
        raise SettingsError(_NO_FORMAT.format(found.name))
    others, read = [], 0
    for name, file in opened(found, seek=outer in _SOUGHT or outer is None):
        kind = mapping.format or file_format(name) or outer
        if kind is None:
            others.append(name)
            file.close()
            continue
        read, empty = read + 1, True
        with file, reading(name):
            rows, restore = _rows(file, kind, mapping, measurements, name)
            blocks = (to_readings(cells, broken, mapping, measurements, oldest_ms) for cells, broken in rows)
            for block in told_apart(blocks, mapping.timestamp, name):
                empty = empty and not len(block.readings) and not block.letters
                yield Recorded(block.readings, _dead_letters(block.letters, name, kind, restore))
        if empty:
            log.warning("recorded file is empty", file=name)
    if others and not read:
        raise SettingsError(_NO_FORMAT.format(others[0]))
    if others:
        log.warning("members of a zip are not read whose ending names no format", number=len(others), first=others[0])


def _rows(
    file: BinaryIO, kind: str, mapping: ColumnMapping, measurements: Measurements, name: str
) -> tuple[Iterator[Parsed], Callable[[bytes], bytes]]:
    """Return the rows of a file in blocks, and a function that returns the original bytes of a line."""
    if kind == "parquet":
        return parquet_rows(file, mapping, measurements, name, lines.BLOCK_ROWS), bytes
    if kind == "excel":
        from etl.stages.generate.sheets import sheet_rows  # by an extra

        return sheet_rows(file, mapping, measurements, name), bytes
    if "tsv" in endings(name) and "delimiter" not in mapping.model_fields_set:
        mapping = mapping.model_copy(update={"delimiter": "\t"})
    text = open_text(file, mapping, name)
    if kind == "jsonl" and is_array(text.head):
        log.info("an array of JSON is read, although the ending says lines", file=name)
        kind = "json"
    return _TEXTS[kind](text, mapping, measurements, name), text.restore


def _dead_letters(letters: Sequence[BrokenLine], name: str, kind: str, restore: Callable[[bytes], bytes]) -> pa.Table:
    columns = {
        "value": [restore(letter.value)[:MAX_LINE_BYTES] for letter in letters],
        "content_type": "text/csv" if kind == "csv" else "application/json",
        "reason": [letter.reason for letter in letters],
        "detail": [letter.detail for letter in letters],
        "stage": "generate",
        "file": name,
        "line": [letter.line for letter in letters],
        "replays": 0,
    }
    return dead_letter_table(len(letters), columns)
