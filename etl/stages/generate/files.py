"""Read recorded readings from a CSV, Parquet or JSON lines file, in blocks; a bad line never stops the others."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import structlog

from etl.errors import SettingsError
from etl.mapping.ids import Column
from etl.mapping.language import ColumnMapping
from etl.model.measurements import Measurements
from etl.model.schemas import dead_letter_table
from etl.model.timestamps import OLDEST_MS
from etl.stages.generate.cells import BrokenLine, Cells, Parsed, check_columns, to_readings
from etl.stages.generate.opening import CODECS, endings, opened, reading
from etl.stages.generate.parquet import parquet_rows
from etl.stages.generate.repeated import told_apart
from etl.urls import shown

BLOCK_BYTES = 4 * 1024 * 1024
BLOCK_ROWS = 50_000
MAX_LINE_BYTES = 512 * 1024  # a longer line is not a reading, and would not fit into a dead letter
MAX_QUOTED_LINES = 1000  # a field that spans more lines is an error: a quote is wrong
_FORMATS = {"csv": "csv", "parquet": "parquet", "pq": "parquet", "jsonl": "jsonl", "ndjson": "jsonl"}
_NO_FORMAT = "recorded file {}: its ending names no format: add `format:` to the mapping"
_CONTENT_TYPES = {"csv": "text/csv", "parquet": "application/json", "jsonl": "application/json"}
_BOM = b"\xef\xbb\xbf"
log = structlog.get_logger("etl.recorded")


@dataclass(frozen=True)
class Recorded:
    """Rows of a file: readings (schema `generated`) and dead letters (schema `DEAD_LETTERS`), in file order."""

    readings: pa.Table
    dead_letters: pa.Table


def recorded_readings(
    url: str, mapping: ColumnMapping, measurements: Measurements, oldest_ms: int = OLDEST_MS
) -> Iterator[Recorded]:
    """Read a file by path or fsspec URL, or all members of a zip, in blocks of about BLOCK_ROWS rows.

    An epoch number before `oldest_ms` is not a timestamp.

    Raises:
        SettingsError: the file is missing, has not the mapped format or columns, or is damaged. The error may come
            after some tables; then the caller must discard these.
        Unreachable: the storage does not answer.
    """
    outer = _format(url, mapping)
    if outer is None and endings(url)[-1:] != ["zip"]:
        raise SettingsError(_NO_FORMAT.format(shown(url)))
    for name, file in opened(url, seek=outer == "parquet" or outer is None):
        kind = _format(name, mapping) or outer
        if kind is None:
            raise SettingsError(_NO_FORMAT.format(name))
        readers: dict[str, Callable[..., Iterator[Parsed]]] = {
            "csv": _csv,
            "jsonl": _json_lines,
            "parquet": partial(parquet_rows, most_rows=BLOCK_ROWS),
        }
        read = readers[kind]
        empty = True
        with file, reading(name):
            blocks = (
                to_readings(cells, broken, mapping, measurements, oldest_ms)
                for cells, broken in read(file, mapping, measurements, name)
            )
            for block in told_apart(blocks, mapping.timestamp, name):
                empty = empty and not len(block.readings) and not block.letters
                yield Recorded(block.readings, _dead_letters(block.letters, name, _CONTENT_TYPES[kind]))
        if empty:
            log.warning("recorded file is empty", file=name)


def _format(path: str, mapping: ColumnMapping) -> str | None:
    """Return the format in the mapping, or the format of the ending before that of a codec."""
    if mapping.format:
        return mapping.format
    found = endings(path)
    if found and found[-1] in CODECS:
        found.pop()
    return _FORMATS.get(found[-1]) if found else None


def _dead_letters(letters: Sequence[BrokenLine], name: str, content_type: str) -> pa.Table:
    columns = {
        "value": [letter.value[:MAX_LINE_BYTES] for letter in letters],
        "content_type": content_type,
        "reason": [letter.reason for letter in letters],
        "detail": [letter.detail for letter in letters],
        "stage": "generate",
        "file": name,
        "line": [letter.line for letter in letters],
        "replays": 0,
    }
    return dead_letter_table(len(letters), columns)


def _lines(file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the lines without line ends, with the number of the first, in lists of at most BLOCK_ROWS.

    A line that is too long is cut to a little more than MAX_LINE_BYTES.
    """
    number, rest = 1, b""
    while data := file.read(BLOCK_BYTES):
        lines = (rest + data).split(b"\n")
        rest = lines.pop()[: MAX_LINE_BYTES + 1]
        for first in range(0, len(lines), BLOCK_ROWS):
            yield number + first, lines[first : first + BLOCK_ROWS]
        number += len(lines)
    if rest:
        yield number, [rest]


