"""Overheating: temperature above what the load of the last hours explains."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.signal import lfilter

from etl.insight.detection.events import duration, make_event
from etl.insight.detection.inputs import BIN, LATE_STEPS, Minutes
from etl.insight.detection.robust import deviation, fit_quantile, running_median, to_bins
from etl.insight.detection.spans import Flags, Floats, Span, find_spans, is_ongoing, peak_row
from etl.insight.indicators import to_ms
from etl.model.events import Event
from etl.model.schemas import HOUR_MS

# The model is fitted to at least this many minutes of known power and temperature.
_FEWEST_MINUTES = 60
# Time constants in bins, 10 to 60 minutes: housings of motors of 1 to 300 kW warm up within that.
_LAGS = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0)
# The load before the first bin is assumed to be that of the first hour.
_FIRST_BINS = 6
# The time of day is part of the model if nearly a whole day is known; with less, a daily wave would fit the load.
_DAILY_FROM = 20 * HOUR_MS
# Faults only raise the temperature, so the healthy machine is a little below the median. Few rounds suffice.
_SOUND, _ROUNDS = 0.4, 10

# Medians of half an hour, so that a single bin does not matter.
_WIDTH = 3
# The excess must be larger than a draught or an open gate causes (K), and than the errors of the fit (deviations).
_LEAST_KELVIN, _NOISE = 1.5, 4.0
# After three hours, several time constants, earlier heat is gone.
_COOLED = 3 * HOUR_MS
# A longer pause of readings hides what heated the machine.
_PAUSE = 2 * BIN
# Stretches up to an hour apart are one; a shorter excess comes from a lag that does not fit exactly.
_JOIN, _SHORTEST = HOUR_MS, 1.6 * HOUR_MS
# A longer excess, of more than a shift and a half, is a hot day or a sensor's drift.
_LONGEST_HOURS = 13
# Lost cooling is sudden: two hours after the start, the rise since before it is at least half of the peak.
_JUMP_BINS, _JUMP_SHARE = 12, 0.5
# Bins before the start that tell the temperature before it; the last ones are blurred by smoothing.
_BEFORE_FIRST, _BEFORE_LAST = 12, 5
# Smallest rise (K) with which an excess is compared: a cold machine has almost none.
_LEAST_RISE = 1.0
# Shortest duration in hours that a text names.
_SHORTEST_NAMED = 0.2


class _Model(NamedTuple):
    """Temperatures by bin: measured, expected, and the rise that load explains; arrays of shape (k,)."""

    time: Floats
    measured: Floats
    expected: Floats
    rise: Floats


def find_heat(minutes: Minutes, others: Sequence[Event]) -> Iterator[Event]:
    """Find overheating, but not where other events explain it: a stuck sensor, or uneven phases that heat."""
    degrees = minutes.mean("temperature")
    if degrees is None or not np.isfinite(minutes.active).any():
        return
    degrees = np.where(_within(minutes, others, "temperature", 0.0), np.nan, degrees)
    model = _fit(minutes, degrees)
    if model is None:
        return
    steps = minutes.limits.detection.overheating
    left = model.measured - model.expected
    bound = np.maximum(max(_LEAST_KELVIN, _NOISE * deviation(left)), steps.mild * model.rise)
    smooth = running_median(left, _WIDTH)
    flagged = (smooth > bound) & ~_unsure(minutes, others, model.time)
    for span in find_spans(model.time, flagged, BIN, join=_JOIN, shortest=_SHORTEST):
        length = float(model.time[span[1]] - model.time[span[0]]) / HOUR_MS
        if length > _LONGEST_HOURS or not _came_at_once(left, smooth, span):
            continue
        worst = peak_row(smooth, span)
        lasts = is_ongoing(model.time, span[1], minutes.until, LATE_STEPS * BIN)
        yield make_event(
            "overheating",
            steps.severity(float(left[worst] / max(model.rise[worst], _LEAST_RISE))),
            "temperature",
            (float(model.time[span[0]]) - BIN, None if lasts else float(model.time[span[1]] + BIN)),
            (model.measured[worst], model.expected[worst]),
            f"{minutes.text(model.measured[worst], 'temperature')}, where the load of the last hours explains "
            f"{minutes.text(model.expected[worst], 'temperature')}, "
            f"for {duration(max(length, _SHORTEST_NAMED))}",
        )


def _came_at_once(left: Floats, smooth: Floats, span: Span) -> bool:
    begin, end = span
    before = left[max(0, begin - _BEFORE_FIRST) : max(1, begin - _BEFORE_LAST)]
    jump = float(np.nanmax(smooth[begin : begin + _JUMP_BINS])) - float(np.nanmedian(before))
    return jump >= _JUMP_SHARE * float(np.nanmax(smooth[begin : end + 1]))


def _unsure(minutes: Minutes, others: Sequence[Event], time: Floats) -> Flags:
    """Return the bins whose heat has another cause, or one that was not seen while readings were missing."""
    warmed = _within(minutes, others, "current", _COOLED)
    unsure = np.interp(time, minutes.time, warmed) > 0
    for row in np.flatnonzero(np.diff(time) > _PAUSE) + 1:
        unsure |= (time >= time[row]) & (time < time[row] + _COOLED)
    return np.asarray(unsure)


def _within(minutes: Minutes, events: Sequence[Event], measurement: str, after: float) -> Flags:
    """Return the minutes within events of a measurement, or up to `after` ms behind them."""
    inside = np.zeros(len(minutes.time), dtype=bool)
    for event in events:
        if event.measurement == measurement:
            end = minutes.until if event.end is None else to_ms(event.end) + after
            inside |= (minutes.time >= to_ms(event.start)) & (minutes.time < end)
    return inside


def _fit(minutes: Minutes, degrees: Floats) -> _Model | None:
    """Fit T = surroundings by time of day + R * lagged P**2 in bins, with the lag that leaves the smallest error.

    A body that loses heat in proportion to its excess temperature follows losses with a first-order lag; losses grow
    with the square of the current (IEC 60034-1).
    """
    known = np.isfinite(degrees) & np.isfinite(minutes.active)
    if known.sum() < _FEWEST_MINUTES:
        return None
    bins = to_bins(minutes.time[known], BIN)
    losses, measured = bins.mean(minutes.active[known] ** 2), bins.mean(degrees[known])
    every = np.arange(bins.bins[0], bins.bins[-1] + 1)
    even = np.interp(every, bins.bins, losses)
    phase = 2.0 * np.pi * bins.bins * BIN / (24 * HOUR_MS)
    daily = [np.sin(phase), np.cos(phase)] if len(phase) * BIN > _DAILY_FROM else []
    best: tuple[float, _Model] | None = None
    for lag in _LAGS:
        share = 1.0 / (1.0 + lag)
        state = [(1.0 - share) * float(np.mean(even[:_FIRST_BINS]))]
        lagged = lfilter([share], [1.0, share - 1.0], even, zi=state)[0][np.searchsorted(every, bins.bins)]
        features = np.column_stack([np.ones(len(phase)), *daily, lagged])
        found = fit_quantile(features, measured, _SOUND, _ROUNDS)
        if found is None:
            return None
        expected = features @ found
        error = float(np.median(np.abs(measured - expected)))
        if best is None or error < best[0]:
            best = error, _Model(bins.time, measured, expected, np.maximum(found[-1], 0.0) * lagged)
    return None if best is None else best[1]
