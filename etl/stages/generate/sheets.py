"""Rows of a sheet of a workbook (xlsx, xls, xlsb, ods), read by python-calamine."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import structlog

from etl.errors import SettingsError
from etl.mapping.ids import Column
from etl.mapping.language import ColumnMapping
from etl.model.measurements import Measurements
from etl.stages.generate.cells import Cells, Parsed
from etl.stages.generate.layout import MOST_TITLE_LINES, check_columns, find_names, is_names, is_units
from etl.stages.generate.lines import BLOCK_ROWS

log = structlog.get_logger("etl.recorded")


def sheet_rows(file: BinaryIO, mapping: ColumnMapping, measurements: Measurements, name: str) -> Iterator[Parsed]:
    """Yield the rows of a sheet in blocks. Memory holds the sheet, which has at most 1,048,576 rows.

    Raises:
        SettingsError: the extra `excel` is not installed, this is no workbook, or sheet or columns are missing.
    """
    rows = _sheet(file, mapping.sheet, name)
    first, names = _names(rows, mapping, measurements, name)
    if not names:
        return
    places = {column: names.index(column) for column in mapping.columns}
    for begin in range(first, len(rows), BLOCK_ROWS):
        numbers = [
            number
            for number in range(begin, min(begin + BLOCK_ROWS, len(rows)))
            if any(cell != "" for cell in rows[number]) and not is_names(_texts(rows[number]), mapping)
        ]
        block = [rows[number] for number in numbers]
        columns: dict[str, Column] = {column: [_plain(row[at]) for row in block] for column, at in places.items()}
        raw = lambda row, block=block: json.dumps(dict(zip(names, map(_plain, block[row]), strict=False))).encode()  # noqa: E731
        yield Cells(columns, np.array(numbers, dtype=np.int64) + 1, raw), []


def first_rows(file: BinaryIO, name: str, number: int) -> list[list[Any]]:
    """Return the first rows of the first sheet, with cells as in JSON; see `sheet_rows` for the errors."""
    return [["" if cell == "" else _plain(cell) for cell in row] for row in _sheet(file, None, name)[:number]]


def _sheet(file: BinaryIO, sheet: str | None, name: str) -> list[list[Any]]:
    try:
        import python_calamine as calamine
    except ImportError as error:
        raise SettingsError(
            f"recorded file {name} is a workbook: install sensor-etl[excel], or save it as CSV"
        ) from error
    try:
        book = calamine.CalamineWorkbook.from_filelike(file)
        names = book.sheet_names
        if sheet is not None and sheet not in names:
            raise SettingsError(f"recorded file {name} has no sheet {sheet!r}; it has {', '.join(names)}")
        if sheet is None and len(names) > 1:
            log.warning("the first sheet is read (`sheet` of the mapping)", file=name, sheets=", ".join(names))
        rows: list[list[Any]] = book.get_sheet_by_name(sheet or names[0]).to_python(skip_empty_area=False)
    except calamine.CalamineError as error:
        raise SettingsError(f"recorded file {name} is no good workbook: {' '.join(str(error).split())}") from error
    return rows


def _names(
    rows: list[list[Any]], mapping: ColumnMapping, measurements: Measurements, name: str
) -> tuple[int, list[str]]:
    """Return the number of the first row below the names of the columns, from 0, and the names."""
    head = [
        (number, _texts(row))
        for number, row in enumerate(rows[: mapping.skip + MOST_TITLE_LINES])
        if number >= mapping.skip and any(cell != "" for cell in row)
    ]
    if not head:
        return 0, []
    found = find_names(head, mapping)
    if found is None:
        best = max((names for _, names in head), key=lambda names: len(set(mapping.columns) & set(names)))
        check_columns(mapping, [each for each in best if each], name, hint=not set(mapping.columns) & set(best))
        raise SettingsError(f"recorded file {name} has no row with each mapped column once")
    place, names = found
    after = [(number, row) for number, row in head if number > place]
    if after and is_units(names, after[0][1], mapping, measurements):
        log.info("a row of units is not read", file=name, line=after[0][0] + 1)
        place = after[0][0]
    return max(place + 1, mapping.skip), names


def _texts(row: list[Any]) -> list[str]:
    return [str(cell).strip() for cell in row]


def _plain(cell: Any) -> object:
    """Return a cell as JSON has it: dates and times as ISO 8601, an empty cell as None."""
    if isinstance(cell, dt.datetime):
        # Times of a spreadsheet are doubles, a little off; a date is a time of midnight.
        near = cell + dt.timedelta(microseconds=500)
        text = near.isoformat(sep=" ", timespec="milliseconds")
        return text.removesuffix(" 00:00:00.000")
    if isinstance(cell, dt.date | dt.time):
        return cell.isoformat()
    if isinstance(cell, dt.timedelta):
        return str(cell)
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)  # every number of a spreadsheet is a double, also an equipment ID
    return None if cell == "" else cell
