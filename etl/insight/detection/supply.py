"""Disturbances of the supply: voltage sags and swells, frequency excursions."""

from collections.abc import Iterator

import numpy as np

from etl.insight.detection.events import duration, make_event
from etl.insight.detection.inputs import Minutes
from etl.insight.detection.robust import deviation, running_median_of_bins
from etl.insight.detection.spans import Floats, find_spans, peak_row
from etl.insight.indicators import MINUTE_MS, nominal_frequency
from etl.insight.limits import Steps
from etl.model.events import Event, Kind

# The usual value is the median over these bins, two hours in all: a disturbance, over in minutes, does not move it.
_BIN, _BINS = 10 * MINUTE_MS, 13
# Disturbances less far apart are one: grid protection tries again several times within minutes.
_JOIN = 10 * MINUTE_MS
# Robust deviations from the usual that the noise of 10,080 minutes, a week, stays within.
_NOISE = 6.0
_VOLTAGES: tuple[tuple[Kind, str, int, str], ...] = (
    ("voltage_sag", "low", -1, "below"),
    ("voltage_swell", "high", 1, "above"),
)


def find_voltages(minutes: Minutes) -> Iterator[Event]:
    """Find voltages off the usual of two hours, or outside of EN 50160, by more than the meter's noise."""
    means = minutes.mean("voltage")
    if means is None or minutes.machine.nominal_voltage is None:
        # Not known to be the voltage of a mains.
        return
    median = running_median_of_bins(minutes.time, means, _BIN, _BINS)
    nominal, allowed = minutes.machine.nominal_voltage, minutes.limits.supply.voltage
    usual = np.where(np.abs(median / nominal - 1) >= allowed, nominal, median)
    for kind, label, sign, word in _VOLTAGES:
        values = minutes.columns[f"voltage_{label}"]
        with np.errstate(divide="ignore", invalid="ignore"):
            off, own = (sign * (values / np.where(each == 0.0, np.nan, each) - 1.0) for each in (usual, median))
        steps: Steps = getattr(minutes.limits.detection, kind)
        least = _above_noise(own, steps.mild)
        outside = sign * (np.where(least > steps.mild, median, values) / nominal - 1.0) > allowed
        flagged = (off > least) | (outside & np.isfinite(off))
        for span in find_spans(minutes.time, flagged, minutes.step, join=_JOIN):
            worst = peak_row(off, span)
            yield make_event(
                kind,
                steps.severity(off[worst]),
                "voltage",
                minutes.times(span),
                (values[worst], usual[worst]),
                f"voltage {minutes.text(values[worst], 'voltage')} for {duration(minutes.hours(span))}, "
                f"{off[worst]:.0%} {word} the usual {minutes.text(usual[worst], 'voltage')}",
            )


def find_frequencies(minutes: Minutes) -> Iterator[Event]:
    """Find frequencies outside of EN 50160 by more than the meter's noise."""
    means = minutes.mean("frequency")
    if means is None or minutes.machine.nominal_voltage is None:
        return
    nominal = nominal_frequency(means, minutes.limits)
    low, high = (minutes.columns[f"frequency_{label}"] for label in ("low", "high"))
    values = np.where(nominal - low > high - nominal, low, high)
    off = np.abs(values / nominal - 1.0)
    steps = minutes.limits.detection.frequency_excursion
    middle = float(np.nanmedian(means))
    least = _above_noise(np.maximum(middle - low, high - middle) / nominal, steps.mild)
    usual = running_median_of_bins(minutes.time, means, _BIN, _BINS)
    flagged = (off > steps.mild) & ((np.abs(usual / nominal - 1.0) > steps.mild) | (off > least))
    allowed = minutes.limits.supply.frequency * nominal
    for span in find_spans(minutes.time, flagged, minutes.step, join=_JOIN):
        worst = peak_row(off, span)
        yield make_event(
            "frequency_excursion",
            steps.severity(off[worst]),
            "frequency",
            minutes.times(span),
            (values[worst], nominal),
            f"frequency {minutes.text(values[worst], 'frequency')} for {duration(minutes.hours(span))}; EN 50160 "
            f"allows {nominal - allowed:.1f} to {nominal + allowed:.1f} Hz",
        )


def _above_noise(off: Floats, mild: float) -> float:
    """Return the deviation to exceed: the limit, or the reach of the meter's own noise if that is larger."""
    known = off[np.isfinite(off)]
    return max(mild, float(np.median(known)) + _NOISE * deviation(known)) if len(known) else mild
