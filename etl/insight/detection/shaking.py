"""Vibration by hour, compared with what the machine has at that load, at rest, or in general where load is unknown."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from etl.insight.detection.inputs import ENOUGH_HOURS, Hours
from etl.insight.detection.robust import DEVIATION, fit_quantile, running_median
from etl.insight.detection.spans import Flags, Floats
from etl.model.schemas import HOUR_MS

# Load is known if more than this share of the hours of the last four days has it: a meter may have broken.
_LOAD_KNOWN = 0.5
# An hour counts as running from 15 minutes on.
_RUNNING_SECONDS = 900
# More hours than this are needed to know what is usual at rest.
_FEWEST_AT_REST = 5
# Smallest usual vibration in mm/s, as nothing is a share of zero.
_LEAST, _LEAST_MEDIAN = 1e-3, 1e-9
# Hours of the running median: five if load is removed, otherwise half a day, because load changes with shifts.
_WIDTH, _WIDTH_ALONE = 5, 13
# Without load, the variation within a day (against the median of 25 hours) is noise, up to this many deviations.
_DAY_WIDTH, _NOISE = 25, 3.5

# Rest without a known load: two levels, at these quantiles, the upper one at least twice the lower one.
_LEVELS, _RATIO = (0.05, 0.95), 2.0
# At most 10 % is in the middle third between the levels, and the machine changes level at least four times.
_MIDDLE, _BETWEEN, _TURNS = (0.33, 0.67), 0.1, 4
# Of two levels, rest is below the middle.
_REST_BELOW = 0.5


@dataclass(frozen=True)
class Shaking:
    """Vibration by hour, shape (m,): `value` in its unit, `ratio` of it to what is usual at that load, or at rest.

    `noise` is the share by which it comes and goes, as far as load does not explain it; `width` that of its smoothing.
    """

    value: Floats
    ratio: Floats
    resting: Flags
    noise: float
    width: int
    load_known: bool

    def apart(self, what: Callable[[Floats], Floats], values: Floats) -> Floats:
        """Apply a function to the hours of running and to those at rest apart, as neither tells of the other."""
        running, resting = (what(np.where(own, values, np.nan)) for own in (~self.resting, self.resting))
        return np.where(self.resting, resting, running)

    def smooth(self) -> Floats:
        """Return the running median of the ratio; shape (m,)."""
        return self.apart(lambda own: running_median(own, self.width), self.ratio)

    def around(self, row: int) -> float:
        """Return the median of the hours around one that `smooth` has used."""
        half = self.width // 2
        around = slice(max(0, row - half), row + half + 1)
        alike = np.isfinite(self.ratio[around]) & (self.resting[around] == self.resting[row])
        return float(np.median(self.value[around][alike]))


def compare(hours: Hours, off_below: float) -> Shaking:
    """Compare vibration with what the machine has at that load, or while it is off; without power, with its median.

    `off_below` is the load of a machine that is off, as a share of the rated power.
    """
    recent = hours.time >= hours.time[-1] - ENOUGH_HOURS * HOUR_MS if len(hours.time) else np.zeros(0, dtype=bool)
    if np.isfinite(hours.load[recent]).sum() <= _LOAD_KNOWN * recent.sum():
        return _alone(hours)
    nothing = np.full(len(hours.time), np.nan)
    # A share of zero, which is no vibration, means nothing.
    moving, still = (
        np.where(each > 0, each, np.nan) for each in (hours.vibration, hours.means.get("vibration", nothing))
    )
    ratio, value = nothing.copy(), moving.copy()
    on = np.isfinite(moving) & (hours.running > _RUNNING_SECONDS) & np.isfinite(hours.load_running)
    features = np.column_stack([np.ones(on.sum()), hours.load_running[on]])
    found = fit_quantile(features, moving[on])
    if found is not None:
        ratio[on] = moving[on] / np.maximum(features @ found, _LEAST)
    elif on.any():
        ratio[on] = moving[on] / max(float(np.median(moving[on])), _LEAST_MEDIAN)
    off = (hours.load < off_below) & ~on
    if np.isfinite(still[off]).sum() > _FEWEST_AT_REST:
        ratio[off] = still[off] / max(float(np.nanmedian(still[off])), _LEAST)
        value[off] = still[off]
    return Shaking(value, ratio, off, 0.0, _WIDTH, load_known=True)


def _alone(hours: Hours) -> Shaking:
    """Compare vibration at a load that is not known: what comes and goes within a day is noise, or rest."""
    value = hours.means.get("vibration", np.full(len(hours.time), np.nan))
    value = np.where(value > 0, value, np.nan)
    nobody = np.zeros(len(value), dtype=bool)
    if np.isfinite(value).sum() < ENOUGH_HOURS:
        return Shaking(value, np.full(len(value), np.nan), nobody, 0.0, _WIDTH, load_known=False)
    resting = _resting(value)
    ratio = value / float(np.nanmedian(value[~resting]))
    ratio[resting] = np.nan
    daily = running_median(ratio, _DAY_WIDTH)
    noise = _NOISE * DEVIATION * float(np.nanmedian(np.abs(ratio - daily) / daily))
    return Shaking(value, ratio, nobody, noise, _WIDTH_ALONE, load_known=False)


def _resting(value: Floats) -> Flags:
    """Return the hours at rest of a machine that often starts and stops: it has two levels and little in between."""
    logs = np.log(np.where(value > 0, value, np.nan))
    low, high = np.nanquantile(logs, _LEVELS)
    share = (logs - low) / max(high - low, _LEAST_MEDIAN)
    below = share < _REST_BELOW
    known = np.isfinite(share)
    between = np.mean((share[known] > _MIDDLE[0]) & (share[known] < _MIDDLE[1]))
    turns = np.count_nonzero(np.diff(below[known].astype(np.int8)))
    if high - low < np.log(_RATIO) or between > _BETWEEN or turns < _TURNS:
        return np.zeros(len(value), dtype=bool)
    return np.asarray(below & known)
