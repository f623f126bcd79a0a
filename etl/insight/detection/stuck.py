"""Sensors that send one value for long, though they usually move."""

from collections.abc import Iterator, Sequence

import numpy as np

from etl.insight.detection.events import duration, make_event
from etl.insight.detection.inputs import ELECTRIC, Hours, Minutes
from etl.insight.detection.spans import Flags, Span, find_spans
from etl.insight.indicators import to_ms
from etl.model.events import Event
from etl.model.schemas import HOUR_MS

# A sensor that sends once an hour may well repeat its value a few times.
_FEWEST_ROWS = 5
# A sensor that repeats its value in more than this share of the time does not usually move.
_USUALLY = 0.5
# Data that show whether a sensor usually moves: two hours of minutes, otherwise twelve hours.
_ENOUGH_MINUTES, _ENOUGH_HOURS = 120, 12
# A stretch continues the known event if it begins at most this long after it: a start by hours is up to two hours late.
_START_SLACK = 2 * HOUR_MS
# A stretch from this row on may have begun before the minutes do: row 1 is the first that can repeat the one before.
_FIRST_REPEAT = 1


def find_stuck(minutes: Minutes, hours: Hours, lasting: Sequence[Event]) -> Iterator[Event]:
    """Find sensors that repeat exactly one value, other than zero, which is what a machine at rest has."""
    steps = minutes.limits.detection.sensor_stuck
    shortest = max(steps.mild * HOUR_MS, _FEWEST_ROWS * minutes.step)
    for name in _sensors(minutes):
        low, high = minutes.columns[f"{name}_low"], minutes.columns[f"{name}_high"]
        same = np.r_[False, (low[1:] == high[1:]) & (low[1:] == high[:-1])]
        for span in find_spans(minutes.time, same & (low != 0.0), minutes.step, join=None, shortest=shortest):
            value = float(low[span[1]])
            since = _since(minutes, hours, name, span[0], value)
            before = _known(lasting, name, since, value)
            # A sensor that is known to be stuck need not have moved before: it may have been stuck for weeks.
            if before is None and not _moves(minutes, hours, name, same, span, since):
                continue
            since = since if before is None else min(since, to_ms(before.start))
            length = float(minutes.time[span[1]] + minutes.step - since) / HOUR_MS
            start, end = minutes.times(span, np.inf)
            yield make_event(
                "sensor_stuck",
                steps.severity(length),
                name,
                (min(start, since), end),
                (value, float(np.nanmedian(minutes.columns[f"{name}_mean"]))),
                f"{name.replace('_', ' ')} has been exactly {minutes.text(value, name)} for {duration(length)}",
            )


def _sensors(minutes: Minutes) -> list[str]:
    """List the measurements that are not the electric meter's, which may repeat for hours while a machine is off."""
    names = [name.removesuffix("_mean") for name in minutes.columns if name.endswith("_mean")]
    known = [name for name in names if minutes.mean(name) is not None]
    return [name for name in known if name not in ELECTRIC and len(minutes.time) > _FIRST_REPEAT]


def _since(minutes: Minutes, hours: Hours, name: str, begin: int, value: float) -> int:
    """Return since when (ms) a sensor has had a value, which may be before the minutes begin."""
    since = int(minutes.time[begin])
    if begin > _FIRST_REPEAT or name not in hours.lows:
        return since
    low, high = hours.lows[name].astype(np.float32), hours.highs[name].astype(np.float32)
    same = (low == high) & (low == np.float32(value))
    for row in np.flatnonzero((hours.time < since) & np.isfinite(low))[::-1]:
        if not same[row]:
            break
        since = int(hours.time[row])
    return since


def _known(lasting: Sequence[Event], name: str, since: int, value: float) -> Event | None:
    """Return the event that is known of a sensor, if it is stuck at the same value since the same time or longer."""
    known = next((event for event in lasting if (event.kind, event.measurement) == ("sensor_stuck", name)), None)
    if known is None or known.observed != value or to_ms(known.start) > since + _START_SLACK:
        return None
    return known


def _moves(minutes: Minutes, hours: Hours, name: str, same: Flags, span: Span, since: int) -> bool:
    """Return whether a sensor usually moves: by the minutes outside of a stretch, if they are few by earlier hours."""
    known = np.isfinite(minutes.columns[f"{name}_mean"])
    known[span[0] : span[1] + 1] = False
    if known.sum() >= _ENOUGH_MINUTES:
        return bool((same & known).sum() <= _USUALLY * known.sum())
    if name not in hours.lows:
        return False
    earlier = (hours.time < since) & np.isfinite(hours.lows[name])
    moved = earlier & (hours.lows[name] != hours.highs[name])
    return bool(earlier.sum() >= _ENOUGH_HOURS and moved.sum() > _USUALLY * earlier.sum())