def _csv(file: BinaryIO, mapping: ColumnMapping, _measurements: Measurements, name: str) -> Iterator[Parsed]:
    header: list[str] | None = None
    number, lines = 1, list[bytes]()
    for first, more in chain(_lines(file), [(0, list[bytes]())]):
        number, lines = (number, [*lines, *more]) if lines else (first, more)
        if not lines:
            continue
        if header is None:
            number, lines, header = _header(number, lines, mapping, name)
            if header is None:
                continue
            check_columns(mapping, header, name)
        parsed = _clean(number, lines, header, mapping)
        if parsed:
            lines = []
        else:
            records, done = _records(number, lines, mapping, len(header), last=not more)
            parsed = _careful(records, header, mapping)
            number, lines = number + done, lines[done:]
        yield parsed


def _header(
    number: int, lines: list[bytes], mapping: ColumnMapping, name: str
) -> tuple[int, list[bytes], list[str] | None]:
    """Return the names of the columns from the first line that is not empty."""
    for place, line in enumerate(lines):
        if line.removeprefix(_BOM).strip():
            try:
                names = _fields(line.removeprefix(_BOM).decode(mapping.encoding), mapping)
            except (UnicodeDecodeError, csv.Error) as error:
                raise SettingsError(
                    f"recorded file {name}: the line of column names cannot be read: {error}"
                ) from error
            return number + place + 1, lines[place + 1 :], [column.strip() for column in names]
    return number, [], None


def _fields(line: str, mapping: ColumnMapping) -> list[str]:
    return next(csv.reader([line], delimiter=mapping.delimiter, strict=True), [])


@cache
def _well_quoted(delimiter: str) -> re.Pattern[bytes]:
    """Return whether quotes enclose whole fields, each closed on its line."""
    separator = re.escape(delimiter).encode()
    field = rb'(?:"(?:[^"\n]++|"")*+"|[^"\n' + separator + rb"]*+)"
    return re.compile(rb"(?:" + field + rb"(?:" + separator + rb"|\r?\n|\r?\Z))*+")


def _clean(number: int, lines: list[bytes], header: list[str], mapping: ColumnMapping) -> Parsed | None:
    """Parse lines fast if each is one record; return None if they have other errors than the number of fields."""
    data = b"\n".join(lines)
    quoted = b'"' in data
    # Arrow accepts text after a closing quote, which is an error.
    if not data or (quoted and not _well_quoted(mapping.delimiter).fullmatch(data)):
        return None
    try:
        # Decode all columns, so that errors in unused columns count, too.
        text = data.decode(mapping.encoding)
    except UnicodeDecodeError:
        return None
    if len(max(lines, key=len)) > MAX_LINE_BYTES:
        return None
    wrong: list[pa_csv.InvalidRow] = []

    def skip(row: pa_csv.InvalidRow) -> str:
        wrong.append(row)
        return "skip"

    table = _read_csv(data if mapping.encoding == "utf-8" else text.encode(), header, mapping, quoted, skip)
    if table is None or len(table) + len(wrong) != len(lines) or any(row.number is None for row in wrong):
        return None
    at = np.delete(np.arange(len(lines)), [row.number - 1 for row in wrong])
    columns: dict[str, Column] = {
        column: cells.combine_chunks() for column, cells in zip(mapping.columns, table.columns, strict=True)
    }
    letters = [
        _wrong_fields(number + row.number - 1, lines[row.number - 1], row.actual_columns, len(header))
        for row in wrong
        if lines[row.number - 1].strip()
    ]
    return Cells(columns, number + at, lambda row: lines[at[row]].removesuffix(b"\r")), letters


