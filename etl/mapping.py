"""Map the columns of a recorded file to readings, as a YAML file says.

    format: csv                       # or parquet, jsonl; default: by the file's ending
    timestamp: {column: Datetime, format: "%d/%m/%Y %H:%M:%S", zone: Europe/Paris}
    equipment: {column: Machine}      # or {constant: household-1}
    measurements:
      voltage: Voltage                # measurement: column
      power: {column: Active_power, scale: 1000}      # value = cell * scale + offset
    delimiter: ";"                    # CSV only, as are the next three; defaults: comma, point, utf-8, the empty cell
    decimal: ","
    encoding: latin-1
    missing: ["", "?"]                # cells that hold no value

A timestamp without `format` (as strptime knows it) is ISO 8601 or an epoch number, whose unit its size tells. `zone`
(default UTC) is for those that name none. When clocks go forward, local times that never were are dead letters; when
they go back, an hour is there twice: the second pass begins where an equipment's time goes back within that hour.
"""

import codecs
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from etl.catalogue import MAX_KEY_BYTES, EquipmentId
from etl.document import first_problem, read_document
from etl.errors import SettingsError
from etl.measurements import Measurement, Measurements
from etl.readings import TIMESTAMP, generated
from etl.timestamps import MISSING, to_milliseconds

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Column: TypeAlias = pa.Array | list[Any]

# Ends in a zone, or is a number: what a zone of the mapping does not apply to.
_ABSOLUTE = r"[T ].*(?:[Zz]|[+-]\d{2}(?::?\d{2})?)$|^[+-]?[\d.]+(?:[eE][+-]?\d+)?$"
_NUMBER = r"^[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|(?i:inf|infinity|nan))$"
_HALF_A_DAY = 43_200_000  # ms; two changes of the clock are never so near


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{name!r} is no time zone, such as Europe/Paris") from error
    return name


def _encoding(name: str) -> str:
    try:
        # A newline must be one byte, as lines are told before they are decoded.
        if "\n".encode(name) == b"\n":
            return codecs.lookup(name).name
    except LookupError:
        pass
    raise ValueError(f"{name!r} is no encoding that can be read, such as utf-8 or latin-1")


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TimestampColumn(_Entry):
    """The column of timestamps, its strptime format (None: ISO 8601 or epoch), and the zone of local times."""

    column: str
    format: str | None = None
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"


class EquipmentColumn(_Entry):
    """The column of equipment IDs, or one ID for all rows."""

    column: str | None = None
    constant: EquipmentId | None = None

    @model_validator(mode="after")
    def _one(self) -> "EquipmentColumn":
        if (self.column is None) == (self.constant is None):
            raise ValueError("give either a column or a constant")
        return self


class MeasurementColumn(_Entry):
    """The column of a measurement; a value is cell * scale + offset."""

    column: str
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0


def _short(entry: object) -> object:
    return {"column": entry} if isinstance(entry, str) else entry


class Mapping(_Entry):
    """Which column of a file is what."""

    format: Literal["csv", "parquet", "jsonl"] | None = None
    timestamp: Annotated[TimestampColumn, BeforeValidator(_short)]
    equipment: Annotated[EquipmentColumn, BeforeValidator(_short)]
    measurements: Annotated[dict[str, Annotated[MeasurementColumn, BeforeValidator(_short)]], Field(min_length=1)]
    delimiter: Annotated[str, Field(pattern=r"^[\t !#-~]$")] = ","
    decimal: Literal[".", ","] = "."
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    missing: list[str] = [""]

    @property
    def columns(self) -> list[str]:
        """The columns that are read, each once."""
        named = [self.timestamp.column, self.equipment.column, *(entry.column for entry in self.measurements.values())]
        return list(dict.fromkeys(name for name in named if name is not None))


def read_mapping(path: Path, measurements: Measurements) -> Mapping:
    """Read a mapping file.

    Raises:
        SettingsError: the file cannot be read, an entry is wrong, or a measurement is not declared; in one line.
    """
    try:
        mapping = Mapping.model_validate(read_document(path, "mapping"))
    except ValidationError as error:
        place, message = first_problem(error)
        raise SettingsError(f"mapping file {path}: {'.'.join(map(str, place))}: {message}") from error
    declared = {measurement.name: measurement for measurement in measurements.declared}
    for name, entry in mapping.measurements.items():
        if name not in declared:
            raise SettingsError(
                f"mapping file {path}: measurement {name!r} is not declared (ETL_MEASUREMENTS_FILE);"
                f" declared are {', '.join(declared)}"
            )
        if declared[name].type == "text" and (entry.scale, entry.offset) != (1.0, 0.0):
            raise SettingsError(f"mapping file {path}: measurement {name!r} is a text: no scale, no offset")
    return mapping


