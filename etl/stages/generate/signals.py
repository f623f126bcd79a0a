"""Signals of a made-up plant: each value depends on seed, equipment ID and time alone, bit for bit.

Chance comes from hashing (seed, equipment ID, time) rather than from a stream of random numbers, so that neither the
chunking nor the other machines matter. Only integer operations and `+ - * / sqrt` touch the values: IEEE 754
rounds those the same on every processor, whatever the length of an array, which it does not promise for `sin` or `exp`.

What changes slowly (load, heat, wear) is computed on a grid of five minutes and interpolated. The plant's clock is UTC.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from etl.model.catalogue import ASSUMED_CURRENT, ASSUMED_VOLTAGE, Machine
from etl.model.measurements import Measurement, Measurements
from etl.stages.generate import faults
from etl.stages.generate.faults import Fault

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Values = npt.NDArray[np.float64] | npt.NDArray[np.int8]

STEP = 300_000  # ms, the grid of the slow signals
STATES = ("off", "idle", "running")

_DAY = 86_400_000
_STEPS_PER_DAY = _DAY // STEP
_STEPS_PER_WEEK = 7 * _STEPS_PER_DAY
_STEPS_PER_SHIFT = _STEPS_PER_DAY // 3
_THURSDAY = 3  # 1970-01-01, counted from Monday
# Heat is remembered for 2**6 steps, over five hours: after that less than 0.1 % of it is left in the slowest machine.
_DOUBLINGS = 6
_MEMORY = 2**_DOUBLINGS

_OFF, _IDLE = 0.002, 0.04  # load as a share of the rated one: stand-by electronics, and running empty
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_BLOCK = 16_384  # values worked on at once, so that all temporary arrays stay in the cache


def mix(values: Hashes) -> Hashes:
    """Hash 64-bit values in place.

    The finaliser of SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _name_hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def _key(seed: int, *names: str) -> Hashes:
    """Make the key of one kind of chance for each name; shape (names,)."""
    return mix(np.array([_name_hash(f"{seed}/{name}") for name in names], dtype=np.uint64))


def channel(keys: Hashes, name: str) -> Hashes:
    """Derive the keys of an independent kind of chance; same shape."""
    return mix(keys ^ np.uint64(_name_hash(name)))


def hashes(keys: Hashes, counters: Integers) -> Hashes:
    """Hash each counter (a time in ms, or the number of a grid point) under its key; the shapes broadcast."""
    return mix(counters.astype(np.uint64) * _GAMMA + keys)