def _read_csv(
    data: bytes,
    header: list[str],
    mapping: ColumnMapping,
    quoted: bool,
    skip: Callable[[pa_csv.InvalidRow], str],
) -> pa.Table | None:
    """Read the mapped columns of lines in UTF-8, in the order of the mapping; None if Arrow cannot."""
    # Named by position, because an unused column may have any name.
    names = [str(place) for place in range(len(header))]
    read = [names[header.index(column)] for column in mapping.columns]
    try:
        return pa_csv.read_csv(
            pa.BufferReader(data),
            read_options=pa_csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=pa_csv.ParseOptions(
                delimiter=mapping.delimiter,
                quote_char='"' if quoted else False,
                ignore_empty_lines=False,
                invalid_row_handler=skip,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=read, strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid:
        return None


def _wrong_fields(number: int, line: bytes, got: int, expected: int) -> BrokenLine:
    return BrokenLine(number, line.removesuffix(b"\r"), "recorded", f"{got} fields instead of {expected}")


def _records(
    number: int, lines: list[bytes], mapping: ColumnMapping, width: int, *, last: bool
) -> tuple[list[tuple[int, bytes]], int]:
    """Join lines of records whose quoted fields span several lines; return the records and their number of lines."""
    records: list[tuple[int, bytes]] = []
    place = 0
    while place < len(lines):
        line, taken = lines[place], 1
        if line.count(b'"') % 2 and _width(line, mapping) != width:
            end = _closing(lines, place)
            if end is None and not last and _may_close(lines[place:]):
                break
            joined = b"\n".join(lines[place : end + 1]) if end else b""
            # A quote that opens by mistake must not swallow the next lines.
            if end and len(joined) <= MAX_LINE_BYTES and _width(joined, mapping) == width:
                line, taken = joined, end - place + 1
        records.append((number + place, line))
        place += taken
    return records, place


def _may_close(lines: list[bytes]) -> bool:
    """Return whether a quote that these lines leave open may close in a later one."""
    return len(lines) < MAX_QUOTED_LINES and sum(map(len, lines)) <= MAX_LINE_BYTES


def _closing(lines: list[bytes], place: int) -> int | None:
    for end in range(place + 1, min(place + MAX_QUOTED_LINES, len(lines))):
        if lines[end].count(b'"') % 2:
            return end
    return None


def _width(record: bytes, mapping: ColumnMapping) -> int | None:
    try:
        return len(_fields(record.decode(mapping.encoding, errors="replace"), mapping))
    except csv.Error:
        return None


def _careful(records: list[tuple[int, bytes]], header: list[str], mapping: ColumnMapping) -> Parsed:
    """Parse record by record, so that each error costs only one record."""
    letters: list[BrokenLine] = []
    good: list[tuple[int, bytes]] = []
    rows: list[list[str]] = []
    for number, record in records:
        line = record.removesuffix(b"\r")
        if not line.strip():
            continue
        if len(line) > MAX_LINE_BYTES:
            letters.append(_too_long(number, line))
            continue
        try:
            fields = _fields(line.decode(mapping.encoding), mapping)
        except UnicodeDecodeError as error:
            letters.append(BrokenLine(number, line, "undecodable", f"not {mapping.encoding}: {error.reason}"))
        except csv.Error as error:
            letters.append(BrokenLine(number, line, "recorded", str(error)))
        else:
            if len(fields) == len(header):
                good.append((number, line))
                rows.append(fields)
            else:
                letters.append(_wrong_fields(number, line, len(fields), len(header)))
    columns: dict[str, Column] = {
        column: pa.array([row[place] for row in rows], pa.string())
        for column, place in ((column, header.index(column)) for column in mapping.columns)
    }
    return Cells(columns, np.array([at for at, _ in good], dtype=np.int64), lambda row: good[row][1]), letters


def _too_long(number: int, line: bytes) -> BrokenLine:
    return BrokenLine(number, line, "recorded", f"longer than {MAX_LINE_BYTES} bytes; no more of it is kept")


def _json_lines(file: BinaryIO, mapping: ColumnMapping, _measurements: Measurements, _name: str) -> Iterator[Parsed]:
    for first, lines in _lines(file):
        letters: list[BrokenLine] = []
        good: list[tuple[int, bytes]] = []
        objects: list[dict[str, object]] = []
        for number, line in enumerate(lines, first):
            line = line.removesuffix(b"\r")
            if not line.strip():
                continue
            try:
                objects.append(_object(line.removeprefix(_BOM) if number == 1 else line))
                good.append((number, line))
            except UnicodeError as error:
                letters.append(BrokenLine(number, line, "undecodable", str(error)))
            except (ValueError, RecursionError) as error:
                letters.append(BrokenLine(number, line, "recorded", str(error)))
        columns: dict[str, Column] = {column: [each.get(column) for each in objects] for column in mapping.columns}
        lines_of = np.array([at for at, _ in good], dtype=np.int64)
        yield Cells(columns, lines_of, lambda row, good=good: good[row][1]), letters  # type: ignore[misc]


def _object(line: bytes) -> dict[str, object]:
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES} bytes; no more of it is kept")
    found = json.loads(line.decode())
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    if b"\\ud" in line.lower():
        # Half a surrogate pair is valid JSON, but not text.
        json.dumps(found, ensure_ascii=False).encode()
    return found