@dataclass(frozen=True)
class Cells:
    """Rows of a file: per column n texts, typed values or objects, the n line numbers, and each line's bytes."""

    columns: dict[str, Column]
    lines: Integers
    raw: Callable[[int], bytes]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.lines)


@dataclass(frozen=True)
class Letter:
    """A line that is no reading."""

    line: int
    value: bytes
    reason: str
    detail: str


# For each equipment the last local time (ms) within a repeated hour, and whether it was in its second pass.
Passes = dict[str | None, tuple[int, bool]]


def to_readings(
    cells: Cells, mapping: Mapping, measurements: Measurements, passes: Passes
) -> tuple[pa.Table, list[Letter]]:
    """Make readings (schema `generated`) of the rows, and letters of those that are none, each in order.

    A cell that has no value of its measurement's type is missing in the reading; `json` then holds all of the reading,
    with the cell as it was. `passes` is kept between calls on one file.
    """
    equipment = _equipment(cells, mapping)
    ms = _timestamps(cells, mapping, equipment, passes)
    values: dict[str, pa.Array] = {}
    bad: dict[int, dict[str, object]] = {}
    present = np.zeros(len(cells), dtype=bool)
    for measurement in measurements.declared:
        entry = mapping.measurements.get(measurement.name)
        if entry is None:
            values[measurement.name] = pa.nulls(len(cells), measurement.arrow)
            continue
        values[measurement.name], wrong = _values(cells.columns[entry.column], measurement, entry, mapping)
        present |= values[measurement.name].is_valid().to_numpy(zero_copy_only=False)
        for row, cell in wrong.items():
            bad.setdefault(row, {})[measurement.name] = cell
    present[list(bad)] = True
    usable = equipment.is_valid().to_numpy(zero_copy_only=False)
    known = ms != MISSING
    good = usable & known & present
    json_column = _json(bad, ms, good, values)
    timestamps = pa.array(ms, pa.int64()).cast(TIMESTAMP)
    table = pa.Table.from_arrays([equipment, timestamps, *values.values(), json_column], schema=generated(measurements))
    if good.all():
        return table, []
    letters = [
        _letter(cells, mapping, row, usable=bool(usable[row]), known=bool(known[row]))
        for row in np.flatnonzero(~good).tolist()
    ]
    return table.filter(pa.array(good)), [letter for letter in letters if letter.value.strip()]


def _letter(cells: Cells, mapping: Mapping, row: int, *, usable: bool, known: bool) -> Letter:
    if not usable:
        cell, reason, detail = mapping.equipment.column, "missing-key", "no equipment ID of 1 to 255 bytes"
    elif not known:
        cell, reason, detail = mapping.timestamp.column, "timestamp", "no timestamp"
    else:
        return Letter(int(cells.lines[row]), cells.raw(row), "no-measurement", "no measurement at all")
    value = cells.columns[cell or ""][row]
    shown = value.as_py() if isinstance(value, pa.Scalar) else value
    return Letter(int(cells.lines[row]), cells.raw(row), reason, f"{detail}: {cell} is {str(shown)[:80]!r}")


def _texts(column: Column) -> pa.Array:
    """Make texts of a column of keys or timestamps; null where there is none."""
    if isinstance(column, list):
        # bool is an int in Python, and no text of either.
        plain = [
            str(cell) if isinstance(cell, str | int | float) and not isinstance(cell, bool) else None for cell in column
        ]
        column = pa.array(plain, pa.string())
    return pc.utf8_trim_whitespace(column.cast(pa.string()))


def _equipment(cells: Cells, mapping: Mapping) -> pa.Array:
    if mapping.equipment.column is None:
        return pa.repeat(pa.scalar(mapping.equipment.constant, pa.string()), len(cells))
    texts = _texts(cells.columns[mapping.equipment.column])
    bytes_long = pc.binary_length(texts)
    fits = pc.and_(pc.greater(bytes_long, 0), pc.less_equal(bytes_long, MAX_KEY_BYTES))
    return pc.if_else(fits, texts, pa.scalar(None, pa.string()))


def _timestamps(cells: Cells, mapping: Mapping, equipment: pa.Array, passes: Passes) -> Integers:
    """Give UTC milliseconds, floored; MISSING where there is none."""
    column, form, zone = cells.columns[mapping.timestamp.column], mapping.timestamp.format, mapping.timestamp.zone
    if isinstance(column, pa.Array) and pa.types.is_timestamp(column.type):
        ms, local = _typed(column), np.full(len(column), column.type.tz is None)
    else:
        texts = _texts(column)
        if form:
            ms, local = _formatted(texts, form), np.full(len(texts), "%z" not in form and "%Z" not in form)
        else:
            ms = to_milliseconds(texts.to_pandas())
            local = ~pc.fill_null(pc.match_substring_regex(texts, _ABSOLUTE), True).to_numpy(zero_copy_only=False)
    local &= ms != MISSING
    if zone != "UTC" and local.any():
        ms[local] = _utc(ms[local], zone, equipment.filter(pa.array(local)), passes)
    return ms


