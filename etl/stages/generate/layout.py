"""Find the columns of a table: title lines above the names, the names, a row of units below them."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from etl.errors import SettingsError
from etl.mapping.language import ColumnMapping
from etl.model.measurements import Measurements
from etl.stages.generate.lines import HEAD_BYTES, Text

MOST_TITLE_LINES = 200
_MOST_LINES_OF_NAMES = 20
_SEPARATOR = re.compile(rb'^"?sep=(.)"?$', re.IGNORECASE)
_DELIMITERS = ";,\t|"
_VALUE = re.compile(r"[+-]?[.,]?\d|nan$|-?inf|null$|none$|n/?a$", re.IGNORECASE)

log = structlog.get_logger("etl.recorded")


@dataclass(frozen=True)
class Layout:
    """The names of the columns by position, empty for those without one, and the number of the first line below."""

    names: list[str]
    delimiter: str
    first: int


@dataclass(frozen=True)
class _Record:
    """The fields of the lines [place, end), numbered from 0."""

    place: int
    end: int
    fields: list[str]


Row = tuple[int, list[str]]


def find_layout(text: Text, mapping: ColumnMapping, measurements: Measurements, name: str) -> Layout | None:
    """Find the columns of a CSV file in its first lines; None if it is empty.

    Raises:
        SettingsError: no line has the mapped columns, or the line cannot be read; the message has the line to add.
    """
    lines = text.head.split(text.end)
    if not text.whole and len(lines) > 1:
        lines.pop()
    lines = [line.removesuffix(b"\r") for line in lines[: mapping.skip + MOST_TITLE_LINES]]
    delimiter, start = _separator(lines, mapping, name)
    found, rows = None, list[_Record]()
    # A title may have a single quote, so names that span lines come second.
    for joined in (False, True):
        rows = _records(lines, start, delimiter, text.encoding, mapping, joined=joined)
        found = found or find_names([(record.place, record.fields) for record in rows], mapping)
    if not rows:
        if text.whole:
            return None
        raise SettingsError(f"recorded file {name} has no column names in its first {HEAD_BYTES // 1024} KiB")
    if found is None:
        _refuse(lines, rows, text.encoding, mapping, name)
        return None
    place, names = found
    if above := [record.place for record in rows if record.place < place]:
        log.info("lines above the column names are not read", file=name, lines=len(above))
    end = start if place < 0 else next((record.end for record in rows if record.place == place), place + 1)
    after = [(record.place, record.fields) for record in rows if record.place >= end]
    return below(after, mapping, measurements, Layout(names, delimiter, end + 1), name)


def below(
    after: Sequence[Row], mapping: ColumnMapping, measurements: Measurements, layout: Layout, name: str
) -> Layout:
    """Return the layout with as many names as the first line below has fields, and without a row of units."""
    names, first = layout.names, layout.first
    if after and is_units(names, after[0][1], mapping, measurements):
        place, fields = after[0]
        log.info("a row of units is not read", file=name, line=place + 1, row=" ".join(fields)[:200])
        first, after = place + 2, after[1:]
    return Layout(fitted(names, len(after[0][1]), after[0][1]) if after else names, layout.delimiter, first)


def fitted(names: list[str], width: int, fields: Sequence[str]) -> list[str]:
    """Add or remove columns without a name at the end, if lines end with more or fewer delimiters than the names."""
    if width > len(names) and not any(field.strip() for field in fields[len(names) :]):
        return [*names, *[""] * (width - len(names))]
    return names[:width] if width < len(names) and not any(names[width:]) else names


def fits(fields: Sequence[str], names: Sequence[str]) -> bool:
    """Return whether a line has a field for each column with a name, and no more than that."""
    return not any(names[len(fields) :]) and not any(field.strip() for field in fields[len(names) :])


def find_names(rows: Sequence[Row], mapping: ColumnMapping) -> Row | None:
    """Return the first row that has each mapped column once; -1 and the declared names if the mapping has these."""
    declared = [column.strip() for column in mapping.header or []]
    for place, fields in rows:
        names = [field.strip() for field in fields]
        if declared:
            return (place, names) if names[: len(declared)] == declared else (-1, declared)
        if all(names.count(column) == 1 for column in mapping.columns):
            return place, names
    return None


def is_units(names: Sequence[str], fields: Sequence[str], mapping: ColumnMapping, measurements: Measurements) -> bool:
    """Return whether a row holds units: no digit in the timestamp, and of numbers no value but some text."""
    cells = dict(zip(names, fields, strict=False))
    if not fits(fields, names) or any(re.search(r"\d", cells[column]) for column in mapping.timestamp.names):
        return False
    numbers = [measurement.name for measurement in measurements.declared if measurement.type == "double"]
    columns = [mapping.measurements[name].column for name in numbers if name in mapping.measurements]
    texts = [cells[column].strip() for column in (mapping.value or columns)]
    unlike = (*mapping.missing_texts, "\ufffd")
    return any(texts) and not any(_VALUE.match(text) or text in unlike for text in texts if text)


def is_names(fields: Sequence[str], mapping: ColumnMapping) -> bool:
    """Return whether a line within the file holds the names of the columns again."""
    names = [field.strip() for field in fields]
    return all(names.count(column) == 1 for column in mapping.columns)


def _separator(lines: list[bytes], mapping: ColumnMapping, name: str) -> tuple[str, int]:
    """Return the delimiter, and the number of lines that are not read: those to skip, and `sep=;` of a spreadsheet."""
    found = _SEPARATOR.match(lines[mapping.skip].strip(b"\r")) if mapping.skip < len(lines) else None
    if not found:
        return mapping.delimiter, mapping.skip
    if "delimiter" in mapping.model_fields_set:
        return mapping.delimiter, mapping.skip + 1
    log.info("the first line determines the delimiter", file=name, delimiter=found[1].decode("latin-1"))
    return found[1].decode("latin-1"), mapping.skip + 1


def _records(
    lines: list[bytes], start: int, delimiter: str, encoding: str, mapping: ColumnMapping, *, joined: bool = True
) -> list[_Record]:
    """Return the lines with text as records; `joined`: quoted fields may span several lines."""
    records: list[_Record] = []
    comment = mapping.comment.encode() if mapping.comment else None
    place = start
    while place < len(lines):
        end = place + 1
        if lines[place].strip() and not (comment and lines[place].startswith(comment)):
            end = _closed(lines, place) if joined else end
            record = b"\n".join(lines[place:end]).decode(encoding, "replace")
            records.append(_Record(place, end, split(record, delimiter)))
        place = end
    return records


def _closed(lines: list[bytes], place: int) -> int:
    quotes = 0
    for end in range(place, min(place + _MOST_LINES_OF_NAMES, len(lines))):
        quotes += lines[end].count(b'"')
        if quotes % 2 == 0:
            return end + 1
    return place + 1


def split(record: str, delimiter: str) -> list[str]:
    """Split a line into fields; a line with wrong quotes is cut at each delimiter."""
    try:
        return next(csv.reader([record], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return record.split(delimiter)


def _refuse(lines: list[bytes], records: list[_Record], encoding: str, mapping: ColumnMapping, name: str) -> None:
    """Raise an error with the line of the mapping that would help."""
    for delimiter in _DELIMITERS.replace(mapping.delimiter, ""):
        other = _records(lines, mapping.skip, delimiter, encoding, mapping)
        if find_names([(record.place, record.fields) for record in other], mapping):
            written = "\\t" if delimiter == "\t" else delimiter
            raise SettingsError(
                f'recorded file {name} has other delimiters than the mapping: write `delimiter: "{written}"` into it'
            )
    best = max(records, key=lambda record: len(set(mapping.columns) & {field.strip() for field in record.fields}))
    place, fields = best.place, best.fields
    names = [field.strip() for field in fields]
    try:
        lines[place].decode(encoding)
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"recorded file {name}: the line of column names cannot be read: {error}; `encoding` of the mapping may be"
            " latin-1 or cp1252"
        ) from error
    check_columns(mapping, names, name, hint=not set(mapping.columns) & set(names))
    raise SettingsError(f"recorded file {name} has no line with each mapped column once")


def check_columns(mapping: ColumnMapping, present: Sequence[str], name: str, *, hint: bool = False) -> None:
    """Check that a file has each mapped column once.

    Raises:
        SettingsError: a column is missing or occurs twice; the message lists the columns.
    """
    for column in mapping.columns:
        if (times := present.count(column)) != 1:
            problem = f"has column {column!r} {times} times" if times else f"has no column {column!r}"
            more = "; if no line has the names of the columns, add `header: [NAME, ...]` to the mapping" if hint else ""
            raise SettingsError(f"recorded file {name} {problem}; it has {', '.join(present)}{more}")
