"""Signals that change slowly (load, heat, wear), on a grid of five minutes."""

from dataclasses import dataclass

import numpy as np

from etl.model.measurements import Measurement, Measurements
from etl.stages.generate.chance import Floats, Integers, channel, uniform, wander
from etl.stages.generate.plant import STEP, STEPS_PER_DAY, Plant, faults_of, load, run_idle

# Heat is summed over 2**6 steps, over five hours; then less than 0.1 % of it is left in the slowest machine.
_DOUBLINGS = 6
_MEMORY = 2**_DOUBLINGS


def _heat(plant: Plant, losses: Floats) -> Floats:
    """Return heat, which follows losses with a first-order lag; shape (n, machines) gives (n - _MEMORY + 1, machines).

    It is the sum of memory**j * losses[k - j] over the last _MEMORY steps, computed by doubling. So each value comes
    from the same operations on the same grid points, wherever the array begins.
    """
    total, memory = losses * (1.0 - plant.memory), plant.memory
    for doubling in range(_DOUBLINGS):
        reach = 2**doubling
        total = total[reach:] + memory * total[:-reach]
        memory = memory * memory
    return total


@dataclass(frozen=True)
class Slow:
    """The slow signals on the grid points `first` .. `first + n - 1`; every array has shape (n, machines)."""

    first: int
    load: Floats
    warmth: Floats  # K above the hall
    wear: Floats  # factor of vibration
    line: Floats  # deviation of voltage on the machine's own line, share of nominal
    supply: Floats  # bar
    damp: Floats  # % above the hall
    others: dict[str, Floats]  # measurements without their own signal


# The measurements with their own signal in `signals`.
SHAPED = frozenset(
    {"voltage", "current", "frequency", "temperature", "power_factor", "vibration", "pressure", "humidity"}
)


def slow_signals(plant: Plant, measurements: Measurements, first: int, last: int) -> Slow:
    """Compute the slow signals on the grid points from `first` to `last` inclusive."""
    steps = np.arange(first, last + 1)[:, None]
    before = np.arange(first - _MEMORY + 1, last + 1)[:, None]
    keys, loads = plant.keys, load(plant, before)
    run_idle(loads, first - _MEMORY + 1, faults_of(plant, (first - _MEMORY + 1) * STEP, (last + 1) * STEP))
    drift = wander(channel(keys, "drift"), steps, 12)
    return Slow(
        first=first,
        load=loads[_MEMORY - 1 :],
        # Losses grow with the square of the current (IEC 60034-1 rates a machine by the rise at its rated load).
        warmth=plant.rise * _heat(plant, loads * loads) + 0.5 * drift,
        wear=plant.shaking * (1.0 + 0.35 * wander(channel(keys, "wear"), steps, 30 * STEPS_PER_DAY)),
        line=0.006 * wander(channel(keys, "line"), steps, 3),
        supply=plant.pressure * (1.0 + 0.03 * wander(channel(keys, "supply"), steps, 4)),
        damp=plant.damp + 1.5 * drift,
        others={
            measurement.name: _other(plant, measurement, steps)
            for measurement in measurements.declared
            if measurement.type == "double" and measurement.name not in SHAPED
        },
    )


def declared_range(measurement: Measurement) -> tuple[float, float]:
    """Return the lowest and the highest value, 100 apart if only one or none is declared."""
    low, high = measurement.minimum, measurement.maximum
    if low is None:
        return (0.0, 100.0) if high is None else (high - 100.0, high)
    return low, low + 100.0 if high is None else high


def _other(plant: Plant, measurement: Measurement, steps: Integers) -> Floats:
    """Wander over the middle of the declared range (0 to 100 without one), because nothing else is known."""
    low, high = declared_range(measurement)
    keys = channel(plant.keys, f"other/{measurement.name}")
    level = 0.5 * (uniform(keys) * 2.0 - 1.0) + 0.3 * wander(keys, steps, 24)
    return low / 2 + high / 2 + level * (high / 2 - low / 2)


def steps_needed(times: Integers) -> tuple[int, int]:
    """Return the first and last grid point for the interpolation of these times (ms)."""
    return int(times.min() // STEP), int(times.max() // STEP) + 1
