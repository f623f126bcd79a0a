"""Convert timestamps of gateways to UTC milliseconds."""

import re
from decimal import Decimal, InvalidOperation

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from etl.model.schemas import DAY_MS

MISSING = np.iinfo(np.int64).min

# An epoch number below 1e11 (the year 5138) is in seconds, below 1e14 in milliseconds, and so on. Current timestamps
# are a factor of 50 from each bound.
_BOUNDS = np.array([10**11, 10**14, 10**17], dtype=np.int64)
_PER_UNIT = np.array([1000, 1, 1, 1], dtype=np.int64)
_UNITS_PER_MS = np.array([1, 1, 1000, 1_000_000], dtype=np.int64)
_WHOLE = r"\d{1,18}|[1-8]\d{18}"
_NUMBER = rf"({_WHOLE})(?:\.(\d+))?"
_EXPONENT = r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?"
_DIGITS = r"^\d{1,18}$"
_PLAIN = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z$"
# pandas would also accept words such as "now", and digits after the milliseconds would limit the range of years.
_DATE = r"\d{4}-?\d{2}-?\d{2}(?:[Tt ].*)?"
# pandas reads none of these: RFC 3339 allows small letters, databases write UTC, Java adds the name of the zone, and a
# day may end at 24:00.
_SMALL_T = r"^([\d-]+)t"
_UTC_AT_END = r"(?i)(:\d{2}(?:[.,]\d+)?)\s*(?:Z|UTC|GMT)(?:\[[\w/+-]+\])?$"
_NAME_AT_END = r"([+-]\d{2}(?::?\d{2})?)\[[\w/+-]+\]$"
_END_OF_DAY = r"(\d{4}-?\d{2}-?\d{2}[T ])24((?::?00(?::?00(?:[.,]0+)?)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)"
# An epoch before the year 2000 is not the time of a reading: the clock was never set, or the number is not an epoch.
OLDEST_MS = 946_684_800_000
# A date, perhaps with time, of digits only, such as 20260105 or 202601050600. As an epoch it would be in 1970 or 1976.
_DIGITS_OF_A_DATE = (
    r"(?:19|20|21)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    r"(?:(?:[01]\d|2[0-4])[0-5]\d(?:[0-5]\d|60)?)?(?:\d{3})?(?:\.\d*)?"
)
_PLAUSIBLE = (OLDEST_MS, 16_725_225_600_000)
_SECONDS_FRACTION = r"(\d{2})[.,](\d{1,3})\d*"


def to_milliseconds(raw: "pd.Series[str]") -> npt.NDArray[np.int64]:
    """Convert ISO 8601 texts and epoch numbers as text to UTC milliseconds, rounded down.

    An ISO 8601 text without a zone is UTC, and its 24:00 is 00:00 of the next day. The size of an epoch number
    determines whether it counts seconds, milliseconds, microseconds or nanoseconds. A date of digits only, such as
    20260105, is neither, because it is ambiguous.

    Args:
        raw: n texts; null is allowed.

    Returns:
        n values; `MISSING` for a text in neither form. A negative number gives a negative value.
    """
    arrow = pa.array(raw, pa.string())
    converted = _plain_texts(arrow)
    if converted is not None:
        return converted
    result, rest = _plain_epochs(arrow)
    if rest.any():
        result[rest] = _any_form(raw[rest].reset_index(drop=True).str.strip())
    return result


def _any_form(texts: "pd.Series[str]") -> npt.NDArray[np.int64]:
    """Convert texts that are not null."""
    result = np.full(len(texts), MISSING, dtype=np.int64)
    number = _match(texts, _NUMBER)
    if number.any():
        parts = texts[number].str.extract(f"^{_NUMBER}$")
        result[number] = _epoch(parts[0].to_numpy(dtype=np.int64), parts[1])
        result[number] = np.where(_are_dates(texts[number], result[number]), MISSING, result[number])
    odd = ~number & _match(texts, _EXPONENT)
    result[odd] = [_decimal_epoch(text) for text in texts[odd]]
    iso = ~number & ~odd & _match(texts, _DATE)
    if iso.any():
        result[iso] = _iso(texts[iso])
    return result