def _typed(column: pa.Array) -> Integers:
    per_ms = {"s": 1, "ms": 1, "us": 1000, "ns": 1_000_000}[column.type.unit]
    ms: Integers = column.cast(pa.int64()).fill_null(MISSING).to_numpy(zero_copy_only=False).copy()
    known = column.is_valid().to_numpy(zero_copy_only=False)
    ms[known] = ms[known] * (1000 if column.type.unit == "s" else 1) // per_ms
    return ms


def _formatted(texts: pa.Array, form: str) -> Integers:
    # pandas would take words such as "now" too.
    digits = pc.if_else(pc.match_substring_regex(texts, r"\d"), texts, pa.scalar(None, pa.string()))
    parsed = pd.to_datetime(digits.to_pandas(), format=form, errors="coerce", utc="%z" in form or "%Z" in form)
    if not isinstance(parsed.dtype, np.dtype | pd.DatetimeTZDtype):
        return np.full(len(texts), MISSING, dtype=np.int64)
    ms = parsed.dt.as_unit("us").astype("int64").to_numpy() // 1000
    return np.where(parsed.isna().to_numpy(), MISSING, ms)


def _utc(wall: Integers, zone: str, equipment: pa.Array, passes: Passes) -> Integers:
    """Turn local ms into UTC ms; MISSING where that local time never was."""
    local = pd.DatetimeIndex(wall.astype("datetime64[ms]"))
    # An hour that is there twice is summer time in its first pass; NaT is MISSING as a number.
    first, second = (
        local.tz_localize(zone, ambiguous=np.full(len(wall), summer), nonexistent="NaT").asi8
        for summer in (True, False)
    )
    ms = first.copy()
    twice = np.flatnonzero(first != second)
    for row, name in zip(twice.tolist(), equipment.take(pa.array(twice)).to_pylist(), strict=True):
        now = int(wall[row])
        last, again = passes.get(name, (now, False))
        again = abs(now - last) < _HALF_A_DAY and (again or now < last)
        passes[name] = (now, again)
        if again:
            ms[row] = second[row]
    return ms


def _values(
    column: Column, measurement: Measurement, entry: MeasurementColumn, mapping: Mapping
) -> tuple[pa.Array, dict[int, object]]:
    """Give the values, null where there is none, and the cells by row that have no value of the declared type."""
    if isinstance(column, list):
        plain = {str} if measurement.type == "text" else {float}
        wrong = {}
        if not set(map(type, column)) <= plain | {type(None)}:
            wrong = {row: cell for row, cell in enumerate(column) if not _fits(cell, measurement)}
            column = [None if row in wrong else cell for row, cell in enumerate(column)]
        values = pa.array(column, measurement.arrow)
    elif measurement.type == "text":
        wrong, values = {}, _present(column.cast(pa.string()), mapping)
    elif pa.types.is_string(column.type):
        values, wrong = _numbers(_present(column, mapping), mapping)
    else:
        wrong, values = {}, column.cast(pa.float64(), safe=False)
    if entry.scale != 1.0:
        values = pc.multiply(values, entry.scale)
    if entry.offset != 0.0:
        values = pc.add(values, entry.offset)
    return values, wrong


def _fits(cell: object, measurement: Measurement) -> bool:
    if cell is None:
        return True
    if measurement.type == "text":
        return isinstance(cell, str)
    # bool is an int in Python; and an int beyond 2**53 is no double.
    return type(cell) is float or (type(cell) is int and abs(cell) <= 2**53)


def _present(texts: pa.Array, mapping: Mapping) -> pa.Array:
    texts = pc.utf8_trim_whitespace(texts)
    missing = pc.is_in(texts, value_set=pa.array(mapping.missing, pa.string()))
    return pc.if_else(missing, pa.scalar(None, pa.string()), texts)


def _numbers(texts: pa.Array, mapping: Mapping) -> tuple[pa.Array, dict[int, object]]:
    plain = texts if mapping.decimal == "." else pc.replace_substring(texts, mapping.decimal, ".")
    try:
        return plain.cast(pa.float64()), {}
    except pa.ArrowInvalid:
        number = pc.fill_null(pc.match_substring_regex(plain, _NUMBER), True)
        wrong = {row: texts[row].as_py() for row in np.flatnonzero(~number.to_numpy(zero_copy_only=False)).tolist()}
        return pc.if_else(number, plain, pa.scalar(None, pa.string())).cast(pa.float64()), wrong


def _json(bad: dict[int, dict[str, object]], ms: Integers, good: Flags, values: dict[str, pa.Array]) -> pa.Array:
    """Write the readings with a bad cell as JSON, null for all others."""
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
    """Make a text of NaN and infinities, which JSON cannot hold: a bad value either way."""
    return repr(value) if isinstance(value, float) and not np.isfinite(value) else value
