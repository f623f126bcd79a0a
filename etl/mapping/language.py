"""Map the columns of a recorded file to readings, according to a YAML file.

    format: csv                       # or parquet, jsonl; default: by the file's ending
    timestamp: {column: Datetime, format: "%d/%m/%Y %H:%M:%S", zone: Europe/Paris, ambiguous: first}
    equipment: {column: Machine}      # or {constant: household-1}
    measurements:
      voltage: Voltage                # measurement: column
      power: {column: Active_power, scale: 1000}      # value = cell * scale + offset
    delimiter: ";"                    # CSV only, as is encoding; defaults: comma, utf-8
    encoding: latin-1
    decimal: ","                      # of numbers that are text, as is thousands; defaults: point, no mark
    thousands: "."
    missing: ["", "?", -9999]         # cells that hold no value, numbers by their value; default: the empty cell

A timestamp without `format` is ISO 8601, or an epoch number, whose size determines the unit. `format` has strptime
codes, or is `excel` for serial numbers of a spreadsheet (days since 1899-12-30). `zone` (default UTC) applies to
timestamps without a zone. When clocks go forward, readings with skipped local times become dead letters. When clocks go
back, an hour occurs twice, and all of its readings together determine the pass of each. Readings that stay ambiguous
become dead letters (`ambiguous: refuse`, the default), or readings of the `first` or the `second` pass.
"""

import codecs
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import pandas as pd
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from etl.errors import SettingsError
from etl.model.catalogue import EquipmentId
from etl.model.measurements import Measurements
from etl.model.yaml_file import first_problem, read_document

EXCEL = "excel"

_CODES = frozenset("aAwdbBmyYHIpMSfzZjUWGVu%")
# Common mistakes, and the intended entry.
_MEANT = {
    "s": "leave `format` out, the size of epoch numbers determines their unit",
    "-d": "write %d, which takes one digit too",
    "-m": "write %m, which takes one digit too",
    "-H": "write %H, which takes one digit too",
    "e": "write %d",
    "k": "write %H",
    "F": "write %Y-%m-%d",
    "T": "write %H:%M:%S",
    "R": "write %H:%M",
}
_DAYS = (("Yy", "mbB", "d"), ("Yy", "j"), ("Yy", "UW", "aAw"), ("G", "V", "aAwu"))
_NEEDS = {"I": "p", "p": "I", "M": "HI", "S": "M", "f": "S"}


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{name!r} is no time zone, such as Europe/Paris") from error
    return name


def _encoding(name: str) -> str:
    try:
        # A newline must be one byte, because lines are split before they are decoded.
        if "\n".encode(name) == b"\n":
            return codecs.lookup(name).name
    except LookupError:
        pass
    raise ValueError(f"{name!r} is no encoding that can be read, such as utf-8 or latin-1")


def _format(form: str) -> str:
    """Refuse a format at which pandas would guess, or which does not determine a moment."""
    if form == EXCEL:
        return form
    example = f"write it with strptime codes, such as %d/%m/%Y %H:%M:%S, or {EXCEL!r}; none for ISO 8601 and epochs"
    codes = re.findall(r"%(-?.?)", form, re.DOTALL)
    for code in codes:
        if code not in _CODES:
            raise ValueError(f"{form!r} has {f'%{code}'!r}, which is no code: {_MEANT.get(code, example)}")
    given = "".join(codes).replace("%", "")
    if not given:
        raise ValueError(f"{form!r} is no format: {example}")
    if len(set(given)) < len(given):
        raise ValueError(f"{form!r} has a code twice")
    if not any(all(set(part) & set(given) for part in day) for day in _DAYS):
        raise ValueError(f"{form!r} does not name the day, as %Y-%m-%d or %Y-%j does")
    for code, needed in _NEEDS.items():
        if code in given and not set(needed) & set(given):
            raise ValueError(f"{form!r} has %{code} without %{' or %'.join(needed)}")
    if "Z" in given and not form.endswith("%Z"):
        raise ValueError(f"{form!r} has %Z, which can only be read at the end")
    return _tried(form)


def _tried(form: str) -> str:
    """Let pandas parse a time that it has formatted, because it refuses more formats than the codes show."""
    moment = datetime.fromisoformat("2026-11-05T07:08:09.123+00:00")
    plain = without_zone_name(form)
    try:
        read = pd.to_datetime(pd.Series([moment.strftime(plain)]), format=plain, errors="coerce")[0]
    except (ValueError, re.error) as error:
        raise ValueError(f"{form!r} cannot be used: {' '.join(str(error).split())}") from error
    if pd.isna(read) or read.date() != moment.date():
        raise ValueError(f"{form!r} does not tell one day from another")
    return form


def without_zone_name(form: str) -> str:
    """Remove %Z from the end of a format."""
    return form.removesuffix("%Z").rstrip()


def _number(entry: str | int | float) -> float | None:
    try:
        return float(entry.strip().replace(",", ".") if isinstance(entry, str) else entry)
    except (ValueError, OverflowError):
        return None


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TimestampColumn(_Entry):
    """The column of timestamps, its format (None: ISO 8601 or epoch), and the zone of local times."""

    column: str
    format: Annotated[str, AfterValidator(_format)] | None = None
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    ambiguous: Literal["refuse", "first", "second"] = "refuse"


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


class ColumnMapping(_Entry):
    """The meaning of the columns of a file."""

    format: Literal["csv", "parquet", "jsonl"] | None = None
    timestamp: Annotated[TimestampColumn, BeforeValidator(_short)]
    equipment: Annotated[EquipmentColumn, BeforeValidator(_short)]
    measurements: Annotated[dict[str, Annotated[MeasurementColumn, BeforeValidator(_short)]], Field(min_length=1)]
    delimiter: Annotated[str, Field(pattern=r"^[\t !#-~]$")] = ","
    decimal: Literal[".", ","] = "."
    thousands: Literal[".", ",", " ", "'"] | None = None
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    missing: list[str | int | float] = [""]

    @model_validator(mode="after")
    def _told_apart(self) -> "ColumnMapping":
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}")
        return self

    @property
    def missing_texts(self) -> list[str]:
        """The texts that mean a missing value."""
        return [str(entry) for entry in self.missing]

    @property
    def missing_numbers(self) -> list[float]:
        """The numbers that mean a missing value."""
        return [number for number in map(_number, self.missing) if number is not None]

    @property
    def columns(self) -> list[str]:
        """The names of the used columns, each once."""
        named = [self.timestamp.column, self.equipment.column, *(entry.column for entry in self.measurements.values())]
        return list(dict.fromkeys(name for name in named if name is not None))


def read_mapping(path: Path, measurements: Measurements) -> ColumnMapping:
    """Read a mapping file.

    Raises:
        SettingsError: the file cannot be read, an entry is wrong, or a measurement is not declared.
    """
    try:
        mapping = ColumnMapping.model_validate(read_document(path, "mapping"))
    except ValidationError as error:
        place, message = first_problem(error)
        named = f"{'.'.join(map(str, place))}: " if place else ""
        raise SettingsError(f"mapping file {path}: {named}{message}") from error
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
