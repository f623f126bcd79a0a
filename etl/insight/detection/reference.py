"""What is normal for a machine: how its measurements depend on each other, and how far they are off by chance.

For example, the flow of a pump follows from its current and its pressure. Each measurement is predicted from all others
by ridge regression; all predictions come from one inverse of the correlation matrix. The deviations are those of
readings that the fit has not seen: a fit always explains its own readings too well.
"""

from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from scipy.signal import lfilter

from etl.insight.detection.spans import Flags, Floats
from etl.insight.limits import Unusual

# The first 40 % of the readings predict the next 10 %, then 50 % the next, and so on.
_SHARES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# A measurement takes part if at least this share of its readings has a value.
_KNOWN = 0.1
# Spread below this share of the mean is rounding: the measurement is constant.
_CONSTANT = 1e-9
# Smallest deviation, in standard deviations, so that no limit is zero.
_LEAST = 1e-6


@dataclass(frozen=True)
class Reference:
    """A fit to normal readings of p measurements; all arrays are float64.

    `mean`, `scale` (p,) standardise a reading; `weights` (p, p) times the result are its residuals, in `scale`.
    `smooth` and `single` (p,) are root mean squares of smoothed and of single forward residuals. `energy` is the mean
    of what `loudness` gives. Rows and columns of measurements that do not take part are zero.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    smooth: Floats
    single: Floats
    energy: Floats

    def residuals(self, readings: Floats) -> Floats:
        """Return by how much readings (..., p) are off what the other measurements predict, in `scale`.

        With one measurement: off its mean.
        """
        return _residuals(readings, (self.mean, self.scale, self.weights))


ARRAYS = tuple(field.name for field in fields(Reference))


def loudness(squares: Floats, loudest: int) -> Floats:
    """Return the mean of the largest of the squares (..., p): the energy of the loudest measurements; shape (...)."""
    return np.asarray(np.sort(squares, axis=-1)[..., -loudest:].mean(axis=-1))


def smoothed(values: Floats, span: int) -> Floats:
    """Return exponentially weighted means over about `span` rows (n, p), which begin at zero."""
    share = 2.0 / (span + 1.0)
    return np.asarray(lfilter([share], [1.0, share - 1.0], values, axis=0))


def fit_reference(readings: Floats, settings: Unusual, recurring: Floats | None = None) -> Reference:
    """Fit normal readings (n, p) in the order of time, and those (m, p) of alarms that recur.

    NaN is passed over, a constant measurement takes no part.
    """
    extra = readings[:0] if recurring is None else recurring
    fitted = _fit(np.concatenate([extra, readings]), settings.ridge)
    cuts = [int(len(readings) * share) for share in _SHARES]
    parts = [_forward(extra, readings, begin, end, fitted, settings) for begin, end in pairwise(cuts)]
    # Alarms that recur are as far off as they are: no fit to others predicts them.
    parts.append((_residuals(extra, fitted), 0))
    single = _root_mean_square(np.concatenate([part[lead:] for part, lead in parts]))
    smooth = [smoothed(part, settings.smooth)[lead:] for part, lead in parts if len(part)]
    energies = [
        loudness(smoothed((part / single) ** 2, settings.smooth)[lead:], settings.loudest)
        for part, lead in parts
        if len(part)
    ]
    energy = np.array(max(_LEAST, float(np.concatenate(energies).mean())))
    return Reference(*fitted, _root_mean_square(np.concatenate(smooth)), single, energy)


def _residuals(readings: Floats, fitted: tuple[Floats, Floats, Floats]) -> Floats:
    mean, scale, weights = fitted
    return np.asarray(_standardised(readings, mean, scale) @ weights.T)


def _standardised(readings: Floats, mean: Floats, scale: Floats) -> Floats:
    """Return readings (..., p) in standard deviations from the mean; 0, the mean, where one is missing."""
    return np.nan_to_num((readings - mean) / scale)


def _fit(readings: Floats, ridge: float) -> tuple[Floats, Floats, Floats]:
    known = np.isfinite(readings)
    enough = known.mean(axis=0) >= _KNOWN
    count = np.maximum(1, known.sum(axis=0))
    mean = np.where(known, readings, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (readings - mean) ** 2, 0.0).sum(axis=0) / count)
    varies = enough & (spread > _CONSTANT * np.maximum(1.0, np.abs(mean)))
    scale = np.where(varies, spread, np.inf)
    return mean, scale, _weights(_standardised(readings, mean, scale), varies, ridge)


def _weights(standard: Floats, varies: Flags, ridge: float) -> Floats:
    """Return the matrix that turns standardised readings into residuals; zero where a measurement is constant."""
    if varies.sum() < 2:
        return np.diag(varies.astype(np.float64))
    correlation = standard.T @ standard / len(standard)
    inverse = np.linalg.inv(correlation + ridge * np.eye(len(correlation)))
    return np.where(varies[:, None], inverse / np.diag(inverse)[:, None], 0.0)


def _forward(
    extra: Floats, readings: Floats, begin: int, end: int, fitted: tuple[Floats, Floats, Floats], settings: Unusual
) -> tuple[Floats, int]:
    """Return residuals up to row `end` of a fit to the rows before `begin`, and the lead: rows before `begin`."""
    before = _fit(np.concatenate([extra, readings[:begin]]), settings.ridge)
    first = max(0, begin - 3 * settings.smooth)
    scale = before[1]
    # In the units of the last fit; what was constant before has no residual.
    factor = np.where(np.isfinite(scale) & np.isfinite(fitted[1]), scale, 0.0) / fitted[1]
    return np.asarray(_residuals(readings[first:end], before) * factor), begin - first


def _root_mean_square(values: Floats) -> Floats:
    return np.asarray(np.maximum(_LEAST, np.sqrt(np.mean(values**2, axis=0))))
