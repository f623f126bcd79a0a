"""Judge the analysis by the labels of made-up faults, two peers beside it: `make bench-insight`. Nothing asserts.

Each seed is a plant of its own: MACHINES machines, a reading every 10 s, WEEKS weeks with RATE faults per machine and
week. The last week is scored, those before are the machine's past. The analysis goes day by day: `detect` with the
minutes of the last seven days and the hours of all weeks, up to the end of the day, merged with what was known.

Matching: an event finds a fault when both are of the same machine and kind (of a sensor: and measurement), and their
times overlap when the fault's is widened by 15 minutes on both sides. Recall: faults found / faults. Precision: events
that find a fault / events; an event that overlaps faults of other kinds only is false, and counted once more as `named
wrong`. Events of which nothing lies in the scored week do not count, nor those that find a fault of a week before.
A frequency excursion is a fault of every machine of the plant. The delay is from the fault's begin to the end of the day
on which it was found.

A fault that hardly touches a reading cannot be found by anybody (lost cooling of a machine that is off, a sag while
readings are missing). So recall is also told of the visible ones: those where in three minutes or more the measurement
that the fault is about differs from the same plant without faults by over 4 % (frequency 0.5 %), or is missing; a stuck
sensor is always visible.

Peers tell no kinds, and are not asked for any: their alarm is true when it overlaps any fault of the machine, and finds
all that it overlaps. Their thresholds are those of the best F1 on the training seeds, 101 and up; the scored seeds are 1
and up. Nothing was tuned on those.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyod.models.iforest import IForest
from statsmodels.tsa.seasonal import STL

from etl.catalogue import Machine, made_up
from etl.detection import Event, detect, merge
from etl.faults import HOUR, KINDS, SEVERITIES, WEEK
from etl.indicators import by_hour, by_minute, from_ms, times_of, to_ms
from etl.measurements import read_measurements
from etl.synthetic import fault_labels, synthetic_readings
from etl.terminal import print_table

MACHINES, WEEKS, RATE = 20, 3, 2.0
INTERVAL = 10_000
DAY = 24 * HOUR
MONDAY = 1_767_571_200_000  # 2026-01-05T00:00:00Z
TRAINING = 101
TOLERANCE = HOUR // 4
MINUTES_DAYS = 7
BLOCK = 10  # minutes
ABOUT = {
    "voltage_sag": "voltage",
    "voltage_swell": "voltage",
    "frequency_excursion": "frequency",
    "phase_imbalance": "current",
    "overheating": "temperature",
    "bearing_wear": "vibration",
    "power_factor_decay": "power_factor",
    "idle_waste": "current",
    "dropout": "voltage",
}


class Label(NamedTuple):
    """A fault of one machine; times in ms."""

    machine: str
    kind: str
    severity: str
    measurement: str | None
    start: int
    end: int
    visible: bool


class Alarm(NamedTuple):
    """An event, or what a peer found (kind empty), up to `end` and known at `found`; times in ms."""

    machine: str
    kind: str
    measurement: str | None
    start: int
    end: int
    found: int


@dataclass
class Past:
    """The minutes and hours of each machine by day."""

    minutes: dict[str, list[pa.Table]] = field(default_factory=dict)
    hours: dict[str, list[list[dict[str, object]]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """What one seed gave: labels of all weeks, alarms of ours, and the scores of the peers for each machine's blocks."""

    labels: list[Label]
    ours: list[Alarm]
    peers: dict[str, dict[str, np.ndarray]]


def simulate(machines: Sequence[Machine], seed: int, weeks: int, rate: float, first: int = 0) -> Past:
    """Make up the readings of the plant from day `first` on, and sum them up day by day."""
    past = Past({machine.equipment_id: [] for machine in machines}, {machine.equipment_id: [] for machine in machines})
    measurements = read_measurements()
    for number in range(first, 7 * weeks):
        begin = MONDAY + number * DAY
        day = date(2026, 1, 5) + timedelta(days=number)
        tables = synthetic_readings(
            machines, seed, measurements, begin, begin + DAY, interval=INTERVAL, fault_rate=rate, counts=Counter()
        )
        readings = pa.concat_tables(tables).drop(["json"])
        codes = readings["equipment_id"].combine_chunks().dictionary_encode()
        order = np.argsort(codes.indices.to_numpy(), kind="stable")
        cuts = np.cumsum(np.bincount(codes.indices.to_numpy(), minlength=len(codes.dictionary)))
        parts = np.split(order, cuts[:-1])
        own = dict(zip(codes.dictionary.to_pylist(), parts, strict=True))
        for machine in machines:
            name = machine.equipment_id
            mine = readings.take(pa.array(own.get(name, np.zeros(0, dtype=np.int64))))
            past.minutes[name].append(by_minute(mine, machine, day))
            past.hours[name].append(by_hour(mine, machine, day))
    return past


