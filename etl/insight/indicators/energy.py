"""Energy and times in a state by hour: integrals over the readings of a day."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from etl.insight.indicators.readings import Floats, Integers, powers
from etl.insight.indicators.states import nominal_frequency
from etl.insight.limits import Limits, default_limits, rated_kva
from etl.model.catalogue import Machine
from etl.model.schemas import HOUR_MS

Flags = npt.NDArray[np.bool_]
_STATES = ("off_seconds", "idle_seconds", "running_seconds")
_COLUMNS = (
    *_STATES,
    *("overload_seconds", "energy_kwh", "idle_energy_kwh", "voltage_outside_seconds", "frequency_outside_seconds"),
)


def hold_time(machine: Machine, limits: Limits | None = None) -> timedelta:
    """Return for how long a reading stands at most."""
    return timedelta(milliseconds=_hold_ms(machine, limits or default_limits()))


def _hold_ms(machine: Machine, limits: Limits) -> float:
    return limits.states.hold_intervals * (machine.interval_seconds * 1000.0)


@dataclass(frozen=True)
class Pieces:
    """The times for which readings stand, cut at the full hours; arrays of shape (pieces,).

    `held` (n,) are the readings that stand up to the next one.
    """

    reading: Integers
    hour: Integers
    seconds: Floats
    held: Flags
    hours: int

    def integral(self, rate: Floats | Flags) -> Floats:
        """Integrate a rate by second, given by reading, over each hour; NaN counts as zero; shape (hours,)."""
        weights = np.nan_to_num(rate.astype(np.float64))[self.reading] * self.seconds
        return np.asarray(np.bincount(self.hour, weights, self.hours), float)

    def known(self, values: Floats) -> Flags:
        """Return the hours of which some time has a value; shape (hours,)."""
        return np.asarray(self.integral(np.isfinite(values)) > 0)

    def time(self, where: Flags, values: Floats) -> Floats:
        """Return the seconds of each hour in which readings are flagged; NaN in hours without a value."""
        return np.where(self.known(values), self.integral(where), np.nan)

    def between(self, rate: Floats) -> Floats:
        """Return the mean of each value and the next, where the first is held up to the next; shape (n,)."""
        following = np.append(rate[1:], np.nan)
        return np.where(self.held & np.isfinite(following), (rate + following) / 2.0, rate)


@dataclass(frozen=True)
class Integrals:
    """Seconds and kWh by hour, shape (hours,), None where not measured; `power` (n,) in kW and `running` by reading."""

    power: Floats | None = None
    running: Flags | None = None
    running_kwh: Floats | None = None
    running_kvah: Floats | None = None
    columns: dict[str, Floats] = field(default_factory=dict)

    def row(self, hour: int) -> dict[str, float | None]:
        """Return the columns of an hour."""
        factor = None
        if self.running_kvah is not None and self.running_kwh is not None and self.running_kvah[hour] > 0:
            factor = float(self.running_kwh[hour] / self.running_kvah[hour])
        found = {name: float(column[hour]) for name, column in self.columns.items() if np.isfinite(column[hour])}
        return {**{name: found.get(name) for name in _COLUMNS}, "power_factor": factor}


def integrate(
    times: Integers, values: Mapping[str, Floats], machine: Machine, bounds: Integers, limits: Limits
) -> Integrals:
    """Integrate power, the times in states and those outside of limits over the hours between `bounds`, in ms."""
    pieces = _cut(times, machine, bounds, limits)
    integrals = _power(pieces, values, machine, limits)
    columns = integrals.columns
    if (current := values.get("current")) is not None and machine.rated_current is not None:
        above = current > limits.states.overload_above * machine.rated_current
        columns["overload_seconds"] = pieces.time(above, current)
    if (voltage := values.get("voltage")) is not None and machine.nominal_voltage is not None:
        away = np.abs(voltage / machine.nominal_voltage - 1.0)
        columns["voltage_outside_seconds"] = pieces.time(away > limits.supply.voltage, voltage)
    if (frequency := values.get("frequency")) is not None:
        parts = np.split(frequency, np.searchsorted(times, bounds[1:-1]))
        nominal = np.repeat([nominal_frequency(part, limits) for part in parts], [len(part) for part in parts])
        away = np.abs(frequency / nominal - 1.0)
        columns["frequency_outside_seconds"] = pieces.time(away > limits.supply.frequency, frequency)
    return integrals


def _cut(times: Integers, machine: Machine, bounds: Integers, limits: Limits) -> Pieces:
    """Cut the times for which readings stand at the bounds of hours."""
    gaps = np.diff(times, append=bounds[-1]).astype(np.float64)
    held = gaps <= _hold_ms(machine, limits)
    lengths = np.where(held, gaps, machine.interval_seconds * 1000.0)
    low, hours = bounds[0], len(bounds) - 1
    first = (times - low) // HOUR_MS
    last = np.minimum(np.ceil((times + lengths - low) / HOUR_MS).astype(np.int64), hours) - 1
    counts = last - first + 1
    reading = np.repeat(np.arange(len(times)), counts)
    hour = first[reading] + np.arange(len(reading)) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = np.maximum(times[reading], bounds[hour])
    ends = np.minimum((times + lengths)[reading], bounds[hour + 1])
    return Pieces(reading, hour, (ends - begins) / 1000.0, held, hours)


def _power(pieces: Pieces, values: Mapping[str, Floats], machine: Machine, limits: Limits) -> Integrals:
    both = powers(values, machine)
    if both is None:
        return Integrals()
    power, rated = both[0], rated_kva(machine)
    share = power / rated
    off, running = share < limits.states.off_below, share >= limits.states.idle_below
    columns = {
        name: pieces.time(state, share)
        for name, state in zip(_STATES, (off, (share >= limits.states.off_below) & ~running, running), strict=True)
    }
    active, apparent = (pieces.between(each) / 3600.0 for each in (power, np.hypot(*both)))
    idle = pieces.integral(np.where(running, 0.0, active))
    columns["energy_kwh"] = np.where(pieces.known(power), pieces.integral(active), np.nan)
    columns["idle_energy_kwh"] = np.where(pieces.known(share), idle, np.nan)
    running_kwh, running_kvah = (pieces.integral(np.where(running, each, 0.0)) for each in (active, apparent))
    return Integrals(
        power,
        None if np.isnan(rated) else power >= limits.states.idle_below * rated,
        running_kwh,
        running_kvah,
        columns,
    )
