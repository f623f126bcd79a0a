"""Readings of a synthetic plant in order of arrival, with delays, duplicates and losses."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.model.catalogue import Machine
from etl.model.measurements import Measurements
from etl.model.schemas import CHUNK_BYTES, CHUNK_ROWS, TIMESTAMP, generated
from etl.stages.generate.chance import Floats, Integers, channel, hashes
from etl.stages.generate.faults import labels
from etl.stages.generate.plant import STEP, Plant, faults_of, make_plant
from etl.stages.generate.sensors import readings, slow_signals, steps_needed
from etl.stages.generate.signals import STATES, Slow, Values

_AHEAD = 12  # grid points of slow signals computed at once, at least
_SLOW_VALUES = 1_000_000  # and at most, for one signal
_LONGEST_COPY, _LONGEST_OUT_OF_ORDER = 3, 4.5  # intervals
_ON_TIME, _OUT_OF_ORDER, _LATE, _COPY = 0, 1, 2, 3


@dataclass(frozen=True)
class Transport:
    """Shares of readings (0 to 1) that are dropped, duplicated or delayed; `late_by` is the longest delay, in ms."""

    dropout: float = 0.0
    duplicate: float = 0.0
    late: float = 0.0
    late_by: int = 3_600_000
    out_of_order: float = 0.0

    @property
    def any(self) -> bool:
        """Whether any share is above 0."""
        return any((self.dropout, self.duplicate, self.late, self.out_of_order))

    def reach(self, interval: int) -> int:
        """Return the longest delay of a reading, or its copy, in ms."""
        late = self.late_by if self.late else 0
        out_of_order = _LONGEST_OUT_OF_ORDER * interval if self.out_of_order else 0
        return int(max(late, out_of_order) + (_LONGEST_COPY * interval if self.duplicate else 0))


@dataclass
class _Group:
    """The machines that share an interval (ms); `places` are their positions in the catalogue."""

    interval: int
    places: Integers
    plant: Plant
    slow: Slow | None = None

    def slow_signals(self, measurements: Measurements, times: Integers) -> Slow:
        """Return the slow signals for these times; compute some ahead, because times only grow."""
        first, last = steps_needed(times)
        if self.slow is None or first < self.slow.first or last >= self.slow.first + len(self.slow.load):
            self.slow = slow_signals(self.plant, measurements, first, max(last, first + _AHEAD))
        return self.slow


@dataclass(frozen=True)
class _Rows:
    """Readings in transit; every array has shape (n,), `place` is the machine's position in the catalogue."""

    arrival: Integers
    time: Integers
    place: Integers
    kind: Integers  # _ON_TIME, _OUT_OF_ORDER, _LATE or _COPY
    values: dict[str, Values]

    def __len__(self) -> int:
        return len(self.time)

    def take(self, where: Integers | npt.NDArray[np.bool_] | slice) -> "_Rows":
        values = {name: column[where] for name, column in self.values.items()}
        return _Rows(self.arrival[where], self.time[where], self.place[where], self.kind[where], values)


def _joined(parts: Sequence[_Rows]) -> _Rows:
    if len(parts) == 1:
        return parts[0]
    arrival, time, place, kind = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("arrival", "time", "place", "kind")
    )
    values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
    return _Rows(arrival, time, place, kind, values)


