"""Guess a first mapping from sample rows; a person checks it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import pandas as pd
import yaml

from etl.mapping.time_format import EXCEL
from etl.mapping.units import conversion
from etl.model.measurements import Measurement, Measurements
from etl.model.timestamps import OLDEST_MS, to_milliseconds

# Usual names of measurements, as whole words.
_ALIASES = {
    "voltage": {"u", "v", "volt", "volts", "spannung", "tension"},
    "current": {"i", "amp", "amps", "ampere", "intensity", "strom"},
    "frequency": {"f", "freq", "hz", "frequenz"},
    "temperature": {"t", "temp", "temperatur"},
    "power_factor": {"pf", "cosphi", "cos"},
    "vibration": {"vib", "vrms"},
    "pressure": {"p", "press", "druck"},
    "humidity": {"rh", "hum", "feuchte"},
}
_TIME = re.compile(r"(^|[^a-z])(ts|t|time|timestamp|date|datetime|zeit|zeitstempel|datum|utc)([^a-z]|$)|time|date")
_MACHINE = re.compile(
    r"device|machine|masch|equipment|asset|meter|sensor|station|host|serial|anlage|(^|[^a-z])(id|unit|name)([^a-z]|$)"
)
_UNIT = re.compile(r"^(.*?)\s*[\[(]([^\])]+)[\])]\s*$")
_FORMATS = (
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M:%S,%f",
    "%d.%m.%Y %H:%M:%S.%f",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%d-%m-%Y %H:%M:%S",
    "%Y.%m.%d %H:%M:%S",
    "%Y.%m.%d.%H.%M.%S",
    "%Y-%m-%d-%H-%M-%S",
    "%d.%m.%y %H:%M:%S",
    "%d.%m.%y %H:%M",
    "%d-%b-%Y %H:%M:%S.%f",
    "%d-%b-%Y %H:%M:%S",
    "%d-%b-%y %H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%Y%m%d%H%M%S",
    "%Y%m%d %H%M%S",
    "%Y%m%d_%H%M%S",
    "%Y%m%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
)
_COMMA = re.compile(r"[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+")
_THOUSANDS = {
    ",": re.compile(r"[+-]?\d{1,3}(?:,\d{3})+\.\d+"),
    ".": re.compile(r"[+-]?\d{1,3}(?:\.\d{3})+,\d+"),
}
_FRACTION = re.compile(r"[+-]?\d*[.,]\d+")
_TAG = re.compile(
    r"(?:tag|var|variable|point|signal|item|metric|channel|parameter)[ _]?(?:name|id|path)?|n|_field"
    r"|node[ _]?id|entity[ _]?id"
)
_VALUE = re.compile(r"_?(?:var|tag|point)?[ _]?value|val|wert|v|state")
_STATUS = re.compile(r"(?:opc)?[ _]?(?:quality|status)|q|qualität")
_SERIAL = re.compile(r"[34]\d{4}(?:[.,]\d+)?")  # of a spreadsheet, from 1982 to 2036
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?")


_DAY, _CLOCK = re.compile(r"date|datum|day|tag"), re.compile(r"time|zeit|uhr|hour")
_OF_DAY = re.compile(r"\d{1,2}[:.]\d{2}([:.]\d{2})?")


class _Time(NamedTuple):
    columns: list[str]
    formats: list[str]

    @property
    def entry(self) -> dict[str, Any]:
        """The entry of the mapping without a format."""
        return {"column": self.columns[0]} if len(self.columns) == 1 else {"columns": self.columns}


def guess_mapping(
    columns: Mapping[str, Sequence[Any]],
    measurements: Measurements,
    given: Mapping[str, object],
    keyed: bool,
    units: Mapping[str, str] | None = None,
) -> str:
    """Return the YAML text of a mapping.

    Args:
        columns: sample cells by column.
        measurements: the declared measurements.
        given: entries that are known already, such as `delimiter` or `readings`.
        keyed: whether the records have keys, which are the equipment IDs if no column is.
        units: units by column, of a row below the names.
    """
    rest = {name: [cell for cell in cells if cell not in (None, "")] for name, cells in columns.items()}
    time = _time(rest)
    for name in time.columns if time else ():
        del rest[name]
    long = _long_form(rest)
    by_tag = {str(tag): rest[long["value"]] for tag in rest[long["tag"]]} if long else rest
    found = _measured(by_tag, measurements, units or {})
    machine = _machine({name: cells for name, cells in rest.items() if name not in {*found, *long.values()}})
    numbers = [str(cell).strip() for name in found for cell in by_tag[name]]
    comma = any(_COMMA.fullmatch(cell) for cell in numbers)
    mark = next((mark for mark, form in _THOUSANDS.items() if any(map(form.fullmatch, numbers))), None)
    lines = [_entry(name, value) for name, value in {**given, **long}.items()]
    lines += _time_lines(time)
    if machine:
        lines.append(_entry("equipment", machine))
    elif not keyed:
        lines.append("equipment: {constant: machine-1}  # no column looks like an equipment ID")
    if comma:
        lines.append('decimal: ","')
    if mark:
        lines.append(f'thousands: "{mark}"')
    lines.append("measurements:  # check the unit of each" if found else _no_measurement(measurements))
    lines += [f"  {name}: {_flow(entry)}" for name, entry in found.values()]
    lines += _texts_among(numbers)
    lines += [
        f"# not mapped: {column}, such as {str(cells[0])[:40]!r}"
        for column, cells in (by_tag if long else rest).items()
        if cells and column != machine and column not in found
    ]
    return "\n".join(lines) + "\n"


def _no_measurement(measurements: Measurements) -> str:
    names = ", ".join(measurements.names)
    return f"measurements: {{}}  # no column looks like a declared measurement ({names}): write {{NAME: COLUMN}}"


def _texts_among(cells: Iterable[str]) -> list[str]:
    """Return a comment with the cells that are no numbers."""
    texts = list(dict.fromkeys(cell[:40] for cell in cells if not _NUMBER.match(cell)))
    if not texts:
        return []
    return [f"# no numbers: {', '.join(map(repr, texts[:5]))}; list them in `missing` or `bad`"]


def _long_form(columns: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Return the columns of tag, value and status of the long form; nothing if the rows have another form."""

    def named(pattern: re.Pattern[str]) -> str | None:
        return next((name for name, cells in columns.items() if cells and pattern.fullmatch(name.lower())), None)

    tag, value, status = named(_TAG), named(_VALUE), named(_STATUS)
    if tag is None or value is None or not all(isinstance(cell, str) for cell in columns[tag]):
        return {}
    return {"tag": tag, "value": value, **({"quality": status} if status else {})}


