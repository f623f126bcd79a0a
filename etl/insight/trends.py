"""Trends of a machine: a robust slope through its running hours, and a forecast of when it reaches a limit."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from etl.insight.indicators import from_ms, to_ms
from etl.insight.limits import Limits, default_limits, rated_kva, vibration_zones
from etl.insight.units import UNITS, figure, same_unit
from etl.model.catalogue import Machine
from etl.model.schemas import HOUR_MS

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]

_DAY_MS = 24 * HOUR_MS
# Hours are joined to medians of half days, which depend on each other much less.
_HALF_DAY = 0.5
# An hour counts as running from 30 minutes on.
_RUNNING_SECONDS = 1800.0
# Half days from which the test of Mann and Kendall can reach the significance of `limits.yaml`.
_FEWEST_POINTS = 6
# Hours per half day that a fit of the load needs beside them.
_HOURS_PER_POINT = 2
# Confidence of the interval from `earliest` to `latest`.
_CONFIDENCE = 0.8
# Days after which a date is not named: a century.
_FURTHEST_DAYS = 36_500


class Slope(NamedTuple):
    """A line through points: its value at time 0, and its change per day with the bounds of its confidence interval."""

    value: float
    per_day: float
    low: float
    high: float
    significance: float


def trends(
    machine: Machine,
    hours: Sequence[Mapping[str, Any]],
    until: datetime,
    limits: Limits | None = None,
    units: Mapping[str, str] = UNITS,
) -> list[Row]:
    """Return the rows of TRENDS for a machine from its rows of `by_hour` before `until`, of up to 28 days.

    Values are those of running hours, freed of what their load explains (where power is not known in most hours: of
    those too), as medians of half days, which depend on each other much less than hours do. Only a trend that is
    significant and reaches a limit within the horizon gives a row: the next bound of the vibration zones, the
    temperature limit, or the power factor's. `latest` is null where the slope may as well be none. A measurement that
    is declared in another unit than its limit has none.
    """
    limits = limits or default_limits()
    rows = [row for row in hours if row["hour"] < until]
    blind = [row for row in rows if row["running_seconds"] is None]
    running = [row for row in rows if (row["running_seconds"] or 0.0) > _RUNNING_SECONDS]
    # A broken meter does not end the trends of other sensors.
    rows = [*blind, *running] if 2 * len(blind) > len(rows) else running
    if not rows:
        return []
    days = np.array([(to_ms(row["hour"]) - to_ms(until)) / _DAY_MS for row in rows])
    load = np.array([_load(row) for row in rows]) / rated_kva(machine)
    found = []
    for measurement, bounds, sign in _limits(machine, limits):
        if not same_unit(units.get(measurement, ""), UNITS.get(measurement, "")):
            continue
        values = np.array([np.nan if row[measurement] is None else row[measurement] for row in rows], dtype=np.float64)
        slope = slope_of(days, _at_mean_load(days, load, values), limits)
        ahead = [] if slope is None else [bound for bound in bounds if sign * (bound - slope.value) > 0]
        row = None if slope is None or not ahead else _forecast(measurement, slope, ahead[0], sign, until)
        if row is not None and (row["reached"] - until).days < limits.trends.horizon_days:
            found.append({**row, "equipment_id": machine.equipment_id})
    return found


def _forecast(measurement: str, slope: Slope, bound: float, sign: int, until: datetime) -> Row | None:
    """Return the row of a slope that reaches a bound; None: it never does."""
    near, steep = sorted((sign * slope.low, sign * slope.high))
    reached, earliest, latest = (
        _when(abs(bound - slope.value), pace, until) for pace in (sign * slope.per_day, steep, near)
    )
    if reached is None:
        return None
    unit = f" {UNITS.get(measurement, '')}".rstrip()
    return {
        "measurement": measurement,
        "as_of": until,
        "value": slope.value,
        "per_day": slope.per_day,
        "threshold": bound,
        "reached": reached,
        "earliest": earliest,
        "latest": latest,
        "evidence": f"{measurement.replace('_', ' ')} {'grows' if sign > 0 else 'falls'} by "
        f"{figure(abs(slope.per_day), 2)}{unit} a day; at {figure(slope.value, 3)}{unit} now, it reaches "
        f"{figure(bound, 3)}{unit} on {reached:%Y-%m-%d}",
    }


def _load(row: Mapping[str, Any]) -> float:
    """Return the mean active power while running, in kW; NaN where it is not known."""
    if row["energy_kwh"] is None or row["idle_energy_kwh"] is None or not row["running_seconds"]:
        return np.nan
    return float((row["energy_kwh"] - row["idle_energy_kwh"]) * 3600.0 / row["running_seconds"])


def _limits(machine: Machine, limits: Limits) -> Iterator[tuple[str, tuple[float, ...], int]]:
    """Yield name, bounds in the order in which they are reached, and direction of each measurement with a limit."""
    yield "vibration", vibration_zones(machine, limits)[1:], 1
    yield "temperature", (limits.temperature,), 1
    yield "power_factor", (limits.power_factor,), -1


def _at_mean_load(days: Floats, load: Floats, values: Floats) -> Floats:
    """Return values without what load explains beside time: minus b * (load - mean load), with b of a fitted plane."""
    known = np.isfinite(values) & np.isfinite(load)
    if known.sum() < _HOURS_PER_POINT * _FEWEST_POINTS:
        return values
    plane = np.column_stack([np.ones(known.sum()), days[known], load[known]])
    slope = np.linalg.lstsq(plane, values[known], rcond=None)[0][2]
    return np.where(known, values - slope * (load - load[known].mean()), values)


def slope_of(days: Floats, values: Floats, limits: Limits | None = None) -> Slope | None:
    """Return the slope over the shortest window up to time 0 in which it is significant; `days` (n,) are negative.

    Theil-Sen slope with its interval (Sen, JASA 63, 1968), and the Mann-Kendall test: Kendall's tau against time.
    """
    known = np.isfinite(values)
    halves = np.floor(days[known] / _HALF_DAY)
    times = np.unique(halves)
    middles = np.array([np.median(values[known][halves == half]) for half in times])
    times = (times + 0.5) * _HALF_DAY
    limits = limits or default_limits()
    for window in sorted(limits.trends.windows_days):
        inside = times > -window
        if inside.sum() < _FEWEST_POINTS or np.ptp(middles[inside]) == 0:
            continue
        significance = float(stats.kendalltau(times[inside], middles[inside]).pvalue)
        if significance <= limits.trends.significance:
            line = stats.theilslopes(middles[inside], times[inside], alpha=_CONFIDENCE)
            return Slope(float(line[1]), float(line[0]), float(line[2]), float(line[3]), significance)
    return None


def _when(distance: float, per_day: float, until: datetime) -> datetime | None:
    """Return the time at which a distance is covered; None: never, or later than a date is named."""
    if per_day <= 0 or distance / per_day > _FURTHEST_DAYS:
        return None
    return from_ms(to_ms(until) + int(distance / per_day * _DAY_MS))
