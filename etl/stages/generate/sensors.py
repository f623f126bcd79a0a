"""The sensors of a synthetic plant: their slow signals on a grid of five minutes, and their readings at any times."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import numpy as np

from etl.model.measurements import Measurement, Measurements
from etl.stages.generate.chance import (
    Floats,
    Integers,
    channel,
    uniform,
    wander,
)
from etl.stages.generate.faults import Fault
from etl.stages.generate.plant import STEP, STEPS_PER_DAY, Plant, faults_of, load, run_idle
from etl.stages.generate.signals import SIGNALS, Block, Slow, Values, declared_range, double_values, states_of

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
            if measurement.type == "double" and measurement.name not in SIGNALS
        },
    )


def _other(plant: Plant, measurement: Measurement, steps: Integers) -> Floats:
    """Wander over the middle of the declared range (0 to 100 without one), because nothing else is known."""
    low, high = declared_range(measurement)
    keys = channel(plant.keys, f"other/{measurement.name}")
    level = 0.5 * (uniform(keys) * 2.0 - 1.0) + 0.3 * wander(keys, steps, 24)
    return low / 2 + high / 2 + level * (high / 2 - low / 2)


def steps_needed(times: Integers) -> tuple[int, int]:
    """Return the first and last grid point for the interpolation of these times (ms)."""
    return int(times.min() // STEP), int(times.max() // STEP) + 1


_BLOCK = 16_384  # values per step, so that all temporary arrays stay in the cache


def _at_start(plant: Plant, stuck: Fault, measurement: Measurement) -> float:
    """Return the last output of the sensor before it got stuck."""
    when = np.array([[stuck.start]])
    machine = _only(plant, stuck.place)
    others = [fault for fault in faults_of(machine, stuck.start, stuck.start + 1) if fault.kind != stuck.kind]
    slow = slow_signals(machine, Measurements((measurement,)), *steps_needed(when))
    return float(double_values(Block(machine, slow, slice(None), when, others), measurement)[0, 0])


def _only(plant: Plant, place: int) -> Plant:
    shared = ("seed", "fault_rate")
    own = {trait.name: getattr(plant, trait.name)[place, None] for trait in fields(Plant) if trait.name not in shared}
    return replace(plant, **own)


def _blocks(
    plant: Plant, times: Integers, machine: Integers | None
) -> Iterator[tuple[slice, slice | Integers, Integers]]:
    if machine is None:
        rows = max(1, _BLOCK // max(1, len(plant.keys)))
        for begin in range(0, len(times), rows):
            yield slice(begin, begin + rows), slice(None), times[begin : begin + rows, None]
    else:
        for begin in range(0, len(times), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            yield part, machine[part], times[part]


def _felt_in(wrong: Sequence[Fault], times: Integers) -> list[Fault]:
    first, last = (int(times.min()), int(times.max())) if wrong else (0, 0)
    return [fault for fault in wrong if fault.start <= last and fault.felt_until > first]


def readings(
    plant: Plant,
    measurements: Measurements,
    slow: Slow,
    times: Integers,
    machine: Integers | None = None,
) -> dict[str, Values]:
    """Return every declared measurement.

    Args:
        plant: the machines.
        measurements: the measurements to return; one without a signal here gets a plausible one in its declared range.
        slow: the slow signals on the grid points that `steps_needed(times)` names, at least.
        times: milliseconds since 1970 in UTC; shape (n,).
        machine: position of one machine in the plant for each time; shape (n,). None: all machines at each time.

    Returns:
        An array per measurement of shape (n, machines), or (n,) if `machine` is given: float64 in the declared unit
        with the declared decimals (the resolution of a meter); for text the position in STATES as int8.
    """
    shape = (len(times), len(plant.keys)) if machine is None else (len(times),)
    values: dict[str, Values] = {}
    for measurement in measurements.declared:
        double = measurement.type == "double"
        values[measurement.name] = np.empty(shape, np.float64) if double else np.empty(shape, np.int8)
    wrong = faults_of(plant, int(times.min()), int(times.max()) + 1) if len(times) else []
    declared = {measurement.name: measurement for measurement in measurements.declared}
    stuck_at = {
        fault: _at_start(plant, fault, declared[fault.measurement])
        for fault in wrong
        if fault.kind == "sensor_stuck" and fault.measurement in declared
    }
    for part, which, when in _blocks(plant, times, machine):
        block = Block(plant, slow, which, when, _felt_in(wrong, when), stuck_at)
        for measurement in measurements.declared:
            values[measurement.name][part] = (
                double_values(block, measurement) if measurement.type == "double" else states_of(block)
            )
    return values
