"""The machines of a synthetic plant: their traits, shifts, load and faults."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.model.catalogue import ASSUMED_CURRENT, ASSUMED_VOLTAGE, Machine
from etl.stages.generate import faults
from etl.stages.generate.chance import DAY, Floats, Hashes, Integers, channel, key_of, uniform, wander
from etl.stages.generate.faults import Fault

STEP = 300_000  # ms, the grid of the slow signals
STEPS_PER_DAY = DAY // STEP
_STEPS_PER_WEEK = 7 * STEPS_PER_DAY
_STEPS_PER_SHIFT = STEPS_PER_DAY // 3
_THURSDAY = 3  # 1970-01-01, counted from Monday
_OFF, _IDLE = 0.002, 0.04  # load as a share of the rated one: stand-by electronics, and idle


@dataclass(frozen=True)
class Plant:
    """Machines, a seed and the traits of each machine; every array has shape (machines,)."""

    seed: int
    fault_rate: float  # faults expected per machine and week
    keys: Hashes
    nominal_voltage: Floats
    rated_current: Floats
    calendar: Integers  # row of the table of calendars
    lag: Integers  # steps after the plant's shift bell
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
    keys = key_of(seed, *(machine.equipment_id for machine in machines))

    def draw(name: str, low: float, high: float) -> Floats:
        return low + (high - low) * uniform(channel(keys, name))

    magnetising = draw("magnetising", 0.3, 0.5)
    return Plant(
        seed=seed,
        fault_rate=fault_rate,
        keys=keys,
        # Synthetic machines are all on the mains.
        nominal_voltage=np.array([machine.nominal_voltage or ASSUMED_VOLTAGE for machine in machines]),
        rated_current=np.array([machine.rated_current or ASSUMED_CURRENT for machine in machines]),
        calendar=_CALENDAR_SHARES.searchsorted(draw("calendar", 0, 1), side="right"),
        lag=draw("lag", 0, 4).astype(np.int64),
        level=draw("level", 0.4, 0.75),
        magnetising=magnetising,
        rated_power=np.sqrt((1.0 + LOSS) * (1.0 + LOSS) + (magnetising + LEAKAGE) * (magnetising + LEAKAGE)),
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
    """Return a week in steps from Monday 00:00, for four kinds of machine: 0 off, 1 idle (a break), 2 at work."""
    step = np.arange(_STEPS_PER_WEEK)
    day, hour = step // STEPS_PER_DAY, step % STEPS_PER_DAY * (STEP / 3_600_000)
    worked = [
        np.ones(len(step), dtype=bool),  # around the clock
        (step >= 6 * 12) & (day < 5) | (day == 5) & (hour < 6),  # three shifts, Monday 06:00 to Saturday 06:00
        (day < 5) & (hour >= 6) & (hour < 22),  # early and late shift
        (day < 5) & (hour >= 6) & (hour < 14),  # early shift
    ]
    pause = (hour % 8 >= 2) & (hour % 8 < 2.5)  # half an hour, four hours into each shift: 10:00, 18:00, 02:00
    table = [np.where(work, np.where(pause, 1, 2), 0) for work in worked]
    table[0][:] = 2  # machines that run around the clock have no breaks
    return np.stack(table).astype(np.int8)


_CALENDARS = _calendars()
_CALENDAR_SHARES = np.array([0.35, 0.65, 0.85])
LOSS, LEAKAGE = 0.04, 0.12  # shares of the rated power: iron and friction, stray reactance


def load(plant: Plant, steps: Integers) -> Floats:
    """Return the load at grid points, as a share of the rated one; `steps` (n, 1) gives shape (n, machines)."""
    keys, bell = plant.keys, steps - plant.lag
    week = (bell + _THURSDAY * STEPS_PER_DAY) % _STEPS_PER_WEEK
    scheduled = _CALENDARS[plant.calendar, week]
    # Shifts begin at 06:00. Each has its own order, and one of 25 slots of 20 minutes is a stop.
    order = uniform(channel(keys, "order"), (bell - 6 * 12) // _STEPS_PER_SHIFT)
    stopped = uniform(channel(keys, "stop"), bell // 4) < 0.04
    working = plant.level + 0.25 * order + 0.08 * wander(channel(keys, "work"), steps, 6)
    return np.where(scheduled == 0, _OFF, np.where((scheduled == 1) | stopped, _IDLE, working))


def faults_of(plant: Plant, start: int, end: int) -> list[Fault]:
    """Return the faults of the plant's machines with an effect in [`start`, `end`) (ms)."""

    def draw(keys: Hashes) -> faults.Draw:
        return lambda name, week: uniform(channel(keys, name), week)

    every = draw(key_of(plant.seed, "\0faults"))
    return faults.schedule(len(plant.keys), draw(plant.keys), every, plant.fault_rate, start, end)


def run_idle(loads: Floats, first: int, wrong: Sequence[Fault]) -> None:
    """Let machines idle, in place, on the grid points from `first`."""
    for fault in wrong:
        if fault.kind == "idle_waste":
            begin, end = (max(0, -(-time // STEP) - first) for time in (fault.start, fault.end))
            loads[begin:end, fault.place] = fault.size
