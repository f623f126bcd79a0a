"""Limits that engineers set: low, high and rate of change of a measurement, with deadband and delays (ISA-18.2)."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from etl.insight.detection.events import duration, make_event
from etl.insight.detection.inputs import LATE_STEPS, Minutes
from etl.insight.detection.spans import Flags, Floats, Integers, Span, find_spans
from etl.insight.indicators import MINUTE_MS, to_ms
from etl.insight.limits import LEVELS, Alarm, alarms_of
from etl.model.events import SEVERITIES, Event


class _Level(NamedTuple):
    """One limit over n minutes: where all, and where some readings are beyond it, and where all are inside again."""

    name: str
    limit: float
    all_beyond: Flags
    some_beyond: Flags
    inside: Flags
    peaks: Floats


class _Crossing(NamedTuple):
    level: _Level
    span: Span
    lasts: bool


def find_alarms(minutes: Minutes, lasting: Sequence[Event]) -> Iterator[Event]:
    """Find measurements beyond their limits; several limits crossed at a time are one event, of the worst of them."""
    for alarm in alarms_of(minutes.machine, minutes.limits):
        name = alarm.measurement
        mean = minutes.mean(name)
        if mean is None:
            continue
        rows = np.flatnonzero(np.isfinite(mean))
        known = [event for event in lasting if (event.kind, event.measurement) == ("limit", name)]
        crossings = [
            crossing
            for level in _levels(minutes, alarm, rows)
            for crossing in _crossings(minutes.time[rows], level, alarm, minutes.step, known)
        ]
        for together in _overlapping(crossings):
            yield _event(minutes, name, rows, together)


def _levels(minutes: Minutes, alarm: Alarm, rows: Integers) -> Iterator[_Level]:
    low, mean, high = (minutes.columns[f"{alarm.measurement}_{each}"][rows] for each in ("low", "mean", "high"))
    for name, limit in alarm.levels.items():
        if name == "rate":
            change = _change(minutes.time[rows], mean, minutes.step)
            beyond = np.abs(change) > limit
            yield _Level(name, limit, beyond, beyond, ~beyond, np.abs(change))
        elif name.startswith("high"):
            yield _Level(name, limit, low > limit, high > limit, high <= limit - alarm.deadband, high)
        else:
            yield _Level(name, limit, high < limit, low < limit, low >= limit + alarm.deadband, -low)


def _change(time: Integers, mean: Floats, step: float) -> Floats:
    """Return the change per minute since the row before; 0 after a gap."""
    gaps = np.diff(time)
    change = np.diff(mean) / (gaps / MINUTE_MS)
    return np.append(0.0, np.where(gaps > LATE_STEPS * step, 0.0, change))


def _crossings(time: Integers, level: _Level, alarm: Alarm, step: float, known: Sequence[Event]) -> Iterator[_Crossing]:
    """Yield the stretches from where a limit is crossed for long enough to where the value is back for long enough."""
    beyond = level.all_beyond if alarm.on_delay else level.some_beyond
    raised = [begin for begin, _ in find_spans(time, beyond, step, join=None, shortest=alarm.on_delay * MINUTE_MS)]
    # One that lasts since before these minutes need not be raised again.
    if any(event.expected == level.limit and to_ms(event.start) < time[0] for event in known):
        raised.insert(0, 0)
    inside = find_spans(time, level.inside, step, join=None, shortest=alarm.off_delay * MINUTE_MS)
    cleared = np.array([begin for begin, _ in inside], np.int64)
    end = -1
    for begin in raised:
        if begin <= end:
            continue
        back = int(np.searchsorted(cleared, begin, side="right"))
        lasts = back == len(cleared)
        end = len(time) - 1 if lasts else int(cleared[back]) - 1
        yield _Crossing(level, (begin, end), lasts)


def _overlapping(crossings: Sequence[_Crossing]) -> list[list[_Crossing]]:
    groups: list[list[_Crossing]] = []
    end = -1
    for crossing in sorted(crossings, key=lambda each: each.span):
        if crossing.span[0] > end:
            groups.append([])
        groups[-1].append(crossing)
        end = max(end, crossing.span[1])
    return groups


def _event(minutes: Minutes, name: str, rows: Integers, crossings: Sequence[_Crossing]) -> Event:
    worst = max(crossings, key=lambda each: SEVERITIES.index(LEVELS[each.level.name]))
    begin, end = min(each.span[0] for each in crossings), max(each.span[1] for each in crossings)
    span = int(rows[begin]), int(rows[end])
    start, over = minutes.times(span, np.inf)
    level = worst.level
    peak = float(level.peaks[worst.span[0] : worst.span[1] + 1].max())
    peak = peak if level.name.startswith(("high", "rate")) else -peak
    lasts = any(each.lasts for each in crossings)
    shown = f"{minutes.text(peak, name)}{' a minute' if level.name == 'rate' else ''}"
    length = duration(minutes.hours(span))
    return make_event(
        "limit",
        LEVELS[level.name],
        name,
        (start, None if lasts else over or float(minutes.until)),
        (peak, level.limit),
        f"{name.replace('_', ' ')} {_WORDS[level.name]} {minutes.text(level.limit, name)} for {length}: {shown}",
    )


_WORDS = {
    "low_low": "below low-low limit",
    "low": "below low limit",
    "high": "above high limit",
    "high_high": "above high-high limit",
    "rate": "changed faster than the limit of",
}
