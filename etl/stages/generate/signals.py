"""Signals of a synthetic plant: each value depends only on seed, equipment ID and time, bit for bit.

Slow signals are interpolated between the points of their grid. The plant's clock is UTC.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from etl.model.measurements import Measurement
from etl.stages.generate import faults
from etl.stages.generate.chance import (
    DAY,
    GAMMA,
    Floats,
    Hashes,
    Integers,
    channel,
    cycle,
    hashes,
    key_of,
    mix,
    wander,
)
from etl.stages.generate.faults import Fault
from etl.stages.generate.plant import LEAKAGE, LOSS, STEP, Plant


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


def declared_range(measurement: Measurement) -> tuple[float, float]:
    """Return the lowest and the highest value, 100 apart if only one or none is declared."""
    low, high = measurement.minimum, measurement.maximum
    if low is None:
        return (0.0, 100.0) if high is None else (high - 100.0, high)
    return low, low + 100.0 if high is None else high


Values = npt.NDArray[np.float64] | npt.NDArray[np.int8]
STATES = ("off", "idle", "running")


@dataclass(frozen=True)
class Block:
    """Readings of one step: all machines at `times` (n, 1), or pairs of `machine` and `times`, both (n,).

    All arrays broadcast to the shape of the block; values that several signals share are computed once.
    """

    plant: Plant
    slow: Slow
    machine: slice | Integers
    times: Integers
    faults: Sequence[Fault] = ()
    stuck_at: Mapping[Fault, float] = field(default_factory=dict)  # the output of a stuck sensor

    def changed(self, value: Floats, *kinds: str) -> Floats:
        """Multiply a value by the factors of faults of these kinds; return the same array if there are none."""
        return self._multiplied(value, [fault for fault in self.faults if fault.kind in kinds], faults.strength)

    def heated(self, rise: Floats) -> Floats:
        """Multiply a rise of temperature in the same way, also while a machine cools."""
        return self._multiplied(rise, [fault for fault in self.faults if fault.kind in faults.HEATING], faults.heating)

    def _multiplied(self, value: Floats, felt: Sequence[Fault], factor: Callable[[Fault, Integers], Floats]) -> Floats:
        own = False
        for fault in felt:
            where, times = self.during(fault, fault.felt_until if factor is faults.heating else fault.end)
            if len(times):
                # Signals share arrays, so a fault changes a copy.
                value = value if own else np.array(np.broadcast_to(value, self.shape))
                own = True
                value[where] *= factor(fault, times)
        return value

    def during(self, fault: Fault, until: int) -> tuple[tuple[slice | Integers, ...], Integers]:
        """Return the readings of the faulty machine before `until`: their index, and their times."""
        if isinstance(self.machine, slice):
            column = self.times[:, 0]
            rows = slice(*np.searchsorted(column, (fault.start, until)).tolist())
            return (rows, np.array(fault.place)), column[rows]
        own = (self.machine == fault.place) & (self.times >= fault.start) & (self.times < until)
        found = np.flatnonzero(own)
        return (found,), self.times[found]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of the readings: (n, machines) or (n,)."""
        return (len(self.times), len(self.plant.keys)) if isinstance(self.machine, slice) else (len(self.times),)

    @cached_property
    def _step(self) -> Integers:
        return self.times // STEP

    @cached_property
    def _share(self) -> Floats:
        return (self.times - self._step * STEP) / STEP

    def trait(self, values: Floats) -> Floats:
        """Return the values of a trait for the machines."""
        return values[self.machine]

    def at(self, grid: Floats) -> Floats:
        """Return a slow signal, interpolated between the grid points around each time."""
        row = self._step - self.slow.first
        if isinstance(self.machine, slice):
            before, after = grid[row[:, 0]], grid[row[:, 0] + 1]
        else:
            before, after = grid[row, self.machine], grid[row + 1, self.machine]
        after -= before
        after *= self._share
        after += before
        return after

    def noise(self, group: str) -> list[Floats]:
        """Draw four noises per reading, triangular in [-1, 1): the sums of two times 16 bits."""
        keys = channel(self.plant.keys, f"noise/{group}")[self.machine]
        one = hashes(keys, self.times)
        other = mix(one + GAMMA)
        return [self._triangle(one >> np.uint64(bits), other >> np.uint64(bits)) for bits in (0, 16, 32, 48)]

    @staticmethod
    def _triangle(one: Hashes, other: Hashes) -> Floats:
        value = one.astype(np.int16).astype(np.float64)
        value += other.astype(np.int16)
        value *= 2.0**-16
        return value

    @cached_property
    def electric(self) -> list[Floats]:
        """The noise of load, voltage and frequency."""
        return self.noise("electric")

    @cached_property
    def mechanic(self) -> list[Floats]:
        """Noise of temperature, vibration, pressure and humidity."""
        return self.noise("mechanic")

    @cached_property
    def load(self) -> Floats:
        """Mechanical load as a share of the rated one, with work cycles, for which the grid is too coarse."""
        beat = self.times * self.trait(self.plant.beats)
        beat -= np.floor(beat)
        # A triangle wave: |2 * phase - 1| - 1/2 in [-0.5, 0.5].
        swing = (np.abs(2.0 * beat - 1.0) - 0.5) * self.trait(self.plant.swing)
        return self.at(self.slow.load) * (1.0 + swing + 0.04 * self.electric[0])

    @cached_property
    def present(self) -> Floats:
        """Magnetisation of the motor from 0 to 1: it fades out below 2 % load, where the contactor opens."""
        return self.load / (self.load + 0.02)

    @cached_property
    def active(self) -> Floats:
        """Active power, as a share of the rated mechanical power: the load, and no-load losses."""
        return self.load + LOSS * self.present

    @cached_property
    def apparent(self) -> Floats:
        """Apparent power S = sqrt(P**2 + Q**2); Q is the magnetising power and, with the current's square, leakage."""
        magnetising = self.changed(self.trait(self.plant.magnetising) * self.present, "power_factor_decay")
        reactive = magnetising + LEAKAGE * self.load * self.load
        return np.sqrt(self.active * self.active + reactive * reactive)

    @cached_property
    def supply_voltage(self) -> Floats:
        """Voltage as a share of nominal: the plant's line, which sags with the day's load, and the machine's own."""
        key, times = key_of(self.plant.seed, "\0voltage"), self.times
        plant = (
            1.008
            + 0.02 * wander(channel(key, "hours"), times, 2 * 3_600_000)
            + 0.008 * wander(channel(key, "minutes"), times, 600_000)
            + 0.003 * wander(channel(key, "seconds"), times, 20_000)
            - 0.012 * cycle(times, DAY, 12 * 3_600_000)
        )
        line = plant + self.at(self.slow.line) - 0.012 * self.load + 0.002 * self.electric[1]
        return self.changed(line, "voltage_sag", "voltage_swell")


