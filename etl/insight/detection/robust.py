"""Robust statistics: medians, deviations and quantile fits, which a fault within the data hardly moves."""

from dataclasses import dataclass

import numpy as np

from etl.insight.detection.spans import Flags, Floats, Integers

# Standard deviation of normally distributed values, as a multiple of their median absolute deviation.
DEVIATION = 1.4826
# A fit needs this many values per coefficient.
_VALUES_PER_COEFFICIENT = 2
# Rounds of reweighting after which coefficients no longer change visibly.
ROUNDS = 25
# Distances below this share of the standard deviation weigh alike, so that no weight is infinite.
_CLOSEST = 1e-3
# A little ridge, as a share of the sum of squares, keeps features that hardly vary from fitting noise.
_RIDGE = 1e-6


@dataclass(frozen=True)
class Bins:
    """Assignment of times to bins: `bins` (k,) are those with times, in multiples of `width` ms; `place` is (n,)."""

    bins: Integers
    place: Integers
    width: int

    @property
    def time(self) -> Floats:
        """Begin of each bin in ms since 1970; shape (k,)."""
        return (self.bins * self.width).astype(np.float64)

    def mean(self, values: Floats | Flags, among: Flags | None = None) -> Floats:
        """Return the mean of values (n,) by bin, of the flagged ones if given; shape (k,), NaN where there are none."""
        counts = np.bincount(self.place, among)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.bincount(self.place, values if among is None else np.where(among, values, 0.0)) / counts


def to_bins(time: Integers, width: int) -> Bins:
    """Assign times to bins of `width` ms."""
    bins, place = np.unique(time // width, return_inverse=True)
    return Bins(bins, place, width)


def deviation(values: Floats) -> float:
    """Return the robust standard deviation of values; NaN is passed over."""
    return DEVIATION * float(np.nanmedian(np.abs(values - np.nanmedian(values))))


def running_median(values: Floats, width: int) -> Floats:
    """Return the centred running median over `width` rows, fewer at the ends; NaN is passed over; shape (n,)."""
    half = width // 2
    padded = np.pad(values, half, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    result = np.full(len(values), np.nan)
    known = np.isfinite(windows).any(axis=1)
    result[known] = np.nanmedian(windows[known], axis=1)
    return result


def running_median_of_bins(time: Integers, values: Floats, bin_ms: int, width: int) -> Floats:
    """Return the running median over `width` medians of bins, interpolated at each time; shape (n,)."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), np.nan)
    centres, medians = _medians(time[known], values[known], bin_ms)
    return np.asarray(np.interp(time, centres, running_median(medians, width)))


def _medians(time: Integers, values: Floats, bin_ms: int) -> tuple[Floats, Floats]:
    """Return centre and median of each bin that has values; shape (bins,) each."""
    bins = time // bin_ms
    order = np.lexsort((values, bins))
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    counts = np.diff(starts, append=len(time))
    ordered = values[order]
    medians = (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2.0
    return ((bins[starts] + 0.5) * bin_ms).astype(np.float64), np.asarray(medians)


def fit_quantile(features: Floats, values: Floats, quantile: float = 0.5, rounds: int = ROUNDS) -> Floats | None:
    """Fit a linear quantile by reweighted least squares; None where there are too few values.

    Features (n, k) and values (n,) give coefficients (k,); rows with NaN are left out. Koenker, Bassett, "Regression
    Quantiles", Econometrica 46, 1978; the weights are q or 1 - q over the distance.
    """
    known = np.isfinite(values) & np.isfinite(features).all(axis=1)
    features, values = features[known], values[known]
    if len(values) < _VALUES_PER_COEFFICIENT * features.shape[1]:
        return None
    closest = _CLOSEST * (float(np.std(values)) or 1.0)
    weights = np.ones(len(values))
    ridge = _RIDGE * np.diag(np.square(features).sum(axis=0))
    for _ in range(rounds):
        weighted = features * weights[:, None]
        found = np.linalg.lstsq(features.T @ weighted + ridge, weighted.T @ values, rcond=None)[0]
        left = values - features @ found
        weights = np.where(left > 0, quantile, 1.0 - quantile) / np.maximum(np.abs(left), closest)
        weights /= weights.mean()
    return np.asarray(found)
