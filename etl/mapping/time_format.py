"""Entries of timestamps: formats as strptime codes that determine a moment, durations, and moments."""

import re
from datetime import datetime, timedelta

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from etl.mapping.units import conversion

EXCEL = "excel"

_LONGEST_SHIFT = timedelta(days=366)
_OLDEST_START = 1970

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


def check_format(form: str) -> str:
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


def shift_ms(given: object) -> object:
    """Convert a duration, ISO 8601 or seconds, to ms."""
    try:
        duration = TypeAdapter(timedelta).validate_python(given)
    except ValidationError as error:
        raise ValueError(f"{given!r} is no duration, such as -PT15M or -900 (seconds)") from error
    if isinstance(given, bool) or abs(duration) > _LONGEST_SHIFT:
        raise ValueError(f"{given!r} is no duration of at most {_LONGEST_SHIFT.days} days")
    return round(duration / timedelta(milliseconds=1))


def start_ms(given: object) -> int:
    """Convert a moment with a zone to UTC ms; YAML has it as a text or as a datetime."""
    try:
        moment = given if isinstance(given, datetime) else datetime.fromisoformat(str(given))
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None or moment.year < _OLDEST_START:
        raise ValueError(f"{str(given)!r} is no moment with a zone, such as 2026-01-05T06:00:00Z")
    return round(moment.timestamp() * 1000)


def time_unit(name: str) -> str:
    """Check the name of a unit of time."""
    conversion(name, "s")
    return name
