"""Map the columns of a recorded file, or the fields of records on the topic, to readings, according to a YAML file.

    format: csv                       # of a file: or parquet, jsonl; default: by its ending
    timestamp: {column: Datetime, format: "%d/%m/%Y %H:%M:%S", zone: Europe/Paris, ambiguous: first}
    equipment: {column: Machine}      # or {constant: household-1}
    measurements:
      voltage: Voltage                # measurement: column
      power: {column: Active_power, scale: 1000}      # value = cell * scale + offset
      current: {column: I, unit: mA}                  # value = cell converted to the declared unit
      pressure: {column: P, quality: P_status}        # status of this measurement alone
      running: {column: State, values: {"on": 1, "off": 0}}   # table of codes
    quality: {column: Status}         # of a historian: Good, Uncertain, Bad, or codes: opc-da, opc-ua
    bad: [I/O Timeout, -9999]         # cells that hold no value, and are named in `quality`
    delimiter: ";"                    # CSV only; default: comma
    encoding: latin-1                 # of CSV; default: that of the byte-order mark, else utf-8
    skip: 3                           # lines above the column names; those without all mapped columns need no entry
    header: [Datetime, Machine, Voltage]            # names of the columns if no line of the file has them
    comment: "#"                      # a line that begins with it holds no reading
    sheet: January                    # of a workbook; default: the first
    decimal: ","                      # of numbers that are text, as is thousands; defaults: point, no mark
    thousands: "."
    missing: ["", "?", -9999]         # cells that hold no value, numbers by their value; default: the empty cell

A timestamp without `format` is ISO 8601, or an epoch number, whose size determines the unit. `format` has strptime
codes, or is `excel` for serial numbers of a spreadsheet (days since 1899-12-30). `columns: [Date, Time]` joins several
columns by a space. 24:00 ends a day. `shift`, such as -PT15M for times that mark the ends of intervals, is added to
each timestamp: ISO 8601 or seconds.

`zone` (default UTC) applies to timestamps without a zone. When clocks go forward, readings with skipped local times
become dead letters. When clocks go back, an hour occurs twice, and all of its readings together determine the pass of
each. Readings that stay ambiguous become dead letters (`ambiguous: refuse`, the default), or readings of the `first` or
the `second` pass.

In records and JSON files a column is a field of the element, or a path to one (see `etl.mapping.paths`):

    record: avro                      # format of records (see `etl.mapping.record_format`); default: json
    readings: metrics                 # path to the elements; default: the record itself, or each element of an array
    equipment: {column: $topic, pattern: "plant/(.+)/data"}   # or {template: "{$.site}-{id}"}; default: the key
    timestamp: {column: ts}
    tag: name                         # long form: each element has a tag and a value; columns name tags
    value: value
    unit: unit                        # column with the unit of each value of the long form
    measurements: {voltage: U1}
"""

import codecs
import re
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from etl.errors import SettingsError
from etl.mapping.paths import check_column, of_value, parse_path
from etl.mapping.record_format import Delimiter, RecordFormat, RecordFormatEntry
from etl.mapping.time_format import check_format, shift_ms, start_ms, time_unit
from etl.mapping.units import conversion
from etl.model.catalogue import EquipmentId
from etl.model.measurements import Measurement, Measurements
from etl.model.yaml_file import first_problem, read_document

_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?00)?")
UTF_16 = ("utf-16", "utf-16-le", "utf-16-be")


def _zone(given: str) -> str:
    offset, name = _OFFSET.fullmatch(given), given
    if offset:
        # The names of POSIX have the other sign.
        name = f"Etc/GMT{'-' if offset[1] == '+' else '+'}{int(offset[2])}"
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{given!r} is no time zone, such as Europe/Paris, and no offset of hours, +01:00") from error
    return name


def _encoding(name: str) -> str:
    try:
        found = codecs.lookup(name).name
        # A newline must be one byte, because lines are split before they are decoded; UTF-16 is converted before.
        if found in UTF_16 or "\n".encode(name) == b"\n" or found == "utf-8-sig":
            return found
    except LookupError:
        pass
    raise ValueError(f"{name!r} is no encoding that can be read, such as utf-8 or latin-1")


def number_of(entry: str | int | float) -> float | None:
    """Return an entry of `missing` or `bad` as a number, None if it is none."""
    try:
        return float(entry.strip().replace(",", ".") if isinstance(entry, str) else entry)
    except (ValueError, OverflowError):
        return None


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _pattern(pattern: str) -> str:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    if compiled.groups != 1:
        raise ValueError(f"{pattern!r} needs one group in parentheses: the part that is used")
    return pattern


def _template(template: str) -> str:
    try:
        names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise ValueError(f"{template!r} is no template: {error}") from error
    if not names or not all(names):
        raise ValueError(f"{template!r} is no template, such as {{site}}-{{device}}")
    for name in names:
        check_column(name)
    return template


