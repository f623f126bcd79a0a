"""Days unlike all earlier ones: the last 24 hours of a measurement beside every earlier 24 hours of four weeks.

For example, an office is warm on one night: each temperature is usual, but no earlier day went like that. The distance
of 24 hours to the most similar ones before is the discord (Keogh, Lin, Fu, "HOT SAX", ICDM 2005).
"""

from collections.abc import Iterator

import numpy as np

from etl.insight.detection.events import make_event
from etl.insight.detection.inputs import Hours, Minutes
from etl.insight.detection.robust import DEVIATION
from etl.insight.detection.spans import Floats, Integers, find_spans, peak_row
from etl.insight.limits import Unusual
from etl.model.events import Event
from etl.model.schemas import HOUR_MS

_DAY = 24
# Hours that are needed before a day can be strange, and discords before one of them can be large.
_ENOUGH, _ENOUGH_DISCORDS = 240, 48
# Events of the newest two days are looked for; earlier ones have been reported.
_LOOKED_AT = 48
# Strange hours less than a day apart are one event: each lies within the next one's 24 hours.
_JOIN = _DAY * HOUR_MS


def find_strange_days(minutes: Minutes, hours: Hours) -> Iterator[Event]:
    """Find measurements whose last 24 hours resemble no earlier ones."""
    settings, steps = minutes.limits.unusual, minutes.limits.detection.unusual
    for name, means in hours.means.items():
        # A mean is missing where the only value of an hour is known.
        means = np.where(np.isfinite(means), means, hours.lows[name])
        if np.isfinite(means).sum() < _ENOUGH:
            continue
        time, values = _every_hour(hours.time, means)
        discords, nearest = _discords(values)
        multiples = _multiples(discords, settings)
        for span in find_spans(time, np.nan_to_num(multiples) > 1.0, HOUR_MS, join=_JOIN):
            worst = peak_row(multiples, span)
            begin, end = (int(np.searchsorted(hours.time, time[row])) for row in span)
            at, observed, expected = _largest(values, worst, int(nearest[worst]))
            yield make_event(
                "unusual",
                steps.severity(float(multiples[worst])),
                name,
                hours.times(begin, end, minutes.until),
                (observed, expected),
                f"24 hours of {name} resemble no earlier day of four weeks: {minutes.text(observed, name)} "
                f"{_DAY - 1 - at} h before their end, {minutes.text(expected, name)} on the most similar day",
            )


def _every_hour(time: Integers, values: Floats) -> tuple[Integers, Floats]:
    """Put hourly values on a grid without gaps; NaN where there is none."""
    grid = np.arange(time[0], time[-1] + 1, HOUR_MS)
    filled = np.full(len(grid), np.nan)
    filled[(time - time[0]) // HOUR_MS] = values
    return grid, filled


def _discords(values: Floats) -> tuple[Floats, Integers]:
    """Return for the 24 hours that end with each hour (n,) the root-mean-square distance to the nearest ones before.

    Also the last hour of those nearest ones. NaN where values are missing or there are too few.
    """
    windows = np.lib.stride_tricks.sliding_window_view(values - np.nanmean(values), _DAY)
    squares = (windows**2).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2.0 * windows @ windows.T
    rows = np.arange(len(windows))
    unusable = (rows[None, :] > rows[:, None] - _DAY) | ~np.isfinite(distances)
    distances[unusable] = np.inf
    nearest = distances.argmin(axis=1)
    found = np.sqrt(np.maximum(0.0, distances[rows, nearest]) / _DAY)
    found[~np.isfinite(found) | (rows < _ENOUGH - _DAY)] = np.nan
    lead = _DAY - 1
    return np.concatenate([np.full(lead, np.nan), found]), np.concatenate([np.zeros(lead, np.int64), nearest + lead])


def _multiples(discords: Floats, settings: Unusual) -> Floats:
    """Return the newest discords as multiples of their limit, which those before them give; NaN elsewhere."""
    multiples = np.full(len(discords), np.nan)
    for row in range(max(0, len(discords) - _LOOKED_AT), len(discords)):
        before = discords[:row][np.isfinite(discords[:row])]
        if len(before) >= _ENOUGH_DISCORDS:
            middle = np.median(before)
            limit = middle + settings.days * DEVIATION * np.median(np.abs(before - middle))
            multiples[row] = discords[row] / limit if limit > 0 else np.nan
    return multiples


def _largest(values: Floats, row: int, other: int) -> tuple[int, float, float]:
    """Return where two windows, given by their last rows, differ most (0 to 23), and both values there."""
    mine, theirs = (values[end - _DAY + 1 : end + 1] for end in (row, other))
    at = int(np.argmax(np.abs(mine - theirs)))
    return at, float(mine[at]), float(theirs[at])
