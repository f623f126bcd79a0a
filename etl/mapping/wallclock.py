"""Convert the timestamps of a recorded file to UTC, directly or from local time with a zone."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from etl.mapping.language import TimestampColumn
from etl.mapping.time_format import EXCEL, without_zone_name
from etl.mapping.units import conversion
from etl.model.schemas import DAY_MS
from etl.model.timestamps import MISSING, OLDEST_MS, to_milliseconds

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# Text that ends in a zone, or a number: the zone of the mapping does not apply to these.
_ABSOLUTE = r"(?i)[T ].*(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)(?:\[[^\]]*\])?$|^[+-]?[\d.]+(?:[eE][+-]?\d+)?$"
_EPOCH = r"^[+-]?[\d.]+(?:[eE][+-]?\d+)?$"
_FUTURE_MS = 3_600_000  # as in transform, which rejects a later epoch anyway
_SERIAL = r"^\d{2,7}(?:\.\d+)?$"
# Before the first day the calendar of spreadsheets has a 29 February 1900; after the second it ends.
_SERIALS = 61.0, 2_958_466.0
_SERIAL_ZERO_MS = -25_569 * DAY_MS
_ELAPSED = r"^[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?$"
_MOST_ELAPSED_MS = 1e14
_NAMED_ZONE = r"^(?P<rest>.*\S)\s*\b(?P<zone>[A-Za-z]{1,6}|[+-]\d{2,4})$"
_CODES = {
    **dict.fromkeys(["%d", "%m", "%y", "%I", "%U", "%W", "%V"], r"\d{1,2}"),
    "%Y": r"\d{4}",
    "%G": r"\d{4}",
    "%j": r"\d{1,3}",
    "%M": "0?0",
    "%S": "0?0",
    "%f": "0+",
    "%%": "%",
}
_FRACTION = re.compile(r"[.,]%f")
_UTC_NAMES = ("UTC", "GMT", "Z")


@dataclass(frozen=True)
class Times:
    """UTC ms of n timestamps, and local ms of those without a zone; MISSING if there is none, or no need in UTC.

    The UTC of a local time that occurs twice is that of its first pass.
    """

    utc: Integers
    local: Integers


@dataclass(frozen=True)
class Repeat:
    """Local ms [start, end) that occur twice, and the offsets to subtract for UTC, in the first and second pass."""

    start: int
    end: int
    first: int
    second: int


def read_times(column: pa.Array, entry: TimestampColumn, decimal: str, oldest_ms: int = OLDEST_MS) -> Times:
    """Parse a column of texts or Arrow timestamps; an epoch before `oldest_ms` or in the future is not a timestamp.

    24:00 is 00:00 of the next day. `shift` of the entry is added to UTC; the local time stays as it is written.
    """
    times = _read(column, entry, decimal, oldest_ms)
    if entry.shift:
        times = Times(np.where(times.utc == MISSING, MISSING, times.utc + entry.shift), times.local)
    return times


def _read(column: pa.Array, entry: TimestampColumn, decimal: str, oldest_ms: int) -> Times:
    form = entry.format
    if entry.start is not None:
        return Times(_elapsed(column, entry, decimal), np.full(len(column), MISSING, dtype=np.int64))
    if pa.types.is_timestamp(column.type):
        ms = _typed(column)
        absolute = np.full(len(ms), column.type.tz is not None)
    elif form is None:
        ms = to_milliseconds(column.to_pandas())
        ms[_implausible(column, ms, oldest_ms)] = MISSING
        absolute = _absolute(column) if entry.zone != "UTC" else np.full(len(ms), True)
    elif form == EXCEL:
        ms, absolute = _serials(column, decimal), np.zeros(len(column), dtype=bool)
    elif form.endswith("%Z") and "%z" not in form:
        return _with_zone_names(column, form, entry.zone)
    else:
        ms, absolute = _formatted(column, form), np.full(len(column), "%z" in form)
    local = np.where(absolute, MISSING, ms)
    if entry.zone != "UTC":
        ms = np.where(absolute, ms, _to_utc(local, entry.zone))
    return Times(ms, local)


def _absolute(texts: pa.Array) -> Flags:
    """Return which texts name a zone, or are numbers."""
    found: Flags = pc.fill_null(pc.match_substring_regex(texts, _ABSOLUTE), True).to_numpy(zero_copy_only=False)
    return found


def _typed(column: pa.Array) -> Integers:
    per_ms = {"s": 1, "ms": 1, "us": 1000, "ns": 1_000_000}[column.type.unit]
    ms: Integers = column.cast(pa.int64()).fill_null(MISSING).to_numpy(zero_copy_only=False).copy()
    known = column.is_valid().to_numpy(zero_copy_only=False)
    ms[known] = ms[known] * (1000 if column.type.unit == "s" else 1) // per_ms
    return ms


def _implausible(texts: pa.Array, ms: Integers, oldest_ms: int) -> Integers:
    """Return which numbers are not epochs of readings: serial numbers, compact dates, clocks that were never set."""
    odd = np.flatnonzero((ms != MISSING) & ((ms < oldest_ms) | (ms > time.time() * 1000 + _FUTURE_MS)))
    if not len(odd):
        return odd
    number = pc.match_substring_regex(texts.take(pa.array(odd)), _EPOCH)
    found: Integers = odd[number.to_numpy(zero_copy_only=False)]
    return found


def _elapsed(texts: pa.Array, entry: TimestampColumn, decimal: str) -> Integers:
    """Convert numbers of a unit since `start`."""
    plain = pc.replace_substring(texts, ",", ".") if decimal == "," else texts
    number = pc.fill_null(pc.match_substring_regex(plain, _ELAPSED), False)
    read = pc.if_else(number, plain, pa.scalar(None, pa.string())).cast(pa.float64())
    ms = read.to_numpy(zero_copy_only=False) * conversion(entry.unit, "s")[0] * 1000
    known = np.abs(ms) < _MOST_ELAPSED_MS
    return np.where(known, np.round(np.where(known, ms, 0.0)).astype(np.int64) + (entry.start or 0), MISSING)


def _serials(texts: pa.Array, decimal: str) -> Integers:
    plain = pc.replace_substring(texts, ",", ".") if decimal == "," else texts
    number = pc.fill_null(pc.match_substring_regex(plain, _SERIAL), False)
    days = pc.if_else(number, plain, pa.scalar(None, pa.string())).cast(pa.float64()).fill_null(0.0)
    days = days.to_numpy(zero_copy_only=False)
    known = (days >= _SERIALS[0]) & (days < _SERIALS[1])
    # Rounded, because the 08:00 of a spreadsheet is a double slightly below or above.
    return np.where(known, np.round(days * DAY_MS).astype(np.int64) + _SERIAL_ZERO_MS, MISSING)


def _with_ends_of_days(texts: pa.Array, ms: Integers, form: str) -> Integers:
    """Read the texts without a time whose hour is 24."""
    end = _end_of_day(form)
    lost = np.flatnonzero(ms == MISSING)
    if end is None or not len(lost):
        return ms
    found = texts.take(pa.array(lost))
    at_end = pc.fill_null(pc.match_substring_regex(found, end), False)
    rows = lost[at_end.to_numpy(zero_copy_only=False)]
    if len(rows):
        midnight = _parsed(pc.replace_substring_regex(found.filter(at_end), end, r"\100\2"), form)
        ms[rows] = np.where(midnight == MISSING, MISSING, midnight + DAY_MS)
    return ms


@cache
def _end_of_day(form: str) -> str | None:
    """Return a pattern of the texts in a format whose hour is 24, None if it has no such hour."""
    before, hour, after = form.partition("%H")
    return f"^({_pattern(before)})24({_pattern(after)})$" if hour else None


def _pattern(form: str) -> str:
    parts = re.split(r"(%.|\s+)", form, flags=re.DOTALL)
    return "".join(map(_of_part, parts))


def _of_part(part: str) -> str:
    if part.startswith("%"):
        return _CODES.get(part, ".+")
    return r"\s+" if part.isspace() else re.escape(part)


def _formatted(texts: pa.Array, form: str) -> Integers:
    ms = _with_ends_of_days(texts, _parsed(texts, form), form)
    # Many programs leave out a fraction that is 0.
    whole = _FRACTION.sub("", form)
    lost = np.flatnonzero(ms == MISSING)
    if whole != form and len(lost):
        rest = texts.take(pa.array(lost))
        ms[lost] = _with_ends_of_days(rest, _parsed(rest, whole), whole)
    return ms


def _parsed(texts: pa.Array, form: str) -> Integers:
    # pandas would also accept words such as "now".
    digits = pc.if_else(pc.match_substring_regex(texts, r"\d"), texts, pa.scalar(None, pa.string()))
    parsed = pd.to_datetime(digits.to_pandas(), format=form, errors="coerce", utc="%z" in form)
    if not isinstance(parsed.dtype, np.dtype | pd.DatetimeTZDtype):
        return np.full(len(texts), MISSING, dtype=np.int64)
    ms = parsed.dt.as_unit("us").astype("int64").to_numpy() // 1000
    return np.where(parsed.isna().to_numpy(), MISSING, ms)


def _with_zone_names(texts: pa.Array, form: str, zone: str) -> Times:
    """Parse abbreviations such as CET that the zone of the mapping has in that year; other names are errors."""
    parts = pc.extract_regex(texts, _NAMED_ZONE)
    names = pc.struct_field(parts, "zone").to_pandas()
    wall = _formatted(pc.struct_field(parts, "rest"), without_zone_name(form))
    utc = np.full(len(texts), MISSING, dtype=np.int64)
    years = wall.astype("datetime64[ms]").astype("datetime64[Y]").astype(np.int64) + 1970
    known = np.flatnonzero(wall != MISSING)
    for name, year in {(names[row], int(years[row])) for row in known.tolist()}:
        rows = known[(names.to_numpy()[known] == name) & (years[known] == year)]
        offset = 0 if name in _UTC_NAMES else _abbreviations(zone, year).get(name) if _in_reach(year) else None
        if offset is not None:
            utc[rows] = wall[rows] - offset
    return Times(utc, np.full(len(texts), MISSING, dtype=np.int64))


@cache
def _abbreviations(zone: str, year: int) -> dict[str, int]:
    """Return the offset in ms of each abbreviation of a zone in a year, except those with two offsets."""
    found: dict[str, set[int]] = {}
    for day in range(366):
        moment = (datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=day)).astimezone(ZoneInfo(zone))
        found.setdefault(moment.tzname() or "", set()).add(_milliseconds(moment.utcoffset()))
    return {name: offsets.pop() for name, offsets in found.items() if len(offsets) == 1}


def _to_utc(local: Integers, zone: str) -> Integers:
    """Convert local ms to UTC ms, the first of two; MISSING for a skipped local time."""
    walls = pd.DatetimeIndex(local.astype("datetime64[ms]"))
    # NaT as a number is MISSING.
    return walls.tz_localize(zone, ambiguous=np.full(len(local), True), nonexistent="NaT").asi8.copy()


def repeats(zone: str, first_ms: int, last_ms: int) -> list[Repeat]:
    """Return the local times between two others that occur twice in a zone, in order."""
    years = range(_year(first_ms) - 1, _year(last_ms) + 2)
    found = (repeat for year in years if _in_reach(year) for repeat in _repeats_of(zone, year))
    return [repeat for repeat in found if repeat.start <= last_ms and repeat.end >= first_ms]


def settled(times: Times, entry: TimestampColumn) -> Times:
    """Return times without the local times that occur twice, or with the pass that `ambiguous` names.

    For records of a topic, which come in blocks: a file shows the passes by all of its readings.
    """
    known = times.local != MISSING
    if entry.zone == "UTC" or not known.any():
        return times
    utc = times.utc.copy()
    for repeat in repeats(entry.zone, int(times.local[known].min()), int(times.local[known].max())):
        twice = known & (utc != MISSING) & (times.local >= repeat.start) & (times.local < repeat.end)
        if entry.ambiguous == "refuse":
            utc[twice] = MISSING
        elif entry.ambiguous == "second":
            utc[twice] += repeat.first - repeat.second
    return Times(utc, times.local)


def _in_reach(year: int) -> bool:
    return 1900 <= year < 2300


def _year(ms: int) -> int:
    return int(np.datetime64(ms, "ms").astype("datetime64[Y]").astype(np.int64)) + 1970


@cache
def _repeats_of(zone: str, year: int) -> tuple[Repeat, ...]:
    return tuple(_set_back(ZoneInfo(zone), datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)))


def _set_back(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[Repeat]:
    day = timedelta(days=1)
    while begin < end:
        before, after = _offset(zone, begin), _offset(zone, begin + day)
        if after < before:
            low, high = begin, begin + day
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) / 2
                low, high = (low, middle) if _offset(zone, middle) < before else (middle, high)
            moment = round(high.timestamp()) * 1000
            yield Repeat(moment + after, moment + before, before, after)
        begin += day


def _offset(zone: ZoneInfo, moment: datetime) -> int:
    return _milliseconds(moment.astimezone(zone).utcoffset())


def _milliseconds(offset: timedelta | None) -> int:
    return round((offset or timedelta(0)).total_seconds() * 1000)