def _entry(name: str, value: object) -> str:
    return yaml.safe_dump({name: value}, default_flow_style=True, allow_unicode=True, width=10_000).strip()[1:-1]


def _flow(value: object) -> str:
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).removesuffix("...\n").strip()
    )


def _time_lines(time: _Time | None) -> list[str]:
    if time is None:
        return ["timestamp: ?  # no column looks like a timestamp; elapsed time needs `start` and `unit`"]
    if not time.formats:
        return [f"timestamp: {_flow(time.entry)}  # add `zone` if these are local times without a zone"]
    line = f"timestamp: {_flow(time.entry | {'format': time.formats[0]})}  # add `zone` if times are local"
    if len(time.formats) == 1:
        return [line]
    return [line, f"# the samples also fit {', '.join(time.formats[1:])}: day or month first?"]


def _time(columns: Mapping[str, Sequence[Any]]) -> _Time | None:
    """Return date and time in two columns, or the first column of timestamps; a name that says so comes first."""
    pair = _two_columns(columns)
    if pair:
        return pair
    ordered = sorted(columns, key=lambda name: not _TIME.search(name.lower().rpartition(".")[2]))
    for name in ordered:
        cells = [str(cell).strip() for cell in columns[name] if not isinstance(cell, bool)]
        if not cells:
            continue
        if _most(_plausible(cells)):
            return _Time([name], [])
        if _TIME.search(name.lower()) and _most(bool(_SERIAL.fullmatch(cell)) for cell in cells):
            return _Time([name], [EXCEL])
        fitting = _fitting(cells, _FORMATS)
        if fitting:
            return _Time([name], fitting)
    return None


