"""Vibration that changes for days at the same load: a bearing that wears, or its sensor that drifts."""

from collections.abc import Iterator

import numpy as np

from etl.insight.detection.events import make_event
from etl.insight.detection.inputs import Hours, Minutes
from etl.insight.detection.shaking import Shaking, compare
from etl.insight.detection.spans import Floats, Span, find_spans, last_below, peak_row
from etl.insight.limits import Steps
from etl.model.events import Event, Kind
from etl.model.schemas import HOUR_MS

# A healthy machine's vibration changes more than other measurements: the limit of drift is multiplied by this.
_LIVELY = 2.2
# The usual vibration is computed for the last ten days, from at least six hours.
_JUDGED, _FEWEST_HOURS = 240 * HOUR_MS, 6
# Quantile, and hours before it, that the usual vibration is: low for growth and high for a fall, so that the change
# itself hardly moves it.
_USUAL_OF_GROWTH, _USUAL_OF_FALL = (0.3, 156), (0.7, 108)
# A night off (up to 16 hours) does not split growth. Shorter changes come from another job; a fall is less distinct.
_JOIN, _SHORTEST_GROWTH, _SHORTEST_FALL = 16 * HOUR_MS, 4 * HOUR_MS, 6 * HOUR_MS
# Growth beyond this multiple of a severe drift is not a sensor's.
_LARGEST_DRIFT = 2.0
# Wear exceeds the variation that load does not explain by this factor.
_ABOVE_NOISE = 1.5
# Hours before and after growth that are not searched for a fall: growth begins unnoticed, and the median is late.
_HOURS_BEFORE, _HOURS_BEHIND = 48, 3
# Growth began where vibration was last above the usual by less than this share.
_START = 0.06

# Shape of growth, over the 6.5 days up to the peak: lines that bend, parabolas that begin at some hour before the peak.
_SHAPE_HOURS = 156
_LINES, _PARABOLAS = range(-74, -8, 3), range(-122, -11, 3)
# A bend needs this many hours before it, and a fit this many values per coefficient.
_HOURS_BEFORE_BEND, _VALUES_PER_COEFFICIENT = 6, 3
# The line's error must be at most 90 % of that of the best parabola from a bend, and 60 % of one over all hours.
_LINE_BY_PARABOLA, _LINE_BY_WHOLE = 0.9, 0.6


def find_vibrations(minutes: Minutes, hours: Hours) -> Iterator[Event]:
    """Find vibration that grows ever faster, as a bearing wears, and even growth or a fall, as a sensor drifts.

    What load explains is taken out; where load is not known, that counts as noise.
    """
    shaking = compare(hours, minutes.limits.states.off_below)
    if not np.isfinite(shaking.ratio).any():
        return
    wear, drift = minutes.limits.detection.bearing_wear, minutes.limits.detection.sensor_drift
    time, smooth = hours.time.astype(np.float64), shaking.smooth()
    above = smooth / shaking.apart(lambda own: _usual(time, own, *_USUAL_OF_GROWTH), smooth) - 1.0
    least = max(_LIVELY * drift.mild, shaking.noise)
    sound = smooth.copy()
    for span in find_spans(time, above > least, HOUR_MS, join=_JOIN, shortest=_SHORTEST_GROWTH):
        begin, end = span
        largest = float(np.nanmax(above[begin : end + 1]))
        even = largest < _LARGEST_DRIFT * drift.severe and _grows_evenly(time, smooth, span)
        if even or largest > max(wear.mild, _ABOVE_NOISE * shaking.noise):
            yield _event(minutes, hours, "sensor_drift" if even else "bearing_wear", (above, shaking), span)
            sound[max(0, begin - _HOURS_BEFORE) : end + _HOURS_BEHIND] = np.nan
    below = 1.0 - sound / shaking.apart(lambda own: _usual(time, own, *_USUAL_OF_FALL), sound)
    for span in find_spans(time, below > least, HOUR_MS, join=_JOIN, shortest=_SHORTEST_FALL):
        if _grows_evenly(time, -sound, span, can_bend=False):
            yield _event(minutes, hours, "sensor_drift", (-below, shaking), span)


def _usual(time: Floats, values: Floats, quantile: float, hours: int) -> Floats:
    """Return the quantile over the hours up to each time of the last ten days; shape (m,), NaN before them."""
    usual = np.full(len(values), np.nan)
    firsts = np.searchsorted(time, time - hours * HOUR_MS)
    known = np.isfinite(values)
    for row in range(int(np.searchsorted(time, time[-1] - _JUDGED)), len(values)):
        window = np.sort(values[firsts[row] : row + 1][known[firsts[row] : row + 1]])
        if len(window) >= _FEWEST_HOURS:
            usual[row] = window[int(quantile * (len(window) - 1))]
    return usual


def _grows_evenly(time: Floats, values: Floats, span: Span, can_bend: bool = True) -> bool:
    """Return whether growth up to the peak is a line from some hour on, not a parabola from there or all along."""
    peak = peak_row(values, span)
    first = int(np.searchsorted(time, time[peak] - _SHAPE_HOURS * HOUR_MS))
    known = np.arange(first, peak + 1)[np.isfinite(values[first : peak + 1])]
    hours, own = (time[known] - time[peak]) / HOUR_MS, values[known]
    ones = np.ones(len(own))

    def misfit_from(start: int, order: int) -> float:
        grown = np.maximum(0.0, hours - start) ** order
        if (grown == 0).sum() < _HOURS_BEFORE_BEND:
            return np.inf
        return _misfit(np.column_stack([ones, hours, grown]), own)

    line = min(misfit_from(start, 1) for start in _LINES)
    if can_bend and line > _LINE_BY_PARABOLA * min(misfit_from(start, 2) for start in _PARABOLAS):
        return False
    return line < _LINE_BY_WHOLE * _misfit(np.column_stack([ones, hours, hours * hours]), own)


def _misfit(features: Floats, values: Floats) -> float:
    """Return the sum of squares that a linear fit leaves; infinite where there are too few values."""
    if len(values) < _VALUES_PER_COEFFICIENT * features.shape[1]:
        return np.inf
    return float(np.square(values - features @ np.linalg.lstsq(features, values, rcond=None)[0]).sum())


def _event(minutes: Minutes, hours: Hours, kind: Kind, compared: tuple[Floats, Shaking], span: Span) -> Event:
    """Make the event; what it says is what was compared: the median of the hours around the peak."""
    (off, shaking), (begin, end) = compared, span
    sign = 1 if np.nansum(off[begin : end + 1]) > 0 else -1
    worst = peak_row(sign * off, span)
    size = float(sign * off[worst])
    observed = shaking.around(worst)
    expected = observed / (1.0 + off[worst])
    unit = "vibration"
    numbers = (
        f"{minutes.text(observed, unit)}, {size:.0%} {'above' if sign > 0 else 'below'} {minutes.text(expected, unit)}"
    )
    load = "at the same load" if shaking.load_known else "at a load that is not known"
    evidence = (
        f"vibration has grown ever faster {load} to {numbers}: a bearing wears"
        if kind == "bearing_wear"
        else f"vibration reads {numbers} of the days before {load}, and got there evenly: its sensor drifts"
    )
    start = last_below(sign * off, begin, _START)
    times = hours.times(start, end, minutes.until)
    steps: Steps = getattr(minutes.limits.detection, kind)
    return make_event(kind, steps.severity(size), "vibration", times, (observed, expected), evidence)