def _voltage(block: Block) -> Floats:
    """Return V. EN 50160: within 10 % of nominal for 95 % of the week; here always (no dips, no swells)."""
    return block.trait(block.plant.nominal_voltage) * block.supply_voltage


def _current(block: Block) -> Floats:
    """Return A: I = P / (sqrt(3) U cos phi) with three phases, P / (U cos phi) with one, relative to rated values.

    With S = P / cos phi both read I = I_rated * (S / S_rated) / (U / U_nominal).
    """
    share = block.apparent / block.trait(block.plant.rated_power)
    return block.changed(block.trait(block.plant.rated_current) * share / block.supply_voltage, "phase_imbalance")


def _power_factor(block: Block) -> Floats:
    """Return cos phi = P / S, which falls at low load because the magnetising power stays."""
    return block.active / block.apparent


def _frequency(block: Block) -> Floats:
    """Return Hz, one value for the whole plant, with the meters' noise.

    EN 50160 allows 50 Hz +- 1 % in an interconnected grid; continental Europe usually keeps within 0.1 Hz.
    """
    key, times = key_of(block.plant.seed, "\0frequency"), block.times
    grid = (
        50.0
        + 0.05 * wander(channel(key, "quarter"), times, 900_000)
        + 0.025 * wander(channel(key, "minutes"), times, 100_000)
        + 0.006 * wander(channel(key, "seconds"), times, 8_000)
    )
    frequency = grid + 0.002 * block.electric[2]
    for fault in block.faults:
        if fault.kind == "frequency_excursion":
            where, _ = block.during(fault, fault.end)
            frequency[where] += fault.size
    return frequency