def plant() -> list[Machine]:
    """Give the machines of a plant with the bench's interval."""
    return [machine.model_copy(update={"interval_seconds": INTERVAL / 1000}) for machine in made_up(MACHINES)]


def events_of(machine: Machine, past: Past, weeks: int) -> list[tuple[Event, int]]:
    """Go through the last week day by day; give each event with the time (ms) it was found."""
    known: list[Event] = []
    found: dict[tuple[str, str | None, int], int] = {}
    for number in range(7 * weeks - 7, 7 * weeks):
        until = from_ms(MONDAY + (number + 1) * DAY)
        minutes = pa.concat_tables(past.minutes[machine.equipment_id][max(0, number + 1 - MINUTES_DAYS) : number + 1])
        hours = [row for day in past.hours[machine.equipment_id][max(0, number - 27) : number + 1] for row in day]
        before = known
        known = merge(known, detect(machine, minutes, hours, until), until)
        for event in known:
            key = (event.kind, event.measurement, to_ms(event.start))
            earlier = [
                found[(old.kind, old.measurement, to_ms(old.start))]
                for old in before
                if (old.kind, old.measurement) == (event.kind, event.measurement)
                and old.start < (event.end or until)
                and event.start < (old.end or until)
            ]
            found.setdefault(key, min(earlier, default=to_ms(until)))
    return [(event, found[(event.kind, event.measurement, to_ms(event.start))]) for event in known]


def alarms_of(machines: Sequence[Machine], past: Past, weeks: int) -> list[Alarm]:
    """Give the events of all machines of which some lies in the scored week."""
    end = MONDAY + weeks * WEEK
    return [
        Alarm(
            machine.equipment_id,
            event.kind,
            event.measurement,
            to_ms(event.start),
            end if event.end is None else to_ms(event.end),
            found,
        )
        for machine in machines
        for event, found in events_of(machine, past, weeks)
        if event.end is None or to_ms(event.end) > end - WEEK
    ]


def labels_of(machines: Sequence[Machine], seed: int, weeks: int, rate: float, past: Past) -> list[Label]:
    """Give the faults of all weeks; those of the scored one tell whether they are visible."""
    last = MONDAY + (weeks - 1) * WEEK
    healthy = simulate(machines, seed, weeks, 0.0, 7 * (weeks - 1)) if rate else past
    seen = {name: pa.concat_tables(days[-7:]) for name, days in past.minutes.items()}
    twin = {name: pa.concat_tables(days[-7:]) for name, days in healthy.minutes.items()}
    labels = []
    for row in fault_labels(machines, seed, rate, MONDAY, last + WEEK).to_pylist():
        start, end = to_ms(row["start"]), to_ms(row["end"])
        name, kind, measurement = row["equipment_id"], row["kind"], row["measurement"]
        visible = start >= last and _visible(seen[name], twin[name], kind, measurement, start, end)
        labels.append(Label(name, kind, row["severity"], measurement, start, end, visible))
    return labels


def _visible(seen: pa.Table, twin: pa.Table, kind: str, measurement: str | None, start: int, end: int) -> bool:
    if kind == "sensor_stuck":
        measurement = measurement or ""
        return bool(((times_of(seen, "minute") >= start) & (times_of(seen, "minute") < end)).sum() >= 3)
    column = f"{measurement or ABOUT[kind]}_mean"
    times = times_of(twin, "minute")
    inside = (times >= start - 60_000) & (times < end + (HOUR if kind == "overheating" else 0))
    place = np.searchsorted(times_of(seen, "minute"), times[inside])
    there = np.isin(times[inside], times_of(seen, "minute"))
    values = np.where(there, seen[column].to_numpy()[np.minimum(place, len(seen) - 1)], np.nan)
    expected = twin[column].to_numpy()[inside]
    off = np.abs(values - expected) > (0.005 if kind == "frequency_excursion" else 0.04) * np.abs(expected)
    return bool(((~there) if kind == "dropout" else (off & there)).sum() >= 3)