# Nine parameters, since each is a setting of its own; a class for them would be used once. Its docstring makes it long.
def synthetic_readings(
    machines: Sequence[Machine],
    seed: int,
    measurements: Measurements,
    start: int,
    end: int,
    *,
    interval: int | None = None,
    transport: Transport | None = None,
    fault_rate: float = 0.0,
    counts: Counter[str],
) -> Iterator[pa.Table]:
    """Yield the readings that arrive in [`start`, `end`), in order of arrival, then of machine, then of time.

    A machine reads its sensors at the multiples of its interval, counted from 1970. A reading arrives at its time, or
    later by its delay. So consecutive ranges together give each reading once, and its copy if it has one.

    Args:
        machines: the catalogue.
        seed: seed of the random numbers, besides equipment ID and time.
        measurements: the declared measurements.
        start: milliseconds since 1970 in UTC.
        end: milliseconds since 1970 in UTC.
        interval: milliseconds between a machine's readings; None: as the catalogue says.
        transport: rates of delays, duplicates and losses; None: none.
        fault_rate: faults of machines (`faults`), expected per machine and week.
        counts: the function adds to `generated`, `duplicates` (copies among them), `late` and `out_of_order` (originals
            among them), and `dropped` (read in the range, but never arriving).

    Yields:
        Tables of schema `generated`, at most CHUNK_ROWS readings each. Memory is bounded by these, and by the readings
        in transit at one time: about late rate * late_by / interval * machines.
    """
    transport = transport or Transport()
    groups = _groups(machines, seed, interval, fault_rate)
    identifiers = pa.array([machine.equipment_id for machine in machines], pa.string())
    reach = max(transport.reach(group.interval) for group in groups)
    underway: list[_Rows] = []
    chunk_rows = min(CHUNK_ROWS, CHUNK_BYTES // (8 * len(generated(measurements))))
    for begin, stop in _windows(groups, chunk_rows, reach, start, end):
        sent = [_sent(group, measurements, transport, (begin, stop), (start, end), counts) for group in groups]
        rows = _joined([*underway, *sent])
        due = rows.arrival < stop
        underway = [rows.take(~due)]
        # A single group without delays is already in order.
        rows = rows if not transport.any and len(groups) == 1 else _in_order(rows.take(due))
        for first in range(0, len(rows), chunk_rows):
            chunk = rows.take(slice(first, first + chunk_rows))
            _count(counts, chunk)
            yield _table(chunk, identifiers, measurements)


def fault_labels(machines: Sequence[Machine], seed: int, fault_rate: float, start: int, end: int) -> pa.Table:
    """Return the machines' faults with an effect in [start, end), in ms: a table of schema `faults.LABELS`."""
    found = faults_of(make_plant(machines, seed, fault_rate), start, end)
    return labels(sorted(found, key=lambda fault: fault.start), [machine.equipment_id for machine in machines])


def _groups(machines: Sequence[Machine], seed: int, interval: int | None, fault_rate: float) -> list[_Group]:
    places: dict[int, list[int]] = {}
    for place, machine in enumerate(machines):
        places.setdefault(interval or round(machine.interval_seconds * 1000), []).append(place)
    return [
        _Group(each, np.array(members), make_plant([machines[place] for place in members], seed, fault_rate))
        for each, members in places.items()
    ]


def _windows(groups: Sequence[_Group], chunk_rows: int, reach: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Split [start - reach, end) into ranges of about `chunk_rows` readings; one split is at `start`."""
    per_ms = sum(len(group.places) / group.interval for group in groups)
    steps = max(_AHEAD, _SLOW_VALUES // sum(len(group.places) for group in groups))
    length = max(1, min(int(chunk_rows / per_ms), steps * STEP))
    for low, high in ((start - reach, start), (start, end)):
        for begin in range(low, high, length):
            yield begin, min(begin + length, high)


def _sent(
    group: _Group,
    measurements: Measurements,
    transport: Transport,
    window: tuple[int, int],
    span: tuple[int, int],
    counts: Counter[str],
) -> _Rows:
    """Return the readings of one window that arrive within the span."""
    begin, stop = (-(-bound // group.interval) * group.interval for bound in window)
    times = np.arange(begin, stop, group.interval, dtype=np.int64)
    time, machine = np.repeat(times, len(group.places)), np.tile(np.arange(len(group.places)), len(times))
    dropouts = [fault for fault in faults_of(group.plant, *window) if fault.kind == "dropout"]
    if not len(time) or not (transport.any or dropouts):
        values = _values(group, measurements, times, None)
        return _Rows(time, time, group.places[machine], np.zeros_like(time), values)
    arrives, copied, delay, kind = _fate(group, transport, times[:, None])
    for fault in dropouts:
        arrives &= (machine != fault.place) | (time < fault.start) | (time >= fault.end)
    if window[0] >= span[0]:
        counts["dropped"] += int(len(time) - arrives.sum())
    copy_delay = delay + group.interval * (1 + (delay + time // group.interval) % _LONGEST_COPY)
    every = _joined(
        [
            _Rows(time + delay, time, machine, kind, {}).take(arrives),
            _Rows(time + copy_delay, time, machine, np.full_like(time, _COPY), {}).take(arrives & copied),
        ]
    )
    rows = every.take((every.arrival >= span[0]) & (every.arrival < span[1]))
    values = _values(group, measurements, rows.time, rows.place)
    return _Rows(rows.arrival, rows.time, group.places[rows.place], rows.kind, values)


def _values(group: _Group, measurements: Measurements, times: Integers, machine: Integers | None) -> dict[str, Values]:
    slow = group.slow_signals(measurements, times if len(times) else np.zeros(1, dtype=np.int64))
    values = readings(group.plant, measurements, slow, times, machine)
    return {name: column.reshape(-1) for name, column in values.items()}


def _fate(
    group: _Group, transport: Transport, times: Integers
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], Integers, Integers]:
    """Determine losses and delays; `times` (n, 1) gives arrives, copied, delay (ms), kind: (n * machines,)."""

    def chances(name: str) -> tuple[Floats, Floats]:
        drawn = hashes(channel(group.plant.keys, name), times)
        high, low = drawn >> np.uint64(32), drawn & np.uint64(0xFFFFFFFF)
        return high.astype(np.float64) * 2.0**-32, low.astype(np.float64) * 2.0**-32

    dropped, copied = chances("fate/dropped, copied")
    late, out_of_order = chances("fate/late, out of order")
    amount, _ = chances("fate/delay")
    kind = np.where(
        late < transport.late, _LATE, np.where(out_of_order < transport.out_of_order, _OUT_OF_ORDER, _ON_TIME)
    )
    # Between two later readings, so that at least one overtakes it.
    few = (group.interval * (np.floor(amount * 4) + 1.5)).astype(np.int64)
    delay = np.where(
        kind == _LATE, 1 + (amount * transport.late_by).astype(np.int64), np.where(kind == _ON_TIME, 0, few)
    )
    return (dropped >= transport.dropout).ravel(), (copied < transport.duplicate).ravel(), delay.ravel(), kind.ravel()


def _in_order(rows: _Rows) -> _Rows:
    return rows.take(np.lexsort((rows.time, rows.place, rows.arrival)))


def _count(counts: Counter[str], rows: _Rows) -> None:
    kinds = np.bincount(rows.kind, minlength=4)
    counts["generated"] += len(rows)
    for name, kind in (("duplicates", _COPY), ("late", _LATE), ("out_of_order", _OUT_OF_ORDER)):
        counts[name] += int(kinds[kind])


def _table(rows: _Rows, identifiers: pa.Array, measurements: Measurements) -> pa.Table:
    states = pa.array(STATES, pa.string())
    columns = [identifiers.take(pa.array(rows.place)), pa.array(rows.time).cast(TIMESTAMP)]
    for measurement in measurements.declared:
        values = pa.array(rows.values[measurement.name])
        columns.append(values if measurement.type == "double" else states.take(values))
    columns.append(pa.nulls(len(rows), pa.binary()))
    return pa.Table.from_arrays(columns, schema=generated(measurements))
