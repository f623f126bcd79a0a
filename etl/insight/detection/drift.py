"""Sensors that slowly leave what load and time of day explain, by hours."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from etl.insight.detection.events import make_event
from etl.insight.detection.inputs import ELECTRIC, ENOUGH_HOURS, Hours, Minutes
from etl.insight.detection.robust import deviation, fit_quantile, running_median
from etl.insight.detection.spans import Floats, Span, find_spans, last_below, peak_row
from etl.insight.limits import Steps
from etl.insight.units import per_kelvin
from etl.model.events import Event
from etl.model.schemas import HOUR_MS

# A drift takes longer than seven hours, the noise of single hours does not.
_WIDTH = 7
# Weather moves some sensors for days: a drift must exceed a sensor's usual deviation by this factor.
_NOISE = 3.5
# A sensor whose deviation is this multiple of the limit, or the second one in a quarter of the time, is not explained
# and has nothing to drift from: such as the meter of a single appliance.
_UNEXPLAINED, _UNEXPLAINED_AT_TIMES, _AT_TIMES = 2.0, 4.0, 0.75
# Share of its hours in which a sensor must have moved.
_MOVING = 0.5
# Smallest value that shares refer to: this share of the sensor's usual value, and never zero.
_LEAST_SCALE, _ZERO = 1e-3, 1e-9
# Heat comes and goes within half a day, whatever its cause; nothing else that is measured here does.
_SHORTEST, _SHORTEST_OF_HEAT = 6 * HOUR_MS, 13 * HOUR_MS
# Stretches up to this far apart are one: noise may hide a drift for some hours.
_JOIN = 6 * HOUR_MS
# A drift began where the sensor was last off by less than this share of the limit.
_START = 1 / 3


class _Compared(NamedTuple):
    """A sensor's hours, shape (m,): `off` is how far it is from `expected` in multiples of `scale`; NaN unknown."""

    off: Floats
    expected: Floats
    scale: Floats
    kelvin: float | None


def find_drifts(minutes: Minutes, hours: Hours) -> Iterator[Event]:
    """Find sensors that drift; vibration has a detector of its own."""
    for name, values in hours.means.items():
        if name in ELECTRIC or name == "vibration" or np.isfinite(values).sum() < ENOUGH_HOURS:
            continue
        kelvin = per_kelvin(name, minutes.units)
        detection = minutes.limits.detection
        steps = detection.sensor_drift if kelvin is None else detection.sensor_drift_kelvin
        compared = _compare(hours, values, kelvin)
        if compared is not None:
            yield from _find(minutes, hours, name, compared, steps)


def _compare(hours: Hours, values: Floats, kelvin: float | None) -> _Compared | None:
    expected = _explained(hours, values)
    if expected is None:
        return None
    scale = np.full(len(values), kelvin or 1.0)
    if kelvin is None:
        scale = np.maximum(np.abs(expected), _LEAST_SCALE * float(np.nanmedian(np.abs(values))) + _ZERO)
    return _Compared(running_median((values - expected) / scale, _WIDTH), expected, scale, kelvin)


def _explained(hours: Hours, values: Floats) -> Floats | None:
    """Return what time of day and the load of three hours explain of a sensor's hours; shape (m,)."""
    phase = 2.0 * np.pi * hours.time / (24 * HOUR_MS)
    load = np.where(np.isfinite(hours.load), hours.load, 0.0)
    before, earlier = np.r_[load[:1], load[:-1]], np.r_[load[:2], load[:-2]]
    features = np.column_stack(
        [np.ones(len(load)), np.sin(phase), np.cos(phase), load, load**2, before**2, earlier[: len(load)] ** 2]
    )
    found = fit_quantile(features, values)
    return None if found is None else np.asarray(features @ found)


def _find(minutes: Minutes, hours: Hours, name: str, compared: _Compared, steps: Steps) -> Iterator[Event]:
    moving = np.isfinite(hours.means[name])
    away = np.abs(compared.off - np.nanmedian(compared.off))
    usual = deviation(compared.off)
    at_times = np.nanquantile(away, _AT_TIMES)
    explained = usual <= _UNEXPLAINED * steps.mild and at_times <= _UNEXPLAINED_AT_TIMES * steps.mild
    if not explained or moving.mean() < _MOVING:
        return
    off = np.where(moving, compared.off, np.nan)
    bound = max(steps.mild, _NOISE * usual)
    shortest = _SHORTEST_OF_HEAT if name == "temperature" else _SHORTEST
    for sign in (1, -1):
        for span in find_spans(hours.time, sign * off > bound, HOUR_MS, join=_JOIN, shortest=shortest):
            yield _drift(minutes, hours, name, compared._replace(off=sign * off), (span, sign), steps)


def _drift(
    minutes: Minutes, hours: Hours, name: str, compared: _Compared, found: tuple[Span, int], steps: Steps
) -> Event:
    """Make the event; what it says is what was compared: the median of seven hours."""
    (begin, end), sign = found
    off, expected, scale, kelvin = compared
    worst = peak_row(off, (begin, end))
    size = float(off[worst])
    observed = float(expected[worst] + sign * off[worst] * scale[worst])
    start = last_below(off, begin, steps.mild * _START)
    far = f"{size:.0%}" if kelvin is None else minutes.text(size * kelvin, name)
    return make_event(
        "sensor_drift",
        steps.severity(size),
        name,
        hours.times(start, end, minutes.until),
        (observed, float(expected[worst])),
        f"{name.replace('_', ' ')} reads {minutes.text(observed, name)} in the middle of seven hours, {far} "
        f"{'above' if sign > 0 else 'below'} the {minutes.text(expected[worst], name)} that load and time of day "
        "explain",
    )
