"""Parse the cells of a measurement in a recorded file: values, missing values or bad cells; never guess."""

import re
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.mapping.language import ColumnMapping, MeasurementColumn
from etl.mapping.units import conversion
from etl.model.measurements import Measurement

_NUMBER = r"^[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|(?i:inf|infinity|nan))$"
# Blanks and apostrophes that look the same.
_ALIKE = {" ": "[ \u00a0\u2009\u202f]", "'": "['\u2019]"}
_WHOLE = 2.0**53  # not every larger whole number is a double
_NUMBER_AND_UNIT = re.compile(r"([+-]?[\d.,' \u00a0\u2009\u202f\u2019]*\d(?:[eE][+-]?\d+)?)\s*([^\d\s.,'+-][^\d]*)\Z")
_NO_TEXT = pa.scalar(None, pa.string())
_NO_VALUE = pa.scalar(None, pa.float64())


def read_values(
    column: pa.Array | list[Any], measurement: Measurement, entry: MeasurementColumn, mapping: ColumnMapping
) -> tuple[pa.Array, dict[int, object]]:
    """Return the values, null if missing, and by row the cells without a value of the declared type.

    A cell of `mapping.bad` is a text among these cells, even if it is a number.
    """
    wrong: dict[int, object] = {}
    if measurement.type == "text":
        if isinstance(column, list):
            wrong = {row: cell for row, cell in enumerate(column) if not isinstance(cell, str | None)}
            column = pa.array([None if row in wrong else cell for row, cell in enumerate(column)], pa.string())
        texts = _present(column.cast(pa.string()), mapping)
        coded = _coded_texts(texts, mapping)
        return _without(texts, coded), wrong | coded
    named: dict[int, float] = {}
    if entry.values:
        column, named = _named(column, entry)
    if isinstance(column, list):
        values, wrong = _of_objects(column, measurement, entry, mapping)
    elif pa.types.is_string(column.type):
        values, wrong = _of_texts(_present(column, mapping), measurement, entry, mapping)
    elif pa.types.is_boolean(column.type):
        values = column.cast(pa.float64())
    else:
        values, wrong = _of_numbers(column, mapping)
    if entry.scale != 1.0:
        values = pc.multiply(values, entry.scale)
    if entry.offset != 0.0:
        values = pc.add(values, entry.offset)
    if named:
        values = _replaced(values, named)
    return values, wrong


def _named(column: pa.Array | list[Any], entry: MeasurementColumn) -> tuple[pa.Array | list[Any], dict[int, float]]:
    """Return the column without the cells in the table `values` of the mapping, and by row their values."""
    cells = column if isinstance(column, list) else column.to_pylist()
    # YAML takes on and off without quotes for true and false.
    table: dict[tuple[type, object], float] = {}
    for key, value in entry.values.items():
        table |= dict.fromkeys(_spellings(key), value)
    found = {row: table.get(_key(cell)) for row, cell in enumerate(cells)}
    named = {row: value for row, value in found.items() if value is not None}
    if isinstance(column, list):
        return [None if row in named else cell for row, cell in enumerate(cells)], named
    return _without(column, named), named


def _spellings(key: object) -> list[tuple[type, object]]:
    if isinstance(key, bool):
        return [(bool, key), *((str, word) for word in (("true", "on", "yes") if key else ("false", "off", "no")))]
    return [_key(key)]


def _key(cell: object) -> tuple[type, object]:
    """Return a cell so that 1 and 1.0 are equal, and 1 and true are not; texts without white space, in lower case."""
    if isinstance(cell, bool):
        return bool, cell
    if isinstance(cell, str):
        return str, cell.strip().lower()
    return (float, float(cell)) if isinstance(cell, int | float) and abs(cell) <= _WHOLE else (object, str(cell))


def _of_objects(
    column: list[Any], measurement: Measurement, entry: MeasurementColumn, mapping: ColumnMapping
) -> tuple[pa.Array, dict[int, object]]:
    """Parse JSON numbers, booleans as 1 and 0, and texts that are numbers."""
    if set(map(type, column)) <= {float, type(None)}:
        return _without_coded(pa.array(column, pa.float64()), mapping)
    wrong = {row: cell for row, cell in enumerate(column) if type(cell) is not str and not _fits(cell)}
    numbers = [None if row in wrong or type(cell) is str else _double(cell) for row, cell in enumerate(column)]
    values, coded = _without_coded(pa.array(numbers, pa.float64()), mapping)
    wrong |= coded
    rows = [row for row, cell in enumerate(column) if type(cell) is str]
    if rows:
        texts = _present(pa.array([column[row] for row in rows], pa.string()), mapping)
        parsed, bad = _of_texts(texts, measurement, entry, mapping)
        mask = np.zeros(len(column), dtype=bool)
        mask[rows] = True
        values = pc.replace_with_mask(values, pa.array(mask), parsed)
        wrong |= {rows[place]: cell for place, cell in bad.items()}
    return values, wrong


def _double(cell: Any) -> float | None:
    return None if cell is None else float(cell)


def _fits(cell: object) -> bool:
    # An int above 2**53 may not be a double.
    return cell is None or type(cell) in (float, bool) or (type(cell) is int and abs(cell) <= _WHOLE)


def _of_numbers(column: pa.Array, mapping: ColumnMapping) -> tuple[pa.Array, dict[int, object]]:
    values = column.cast(pa.float64(), safe=False)
    if pa.types.is_floating(column.type):
        return _without_coded(values, mapping, single=column.type.bit_width < 64)
    cells = {row: column[row].as_py() for row in _beyond(values)}
    wrong: dict[int, object] = {
        row: cell if isinstance(cell, int) else str(cell)
        for row, cell in cells.items()
        if cell % 1 == 0 and int(cell) != int(values[row].as_py())
    }
    values, coded = _without_coded(_without(values, wrong), mapping)
    return values, wrong | coded


