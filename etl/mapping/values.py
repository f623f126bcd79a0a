"""Parse the cells of a measurement in a recorded file: values, missing values or bad cells; never guess."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.mapping.language import ColumnMapping, MeasurementColumn
from etl.model.measurements import Measurement

_NUMBER = r"^[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|(?i:inf|infinity|nan))$"
# Blanks and apostrophes that look the same.
_ALIKE = {" ": "[ \u00a0\u2009\u202f]", "'": "['\u2019]"}
_WHOLE = 2.0**53  # not every larger whole number is a double
_NO_TEXT = pa.scalar(None, pa.string())
_NO_VALUE = pa.scalar(None, pa.float64())


def read_values(
    column: pa.Array | list[Any], measurement: Measurement, entry: MeasurementColumn, mapping: ColumnMapping
) -> tuple[pa.Array, dict[int, object]]:
    """Return the values, null if missing, and by row the cells without a value of the declared type."""
    wrong: dict[int, object] = {}
    if measurement.type == "text":
        if isinstance(column, list):
            wrong = {row: cell for row, cell in enumerate(column) if not isinstance(cell, str | None)}
            column = pa.array([None if row in wrong else cell for row, cell in enumerate(column)], pa.string())
        return _present(column.cast(pa.string()), mapping), wrong
    if isinstance(column, list):
        values, wrong = _of_objects(column, mapping)
    elif pa.types.is_string(column.type):
        values, wrong = _of_texts(_present(column, mapping), mapping)
    else:
        values, wrong = _of_numbers(column, mapping)
    if entry.scale != 1.0:
        values = pc.multiply(values, entry.scale)
    if entry.offset != 0.0:
        values = pc.add(values, entry.offset)
    return values, wrong


def _of_objects(column: list[Any], mapping: ColumnMapping) -> tuple[pa.Array, dict[int, object]]:
    """Parse JSON numbers; a text is a bad cell, unless it means a missing value."""
    wrong: dict[int, object] = {}
    if not set(map(type, column)) <= {float, type(None)}:
        wrong = {row: cell for row, cell in enumerate(column) if not _fits(cell)}
        column = [None if row in wrong else cell for row, cell in enumerate(column)]
        texts = [row for row, cell in wrong.items() if isinstance(cell, str)]
        values, bad = _of_texts(_present(pa.array([wrong[row] for row in texts], pa.string()), mapping), mapping)
        for place, row in enumerate(texts):
            if not values[place].is_valid and place not in bad:
                del wrong[row]
    return _without_missing(pa.array(column, pa.float64()), mapping), wrong


def _fits(cell: object) -> bool:
    # bool is an int in Python, and an int above 2**53 may not be a double.
    return cell is None or type(cell) is float or (type(cell) is int and abs(cell) <= _WHOLE)


def _of_numbers(column: pa.Array, mapping: ColumnMapping) -> tuple[pa.Array, dict[int, object]]:
    values = column.cast(pa.float64(), safe=False)
    if pa.types.is_floating(column.type):
        return _without_missing(values, mapping, single=column.type.bit_width < 64), {}
    cells = {row: column[row].as_py() for row in _beyond(values)}
    wrong: dict[int, object] = {
        row: cell if isinstance(cell, int) else str(cell)
        for row, cell in cells.items()
        if cell % 1 == 0 and int(cell) != int(values[row].as_py())
    }
    return _without_missing(_without(values, wrong), mapping), wrong


def _of_texts(texts: pa.Array, mapping: ColumnMapping) -> tuple[pa.Array, dict[int, object]]:
    """Parse numbers with the marks of the mapping; another mark, or a mark in a wrong place, makes a cell bad."""
    plain = _plain(texts, mapping)
    try:
        values = plain.cast(pa.float64())
    except pa.ArrowInvalid:
        readable = pc.fill_null(pc.match_substring_regex(plain, _NUMBER), False)
        values = pc.if_else(readable, plain, _NO_TEXT).cast(pa.float64())
    lost = []
    if values.null_count > texts.null_count:
        lost = np.flatnonzero(pc.and_(texts.is_valid(), values.is_null()).to_numpy(zero_copy_only=False)).tolist()
    inexact = [row for row in _beyond(values) if not _exact(plain[row].as_py(), values[row].as_py())]
    wrong: dict[int, object] = {row: texts[row].as_py() for row in [*lost, *inexact]}
    return _without_missing(_without(values, wrong), mapping), wrong


def _plain(texts: pa.Array, mapping: ColumnMapping) -> pa.Array:
    """Return numbers with a point and no other mark; null if a mark is in a wrong place."""
    decimal, thousands = mapping.decimal, mapping.thousands
    if decimal == "." and thousands is None:
        return texts
    point = re.escape(decimal)
    if thousands:
        mark = _ALIKE.get(thousands, re.escape(thousands))
        marked = pc.match_substring_regex(texts, mark)
        grouped = pc.match_substring_regex(texts, rf"^[+-]?[1-9]\d{{0,2}}(?:{mark}\d{{3}})+(?:{point}\d*)?$")
        texts = pc.if_else(pc.and_(marked, pc.invert(grouped)), _NO_TEXT, texts)
        texts = pc.replace_substring_regex(texts, mark, "")
    if decimal == ",":
        texts = pc.if_else(pc.match_substring(texts, "."), _NO_TEXT, texts)
        texts = pc.replace_substring(texts, ",", ".")
    return texts


def _exact(text: str, value: float) -> bool:
    return not re.fullmatch(r"[+-]?\d+", text) or int(text) == int(value)


def _beyond(values: pa.Array) -> list[int]:
    """Return the rows of finite values that are too large for exact whole doubles."""
    numbers = values.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        found: list[int] = np.flatnonzero((np.abs(numbers) >= _WHOLE) & np.isfinite(numbers)).tolist()
    return found


def _without(values: pa.Array, rows: dict[int, object]) -> pa.Array:
    if not rows:
        return values
    mask = np.zeros(len(values), dtype=bool)
    mask[list(rows)] = True
    return pc.if_else(pa.array(mask), _NO_VALUE, values)


def _without_missing(values: pa.Array, mapping: ColumnMapping, *, single: bool = False) -> pa.Array:
    """Set numbers that mean a missing value to null; `single`: compare them in single precision."""
    numbers = mapping.missing_numbers
    if not numbers:
        return values
    if single:
        with np.errstate(over="ignore"):
            numbers += [float(kind(number)) for kind in (np.float32, np.float16) for number in numbers]
    return pc.if_else(pc.is_in(values, value_set=pa.array(numbers, pa.float64())), _NO_VALUE, values)


def _present(texts: pa.Array, mapping: ColumnMapping) -> pa.Array:
    texts = pc.utf8_trim_whitespace(texts)
    missing = pc.is_in(texts, value_set=pa.array(mapping.missing_texts, pa.string()))
    return pc.if_else(missing, _NO_TEXT, texts)
