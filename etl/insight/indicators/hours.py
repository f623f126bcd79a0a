"""The hours of a day: rows of MACHINE_HOURS."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from etl.insight.indicators.energy import Integrals, integrate
from etl.insight.indicators.readings import Floats, Integers, Readings, Spread, group_spread, readings_within
from etl.insight.indicators.states import zone
from etl.insight.indicators.times import DAY_HOURS, day_start_ms, from_ms, to_ms
from etl.insight.limits import Limits, default_limits
from etl.model.catalogue import Machine
from etl.model.schemas import DAY_MS, HOUR_MS

Row = dict[str, Any]


def by_hour(
    readings: pa.Table,
    machine: Machine,
    day: date,
    until: datetime | None = None,
    limits: Limits | None = None,
    since: datetime | None = None,
    wanted: range = DAY_HOURS,
) -> list[Row]:
    """Return the rows of MACHINE_HOURS for the wanted hours of the day that begin before `until` (None: all of them).

    The row of an hour is the same whatever else is wanted. Of a machine that is new since some time, nothing is
    expected before it, and hours that end before have no row.

    Times in a state are seconds of known power. `power_factor` is sum(P) / sum(S) while running; `vibration` is the
    mean while running (of all readings, in an hour without known power), and `vibration_zone` its zone.
    """
    start = day_start_ms(day)
    stop = start + DAY_MS if until is None else min(start + DAY_MS, to_ms(until))
    born = start if since is None else max(start, to_ms(since))
    hours = _hours(readings_within(readings, start, start + DAY_MS), machine, start, limits or default_limits())
    expected = _expected(machine, start, min(born, stop), stop)
    rows = []
    for hour in wanted:
        begin = start + hour * HOUR_MS
        if begin < stop and begin + HOUR_MS > born:
            key = {"equipment_id": machine.equipment_id, "month": f"{day:%Y-%m}", "hour": from_ms(begin)}
            rows.append({**key, "expected": int(expected[hour]), **hours.row(hour)})
    return rows


@dataclass(frozen=True)
class _Hours:
    """The readings of a day by hour; arrays of shape (24,), NaN in hours without a value."""

    machine: Machine
    limits: Limits
    received: Integers
    bad: Floats
    integrals: Integrals
    spreads: dict[str, Spread]
    vibration: Spread | None
    power: Spread | None

    def row(self, hour: int) -> Row:
        """Return the columns of an hour that come from its readings."""
        names = [name for name, spread in self.spreads.items() if np.isfinite(spread.mean[hour])]
        means = {name: float(self.spreads[name].mean[hour]) for name in names}
        temperature = self.spreads.get("temperature")
        vibration = _number(self.vibration and self.vibration.mean, hour)
        return {
            "received": int(self.received[hour]),
            "bad": int(self.bad[hour]),
            **self.integrals.row(hour),
            "peak_kw": _number(self.power and self.power.highest, hour),
            "temperature": means.get("temperature"),
            "temperature_highest": _number(temperature and temperature.highest, hour),
            "vibration": vibration,
            "vibration_highest": _number(self.vibration and self.vibration.highest, hour),
            "vibration_zone": zone(vibration, self.machine, self.limits),
            "means": means,
            "lows": {name: float(self.spreads[name].lowest[hour]) for name in names},
            "highs": {name: float(self.spreads[name].highest[hour]) for name in names},
        }


def _number(column: Floats | None, hour: int) -> float | None:
    return None if column is None or not np.isfinite(column[hour]) else float(column[hour])


def _expected(machine: Machine, start: int, since: int, until: int) -> Integers:
    """Return how many readings are expected in each hour of a day, from `since` up to `until`; shape (24,)."""
    bounds = start + np.arange(len(DAY_HOURS) + 1) * HOUR_MS
    interval = machine.interval_seconds * 1000.0
    return np.diff(np.ceil(np.clip(bounds, since, until) / interval)).astype(np.int64)


def _hours(readings: Readings, machine: Machine, start: int, limits: Limits) -> _Hours:
    size = len(DAY_HOURS)
    bounds = start + np.arange(size + 1) * HOUR_MS
    integrals = integrate(readings.times, readings.values, machine, bounds, limits)
    hours = (readings.times - start) // HOUR_MS
    starts = np.flatnonzero(np.diff(hours, prepend=-1))

    def spread(values: Floats | None) -> Spread | None:
        return None if values is None else group_spread(values, starts).at(hours[starts], size)

    spreads = {name: group_spread(column, starts).at(hours[starts], size) for name, column in readings.values.items()}
    return _Hours(
        machine,
        limits,
        np.bincount(hours, minlength=size),
        np.asarray(np.bincount(hours, readings.bad, minlength=size), np.float64),
        integrals,
        spreads,
        spread(_vibration(readings.values.get("vibration"), integrals, hours)),
        spread(integrals.power),
    )


def _vibration(vibration: Floats | None, integrals: Integrals, hours: Integers) -> Floats | None:
    """Return the vibration while running, and all of it in hours without known power; NaN elsewhere; shape (n,)."""
    if vibration is None or integrals.running is None or integrals.power is None:
        return vibration
    unknown = np.bincount(hours, np.isfinite(integrals.power), minlength=len(DAY_HOURS)) == 0
    return np.where(integrals.running | unknown[hours], vibration, np.nan)
