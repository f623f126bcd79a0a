"""Values of typed formats in JSON's types: exact, and the same for every format."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DIGITS = {1_000: 3, 1_000_000: 6, 1_000_000_000: 9}
_TWO_DIGITS = [f"{number:02}" for number in range(60)]
_LARGEST_BYTES = 256


def decimal_value(unscaled: bytes, scale: int) -> int | float | str:
    """Return a big-endian number in two's complement, divided by 10 ** scale.

    Raises:
        ValueError: it is too long for a measurement.
    """
    if len(unscaled) > _LARGEST_BYTES or not 0 <= scale <= _LARGEST_BYTES:
        raise ValueError(f"a decimal has {len(unscaled)} bytes and scale {scale}")
    whole = int.from_bytes(unscaled, "big", signed=True)
    return whole if scale == 0 else exact(Decimal(whole).scaleb(-scale))


def exact(number: Decimal) -> float | str:
    """Return the double whose shortest text is this number, or the number as text if there is none."""
    value = float(number)
    return value if Decimal(repr(value)) == number else format(number, "f")


def moment(count: int, per_second: int, zone: str = "Z") -> str:
    """Return the ISO 8601 text of a time since 1970; beyond the years 1 to 9999 a text that is no timestamp."""
    seconds, rest = divmod(count, per_second)
    minute, second = divmod(seconds, 60)
    try:
        # Faster than a format with a width.
        return f"{_minute(minute)}:{_TWO_DIGITS[second]}.{str(rest).zfill(_DIGITS[per_second])}{zone}"
    except (ValueError, OverflowError, OSError):
        return f"{count}/{per_second} s from 1970"


@lru_cache(maxsize=10_000)
def _minute(minute: int) -> str:
    """Return the text of a minute since 1970; the readings of a block share few, and formatting is slow."""
    return datetime.fromtimestamp(60 * minute, UTC).isoformat()[:16]


def day(count: int) -> str:
    """Return the ISO 8601 text of a day since 1970; beyond the years 1 to 9999 a text that is no date."""
    try:
        return date.fromordinal(_EPOCH_DAY + count).isoformat()
    except (ValueError, OverflowError):
        return f"{count} days from 1970"


def clock(count: int, per_second: int) -> str:
    """Return the ISO 8601 text of a time since midnight; beyond a day a text that is no time."""
    seconds, rest = divmod(count, per_second)
    if not 0 <= seconds < 86_400:
        return f"{count}/{per_second} s from midnight"
    return f"{timedelta(seconds=seconds)!s:0>8}.{rest:0{_DIGITS[per_second]}}"
