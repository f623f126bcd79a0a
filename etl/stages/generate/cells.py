"""Convert rows of a recorded file to readings and dead letters, according to its mapping."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.mapping.ids import Column, shown_cells
from etl.mapping.language import ColumnMapping
from etl.mapping.long_form import join
from etl.mapping.readings import mapped, times_of
from etl.mapping.wallclock import Times
from etl.model.measurements import Measurements
from etl.model.schemas import TIMESTAMP, generated
from etl.model.timestamps import MISSING, OLDEST_MS

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cells:
    """n rows of a file: n texts, typed values or objects per column, n line numbers, and the bytes of each line.

    `blank` returns whether the bytes of a line hold nothing.
    """

    columns: dict[str, Column]
    lines: Integers
    raw: Callable[[int], bytes]
    blank: Callable[[bytes], bool] = lambda line: not line.strip()

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
    if mapping.tag:
        cells = _joined(cells, mapping)
    times = times_of(cells.columns, mapping, oldest_ms)
    found = mapped(cells.columns, len(cells), mapping, measurements, times)
    bad: dict[int, dict[str, object]] = {row: {"quality": ",".join(notes)} for row, notes in found.notes.items()}
    present = np.zeros(len(cells), dtype=bool)
    for name, values in found.values.items():
        present |= values.is_valid().to_numpy(zero_copy_only=False)
        for row, cell in found.wrong.get(name, {}).items():
            bad.setdefault(row, {})[name] = cell
            present[row] = True
    usable = found.equipment.is_valid().to_numpy(zero_copy_only=False)
    good = usable & (times.utc != MISSING) & present
    json_column = _json(bad, times.utc, good, found.values)
    timestamps = pa.array(times.utc, pa.int64()).cast(TIMESTAMP)
    table = pa.Table.from_arrays(
        [found.equipment, timestamps, *found.values.values(), json_column], schema=generated(measurements)
    )
    if good.all():
        return Block(table, times.local, cells.lines, cells.raw, broken)
    rows = np.flatnonzero(~good).tolist()
    letters = [_letter(cells, mapping, row, times, usable=bool(usable[row])) for row in rows]
    letters = sorted(
        [*broken, *(each for each in letters if not cells.blank(each.value))], key=lambda letter: letter.line
    )
    at = np.flatnonzero(good)
    return Block(table.take(at), times.local[at], cells.lines[at], lambda row: cells.raw(int(at[row])), letters)


def _joined(cells: Cells, mapping: ColumnMapping) -> Cells:
    """Join the rows of the long form to readings; the bytes of a reading are those of its lines."""
    joined = join(cells.columns, mapping, len(cells), np.zeros(len(cells), np.int64))
    lines = np.array([cells.lines[rows[0]] for rows in joined.elements], dtype=np.int64)
    return Cells(joined.columns, lines, lambda row: b"\n".join(map(cells.raw, joined.elements[row])), cells.blank)


def _letter(cells: Cells, mapping: ColumnMapping, row: int, times: Times, *, usable: bool) -> BrokenLine:
    if not usable:
        reason, detail = "missing-key", "no equipment ID of 1 to 255 bytes without control characters"
        detail = f"{detail}: {shown_cells(cells.columns, mapping.equipment.columns, row)}"
        return BrokenLine(int(cells.lines[row]), cells.raw(row), reason, detail)
    if times.utc[row] != MISSING:
        return BrokenLine(int(cells.lines[row]), cells.raw(row), "no-measurement", "no measurement at all")
    shown, detail = shown_cells(cells.columns, mapping.timestamp.names, row), "no timestamp"
    if times.local[row] != MISSING:
        detail = f"no such time in {mapping.timestamp.zone}, where clocks go forward"
    elif mapping.timestamp.format is None and re.search(r"is '[\d.]+'$", shown):
        detail = "no epoch of the time from 2000 on (`format` reads dates such as %Y%m%d, or `excel`)"
    return BrokenLine(int(cells.lines[row]), cells.raw(row), "timestamp", f"{detail}: {shown}")


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
