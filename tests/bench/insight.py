"""Judge the analysis by the labels of made-up faults, two peers beside it: `make bench-insight`. Nothing asserts.

Each seed is a plant of its own: MACHINES machines, a reading every 10 s, WEEKS weeks with RATE faults per machine and
week. The last week is scored, those before are the machine's past. The analysis goes day by day: `detect` with the
minutes of the last seven days and the hours of all weeks, up to the end of the day, merged with what was known. In the
end drifts that the whole plant shows are left out (`without_shared`).

Matching: an event finds a fault when both are of the same machine and kind (of a sensor: and measurement), and their
times overlap when the fault's is widened by 15 minutes on both sides. Recall: faults found / faults. Precision: events
that find a fault / events; an event that overlaps faults of other kinds only is false, and counted once more as `named
wrong`. Events of which nothing lies in the scored week do not count, nor those that find a fault of a week before.
A frequency excursion is a fault of every machine of the plant. The delay is from the fault's begin to the end of the
day on which it was found.

A fault that hardly touches a reading cannot be found by anybody (lost cooling of a machine that is off, a sag while
readings are missing). So recall is also told of the visible ones: those where in three minutes or more the measurement
that the fault is about differs from the same plant without faults by over 4 % (frequency 0.5 %), or is missing; a stuck
sensor is always visible.

Peers tell no kinds, and are not asked for any: their alarm is true when it overlaps any fault of the machine, and finds
all that it overlaps. Their thresholds are those of the best F1 on the training seeds, 101 and up; the scored seeds are
31 and up. Nothing was tuned on those, nor on what they gave.
"""

import argparse
import os
import sys
import time
import warnings
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

from etl.insight.detection import detect, merge, without_shared
from etl.insight.indicators import by_hour, by_minute, from_ms, times_of, to_ms
from etl.model.catalogue import Machine, synthetic_machines
from etl.model.events import Event
from etl.model.measurements import read_measurements
from etl.stages.generate.faults import HOUR, WEEK, kinds
from etl.stages.generate.transport import fault_labels, synthetic_readings
from etl.terminal import print_table