def _uniform(keys: Hashes, counters: Integers | int = 0) -> Floats:
    """Draw from [0, 1) by key and counter."""
    return (hashes(keys, np.asarray(counters)) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _wander(keys: Hashes, positions: Integers, period: int) -> Floats:
    """Wander smoothly in [-1, 1]: value noise, random at multiples of `period` and smoothstep in between."""
    knots = positions // period
    share = (positions - knots * period) / period
    share = share * share * (3.0 - 2.0 * share)
    before, after = _uniform(keys, knots), _uniform(keys, knots + 1)
    return 2.0 * (before + share * (after - before)) - 1.0


def _cycle(positions: Integers, period: int, peak: int) -> Floats:
    """Approximate a sine of amplitude 1 with its maximum at `peak`, by two parabolas (error about 0.1 %)."""
    phase = ((positions - peak + 3 * period // 4) % period) / period * 2.0 - 1.0
    sine = 4.0 * phase * (1.0 - np.abs(phase))
    return 0.775 * sine + 0.225 * sine * np.abs(sine)


@dataclass(frozen=True)
class Plant:
    """Machines, a seed and what is drawn once for each machine; every array has shape (machines,)."""

    seed: int
    fault_rate: float  # faults expected per machine and week
    keys: Hashes
    nominal_voltage: Floats
    rated_current: Floats
    calendar: Integers  # row of the table of calendars
    lag: Integers  # steps behind the plant's shift bell
    level: Floats  # load within a shift
    magnetising: Floats  # reactive power at no load, as a share of the rated apparent power
    rated_power: Floats  # apparent power at full load, in the same unit
    memory: Floats  # share of heat kept from one step to the next
    rise: Floats  # K above the hall at full load
    beats: Floats  # work cycles per ms
    swing: Floats  # share of load that a work cycle swings
    shaking: Floats  # mm/s at full load
    pressure: Floats  # bar
    damp: Floats  # % relative humidity above the hall's


def make_plant(machines: Sequence[Machine], seed: int, fault_rate: float = 0.0) -> Plant:
    """Draw the traits of each machine from the seed and its equipment ID."""
    keys = _key(seed, *(machine.equipment_id for machine in machines))

    def draw(name: str, low: float, high: float) -> Floats:
        return low + (high - low) * _uniform(channel(keys, name))

    magnetising = draw("magnetising", 0.3, 0.5)
    return Plant(
        seed=seed,
        fault_rate=fault_rate,
        keys=keys,
        # Made-up machines are all on the mains.
        nominal_voltage=np.array([machine.nominal_voltage or ASSUMED_VOLTAGE for machine in machines]),
        rated_current=np.array([machine.rated_current or ASSUMED_CURRENT for machine in machines]),
        calendar=_CALENDAR_SHARES.searchsorted(draw("calendar", 0, 1), side="right"),
        lag=draw("lag", 0, 4).astype(np.int64),
        level=draw("level", 0.4, 0.75),
        magnetising=magnetising,
        rated_power=np.sqrt((1.0 + _LOSS) * (1.0 + _LOSS) + (magnetising + _LEAKAGE) * (magnetising + _LEAKAGE)),
        # One implicit Euler step of T' = (target - T) / tau, with a time constant tau of 15 to 45 minutes.
        memory=1.0 - 1.0 / (1.0 + draw("inertia", 3, 9)),
        rise=draw("rise", 25, 60),
        beats=1.0 / draw("beat", 15_000, 240_000),
        swing=draw("swing", 0, 0.3),
        shaking=draw("shaking", 0.8, 2.8),
        pressure=draw("pressure", 4, 10),
        damp=draw("damp", -5, 5),
    )


def _calendars() -> npt.NDArray[np.int8]:
    """Lay out a week in steps from Monday 00:00, for four kinds of machine: 0 off, 1 idle (a break), 2 at work."""
    step = np.arange(_STEPS_PER_WEEK)
    day, hour = step // _STEPS_PER_DAY, step % _STEPS_PER_DAY * (STEP / 3_600_000)
    worked = [
        np.ones(len(step), dtype=bool),  # around the clock
        (step >= 6 * 12) & (day < 5) | (day == 5) & (hour < 6),  # three shifts, Monday 06:00 to Saturday 06:00
        (day < 5) & (hour >= 6) & (hour < 22),  # early and late shift
        (day < 5) & (hour >= 6) & (hour < 14),  # early shift
    ]
    pause = (hour % 8 >= 2) & (hour % 8 < 2.5)  # half an hour, four hours into each shift: 10:00, 18:00, 02:00
    table = [np.where(work, np.where(pause, 1, 2), 0) for work in worked]
    table[0][:] = 2  # what runs around the clock takes no breaks
    return np.stack(table).astype(np.int8)


_CALENDARS = _calendars()
_CALENDAR_SHARES = np.array([0.35, 0.65, 0.85])
_LOSS, _LEAKAGE = 0.04, 0.12  # shares of the rated power: iron and friction, stray reactance


def load(plant: Plant, steps: Integers) -> Floats:
    """Give the load at grid points, as a share of the rated one; `steps` (n, 1) gives shape (n, machines)."""
    keys, bell = plant.keys, steps - plant.lag
    week = (bell + _THURSDAY * _STEPS_PER_DAY) % _STEPS_PER_WEEK
    scheduled = _CALENDARS[plant.calendar, week]
    # Shifts begin at 06:00; each has an order of its own, and one slot of 20 minutes in 25 is a stop.
    order = _uniform(channel(keys, "order"), (bell - 6 * 12) // _STEPS_PER_SHIFT)
    stopped = _uniform(channel(keys, "stop"), bell // 4) < 0.04
    working = plant.level + 0.25 * order + 0.08 * _wander(channel(keys, "work"), steps, 6)
    return np.where(scheduled == 0, _OFF, np.where((scheduled == 1) | stopped, _IDLE, working))


def faults_of(plant: Plant, start: int, end: int) -> list[Fault]:
    """List the faults of the plant's machines that are felt from `start` up to before `end` (ms)."""

    def draw(keys: Hashes) -> faults.Draw:
        return lambda name, week: _uniform(channel(keys, name), week)

    every = draw(_key(plant.seed, "\0faults"))
    return faults.schedule(len(plant.keys), draw(plant.keys), every, plant.fault_rate, start, end)


def _idle(loads: Floats, first: int, wrong: Sequence[Fault]) -> None:
    """Let machines run empty, in place, on the grid points from `first`."""
    for fault in wrong:
        if fault.kind == "idle_waste":
            begin, end = (max(0, -(-time // STEP) - first) for time in (fault.start, fault.end))
            loads[begin:end, fault.place] = fault.size


def _heat(plant: Plant, losses: Floats) -> Floats:
    """Let heat follow losses with a first-order lag; shape (n, machines) gives (n - _MEMORY + 1, machines).

    The sum of memory**j * losses[k - j] over the last _MEMORY steps, by doubling: each value comes from the same
    operations on the same grid points, wherever the array begins.
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
    others: dict[str, Floats]  # measurements without a signal of their own


def slow_signals(plant: Plant, measurements: Measurements, first: int, last: int) -> Slow:
    """Compute the slow signals on the grid points from `first` to `last` inclusive."""
    steps = np.arange(first, last + 1)[:, None]
    before = np.arange(first - _MEMORY + 1, last + 1)[:, None]
    keys, loads = plant.keys, load(plant, before)
    _idle(loads, first - _MEMORY + 1, faults_of(plant, (first - _MEMORY + 1) * STEP, (last + 1) * STEP))
    drift = _wander(channel(keys, "drift"), steps, 12)
    return Slow(
        first=first,
        load=loads[_MEMORY - 1 :],
        # Losses grow with the square of the current (IEC 60034-1 rates a machine by the rise at its rated load).
        warmth=plant.rise * _heat(plant, loads * loads) + 0.5 * drift,
        wear=plant.shaking * (1.0 + 0.35 * _wander(channel(keys, "wear"), steps, 30 * _STEPS_PER_DAY)),
        line=0.006 * _wander(channel(keys, "line"), steps, 3),
        supply=plant.pressure * (1.0 + 0.03 * _wander(channel(keys, "supply"), steps, 4)),
        damp=plant.damp + 1.5 * drift,
        others={
            measurement.name: _other(plant, measurement, steps)
            for measurement in measurements.declared
            if measurement.type == "double" and measurement.name not in _SIGNALS
        },
    )


def _span(measurement: Measurement) -> tuple[float, float]:
    low, high = measurement.minimum, measurement.maximum
    if low is None:
        return (0.0, 100.0) if high is None else (high - 100.0, high)
    return low, low + 100.0 if high is None else high


def _other(plant: Plant, measurement: Measurement, steps: Integers) -> Floats:
    """Wander over the middle of the declared range (0 to 100 without one): nothing else is known of it."""
    low, high = _span(measurement)
    keys = channel(plant.keys, f"other/{measurement.name}")
    wander = 0.5 * (_uniform(keys) * 2.0 - 1.0) + 0.3 * _wander(keys, steps, 24)
    return low / 2 + high / 2 + wander * (high / 2 - low / 2)


def steps_needed(times: Integers) -> tuple[int, int]:
    """Tell the first and last grid point that these times (ms) are interpolated from."""
    return int(times.min() // STEP), int(times.max() // STEP) + 1


@dataclass(frozen=True)
class _Block:
    """Readings worked on at once: all machines at `times` (n, 1), or pairs of `machine` and `times`, both (n,).

    All arrays broadcast to the block's shape; what several signals share is computed once.
    """

    plant: Plant
    slow: Slow
    machine: slice | Integers
    times: Integers
    faults: Sequence[Fault] = ()
    stuck_at: Mapping[Fault, float] = field(default_factory=dict)  # what a stuck sensor puts out

    def changed(self, value: Floats, *kinds: str) -> Floats:
        """Multiply a value by what the faults of these kinds make of it; the same array where there are none."""
        return self._multiplied(value, [fault for fault in self.faults if fault.kind in kinds], faults.strength)

    def heated(self, rise: Floats) -> Floats:
        """Multiply a rise of temperature likewise, also while what was too hot still cools."""
        return self._multiplied(rise, [fault for fault in self.faults if fault.kind in faults.HEATING], faults.heating)

    def _multiplied(self, value: Floats, felt: Sequence[Fault], factor: Callable[[Fault, Integers], Floats]) -> Floats:
        own = False
        for fault in felt:
            where, times = self.during(fault, fault.felt_until if factor is faults.heating else fault.end)
            if len(times):
                # Signals share arrays, so what a fault changes becomes an array of its own.
                value = value if own else np.array(np.broadcast_to(value, self.shape))
                own = True
                value[where] *= factor(fault, times)
        return value

    def during(self, fault: Fault, until: int) -> tuple[tuple[slice | Integers, ...], Integers]:
        """Find the readings that the faulty machine takes up to before `until`: their index, and their times."""
        if isinstance(self.machine, slice):
            column = self.times[:, 0]
            rows = slice(*np.searchsorted(column, (fault.start, until)).tolist())
            return (rows, np.array(fault.place)), column[rows]
        own = (self.machine == fault.place) & (self.times >= fault.start) & (self.times < until)
        found = np.flatnonzero(own)
        return (found,), self.times[found]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of what is read: (n, machines) or (n,)."""
        return (len(self.times), len(self.plant.keys)) if isinstance(self.machine, slice) else (len(self.times),)

    @cached_property
    def _step(self) -> Integers:
        return self.times // STEP

    @cached_property
    def _share(self) -> Floats:
        return (self.times - self._step * STEP) / STEP

    def trait(self, values: Floats) -> Floats:
        """Pick the machines' values from a trait."""
        return values[self.machine]

    def at(self, grid: Floats) -> Floats:
        """Interpolate between the grid points around each time."""
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
        other = mix(one + _GAMMA)
        return [self._triangle(one >> np.uint64(bits), other >> np.uint64(bits)) for bits in (0, 16, 32, 48)]

    @staticmethod
    def _triangle(one: Hashes, other: Hashes) -> Floats:
        value = one.astype(np.int16).astype(np.float64)
        value += other.astype(np.int16)
        value *= 2.0**-16
        return value

    @cached_property
    def electric(self) -> list[Floats]:
        """Noise of load, voltage and frequency."""
        return self.noise("electric")

    @cached_property
    def mechanic(self) -> list[Floats]:
        """Noise of temperature, vibration, pressure and humidity."""
        return self.noise("mechanic")

    @cached_property
    def load(self) -> Floats:
        """Mechanical load as a share of the rated one, with the work cycles that the grid is too coarse for."""
        beat = self.times * self.trait(self.plant.beats)
        beat -= np.floor(beat)
        # A triangle wave: |2 * phase - 1| - 1/2 in [-0.5, 0.5].
        swing = (np.abs(2.0 * beat - 1.0) - 0.5) * self.trait(self.plant.swing)
        return self.at(self.slow.load) * (1.0 + swing + 0.04 * self.electric[0])

    @cached_property
    def present(self) -> Floats:
        """How far the motor is magnetised: fades out below 2 % load, where the contactor opens."""
        return self.load / (self.load + 0.02)

    @cached_property
    def active(self) -> Floats:
        """Active power, as a share of the rated mechanical power: the load, and no-load losses."""
        return self.load + _LOSS * self.present

    @cached_property
    def apparent(self) -> Floats:
        """Apparent power S = sqrt(P**2 + Q**2); Q is the magnetising power and, with the current's square, leakage."""
        magnetising = self.changed(self.trait(self.plant.magnetising) * self.present, "power_factor_decay")
        reactive = magnetising + _LEAKAGE * self.load * self.load
        return np.sqrt(self.active * self.active + reactive * reactive)

    @cached_property
    def supply_voltage(self) -> Floats:
        """Voltage as a share of nominal: the plant's line, which sags with the day's load, and the machine's own."""
        key, times = _key(self.plant.seed, "\0voltage"), self.times
        plant = (
            1.008
            + 0.02 * _wander(channel(key, "hours"), times, 2 * 3_600_000)
            + 0.008 * _wander(channel(key, "minutes"), times, 600_000)
            + 0.003 * _wander(channel(key, "seconds"), times, 20_000)
            - 0.012 * _cycle(times, _DAY, 12 * 3_600_000)
        )
        line = plant + self.at(self.slow.line) - 0.012 * self.load + 0.002 * self.electric[1]
        return self.changed(line, "voltage_sag", "voltage_swell")


def _voltage(block: _Block) -> Floats:
    """Give V. EN 50160: within 10 % of nominal for 95 % of the week; here always (no dips, no swells)."""
    return block.trait(block.plant.nominal_voltage) * block.supply_voltage


def _current(block: _Block) -> Floats:
    """Give A: I = P / (sqrt(3) U cos phi) with three phases, P / (U cos phi) with one, relative to rated values.

    With S = P / cos phi both read I = I_rated * (S / S_rated) / (U / U_nominal).
    """
    share = block.apparent / block.trait(block.plant.rated_power)
    return block.changed(block.trait(block.plant.rated_current) * share / block.supply_voltage, "phase_imbalance")


def _power_factor(block: _Block) -> Floats:
    """Give cos phi = P / S, which falls at low load as the magnetising power stays."""
    return block.active / block.apparent


def _frequency(block: _Block) -> Floats:
    """Give Hz, one for the whole plant, with the meters' noise.

    EN 50160 allows 50 Hz +- 1 % in an interconnected grid; continental Europe usually keeps within 0.1 Hz.
    """
    key, times = _key(block.plant.seed, "\0frequency"), block.times
    grid = (
        50.0
        + 0.05 * _wander(channel(key, "quarter"), times, 900_000)
        + 0.025 * _wander(channel(key, "minutes"), times, 100_000)
        + 0.006 * _wander(channel(key, "seconds"), times, 8_000)
    )
    frequency = grid + 0.002 * block.electric[2]
    for fault in block.faults:
        if fault.kind == "frequency_excursion":
            where, _ = block.during(fault, fault.end)
            frequency[where] += fault.size
    return frequency


def _temperature(block: _Block) -> Floats:
    """Give °C of the motor: the hall's, and the rise that follows losses with the machine's thermal time constant."""
    times = block.times
    hall = 21.0 - 5.0 * _cycle(times, 365 * _DAY, 15 * _DAY) + 2.5 * _cycle(times, _DAY, 15 * 3_600_000)
    return hall + block.heated(block.at(block.slow.warmth)) + 0.12 * block.mechanic[0]


def _vibration(block: _Block) -> Floats:
    """Give the RMS velocity in mm/s; ISO 20816-3 calls up to about 4.5 acceptable for machines of this size."""
    motion = 0.03 + block.present * (0.3 + 0.67 * block.load)
    return block.changed(block.at(block.slow.wear) * motion * (1.0 + 0.12 * block.mechanic[1]), "bearing_wear")


def _pressure(block: _Block) -> Floats:
    """Give bar of the machine's hydraulic or air supply, which sags under load."""
    return block.at(block.slow.supply) * (1.02 - 0.07 * block.load + 0.004 * block.mechanic[2])


def _humidity(block: _Block) -> Floats:
    """Give % relative humidity of the hall: lowest in the warm afternoon."""
    times = block.times
    weather = 6.0 * _wander(_key(block.plant.seed, "\0humidity"), times, 2 * _DAY)
    hall = 48.0 + weather - 8.0 * _cycle(times, _DAY, 15 * 3_600_000)
    return hall + block.at(block.slow.damp) + 0.4 * block.mechanic[3]


_SIGNALS: dict[str, Callable[[_Block], Floats]] = {
    "voltage": _voltage,
    "current": _current,
    "frequency": _frequency,
    "temperature": _temperature,
    "power_factor": _power_factor,
    "vibration": _vibration,
    "pressure": _pressure,
    "humidity": _humidity,
}


def _double(block: _Block, measurement: Measurement) -> Floats:
    signal = _SIGNALS.get(measurement.name)
    if signal:
        value = signal(block)
    else:
        low, high = _span(measurement)
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


def _sensed(block: _Block, measurement: Measurement, value: Floats) -> Floats:
    """Let a sensor that drifts or is stuck put out something else than what is there."""
    for fault in block.faults:
        if fault.measurement == measurement.name:
            where, times = block.during(fault, fault.end)
            if fault.kind == "sensor_drift":
                value[where] *= faults.strength(fault, times)
            elif len(times):
                value[where] = block.stuck_at[fault]
    return value


def _at_start(plant: Plant, stuck: Fault, measurement: Measurement) -> float:
    """Give what the sensor put out last before it got stuck."""
    when = np.array([[stuck.start]])
    machine = _only(plant, stuck.place)
    others = [fault for fault in faults_of(machine, stuck.start, stuck.start + 1) if fault.kind != stuck.kind]
    slow = slow_signals(machine, Measurements((measurement,)), *steps_needed(when))
    return float(_double(_Block(machine, slow, slice(None), when, others), measurement)[0, 0])


def _only(plant: Plant, place: int) -> Plant:
    shared = ("seed", "fault_rate")
    own = {trait.name: getattr(plant, trait.name)[place, None] for trait in fields(Plant) if trait.name not in shared}
    return replace(plant, **own)


def _state(block: _Block) -> npt.NDArray[np.int8]:
    """Give the place in STATES, by load."""
    return (block.load > 0.01).astype(np.int8) + (block.load > 0.1).astype(np.int8)


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
    """Give every declared measurement.

    Args:
        plant: the machines.
        measurements: what to give; names without a signal here get a plausible one inside their declared range.
        slow: the slow signals on the grid points that `steps_needed(times)` names, at least.
        times: milliseconds since 1970 in UTC; shape (n,).
        machine: for each time the place of one machine in the plant; shape (n,). None: all machines at each time.

    Returns:
        For each measurement an array of shape (n, machines), or (n,) if `machine` is given: float64 in the declared
        unit with the declared decimals (as a meter resolves), and for a text the place in STATES as int8.
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
        block = _Block(plant, slow, which, when, _felt_in(wrong, when), stuck_at)
        for measurement in measurements.declared:
            values[measurement.name][part] = (
                _double(block, measurement) if measurement.type == "double" else _state(block)
            )
    return values