def _elements(path: str) -> str:
    # A path goes through all elements of an array, with or without this mark.
    path = path.replace("[*]", "").removeprefix(".")
    parse_path(path)
    return path


Column = Annotated[str, AfterValidator(check_column)]
Scalar = str | int | float | bool


class TimestampColumn(_Entry):
    """The column of timestamps, its format (None: ISO 8601 or epoch), and the zone of local times.

    `columns` are joined by a space; `column` is then the first of them. `pattern` is a regular expression whose group
    is the timestamp in the text. `shift` is added to each timestamp, ms. With `start` (UTC ms) the cells are numbers of
    `unit` since then.
    """

    column: Column
    columns: Annotated[list[Column], Field(max_length=6)] = []
    pattern: Annotated[str, AfterValidator(_pattern)] | None = None
    format: Annotated[str, AfterValidator(check_format)] | None = None
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    ambiguous: Literal["refuse", "first", "second"] = "refuse"
    shift: Annotated[int, BeforeValidator(shift_ms)] = 0
    start: Annotated[int, BeforeValidator(start_ms)] | None = None
    unit: Annotated[str, AfterValidator(time_unit)] = "s"

    @model_validator(mode="before")
    @classmethod
    def _first(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "columns" not in given:
            return given
        if "column" in given or not isinstance(given["columns"], list) or not given["columns"]:
            raise ValueError("give either a column, or columns such as [Date, Time]")
        return given | {"column": given["columns"][0]}

    @model_validator(mode="after")
    def _elapsed(self) -> "TimestampColumn":
        if self.start is not None and (self.format or self.columns):
            raise ValueError("start goes with one column of numbers, and no format")
        if "unit" in self.model_fields_set and self.start is None:
            raise ValueError("unit goes with start: the unit of the time elapsed since then")
        return self

    @property
    def names(self) -> list[str]:
        """The names of the columns that make a timestamp, in order."""
        return self.columns or [self.column]


class TextColumn(_Entry):
    """A column of texts; with `pattern` the part of each that its group matches."""

    column: Column
    pattern: Annotated[str, AfterValidator(_pattern)] | None = None


class EquipmentColumn(_Entry):
    """The column of equipment IDs, perhaps with a pattern, or a template of several columns, or one ID for all."""

    column: Column | None = None
    pattern: Annotated[str, AfterValidator(_pattern)] | None = None
    template: Annotated[str, AfterValidator(_template)] | None = None
    constant: EquipmentId | None = None

    @model_validator(mode="after")
    def _one(self) -> "EquipmentColumn":
        if sum(entry is not None for entry in (self.column, self.template, self.constant)) != 1:
            raise ValueError("give either a column, a template or a constant")
        if self.pattern is not None and self.column is None:
            raise ValueError("pattern goes with column")
        return self

    @property
    def columns(self) -> list[str]:
        """The names of the used columns."""
        if self.template is not None:
            return [name for _, name, _, _ in Formatter().parse(self.template) if name]
        return [] if self.column is None else [self.column]


class MeasurementColumn(_Entry):
    """The column of a measurement; a value is cell * scale + offset, in `unit` (default: the declared unit).

    `values` is a table of cells and their values, `quality` the column with the status of this measurement alone.
    """

    column: Column
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    unit: str | None = None
    values: dict[Scalar, Annotated[float, Field(allow_inf_nan=False)]] = {}
    quality: Column | None = None


def _converts(entry: MeasurementColumn) -> bool:
    return (entry.scale, entry.offset, entry.unit) != (1.0, 0.0, None)


class QualityColumn(_Entry):
    """The column with the status of a historian (None: each measurement names its own), and the cells of each grade.

    Texts that begin with Good, Uncertain or Bad need no list. `codes` explains numbers: OPC DA (192 is good) or the
    status codes of OPC UA (0 is good).
    """

    column: Column | None = None
    codes: Literal["opc-da", "opc-ua"] | None = None
    good: list[Scalar] = []
    uncertain: list[Scalar] = []
    bad: list[Scalar] = []


def _short(entry: object) -> object:
    return {"column": entry} if isinstance(entry, str) else entry


def _several(entry: object) -> object:
    return [entry] if isinstance(entry, str) else entry


class ColumnMapping(_Entry):
    """The meaning of the columns of a file."""

    format: Literal["csv", "parquet", "jsonl", "json", "excel"] | None = None
    timestamp: Annotated[TimestampColumn, BeforeValidator(_short)]
    equipment: Annotated[EquipmentColumn, BeforeValidator(_short)] = EquipmentColumn(column="$key")
    record: RecordFormatEntry = RecordFormat()
    readings: Annotated[str, AfterValidator(_elements)] | None = None
    tag: Annotated[TextColumn, BeforeValidator(_short)] | None = None
    value: Annotated[list[Column], Field(min_length=1, max_length=20), BeforeValidator(_several)] | None = None
    unit: Column | None = None
    quality: Annotated[QualityColumn, BeforeValidator(_short)] | None = None
    bad: list[str | int | float] = []
    measurements: Annotated[dict[str, Annotated[MeasurementColumn, BeforeValidator(_short)]], Field(min_length=1)]
    delimiter: Delimiter = ","
    decimal: Literal[".", ","] = "."
    thousands: Literal[".", ",", " ", "'"] | None = None
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    missing: list[str | int | float] = [""]
    skip: Annotated[int, Field(ge=0, le=10_000)] = 0
    header: Annotated[list[str], Field(min_length=1)] | None = None
    comment: Annotated[str, Field(pattern=r"^[!-~]{1,3}$")] | None = None
    sheet: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _told_apart(self) -> "ColumnMapping":
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}")
        if (self.tag is None) != (self.value is None):
            raise ValueError("tag and value go together: the columns of the long form")
        if self.unit is not None and self.tag is None:
            raise ValueError("unit names the column of units in the long form; a measurement has `unit: NAME`")
        if self.unit is not None and any(_converts(entry) for entry in self.measurements.values()):
            raise ValueError("each value has its unit by `unit`, so that no measurement has unit, scale or offset")
        own = any(entry.quality for entry in self.measurements.values())
        if own and self.tag:
            raise ValueError("the long form has one column of status: `quality: {column: ...}` beside `value`")
        if self.quality and not self.quality.column and not own:
            raise ValueError("quality names no column, and no measurement names its own")
        for column in self.columns if self.header else []:
            if (times := (self.header or []).count(column)) != 1:
                raise ValueError(f"header has column {column!r} {times} times")
        return self

    @property
    def missing_texts(self) -> list[str]:
        """The texts that mean a missing value."""
        return [str(entry) for entry in self.missing]

    @property
    def missing_numbers(self) -> list[float]:
        """The numbers that mean a missing value."""
        return [number for number in map(number_of, self.missing) if number is not None]

    @property
    def bad_texts(self) -> list[str]:
        """The texts that mean a bad value."""
        return [str(entry) for entry in self.bad]

    @property
    def bad_numbers(self) -> list[float]:
        """The numbers that mean a bad value."""
        return [number for number in map(number_of, self.bad) if number is not None]

    @property
    def columns(self) -> list[str]:
        """The names of the used columns, each once."""
        named = [*self.timestamp.names, *self.equipment.columns]
        if self.tag and self.value:
            named += [self.tag.column, *self.value, *([self.unit] if self.unit else [])]
        else:
            named += [entry.column for entry in self.measurements.values()]
            named += [entry.quality for entry in self.measurements.values() if entry.quality]
        if self.quality and self.quality.column:
            named.append(self.quality.column)
        return list(dict.fromkeys(named))


