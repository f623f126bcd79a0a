"""Rows of a CSV file as people have it, in blocks; a bad line costs only itself."""

import csv
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import structlog

from etl.mapping.ids import Column
from etl.mapping.language import ColumnMapping
from etl.model.measurements import Measurements
from etl.stages.generate.cells import BrokenLine, Cells, Parsed
from etl.stages.generate.layout import Layout, Row, below, find_layout, fits, is_names, split
from etl.stages.generate.lines import MAX_LINE_BYTES, Text, blocks_of_lines

MAX_QUOTED_LINES = 1000  # a field that spans more lines is an error: a quote is wrong
_LINES_OF_LAYOUT = 10  # below repeated names, of which the first determine units and width

log = structlog.get_logger("etl.recorded")


def csv_rows(text: Text, mapping: ColumnMapping, measurements: Measurements, name: str) -> Iterator[Parsed]:
    """Yield the rows of a CSV file in blocks.

    Raises:
        SettingsError: a mapped column is missing.
    """
    layout = find_layout(text, mapping, measurements, name)
    if layout is None:
        return
    repeated = 0
    number, lines = 1, list[bytes]()
    for first, more in chain(blocks_of_lines(text), [(0, list[bytes]())]):
        number, lines = (number, [*lines, *more]) if lines else (first, more)
        if number < layout.first:
            lines, number = lines[layout.first - number :], max(number, min(layout.first, number + len(lines)))
        while (place := _names_again(data := b"\n".join(lines), lines, layout, text, mapping)) is not None:
            above = lines[:place]
            yield from _parsed(number, above, b"\n".join(above), layout, text, mapping, last=True)[0]
            number, lines = number + place, lines[place:]
            if more and sum(map(bool, lines)) <= _LINES_OF_LAYOUT:
                break
            layout, rows = _next_layout(number, lines, layout, text, mapping)
            layout = below(rows, mapping, measurements, layout, name)
            number, lines = layout.first, lines[layout.first - number :]
            repeated += 1
        if place is None:
            parsed, done = _parsed(number, lines, data, layout, text, mapping, last=not more)
            yield from parsed
            number, lines = number + done, lines[done:]
    if repeated:
        log.info("repeated lines of column names are not read", file=name, lines=repeated)


def _parsed(
    number: int, lines: list[bytes], data: bytes, layout: Layout, text: Text, mapping: ColumnMapping, *, last: bool
) -> tuple[list[Parsed], int]:
    """Parse lines, which `data` holds joined; return the rows, and the number of lines that need no later one."""
    if not lines:
        return [], 0
    clean = _clean(number, lines, data, layout, text, mapping)
    if clean:
        return [clean], len(lines)
    records, done = _records(number, lines, layout, text, mapping, last=last)
    return [_careful(records, layout, text, mapping)], done


def _names_again(data: bytes, lines: list[bytes], layout: Layout, text: Text, mapping: ColumnMapping) -> int | None:
    """Return the place of the first line that has the names of the columns again, as in files put together."""
    wanted = [column.encode(text.encoding, "replace") for column in mapping.columns]
    rarest = max(wanted, key=len)
    if not all(name in data for name in wanted):
        return None
    for place, line in enumerate(lines):
        if (
            rarest in line
            and all(name in line for name in wanted)
            and is_names(split(line.decode(text.encoding, "replace"), layout.delimiter), mapping)
        ):
            return place
    return None


def _next_layout(
    number: int, lines: list[bytes], layout: Layout, text: Text, mapping: ColumnMapping
) -> tuple[Layout, list[Row]]:
    """Return the columns that the first of these lines names, perhaps in another order, and the rows below it."""
    comment = mapping.comment.encode() if mapping.comment else None
    rows = [
        (number + place - 1, split(line.removesuffix(b"\r").decode(text.encoding, "replace"), layout.delimiter))
        for place, line in enumerate(lines[: 10 * _LINES_OF_LAYOUT])
        if line.strip() and not (comment and line.startswith(comment))
    ]
    return Layout([field.strip() for field in rows[0][1]], layout.delimiter, number + 1), rows[1:]


@cache
def _well_quoted(delimiter: str) -> re.Pattern[bytes]:
    """Return whether quotes enclose whole fields, each closed on its line."""
    separator = re.escape(delimiter).encode()
    field = rb'(?:"(?:[^"\n]++|"")*+"|[^"\n' + separator + rb"]*+)"
    return re.compile(rb"(?:" + field + rb"(?:" + separator + rb"|\r?\n|\r?\Z))*+")


