"""Convert n cells per column to n readings: IDs, times, values, bad cells and notes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.mapping.ids import Column, equipment_ids, matched, texts_of
from etl.mapping.language import ColumnMapping, MeasurementColumn, QualityColumn, number_of
from etl.mapping.long_form import status_of, unit_of
from etl.mapping.quality import BAD, GOOD, Grade, grade_of, note_word
from etl.mapping.units import conversion
from etl.mapping.values import read_values
from etl.mapping.wallclock import Times, read_times
from etl.model.measurements import Measurements
from etl.model.timestamps import OLDEST_MS

Flags = npt.NDArray[np.bool_]


@dataclass
class Mapped:
    """n readings.

    `equipment` is null without a valid ID. `values` has a column for each declared measurement, `wrong` the cells
    without a value of its type by measurement and row. `notes` are entries `name=word` of the column `quality` by row:
    words of bad cells, and the status of a value that is not good.
    """

    equipment: pa.Array
    times: Times | None
    values: dict[str, pa.Array] = field(default_factory=dict)
    wrong: dict[str, dict[int, object]] = field(default_factory=dict)
    notes: dict[int, list[str]] = field(default_factory=dict)


def mapped(
    columns: Mapping[str, Column],
    number: int,
    mapping: ColumnMapping,
    measurements: Measurements,
    times: Times | None,
) -> Mapped:
    """Return n readings from their cells, with their times if these are known already."""
    found = Mapped(equipment_ids(columns, mapping.equipment, number), times)
    known: dict[object, Grade] = {}
    for measurement in measurements.declared:
        entry = mapping.measurements.get(measurement.name)
        if entry is None:
            found.values[measurement.name] = pa.nulls(number, measurement.arrow)
            continue
        values, wrong = read_values(columns[entry.column], measurement, entry, mapping)
        if mapping.unit and measurement.type == "double":
            values = _in_declared_unit(values, wrong, columns[unit_of(entry.column)], measurement.unit)
        found.values[measurement.name] = values
        if wrong:
            found.wrong[measurement.name] = wrong
            _note_bad(found, measurement.name, wrong, mapping)
        status = _status_column(entry, mapping)
        if status:
            _grade(found, measurement.name, columns[status], mapping.quality or QualityColumn(), known)
    return found


def _in_declared_unit(values: pa.Array, wrong: dict[int, object], units: Column, declared: str) -> pa.Array:
    """Convert each value from its own unit; add those with a unit that does not fit to the wrong cells."""
    numbers = values.to_numpy(zero_copy_only=False).copy()
    cells = texts_of(units).fill_null("").to_numpy(zero_copy_only=False)
    for unit in set(cells.tolist()) - {"", declared}:
        rows = np.flatnonzero((cells == unit) & ~np.isnan(numbers))
        try:
            scale, offset = conversion(unit, declared)
        except ValueError:
            wrong |= {row: f"{numbers[row]:.15g} {unit}" for row in rows.tolist()}
            scale = offset = float("nan")
        numbers[rows] = numbers[rows] * scale + offset
    return pa.array(numbers, from_pandas=True)


def _status_column(entry: MeasurementColumn, mapping: ColumnMapping) -> str | None:
    shared = mapping.quality.column if mapping.quality else None
    if mapping.tag:
        return status_of(entry.column) if shared else None
    return entry.quality or shared


def times_of(columns: Mapping[str, Column], mapping: ColumnMapping, oldest_ms: int = OLDEST_MS) -> Times:
    """Return the times of n readings; an epoch number before `oldest_ms` is not a timestamp."""
    cells = [columns[name] for name in mapping.timestamp.names]
    if len(cells) == 1 and isinstance(cells[0], pa.Array) and pa.types.is_date(cells[0].type):
        column = cells[0].cast(pa.timestamp("ms"))
    elif len(cells) == 1 and isinstance(cells[0], pa.Array) and pa.types.is_timestamp(cells[0].type):
        (column,) = cells
    else:
        column = matched(pc.binary_join_element_wise(*map(_part_of_time, cells), " "), mapping.timestamp.pattern)
    return read_times(column, mapping.timestamp, mapping.decimal, oldest_ms)


def _part_of_time(column: Column) -> pa.Array:
    """Return dates and times as texts; pandas keeps dates as timestamps of midnight."""
    texts = texts_of(column)
    if isinstance(column, pa.Array) and pa.types.is_timestamp(column.type):
        dates = column.cast(pa.date32(), safe=False)
        texts = pc.if_else(pc.equal(dates.cast(column.type), column), dates.cast(pa.string()), texts)
    return texts


def _note_bad(found: Mapped, name: str, wrong: Mapping[int, object], mapping: ColumnMapping) -> None:
    if not mapping.bad:
        return
    for row, cell in wrong.items():
        if isinstance(cell, str) and (cell.strip() in mapping.bad_texts or number_of(cell) in mapping.bad_numbers):
            found.notes.setdefault(row, []).append(f"{name}={note_word(cell)}")


def _grade(found: Mapped, name: str, status: Column, entry: QualityColumn, known: dict[object, Grade]) -> None:
    """Note the values whose status is not good, and remove those whose status is bad."""
    cells = status if isinstance(status, list) else status.to_pylist()
    present = found.values[name].is_valid().to_numpy(zero_copy_only=False)
    bad = np.zeros(len(present), dtype=bool)
    for row in np.flatnonzero(present).tolist():
        cell = cells[row]
        key = (type(cell), cell) if isinstance(cell, str | int | float | None) else repr(cell)
        grade = known.get(key)
        if grade is None:
            grade = known[key] = grade_of(cell, entry)
        if grade.grade != GOOD:
            found.notes.setdefault(row, []).append(f"{name}={grade.word}")
            bad[row] = grade.grade == BAD
    if bad.any():
        values = found.values[name]
        found.values[name] = pc.if_else(pa.array(bad), pa.scalar(None, values.type), values)
