"""Times in milliseconds since 1970, and the hours and minutes of a UTC day."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.model.schemas import DAY_MS, TIMESTAMP

MINUTE_MS = 60_000
DAY_HOURS = range(24)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(time: datetime) -> int:
    """Return an aware time as milliseconds since 1970."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def from_ms(time: int) -> datetime:
    """Return milliseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(milliseconds=time)


def day_start_ms(day: date) -> int:
    """Return the first millisecond of a UTC day."""
    return (day - _EPOCH.date()).days * DAY_MS


def times_of(table: pa.Table, name: str = "timestamp") -> npt.NDArray[np.int64]:
    """Return a column of timestamps in ms since 1970; shape (n,)."""
    return np.asarray(table[name].cast(TIMESTAMP).cast(pa.int64()).to_numpy())
