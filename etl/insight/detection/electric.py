"""Current above what the load asks for: uneven phases, which come at once, and decay of reactive-power compensation.

Both are measured against the machine's own curve Q = a + b * P**2 of its hours of running.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from etl.insight.detection.events import duration, make_event
from etl.insight.detection.inputs import BIN, LATE_STEPS, Hours, Minutes
from etl.insight.detection.robust import Bins, fit_quantile, running_median, to_bins
from etl.insight.detection.spans import Flags, Floats, Span, Times, find_spans, is_ongoing, last_below, peak_row
from etl.model.events import Event
from etl.model.schemas import HOUR_MS

# Share of the rated power from which a minute contains running only; below it, starts and stops mix in.
_RUNNING = 0.2
# A bin counts as running if at least this share of its minutes does.
_MOSTLY = 0.5

# The curve. An hour counts if at least half of it was running.
_RUNNING_SECONDS = 1800
# Fewer hours do not determine two coefficients; then the minutes of running are used.
_FEWEST_HOURS = 4
# The dependence on load is fitted if the high load exceeds the low one (quantiles) by this factor.
_VARIED, _LOADS = 1.1, (0.1, 0.9)
# Both faults raise Q, so a low quantile of Q represents the healthy machine; P at rest only has noise.
_SOUND_Q, _SOUND_P = 0.3, 0.4
# Smallest power factor, so that Q stays finite.
_LEAST_FACTOR = 1e-3

# Fewer minutes of known power are not analysed.
_FEWEST_MINUTES = 30
# Bins at rest that are needed to know what is usual at rest (two hours), and their smoothing (fifty minutes).
_FEWEST_REST, _REST_WIDTH = 12, 5
# At rest, uneven phases raise P and Q by the same factor. Logs that differ by more are decay or another stand-by.
_ALIKE = 0.05

# Uneven phases: stretches up to an hour apart are one, because starts and stops in between hide the excess.
_UNEVEN_JOIN, _UNEVEN_SHORTEST = HOUR_MS, HOUR_MS
# Fewer bins have no reliable slope; an excess of more hours than a long shift is decay or a new kind of operation.
_UNEVEN_BINS, _UNEVEN_HOURS = 5, 14
# It is decay if the excess two hours before or one hour after is more than this share of the size.
_BINS_BEFORE, _BINS_AFTER, _STAYS = 12, 6, 0.4
# The excess is constant if its change over the stretch (at least two hours) is below the noise or 5 % of its size.
_LEAST_LENGTH, _SLOPE_SHARE = 2.0, 0.05
# That noise (of a log): while running, and where rest is part of the stretch.
_SLOPE_NOISE, _SLOPE_NOISE_AT_REST = 0.008, 0.03

# Decay takes days, so the noise within three hours is smoothed.
_DECAY_WIDTH = 19
# A single bin may be below the limit by noise, but not below this share of it.
_DECAY_SINGLE = 0.7
# A night off (up to 14 hours) neither splits nor ends a decay; less than eight hours are not a slow change.
_DECAY_JOIN, _DECAY_SHORTEST = 14 * HOUR_MS, 8 * HOUR_MS
# The newest bins may be below the limit by noise.
_DECAY_LAST_ROWS = 3
# Decay began where the smoothed log was last below this.
_DECAY_START = 0.02
# The power factor of an event is the mean of its last three hours.
_DECAY_SHOWN = 3 * HOUR_MS


@dataclass(frozen=True)
class _Excess:
    """Bins of BIN: `current` is the log of current above what the load asks for, `reactive` that of reactive power.

    Arrays of shape (k,), NaN where unknown; `running` are the bins of which most was running.
    """

    time: Floats
    running: Flags
    current: Floats
    reactive: Floats


def find_electric(minutes: Minutes, hours: Hours) -> Iterator[Event]:
    """Find uneven phases, and reactive power that grows."""
    excess = _excess(minutes, hours)
    if excess is None:
        return
    uneven = np.zeros(len(excess.time), dtype=bool)
    for span in _uneven(minutes, excess):
        uneven[span[0] : span[1] + 1] = True
        yield _imbalance(minutes, excess, span)
    yield from _decay(minutes, excess, uneven)


def _reactive_curve(minutes: Minutes, hours: Hours) -> tuple[float, float] | None:
    """Fit Q = a + b * P**2 (shares of rated) to the hours of running: magnetising power, and that of stray fields.

    A constant load has no b.
    """
    long = (hours.running > _RUNNING_SECONDS) & (hours.load_running > _RUNNING)
    factor = np.clip(hours.power_factor[long], _LEAST_FACTOR, 1.0)
    active = hours.load_running[long]
    reactive = active * np.sqrt(1.0 - factor * factor) / factor
    if len(active) < _FEWEST_HOURS:
        running = minutes.active > _RUNNING
        active, reactive = minutes.active[running], minutes.reactive[running]
    if not len(active):
        return None
    low, high = np.quantile(active, _LOADS)
    if high < _VARIED * low:
        # At one load the two parts cannot be distinguished.
        found: Floats | None = np.array([np.quantile(reactive, _SOUND_Q), 0.0])
    else:
        found = fit_quantile(np.column_stack([np.ones(len(active)), active * active]), reactive, _SOUND_Q)
    if found is None or found[0] <= 0:
        return None
    return float(found[0]), max(0.0, float(found[1]))


def _factor_above(active: Floats, reactive: Floats, curve: tuple[float, float]) -> Floats:
    """Return the factor k by which P and Q are both above a point (P / k, Q / k) of the curve; shape (n,)."""
    a, b = curve
    root = np.sqrt(np.maximum(0.0, reactive * reactive - 4.0 * a * b * active * active))
    return (reactive + root) / (2.0 * a)


def _excess(minutes: Minutes, hours: Hours) -> _Excess | None:
    """Compare current and reactive power with what the machine usually takes at its load, or while it is off."""
    known = np.isfinite(minutes.active) & np.isfinite(minutes.reactive)
    curve = _reactive_curve(minutes, hours)
    if curve is None or known.sum() < _FEWEST_MINUTES:
        return None
    active, reactive = minutes.active[known], minutes.reactive[known]
    bins = to_bins(minutes.time[known], BIN)
    running = active > _RUNNING
    on, rest = bins.mean(running) >= _MOSTLY, bins.mean(active < minutes.limits.states.off_below) == 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(_factor_above(active, reactive, curve))
        above = np.log(reactive / (curve[0] + curve[1] * active * active))
    current, ratio = (np.where(on, bins.mean(each, running), np.nan) for each in (logs, above))
    if rest.sum() >= _FEWEST_REST:
        current[rest], ratio[rest] = _excess_at_rest(bins, active, reactive, rest)
    current, ratio = (np.where(np.isfinite(each), each, np.nan) for each in (current, ratio))
    return _Excess(bins.time, on, current, ratio)


def _excess_at_rest(bins: Bins, active: Floats, reactive: Floats, rest: Flags) -> tuple[Floats, Floats]:
    """Compare current and reactive power of the bins at rest with what is usual at rest; logs, one for each of them."""
    both = (running_median(np.where(rest, bins.mean(each), np.nan), _REST_WIDTH)[rest] for each in (active, reactive))
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [np.log(each / np.quantile(each, sound)) for each, sound in zip(both, (_SOUND_P, _SOUND_Q), strict=True)]
    p, q = (np.where(np.isfinite(each), each, 0.0) for each in logs)
    return np.where(np.abs(p - q) < _ALIKE, (p + q) / 2.0, 0.0), q - p


def _uneven(minutes: Minutes, excess: _Excess) -> Iterator[Span]:
    """Yield the stretches in which the current is above by a constant factor, which came at once."""
    least = float(np.log1p(minutes.limits.detection.phase_imbalance.mild))
    known = np.flatnonzero(np.isfinite(excess.current))
    flagged = np.isfinite(excess.current) & (excess.current > least)
    for begin, end in find_spans(excess.time, flagged, BIN, join=_UNEVEN_JOIN, shortest=_UNEVEN_SHORTEST):
        inside = known[(known >= begin) & (known <= end)]
        times = (excess.time[inside] - excess.time[begin]) / HOUR_MS
        if len(inside) < _UNEVEN_BINS or times[-1] > _UNEVEN_HOURS:
            continue
        size = float(np.median(excess.current[inside]))
        # Decay that continued while the machine was off looks sudden, but existed before, and stays.
        near = known[known < begin][-_BINS_BEFORE:], known[known > end][:_BINS_AFTER]
        if any(len(rows) and np.median(excess.reactive[rows]) > _STAYS * size for rows in near):
            continue
        # The first and the last bin hold minutes without the fault.
        middle = inside[1:-1]
        slope = np.polyfit((excess.time[middle] - excess.time[begin]) / HOUR_MS, excess.current[middle], 1)[0]
        noise = _SLOPE_NOISE if excess.running[middle].all() else _SLOPE_NOISE_AT_REST
        if abs(slope) * max(_LEAST_LENGTH, times[-1]) < max(noise, _SLOPE_SHARE * size):
            yield begin, end


def _imbalance(minutes: Minutes, excess: _Excess, span: Span) -> Event:
    size = float(np.exp(np.nanmedian(excess.current[span[0] : span[1] + 1])) - 1.0)
    start, end = _times(minutes, excess, span)
    stop = end or minutes.until
    current = float(np.nanmean(minutes.columns["current_mean"][(minutes.time >= start) & (minutes.time < stop)]))
    return make_event(
        "phase_imbalance",
        minutes.limits.detection.phase_imbalance.severity(size),
        "current",
        (start, end),
        (current, current / (1.0 + size)),
        f"current {minutes.text(current, 'current')} for {duration((stop - start) / HOUR_MS)}, {size:.0%} above what "
        "load and power factor ask for: phases are loaded unevenly",
    )


def _times(minutes: Minutes, excess: _Excess, span: Span) -> Times:
    begin, end = span
    lasts = is_ongoing(excess.time, end, minutes.until, LATE_STEPS * BIN)
    return float(excess.time[begin]), None if lasts else float(excess.time[end] + BIN)


def _decay(minutes: Minutes, excess: _Excess, uneven: Flags) -> Iterator[Event]:
    """Find reactive power that grows for hours against the machine's own."""
    steps, factor = minutes.limits.detection.power_factor_decay, minutes.mean("power_factor")
    if factor is None:
        return
    above = np.where(uneven, np.nan, excess.reactive)
    smooth = running_median(above, _DECAY_WIDTH)
    least = np.log1p(steps.mild)
    flagged = np.isfinite(above) & (smooth > least) & (above > least * _DECAY_SINGLE)
    for begin, end in find_spans(excess.time, flagged, BIN, join=_DECAY_JOIN, shortest=_DECAY_SHORTEST):
        stop = excess.time[end] + BIN
        late = (minutes.time >= excess.time[end] - _DECAY_SHOWN) & (minutes.time <= stop) & np.isfinite(factor)
        if not late.any():
            continue
        observed = float(np.mean(factor[late]))
        tangent = np.sqrt(1.0 / max(observed, _LEAST_FACTOR) ** 2 - 1.0) / np.exp(smooth[end])
        expected = float(1.0 / np.sqrt(1.0 + tangent * tangent))
        known = excess.time[: int(np.flatnonzero(np.isfinite(above))[-1]) + 1]
        lasts = is_ongoing(known, end, minutes.until, _DECAY_JOIN, rows=_DECAY_LAST_ROWS)
        largest = float(smooth[peak_row(smooth, (begin, end))])
        yield make_event(
            "power_factor_decay",
            steps.severity(float(np.expm1(largest))),
            "power_factor",
            (float(excess.time[last_below(smooth, begin, _DECAY_START)]), None if lasts else float(stop)),
            (observed, expected),
            f"reactive power has grown to {np.exp(largest):.1f} times what this machine takes at such load; "
            f"power factor {observed:.2f} instead of {expected:.2f}",
        )