def _two_columns(columns: Mapping[str, Sequence[Any]]) -> _Time | None:
    clocks = [name for name, cells in columns.items() if cells and _CLOCK.search(name.lower())]
    dotted = [form.replace("%H:%M", "%H.%M").replace("%M:%S", "%M.%S") for form in _FORMATS]
    forms = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", *_FORMATS, *dotted)
    for clock in clocks:
        times = [str(cell).strip() for cell in columns[clock]]
        if not all(_OF_DAY.fullmatch(text) for text in times):
            continue
        for day in (name for name in columns if name != clock and _DAY.search(name.lower())):
            texts = [f"{str(date).strip()} {text}" for date, text in zip(columns[day], times, strict=False)]
            fitting = _fitting(texts, forms)
            if texts and fitting:
                return _Time([day, clock], fitting)
    return None


def _plausible(cells: Sequence[str]) -> list[bool]:
    """Return which texts are dates, or epoch numbers of this century; smaller numbers are anything."""
    ms = to_milliseconds(pd.Series(list(cells), dtype="str"))
    found: list[bool] = ((ms > OLDEST_MS) & (ms < 4_102_444_800_000)).tolist()
    return found


def _fitting(cells: Sequence[str], forms: Iterable[str]) -> list[str]:
    """Return the formats that fit the most cells, if these are more than half."""
    shares = {form: sum(_fits(cell, form) for cell in cells) for form in dict.fromkeys(forms)}
    best = max(shares.values())
    return [form for form, share in shares.items() if share == best] if best * 2 > len(cells) else []


def _fits(cell: str, form: str) -> bool:
    try:
        datetime.strptime(cell, form)
    except ValueError:
        return False
    return True


def _machine(columns: Mapping[str, Sequence[Any]]) -> str | None:
    for name, cells in columns.items():
        if _MACHINE.search(name.lower()) and cells and all(_is_name(cell) for cell in cells):
            return name
    return None


def _is_name(cell: Any) -> bool:
    """Return whether a cell can be part of an ID: a text or a whole number."""
    return isinstance(cell, str | int) and not isinstance(cell, bool) and not _FRACTION.fullmatch(str(cell).strip())


def _measured(
    columns: Mapping[str, Sequence[Any]], measurements: Measurements, units: Mapping[str, str]
) -> dict[str, tuple[str, dict[str, str] | str]]:
    """Return by column the measurement and its entry; each measurement once."""
    found: dict[str, tuple[str, dict[str, str] | str]] = {}
    taken: set[str] = set()
    for column, cells in columns.items():
        if not _most(map(_is_number, cells)):
            continue
        split = _UNIT.match(column)
        words = set(re.findall(r"[a-z]+|\d+", (split[1] if split else column).lower().replace("_", " ")))
        for measurement in measurements.declared:
            if measurement.name not in taken and _named(words, measurement):
                found[column] = (
                    measurement.name,
                    _column(column, split[2] if split else units.get(column), measurement),
                )
                taken.add(measurement.name)
                break
    return found


def _named(words: set[str], measurement: Measurement) -> bool:
    own = set(measurement.name.split("_"))
    return measurement.type == "double" and (own <= words or bool(words & _ALIASES.get(measurement.name, set())))


def _column(column: str, unit: str | None, measurement: Measurement) -> dict[str, str] | str:
    if unit is None or unit == measurement.unit:
        return column
    try:
        conversion(unit, measurement.unit)
    except ValueError:
        return column
    return {"column": column, "unit": unit}


def _most(fits: Iterable[bool]) -> bool:
    """Return whether most samples fit; gateways also write texts such as Bad."""
    found = list(fits)
    return sum(found) * 2 > len(found)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) or bool(_NUMBER.match(str(cell).strip()))
