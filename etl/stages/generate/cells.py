"""Convert rows of a recorded file to readings and dead letters, according to its mapping."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.errors import SettingsError
from etl.mapping.language import ColumnMapping
from etl.mapping.values import read_values
from etl.mapping.wallclock import Times, read_times
from etl.model.equipment import equipment_id
from etl.model.measurements import Measurements
from etl.model.schemas import TIMESTAMP, generated
from etl.model.timestamps import MISSING, OLDEST_MS

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Column: TypeAlias = pa.Array | list[Any]


@dataclass(frozen=True)
class Cells:
    """n rows of a file: n texts, typed values or objects per column, n line numbers, and the bytes of each line."""

    columns: dict[str, Column]
    lines: Integers
    raw: Callable[[int], bytes]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.lines)


@dataclass(frozen=True)
class BrokenLine:
    """A line that is not a reading."""

    line: int
    value: bytes
    reason: str
    detail: str


@dataclass(frozen=True)
class Block:
    """Rows of a file: n readings (schema `generated`), and dead letters for the other rows.

    Each reading has the local ms of its timestamp (MISSING if it names a zone), its line number and the bytes of its
    line.
    """

    readings: pa.Table
    local: Integers
    lines: Integers
    raw: Callable[[int], bytes]
    letters: Sequence[BrokenLine]


def to_readings(
    cells: Cells,
    broken: Sequence[BrokenLine],
    mapping: ColumnMapping,
    measurements: Measurements,
    oldest_ms: int = OLDEST_MS,
) -> Block:
    """Convert rows to readings, and the other rows and the broken lines to dead letters; each in order.

    A cell without a value of its measurement's type is missing in the reading; `json` then holds the whole reading with
    the original cell. An epoch number before `oldest_ms` is not a timestamp.
    """
    equipment = _equipment(cells, mapping)
    column = cells.columns[mapping.timestamp.column]
    if not (isinstance(column, pa.Array) and pa.types.is_timestamp(column.type)):
        column = _texts(column)
    times = read_times(column, mapping.timestamp, mapping.decimal, oldest_ms)
    values: dict[str, pa.Array] = {}
    bad: dict[int, dict[str, object]] = {}
    present = np.zeros(len(cells), dtype=bool)
    for measurement in measurements.declared:
        entry = mapping.measurements.get(measurement.name)
        if entry is None:
            values[measurement.name] = pa.nulls(len(cells), measurement.arrow)
            continue
        values[measurement.name], wrong = read_values(cells.columns[entry.column], measurement, entry, mapping)
        present |= values[measurement.name].is_valid().to_numpy(zero_copy_only=False)
        for row, cell in wrong.items():
            bad.setdefault(row, {})[measurement.name] = cell
    present[list(bad)] = True
    usable = equipment.is_valid().to_numpy(zero_copy_only=False)
    good = usable & (times.utc != MISSING) & present
    json_column = _json(bad, times.utc, good, values)
    timestamps = pa.array(times.utc, pa.int64()).cast(TIMESTAMP)
    table = pa.Table.from_arrays([equipment, timestamps, *values.values(), json_column], schema=generated(measurements))
    if good.all():
        return Block(table, times.local, cells.lines, cells.raw, broken)
    letters = [_letter(cells, mapping, row, times, usable=bool(usable[row])) for row in np.flatnonzero(~good).tolist()]
    letters = sorted([*broken, *(each for each in letters if each.value.strip())], key=lambda letter: letter.line)
    at = np.flatnonzero(good)
    return Block(table.take(at), times.local[at], cells.lines[at], lambda row: cells.raw(int(at[row])), letters)


def _letter(cells: Cells, mapping: ColumnMapping, row: int, times: Times, *, usable: bool) -> BrokenLine:
    if not usable:
        cell, reason, detail = (
            mapping.equipment.column,
            "missing-key",
            "no equipment ID of 1 to 255 bytes without control characters",
        )
    elif times.utc[row] == MISSING:
        cell, reason, detail = mapping.timestamp.column, "timestamp", "no timestamp"
        if times.local[row] != MISSING:
            detail = f"no such time in {mapping.timestamp.zone}, where clocks go forward"
    else:
        return BrokenLine(int(cells.lines[row]), cells.raw(row), "no-measurement", "no measurement at all")
    value = cells.columns[cell or ""][row]
    shown = value.as_py() if isinstance(value, pa.Scalar) else value
    text = str(shown)[:80]
    if reason == "timestamp" and mapping.timestamp.format is None and re.fullmatch(r"[\d.]+", text):
        detail = "no epoch of the time from 2000 on (`format` reads dates such as %Y%m%d, or `excel`)"
    return BrokenLine(int(cells.lines[row]), cells.raw(row), reason, f"{detail}: {cell} is {text!r}")


def _texts(column: Column) -> pa.Array:
    """Convert a column of keys or timestamps to texts; null if there is none."""
    if isinstance(column, list):
        # bool is an int in Python, but is neither a key nor a timestamp.
        plain = [
            str(cell) if isinstance(cell, str | int | float) and not isinstance(cell, bool) else None for cell in column
        ]
        column = pa.array(plain, pa.string())
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def _equipment(cells: Cells, mapping: ColumnMapping) -> pa.Array:
    if mapping.equipment.column is None:
        return pa.repeat(pa.scalar(mapping.equipment.constant, pa.string()), len(cells))
    encoded = _texts(cells.columns[mapping.equipment.column]).dictionary_encode()
    return pa.array([_id(text) for text in encoded.dictionary.to_pylist()], pa.string()).take(encoded.indices)


def _id(text: str) -> str | None:
    try:
        return equipment_id(text)
    except ValueError:
        return None


def _json(bad: dict[int, dict[str, object]], ms: Integers, good: Flags, values: dict[str, pa.Array]) -> pa.Array:
    """Return the readings with a bad cell as JSON, null for all others."""
    if not bad:
        return pa.nulls(len(ms), pa.binary())
    rows: list[bytes | None] = [None] * len(ms)
    for row, cells in bad.items():
        if good[row]:
            reading: dict[str, object] = {"timestamp": f"{np.datetime64(int(ms[row]), 'ms')}Z"}
            reading |= {name: _plain(column[row].as_py()) for name, column in values.items() if column[row].is_valid}
            rows[row] = json.dumps(reading | cells).encode()
    return pa.array(rows, pa.binary())


def _plain(value: object) -> object:
    """Convert NaN and infinities to text, because JSON has no such numbers; the text is a bad value, too."""
    return repr(value) if isinstance(value, float) and not np.isfinite(value) else value


# Rows of a file, and its broken lines.
Parsed = tuple[Cells, list[BrokenLine]]


def check_columns(mapping: ColumnMapping, present: Sequence[str], name: str) -> None:
    """Check that a file has each mapped column once.

    Raises:
        SettingsError: a column is missing or occurs twice; the message lists the columns.
    """
    for column in mapping.columns:
        if (times := present.count(column)) != 1:
            problem = f"has column {column!r} {times} times" if times else f"has no column {column!r}"
            raise SettingsError(f"recorded file {name} {problem}; it has {', '.join(present)}")