def _clean(
    number: int, lines: list[bytes], data: bytes, layout: Layout, text: Text, mapping: ColumnMapping
) -> Parsed | None:
    """Parse lines fast if each is one record; return None if they have other errors than the number of fields."""
    if mapping.comment:
        comment = mapping.comment.encode()
        lines = [b"" if line.startswith(comment) else line for line in lines]
        data = b"\n".join(lines)
    quoted = b'"' in data
    # Arrow accepts text after a closing quote, which is an error.
    if not data or (quoted and not _well_quoted(layout.delimiter).fullmatch(data)):
        return None
    try:
        # Decode all columns, so that errors in unused columns count, too.
        decoded = data.decode(text.encoding)
    except UnicodeDecodeError:
        return None
    if max(map(len, lines)) > MAX_LINE_BYTES:
        return None
    wrong: list[pa_csv.InvalidRow] = []

    def skip(row: pa_csv.InvalidRow) -> str:
        wrong.append(row)
        return "skip"

    table = _read_csv(data if text.encoding == "utf-8" else decoded.encode(), layout, mapping, quoted, skip)
    if table is None or len(table) + len(wrong) != len(lines) or any(row.number is None for row in wrong):
        return None
    rejected = [row for row in wrong if not _blank(lines[row.number - 1], layout)]
    if any(fits(split(row.text, layout.delimiter), layout.names) for row in rejected):
        return None
    at = np.delete(np.arange(len(lines)), [row.number - 1 for row in wrong])
    columns: dict[str, Column] = {
        column: cells.combine_chunks() for column, cells in zip(mapping.columns, table.columns, strict=True)
    }
    letters = [
        _wrong_fields(number + row.number - 1, lines[row.number - 1], row.actual_columns, layout) for row in rejected
    ]
    raw = lambda row: lines[at[row]].removesuffix(b"\r")  # noqa: E731
    return Cells(columns, number + at, raw, lambda line: _blank(line, layout)), letters


def _blank(line: bytes, layout: Layout) -> bool:
    """Return whether a line has no cell with text: a spreadsheet ends with such lines."""
    return not line.strip().strip(b' \t\r"' + layout.delimiter.encode())


def _read_csv(
    data: bytes,
    layout: Layout,
    mapping: ColumnMapping,
    quoted: bool,
    skip: Callable[[pa_csv.InvalidRow], str],
) -> pa.Table | None:
    """Read the mapped columns of lines in UTF-8, in the order of the mapping; None if Arrow cannot."""
    # Named by position, because an unused column may have any name.
    names = [str(place) for place in range(len(layout.names))]
    read = [names[layout.names.index(column)] for column in mapping.columns]
    try:
        return pa_csv.read_csv(
            pa.BufferReader(data),
            read_options=pa_csv.ReadOptions(column_names=names, use_threads=False),
            parse_options=pa_csv.ParseOptions(
                delimiter=layout.delimiter,
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


def _wrong_fields(number: int, line: bytes, got: int, layout: Layout) -> BrokenLine:
    return BrokenLine(number, line.removesuffix(b"\r"), "recorded", f"{got} fields instead of {len(layout.names)}")


def _records(
    number: int, lines: list[bytes], layout: Layout, text: Text, mapping: ColumnMapping, *, last: bool
) -> tuple[list[tuple[int, bytes]], int]:
    """Join lines of records whose quoted fields span several lines; return the records and their number of lines."""
    records: list[tuple[int, bytes]] = []
    comment = mapping.comment.encode() if mapping.comment else None
    place = 0
    while place < len(lines):
        line, taken = lines[place], 1
        if comment and line.startswith(comment):
            place += 1
            continue
        if line.count(b'"') % 2 and not _fits(line, layout, text):
            end = _closing(lines, place)
            if end is None and not last and _may_close(lines[place:]):
                break
            joined = text.end.join(lines[place : end + 1]) if end else b""
            # A quote that opens by mistake must not swallow the next lines.
            if end and len(joined) <= MAX_LINE_BYTES and _fits(joined, layout, text):
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


def _fits(record: bytes, layout: Layout, text: Text) -> bool:
    try:
        return fits(_fields(record.decode(text.encoding, errors="replace"), layout), layout.names)
    except csv.Error:
        return False


def _fields(line: str, layout: Layout) -> list[str]:
    return next(csv.reader([line], delimiter=layout.delimiter, strict=True), [])


def _careful(records: list[tuple[int, bytes]], layout: Layout, text: Text, mapping: ColumnMapping) -> Parsed:
    """Parse record by record, so that each error costs only one record."""
    letters: list[BrokenLine] = []
    good: list[tuple[int, bytes]] = []
    rows: list[list[str]] = []
    for number, record in records:
        line = record.removesuffix(b"\r")
        if _blank(line, layout):
            continue
        if len(line) > MAX_LINE_BYTES:
            letters.append(_too_long(number, line))
            continue
        try:
            fields = _fields(line.decode(text.encoding), layout)
        except UnicodeDecodeError as error:
            letters.append(BrokenLine(number, line, "undecodable", f"not {text.encoding}: {error.reason}"))
        except csv.Error as error:
            letters.append(BrokenLine(number, line, "recorded", str(error)))
        else:
            if fits(fields, layout.names):
                good.append((number, line))
                rows.append(fields)
            else:
                letters.append(_wrong_fields(number, line, len(fields), layout))
    places = {column: layout.names.index(column) for column in mapping.columns}
    columns: dict[str, Column] = {
        column: pa.array([row[place] for row in rows], pa.string()) for column, place in places.items()
    }
    lines = np.array([at for at, _ in good], dtype=np.int64)
    return Cells(columns, lines, lambda row: good[row][1], lambda line: _blank(line, layout)), letters


def _too_long(number: int, line: bytes) -> BrokenLine:
    return BrokenLine(number, line, "recorded", f"longer than {MAX_LINE_BYTES} bytes; no more of it is kept")
