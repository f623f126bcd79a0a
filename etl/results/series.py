"""Series for charts: choose the finest table for a time span, and reduce points but keep lows and highs."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Level = Literal["hours", "minutes", "readings"]
MOST_POINTS = 1_000
MINUTES_UP_TO = timedelta(days=14)
READINGS_UP_TO = timedelta(hours=4)
_GAP_STEPS = 3


@dataclass(frozen=True)
class Series:
    """One measurement over time: timestamps (ms, ascending) with the lowest, mean and highest value of each step."""

    stamps: Array
    low: Array
    mean: Array
    high: Array

    def __len__(self) -> int:
        """The number of points."""
        return len(self.stamps)


def level_of(span: timedelta) -> Level:
    """Return the coarsest table that still fills the screen."""
    if span <= READINGS_UP_TO:
        return "readings"
    return "minutes" if span <= MINUTES_UP_TO else "hours"


def reduced(series: Series, most: int = MOST_POINTS) -> Series:
    """Join neighbouring points until at most this number is left; keep lows and highs."""
    if len(series) <= most:
        return series
    begin, end = int(series.stamps[0]), int(series.stamps[-1])
    slots = (series.stamps - begin) * most // (end - begin + 1)
    starts = np.flatnonzero(np.diff(slots, prepend=-1))
    counts = np.diff(np.append(starts, len(series)))
    valid = np.add.reduceat((~np.isnan(series.mean)).astype(float), starts)
    sums = np.add.reduceat(np.nan_to_num(series.mean), starts)
    middle = series.stamps[starts + (counts - 1) // 2]
    return Series(
        middle,
        np.fmin.reduceat(series.low, starts),
        np.divide(sums, valid, out=np.full(len(starts), np.nan), where=valid > 0),
        np.fmax.reduceat(series.high, starts),
    )


def with_gaps(series: Series) -> Series:
    """Insert an empty point at each gap of the readings, so that no line crosses it."""
    if len(series) < _GAP_STEPS:
        return series
    steps = np.diff(series.stamps)
    holes = np.flatnonzero(steps > _GAP_STEPS * np.median(steps)) + 1
    stamps = np.insert(series.stamps, holes, series.stamps[holes - 1] + 1)
    return Series(stamps, *(np.insert(part, holes, np.nan) for part in (series.low, series.mean, series.high)))


def utc_texts(stamps: Array) -> list[str]:
    """Return timestamps as text in UTC without a zone, which Plotly shows unchanged in any zone of the browser.

    Plotly would convert a number to the browser's local time.
    """
    texts: list[str] = np.datetime_as_string(stamps.astype("datetime64[ms]")).tolist()
    return texts


def utc_text(time: datetime) -> str:
    """Return one time in the form of `utc_texts`."""
    return utc_texts(np.array([milliseconds(time)]))[0]


def milliseconds(time: datetime) -> int:
    """Return a time in milliseconds."""
    return round(time.timestamp() * 1000)