def _temperature(block: Block) -> Floats:
    """Return °C of the motor: the hall's, and the rise that follows losses with the machine's time constant."""
    times = block.times
    hall = 21.0 - 5.0 * cycle(times, 365 * DAY, 15 * DAY) + 2.5 * cycle(times, DAY, 15 * 3_600_000)
    return hall + block.heated(block.at(block.slow.warmth)) + 0.12 * block.mechanic[0]


def _vibration(block: Block) -> Floats:
    """Return the RMS velocity in mm/s; ISO 20816-3 accepts up to about 4.5 for machines of this size."""
    motion = 0.03 + block.present * (0.3 + 0.67 * block.load)
    return block.changed(block.at(block.slow.wear) * motion * (1.0 + 0.12 * block.mechanic[1]), "bearing_wear")


def _pressure(block: Block) -> Floats:
    """Return bar of the machine's hydraulic or air supply, which sags under load."""
    return block.at(block.slow.supply) * (1.02 - 0.07 * block.load + 0.004 * block.mechanic[2])


def _humidity(block: Block) -> Floats:
    """Return % relative humidity of the hall: lowest in the warm afternoon."""
    times = block.times
    weather = 6.0 * wander(key_of(block.plant.seed, "\0humidity"), times, 2 * DAY)
    hall = 48.0 + weather - 8.0 * cycle(times, DAY, 15 * 3_600_000)
    return hall + block.at(block.slow.damp) + 0.4 * block.mechanic[3]


SIGNALS: dict[str, Callable[[Block], Floats]] = {
    "voltage": _voltage,
    "current": _current,
    "frequency": _frequency,
    "temperature": _temperature,
    "power_factor": _power_factor,
    "vibration": _vibration,
    "pressure": _pressure,
    "humidity": _humidity,
}


def double_values(block: Block, measurement: Measurement) -> Floats:
    """Return a measurement as its sensor shows it: faults of the sensor, declared range and decimals included."""
    signal = SIGNALS.get(measurement.name)
    if signal:
        value = signal(block)
    else:
        low, high = declared_range(measurement)
        value = block.at(block.slow.others[measurement.name])
        value += (high / 2 - low / 2) * 0.01 * block.noise(measurement.name)[0]
    value = _sensed(block, measurement, value)
    if measurement.minimum is not None or measurement.maximum is not None:
        np.clip(value, measurement.minimum, measurement.maximum, out=value)
    if measurement.decimals is not None and measurement.decimals <= 9:
        scale = 10.0**measurement.decimals
        value *= scale
        np.rint(value, out=value)
        value /= scale
    return value


def _sensed(block: Block, measurement: Measurement, value: Floats) -> Floats:
    """Return the output of a sensor that may drift or be stuck."""
    for fault in block.faults:
        if fault.measurement == measurement.name:
            where, times = block.during(fault, fault.end)
            if fault.kind == "sensor_drift":
                value[where] *= faults.strength(fault, times)
            elif len(times):
                value[where] = block.stuck_at[fault]
    return value


def states_of(block: Block) -> npt.NDArray[np.int8]:
    """Return the position in STATES, by load."""
    return (block.load > 0.01).astype(np.int8) + (block.load > 0.1).astype(np.int8)