def _match(texts: "pd.Series[str]", pattern: str) -> npt.NDArray[np.bool_]:
    return texts.str.fullmatch(pattern).to_numpy(dtype=bool)


def _plain_texts(texts: pa.StringArray) -> npt.NDArray[np.int64] | None:
    """Convert the most common ISO forms at a tenth of the cost; None if any text has another form."""
    if texts.null_count or not pc.all(pc.match_substring_regex(texts, _PLAIN)).as_py():
        return None
    try:
        nanoseconds = texts.cast(pa.timestamp("ns", "UTC")).cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    return np.asarray(nanoseconds.to_numpy() // 1_000_000, dtype=np.int64)


def _plain_epochs(texts: pa.StringArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Convert whole epoch numbers at a fifth of the cost; also return which texts are something else, or a date."""
    result = np.full(len(texts), MISSING, dtype=np.int64)
    digits = pc.match_substring_regex(texts, _DIGITS).fill_null(False)
    plain = np.asarray(digits.to_numpy(zero_copy_only=False), dtype=bool)
    ms = _whole_epoch(texts.filter(digits).cast(pa.int64()).to_numpy())
    plausible = (ms >= _PLAUSIBLE[0]) & (ms <= _PLAUSIBLE[1])
    result[plain] = np.where(plausible, ms, MISSING)
    rest = np.asarray(texts.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
    rest[plain] = ~plausible
    return result, rest


def _whole_epoch(whole: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    unit = np.searchsorted(_BOUNDS, whole, side="right")
    return np.asarray(whole * _PER_UNIT[unit] // _UNITS_PER_MS[unit])


def _epoch(whole: npt.NDArray[np.int64], fraction: "pd.Series[str]") -> npt.NDArray[np.int64]:
    # Parse the fraction of a second as text, because a double would not round down correctly.
    digits = fraction.where(whole < _BOUNDS[0]).str.slice(0, 3).str.pad(3, side="right", fillchar="0")
    return _whole_epoch(whole) + digits.fillna("0").astype("int64").to_numpy()


def _are_dates(texts: "pd.Series[str]", epochs: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which numbers are dates of digits; no epoch (ms) of the years from 2000 to 2500 is one."""
    are = (epochs < _PLAUSIBLE[0]) | (epochs > _PLAUSIBLE[1])
    if are.any():
        are[are] = texts[are].str.fullmatch(_DIGITS_OF_A_DATE).to_numpy(dtype=bool)
    return are


def _decimal_epoch(text: str) -> int:
    try:
        value = Decimal(text)
    except InvalidOperation:
        return MISSING
    if value < 0:
        return -1
    if value >= 10**19 or re.fullmatch(_DIGITS_OF_A_DATE, str(int(value))):
        return MISSING
    unit = int(np.searchsorted(_BOUNDS, int(value), side="right"))
    return int(value * int(_PER_UNIT[unit]) / int(_UNITS_PER_MS[unit]))


def _iso(texts: "pd.Series[str]") -> npt.NDArray[np.int64]:
    ms = _parsed(texts)
    lost = ms == MISSING
    if lost.any():
        ms[lost] = _in_other_spellings(texts[lost])
    return ms


def _in_other_spellings(texts: "pd.Series[str]") -> npt.NDArray[np.int64]:
    texts = texts.str.replace(_SMALL_T, r"\1T", regex=True)
    texts = texts.str.replace(_UTC_AT_END, r"\1Z", regex=True).str.replace(_NAME_AT_END, r"\1", regex=True)
    at_end = texts.str.fullmatch(_END_OF_DAY).to_numpy(dtype=bool)
    ms = _parsed(texts.str.replace(f"^{_END_OF_DAY}$", r"\g<1>00\2", regex=True))
    return np.where(at_end & (ms != MISSING), ms + DAY_MS, ms)


def _parsed(texts: "pd.Series[str]") -> npt.NDArray[np.int64]:
    floored = texts.str.replace(_SECONDS_FRACTION, r"\1.\2", regex=True)
    parsed = pd.to_datetime(floored, format="ISO8601", utc=True, errors="coerce")
    ms = parsed.dt.as_unit("ms").astype("int64").to_numpy()
    return np.where(parsed.isna().to_numpy(), MISSING, ms).astype(np.int64)