def _of_texts(
    texts: pa.Array, measurement: Measurement, entry: MeasurementColumn, mapping: ColumnMapping
) -> tuple[pa.Array, dict[int, object]]:
    """Parse numbers with the marks of the mapping; another mark, or a mark in a wrong place, makes a cell bad."""
    values, lost = _parsed(texts, mapping)
    cells: dict[int, str] = {row: texts[row].as_py() for row in lost}
    wrong: dict[int, object] = dict(cells)
    if wrong:
        converted = _with_units(texts, lost, measurement, entry, mapping)
        words = {row: cell.lower() for row, cell in cells.items() if cell not in mapping.bad_texts}
        converted |= {row: float(word == "true") for row, word in words.items() if word in ("true", "false")}
        values = _replaced(values, converted)
        wrong = {row: cell for row, cell in wrong.items() if row not in converted}
    values, coded = _without_coded(_without(values, wrong), mapping)
    return values, wrong | {row: texts[row].as_py() for row in coded}


def _parsed(texts: pa.Array, mapping: ColumnMapping) -> tuple[pa.Array, list[int]]:
    """Return the numbers, and the rows of texts that are none, or whose number is no double."""
    plain = _plain(texts, mapping)
    try:
        values = plain.cast(pa.float64())
    except pa.ArrowInvalid:
        readable = pc.fill_null(pc.match_substring_regex(plain, _NUMBER), False)
        values = pc.if_else(readable, plain, _NO_TEXT).cast(pa.float64())
    lost = []
    if values.null_count > texts.null_count:
        lost = np.flatnonzero(pc.and_(texts.is_valid(), values.is_null()).to_numpy(zero_copy_only=False)).tolist()
    return values, lost + [row for row in _beyond(values) if not _exact(plain[row].as_py(), values[row].as_py())]


def _with_units(
    texts: pa.Array, rows: list[int], measurement: Measurement, entry: MeasurementColumn, mapping: ColumnMapping
) -> dict[int, float]:
    """Return by row the numbers of texts that are a number and a unit, in the unit of the entry, or the declared one.

    A scale may convert the unit, too. Then only a text in the declared unit is clear.
    """
    unit = entry.unit or measurement.unit
    scaled = entry.unit is None and (entry.scale, entry.offset) != (1.0, 0.0)
    split = {row: found.groups() for row in rows if (found := _NUMBER_AND_UNIT.match(texts[row].as_py()))}
    numbers, lost = _parsed(pa.array([number for number, _ in split.values()], pa.string()), mapping)
    converted = {}
    for place, (row, (_, suffix)) in enumerate(split.items()):
        with suppress(ValueError):
            scale, offset = conversion(suffix, unit)
            if place not in lost and (not scaled or (scale, offset) == (1.0, 0.0)):
                converted[row] = numbers[place].as_py() * scale + offset
    return converted


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


def _without(values: pa.Array, rows: Collection[int]) -> pa.Array:
    if not rows:
        return values
    mask = np.zeros(len(values), dtype=bool)
    mask[list(rows)] = True
    return pc.if_else(pa.array(mask), _NO_VALUE, values)


def _without_coded(
    values: pa.Array, mapping: ColumnMapping, *, single: bool = False
) -> tuple[pa.Array, dict[int, object]]:
    """Set numbers that mean a missing or a bad value to null; return the bad ones as texts by row.

    Args:
        values: the numbers.
        mapping: the mapping that lists them.
        single: compare in single precision.
    """
    wrong: dict[int, object] = {}
    for numbers, bad in ((mapping.missing_numbers, False), (mapping.bad_numbers, True)):
        if not numbers:
            continue
        if single:
            with np.errstate(over="ignore"):
                numbers = [*numbers, *(float(k(number)) for k in (np.float32, np.float16) for number in numbers)]
        found = pc.is_in(values, value_set=pa.array(numbers, pa.float64()))
        if bad:
            rows = np.flatnonzero(found.to_numpy(zero_copy_only=False)).tolist()
            wrong = {row: f"{values[row].as_py():.15g}" for row in rows}
        values = pc.if_else(found, _NO_VALUE, values)
    return values, wrong


def _replaced(values: pa.Array, by_row: dict[int, float]) -> pa.Array:
    """Return the values with others in some rows."""
    if not by_row:
        return values
    mask = np.zeros(len(values), dtype=bool)
    mask[list(by_row)] = True
    given = pa.array([by_row[row] for row in sorted(by_row)], values.type)
    return pc.replace_with_mask(values, pa.array(mask), given)


def _present(texts: pa.Array, mapping: ColumnMapping) -> pa.Array:
    texts = pc.utf8_trim_whitespace(texts)
    missing = pc.is_in(texts, value_set=pa.array(mapping.missing_texts, pa.string()))
    return pc.if_else(missing, _NO_TEXT, texts)


def _coded_texts(texts: pa.Array, mapping: ColumnMapping) -> dict[int, object]:
    """Return by row the texts that mean a bad value."""
    if not mapping.bad:
        return {}
    found = pc.is_in(texts, value_set=pa.array(mapping.bad_texts, pa.string()))
    return {row: texts[row].as_py() for row in np.flatnonzero(found.to_numpy(zero_copy_only=False)).tolist()}