MACHINES, WEEKS, RATE = 10, 3, 2.0
INTERVAL = 10_000
DAY = 24 * HOUR
MONDAY = 1_767_571_200_000  # 2026-01-05T00:00:00Z
TRAINING, SCORED = 101, 31
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
    """What one seed gave: labels of all weeks, alarms of ours, and the peers' scores of each machine's blocks."""

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
    return [
        machine.model_copy(update={"interval_seconds": INTERVAL / 1000}) for machine in synthetic_machines(MACHINES)
    ]


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
    found = {machine.equipment_id: events_of(machine, past, weeks) for machine in machines}
    kept = without_shared({name: [event for event, _ in own] for name, own in found.items()})
    return [
        Alarm(
            name,
            event.kind,
            event.measurement,
            to_ms(event.start),
            end if event.end is None else to_ms(event.end),
            at,
        )
        for name, own in found.items()
        for event, at in own
        if event in kept[name] and (event.end is None or to_ms(event.end) > end - WEEK)
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


def hits(alarm: Alarm, label: Label) -> bool:
    """Tell whether an alarm finds a fault; a peer's (without a kind) need only overlap it."""
    if alarm.machine != label.machine or not _overlap(alarm, label):
        return False
    return not alarm.kind or (alarm.kind == label.kind and label.measurement in (None, alarm.measurement))


def _overlap(alarm: Alarm, label: Label) -> bool:
    return alarm.start < label.end + TOLERANCE and alarm.end > label.start - TOLERANCE


@dataclass
class Tally:
    """Counts of one kind, or of all."""

    events: int = 0
    true: int = 0
    named_wrong: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    delays: list[float] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Add the counts of another."""
        self.events += other.events
        self.true += other.true
        self.named_wrong += other.named_wrong
        self.faults.update(other.faults)
        self.found.update(other.found)
        self.delays.extend(other.delays)

    @property
    def precision(self) -> float | None:
        """Share of events that find a fault."""
        return self.true / self.events if self.events else None

    def recall(self, group: str) -> float | None:
        """Share of the group's faults that are found."""
        return self.found[group] / self.faults[group] if self.faults[group] else None

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        precision, recall = self.precision or 0.0, self.recall("all") or 0.0
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def tally(alarms: Sequence[Alarm], labels: Sequence[Label], weeks: int) -> dict[str, Tally]:
    """Count by kind (faults, and events of ours) and under `` for all; labels of earlier weeks are no task."""
    last = MONDAY + (weeks - 1) * WEEK
    tallies = {kind: Tally() for kind in ("", *kinds())}
    for label in labels:
        if label.start >= last:
            found = [alarm for alarm in alarms if hits(alarm, label)]
            groups = ["all", label.severity, *(["visible", f"visible {label.severity}"] if label.visible else [])]
            for each in (tallies[""], tallies[label.kind]):
                each.faults.update(groups)
                each.found.update(groups if found else [])
                each.delays += [(min(alarm.found for alarm in found) - label.start) / HOUR] if found else []
    for alarm in alarms:
        found_labels = [label for label in labels if hits(alarm, label)]
        if found_labels and all(label.start < last for label in found_labels):
            continue
        wrong = not found_labels and any(alarm.machine == label.machine and _overlap(alarm, label) for label in labels)
        for kind in {"", alarm.kind}:
            tallies[kind].events += 1
            tallies[kind].true += bool(found_labels)
            tallies[kind].named_wrong += wrong
    return tallies


def blocks_of(minutes: Sequence[pa.Table], days: int) -> tuple[np.ndarray, list[str]]:
    """Give features of blocks of ten minutes: count, lows, means and highs; gaps hold the values before."""
    table = pa.concat_tables(minutes)
    place = (times_of(table, "minute") - MONDAY) // (BLOCK * 60_000)
    size = days * 24 * 60 // BLOCK
    counts = np.bincount(place, table["count"].to_numpy(), minlength=size)
    names = [name for name in table.column_names if name.endswith(("_low", "_mean", "_high"))]
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    reducers = {"low": np.fmin, "mean": np.add, "high": np.fmax}
    rows = np.maximum.accumulate(np.where(counts > 0, np.arange(size), 0))
    features = [counts]
    for name in names:
        column = np.zeros(size)
        kind = name.rpartition("_")[2]
        reduced = reducers[kind].reduceat(table[name].to_numpy().astype(np.float64), starts)
        column[place[starts]] = reduced / np.diff(starts, append=len(place)) if kind == "mean" else reduced
        features.append(column[rows])
    return np.column_stack(features), ["count", *names]


def peer_scores(past: Past, machine: str, weeks: int) -> dict[str, np.ndarray]:
    """Score each block of the last week by two peers; shape (blocks,), higher is stranger.

    `IsolationForest` of pyod learns the weeks before (lows, means, highs, count, their changes, and the time of day);
    `STL` of statsmodels splits hourly means of all weeks into trend, day and rest, robustly; the score is the largest
    |rest| of any measurement over its robust spread.
    """
    features, names = blocks_of(past.minutes[machine], 7 * weeks)
    size = 7 * 24 * 60 // BLOCK
    phase = 2 * np.pi * np.arange(len(features)) / (24 * 60 // BLOCK)
    changes = np.diff(features, axis=0, prepend=features[:1])
    rich = np.column_stack([features, changes, np.sin(phase), np.cos(phase)])
    forest = IForest(n_estimators=100, random_state=1, n_jobs=1).fit(rich[:-size])
    per_hour = 60 // BLOCK
    rests = []
    for place, name in enumerate(names):
        if name == "count" or name.endswith("_mean"):
            hourly = features[:, place].reshape(-1, per_hour).mean(axis=1)
            rest = np.abs(STL(hourly, period=24, robust=True).fit().resid)
            rests.append(rest / max(1.4826 * float(np.median(rest)), 1e-3 * float(np.std(hourly)), 1e-9))
    strange = np.repeat(np.max(rests, axis=0), per_hour)
    return {"IsolationForest": forest.decision_function(rich[-size:]), "STL": strange[-size:]}


def peer_alarms(scores: dict[str, np.ndarray], threshold: float, weeks: int) -> list[Alarm]:
    """Join blocks above the threshold, up to half an hour apart, to alarms."""
    begin = MONDAY + (weeks - 1) * WEEK
    width = BLOCK * 60_000
    alarms = []
    for machine, score in scores.items():
        rows = np.flatnonzero(score > threshold)
        if len(rows):
            cuts = np.flatnonzero(np.diff(rows) > 3)
            for first, last in zip(rows[np.r_[0, cuts + 1]], rows[np.r_[cuts, len(rows) - 1]], strict=True):
                start, end = int(begin + first * width), int(begin + (last + 1) * width)
                alarms.append(Alarm(machine, "", None, start, end, MONDAY + (end - 1 - MONDAY) // DAY * DAY + DAY))
    return alarms


def score(seed: int, rate: float, weeks: int, alone: bool) -> Scored:
    """Do all of one seed."""
    machines = plant()
    past = simulate(machines, seed, weeks, rate)
    names = [machine.equipment_id for machine in machines] if rate and not alone else []
    scores = {name: peer_scores(past, name, weeks) for name in names}
    peers = {peer: {name: each[peer] for name, each in scores.items()} for peer in PEERS}
    return Scored(labels_of(machines, seed, weeks, rate, past), alarms_of(machines, past, weeks), peers)


def tuned(peer: str, training: Sequence[Scored], weeks: int) -> float:
    """Give the threshold with the best F1 on the training seeds."""
    every = np.concatenate([each for scored in training for each in scored.peers[peer].values()])

    def f1(threshold: float) -> float:
        total = Tally()
        for scored in training:
            total.add(tally(peer_alarms(scored.peers[peer], threshold, weeks), scored.labels, weeks)[""])
        return total.f1

    return float(max(np.quantile(every, 1 - np.geomspace(0.0005, 0.3, 25)), key=f1))


PEERS = ("IsolationForest", "STL")


def main() -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.insight", description="Judge the analysis by labels.")
    parser.add_argument("--seeds", type=int, default=30, help="scored plants")
    parser.add_argument("--training", type=int, default=6, help="plants that the peers' thresholds are tuned on")
    parser.add_argument("--healthy", type=int, default=4, help="plants without faults, for false alarms")
    parser.add_argument("--weeks", type=int, default=WEEKS, help="weeks of each, the last of which is scored")
    parser.add_argument("--alone", action="store_true", help="leave out the peers, which take most of the time")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    started = time.monotonic()
    weeks = arguments.weeks
    tasks = [
        *((TRAINING + number, RATE) for number in range(0 if arguments.alone else arguments.training)),
        *((SCORED + number, 0.0) for number in range(arguments.healthy)),
        *((SCORED + number, RATE) for number in range(arguments.seeds)),
    ]
    done = []
    with ProcessPoolExecutor(arguments.processes, initializer=_prepare) as pool:
        for number, scored in enumerate(
            pool.map(score, *zip(*((*task, weeks, arguments.alone) for task in tasks), strict=True)), 1
        ):
            done.append(scored)
            print(f"{number} of {len(tasks)} plants, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    cut = len(done) - arguments.healthy - arguments.seeds
    training, rest = done[:cut], done[cut:]
    healthy, judged = rest[: arguments.healthy], rest[arguments.healthy :]
    _show(training, judged, weeks)
    if healthy:
        alarms = sum(len(scored.ours) for scored in healthy)
        print(f"false alarms per machine and week without faults: {alarms / len(healthy) / MACHINES:.2f} ({alarms})")
    print(f"{len(judged)} seeds of {MACHINES} machines, in {time.monotonic() - started:.0f} s")
    return 0


def _prepare() -> None:
    os.nice(10)
    warnings.simplefilter("ignore")


def _show(training: Sequence[Scored], judged: Sequence[Scored], weeks: int) -> None:
    ours = _total(tally(scored.ours, scored.labels, weeks) for scored in judged)
    peers = {}
    for peer in PEERS if training else ():
        threshold = tuned(peer, training, weeks)
        alarms = [peer_alarms(scored.peers[peer], threshold, weeks) for scored in judged]
        peers[peer] = _total(tally(each, scored.labels, weeks) for each, scored in zip(alarms, judged, strict=True))
    columns = ["kind", "faults", "severe", "precision", "recall", "visible", "severe", "visible severe", "named wrong"]
    columns += ["delay h", *(f"{peer} {what}" for peer in peers for what in ("recall", "severe"))]
    print_table("Events against labels", columns, [_line(kind, ours[kind], peers) for kind in (*kinds(), "")])
    kindless = _total(tally([a._replace(kind="") for a in scored.ours], scored.labels, weeks) for scored in judged)
    rows = [
        [name, each[""].events, each[""].precision, each[""].recall("all"), each[""].recall("severe"), each[""].f1]
        for name, each in {"ours": kindless, **peers}.items()
    ]
    print_table("Whatever the kind", ["", "events", "precision", "recall", "severe", "F1"], _rounded(rows))


def _total(parts: Iterator[dict[str, Tally]]) -> dict[str, Tally]:
    total = {kind: Tally() for kind in ("", *kinds())}
    for part in parts:
        for kind, each in part.items():
            total[kind].add(each)
    return total


def _line(kind: str, own: Tally, peers: dict[str, dict[str, Tally]]) -> list[object]:
    cells: list[object] = [kind or "all", own.faults["all"], own.faults["severe"], own.precision]
    cells += [own.recall(group) for group in ("all", "visible", "severe", "visible severe")]
    cells += [own.named_wrong, float(np.median(own.delays)) if own.delays else None]
    cells += [each[kind].recall(group) for each in peers.values() for group in ("all", "severe")]
    return _rounded([cells])[0]


def _rounded(rows: Sequence[list[object]]) -> list[list[object]]:
    return [[f"{cell:.2f}" if isinstance(cell, float) else cell for cell in row] for row in rows]


if __name__ == "__main__":
    sys.exit(main())