def read_mapping(path: Path, measurements: Measurements) -> ColumnMapping:
    """Read the mapping file of recorded files.

    Raises:
        SettingsError: the file cannot be read, an entry is wrong, or a measurement is not declared.
    """
    where = f"mapping file {path}"
    mapping = checked_mapping(read_document(path, "mapping"), where, measurements)
    _check_of_file(where, mapping)
    return mapping


def checked_mapping(document: Any, where: str, measurements: Measurements) -> ColumnMapping:
    """Return the mapping in a document of YAML; `where` begins the message of an error.

    Raises:
        SettingsError: an entry is wrong, or a measurement is not declared.
    """
    try:
        mapping = ColumnMapping.model_validate(document)
    except ValidationError as error:
        place, message = first_problem(error)
        named = f"{'.'.join(map(str, place))}: " if place else ""
        raise SettingsError(f"{where}: {named}{message}") from error
    declared = {measurement.name: measurement for measurement in measurements.declared}
    for name, entry in mapping.measurements.items():
        if name not in declared:
            raise SettingsError(
                f"{where}: measurement {name!r} is not declared (ETL_MEASUREMENTS_FILE);"
                f" declared are {', '.join(declared)}"
            )
        if declared[name].type == "text" and _converts(entry):
            raise SettingsError(f"{where}: measurement {name!r} is a text: no scale, no offset, no unit")
    try:
        entries = {name: _converted(entry, declared[name]) for name, entry in mapping.measurements.items()}
    except ValueError as error:
        raise SettingsError(f"{where}: {error}") from error
    return mapping.model_copy(update={"measurements": entries})


def _check_of_file(where: str, mapping: ColumnMapping) -> None:
    if "equipment" not in mapping.model_fields_set:
        raise SettingsError(f"{where}: equipment: Field required")
    for column in mapping.columns:
        if not of_value(column):
            raise SettingsError(f"{where}: {column!r} is part of a record on the topic, not of a file")


def _converted(entry: MeasurementColumn, measurement: Measurement) -> MeasurementColumn:
    """Return the entry with scale and offset that also convert its unit to the declared one."""
    if entry.unit is None:
        return entry
    scale, offset = conversion(entry.unit, measurement.unit)
    return entry.model_copy(update={"scale": entry.scale * scale, "offset": entry.offset * scale + offset})
