"""What is wrong with a machine, found in its minutes of the last days and its hours of the last weeks.

Two layers. Minutes show what comes at once: the supply, current, heat, idling, sensors that say nothing or the same.
Slow changes (wear, decay, drift) show in hours against the machine's own past. Nothing after `until` is looked at; with
a short past there is less to compare with, and less is found.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.catalogue import Machine
from etl.indicators import HOUR_MS, MINUTE_MS, from_ms, nominal_frequency, times_of, to_ms
from etl.limits import LIMITS, Limits, Steps, rated_kva

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

SEVERITIES = ("mild", "moderate", "severe")
# What the electric meter tells; a machine that is off may well keep such a value for hours.
ELECTRIC = frozenset({"voltage", "current", "frequency", "power_factor"})
UNITS = {"temperature": "°C", "vibration": "mm/s", "pressure": "bar", "humidity": "%"}


@dataclass(frozen=True)
class Event:
    """Something wrong from `start` up to `end` (None: it lasts), both in UTC; `observed` and `expected` in one unit."""

    kind: str
    severity: str
    measurement: str | None
    start: datetime
    end: datetime | None
    observed: float | None
    expected: float | None
    evidence: str


@dataclass(frozen=True)
class Minutes:
    """The minutes of a machine; arrays of shape (n,), `time` in ms since 1970, NaN where a value is missing.

    `active` and `reactive` are shares of the rated apparent power.
    """

    machine: Machine
    limits: Limits
    until: int
    time: Integers
    first: Integers
    last: Integers
    active: Floats
    reactive: Floats
    columns: dict[str, Floats]

    def mean(self, name: str) -> Floats | None:
        """Give a measurement's means."""
        return self.columns.get(f"{name}_mean")

    @property
    def step(self) -> float:
        """Milliseconds from one row to the next when nothing is missing."""
        return max(MINUTE_MS, self.machine.interval_seconds * 1000.0)


def detect(
    machine: Machine,
    minutes: pa.Table,
    hours: Sequence[Mapping[str, Any]],
    until: datetime,
    limits: Limits = LIMITS,
    units: Mapping[str, str] = UNITS,
) -> list[Event]:
    """Find what is wrong with a machine.

    Args:
        machine: the machine.
        minutes: tables of `by_minute` of consecutive days, joined in ascending order; seven days serve best.
        hours: its rows of `by_hour` before `until`, of up to 28 days, in any order.
        until: what comes later is not looked at.
        limits: from where on something is reported.
        units: of measurements, for the evidence.

    Returns:
        Events by their start.
    """
    seen = _read(machine, minutes, until, limits)
    found = [
        *_dropouts(seen, hours),
        *_voltages(seen),
        *_frequencies(seen),
        *_idle(seen),
        *_stuck(seen, units),
    ]
    return sorted(found, key=lambda event: (event.start, event.kind, event.measurement or ""))


def merge(known: Sequence[Event], found: Sequence[Event], until: datetime) -> list[Event]:
    """Join what was known before with what a later `detect`, up to `until`, found.

    Events of one kind and measurement that overlap, or are less than an hour apart, are one: it begins with the first
    of them, ends as found last, and has the worst severity. What lasted and is not found again has ended.
    """
    events = list(found)
    for old in known:
        same = [
            event
            for event in events
            if (event.kind, event.measurement) == (old.kind, old.measurement) and _near(event, old)
        ]
        for event in same:
            events.remove(event)
        if not same:
            events.append(replace(old, end=old.end or until))
            continue
        newest = max(same, key=lambda event: event.end or until)
        every = [old, *same]
        worst = max(every, key=lambda event: SEVERITIES.index(event.severity))
        shown = newest if newest.severity == worst.severity else worst
        end = newest.end if newest.end is None or old.end is None else max(newest.end, old.end)
        events.append(replace(shown, start=min(event.start for event in every), end=end))
    return sorted(events, key=lambda event: (event.start, event.kind, event.measurement or ""))


def _near(one: Event, other: Event) -> bool:
    first, second = sorted((one, other), key=lambda event: event.start)
    return first.end is None or to_ms(second.start) - to_ms(first.end) < HOUR_MS


def _read(machine: Machine, minutes: pa.Table, until: datetime, limits: Limits) -> Minutes:
    time = times_of(minutes, "minute")
    kept = slice(0, int(np.searchsorted(time, to_ms(until))))
    columns = {
        name: minutes[name].to_numpy()[kept].astype(np.float64)
        for name in minutes.column_names
        if name.endswith(("_low", "_mean", "_high")) or name in ("kilowatts", "kilovars", "first", "last")
    }
    first, last = (columns.pop(name).astype(np.int64) for name in ("first", "last"))
    active, reactive = (columns.pop(name) / rated_kva(machine) for name in ("kilowatts", "kilovars"))
    return Minutes(machine, limits, to_ms(until), time[kept], first, last, active, reactive, columns)


def _episodes(seen: Minutes, flagged: Flags, join: float, shortest: float) -> Iterator[tuple[int, int, bool]]:
    """Give first and last row of each stretch of flagged minutes, and whether it lasts.

    Stretches less than `join` ms apart are one; those shorter than `shortest` ms are none.
    """
    rows = np.flatnonzero(flagged)
    if not len(rows):
        return
    cuts = np.flatnonzero(np.diff(seen.time[rows]) > join + seen.step)
    for begin, end in zip(rows[np.append(0, cuts + 1)], rows[np.append(cuts, len(rows) - 1)], strict=True):
        if seen.time[end] + seen.step - seen.time[begin] >= shortest:
            yield int(begin), int(end), bool(end == len(seen.time) - 1 and seen.until - seen.time[end] <= 2 * seen.step)


def _event(
    seen: Minutes,
    kind: str,
    span: tuple[int, int, bool],
    size: float,
    values: tuple[float, float],
    evidence: str,
    measurement: str | None = None,
) -> Event:
    begin, end, lasts = span
    steps: Steps = getattr(seen.limits.detection, kind)
    return Event(
        kind,
        steps.severity(size),
        measurement,
        from_ms(int(seen.time[begin] + seen.first[begin])),
        None if lasts else from_ms(int(seen.time[end] + seen.last[end] + 1000 * seen.machine.interval_seconds)),
        float(values[0]),
        float(values[1]),
        evidence,
    )


def _lasting(span: tuple[int, int, bool], seen: Minutes) -> float:
    """Give the length of an episode in hours."""
    return float(seen.time[span[1]] + seen.step - seen.time[span[0]]) / HOUR_MS


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(hours * 60))} min"


def _slow(time: Integers, values: Floats, bin_ms: int, bins: int) -> Floats:
    """Give the running median of a series, over `bins` bins of medians, at each time; shape (n,)."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), np.nan)
    centres, middles = _medians(time[known], values[known], bin_ms)
    half = bins // 2
    padded = np.pad(middles, half, constant_values=np.nan)
    smooth = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1), axis=1)
    return np.asarray(np.interp(time, centres, smooth))


def _medians(time: Integers, values: Floats, bin_ms: int) -> tuple[Floats, Floats]:
    """Give centre and median of each bin that has values; shape (bins,) each."""
    bins = time // bin_ms
    order = np.lexsort((values, bins))
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    counts = np.diff(starts, append=len(time))
    ordered = values[order]
    middles = (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2.0
    return ((bins[starts] + 0.5) * bin_ms).astype(np.float64), np.asarray(middles)


def _dropouts(seen: Minutes, hours: Sequence[Mapping[str, Any]]) -> Iterator[Event]:
    """Find gaps between readings."""
    steps, interval = seen.limits.detection.dropout, seen.machine.interval_seconds * 1000.0
    least = max(steps.mild * HOUR_MS, seen.limits.detection.dropout_intervals * interval)
    ends = seen.time + seen.last + interval
    begins = np.append(seen.time + seen.first, seen.until).astype(np.float64)
    if not len(seen.time):
        received = [to_ms(row["hour"]) for row in hours if row["received"]]
        if not received:
            return
        ends, begins = np.array([max(received) + HOUR_MS], dtype=np.float64), np.array([0.0, seen.until])
    for row in np.flatnonzero(begins[1:] - ends >= least).tolist():
        length = float(begins[row + 1] - ends[row]) / HOUR_MS
        lasts = row == len(ends) - 1
        expected = length * HOUR_MS / interval
        yield Event(
            "dropout",
            steps.severity(length),
            None,
            from_ms(int(ends[row])),
            None if lasts else from_ms(int(begins[row + 1])),
            0.0,
            expected,
            f"no reading for {_duration(length)}, where {expected:,.0f} were expected",
        )


def _voltages(seen: Minutes) -> Iterator[Event]:
    """Find voltages that leave what was usual within two hours, or what EN 50160 allows."""
    means = seen.mean("voltage")
    if means is None:
        return
    usual = _slow(seen.time, means, 10 * MINUTE_MS, 13)
    nominal, allowed = seen.machine.nominal_voltage, seen.limits.supply.voltage
    usual = np.where(np.abs(usual / nominal - 1) < allowed, usual, nominal)
    for kind, label, sign, word in (("voltage_sag", "low", -1, "below"), ("voltage_swell", "high", 1, "above")):
        values = seen.columns[f"voltage_{label}"]
        off = sign * (values / usual - 1.0)
        outside = sign * (values / nominal - 1.0) > allowed
        steps: Steps = getattr(seen.limits.detection, kind)
        for begin, end, lasts in _episodes(seen, (off > steps.mild) | outside, 10 * MINUTE_MS, 0):
            worst = begin + int(np.nanargmax(off[begin : end + 1]))
            span = (begin, end, lasts)
            yield _event(
                seen,
                kind,
                span,
                off[worst],
                (values[worst], usual[worst]),
                f"voltage {values[worst]:.0f} V for {_duration(_lasting(span, seen))}, "
                f"{off[worst]:.0%} {word} the usual {usual[worst]:.0f} V",
                "voltage",
            )


def _frequencies(seen: Minutes) -> Iterator[Event]:
    """Find frequencies outside of what EN 50160 allows."""
    means = seen.mean("frequency")
    if means is None:
        return
    nominal = nominal_frequency(means, seen.limits)
    low, high = (seen.columns[f"frequency_{label}"] for label in ("low", "high"))
    values = np.where(nominal - low > high - nominal, low, high)
    off = np.abs(values / nominal - 1.0)
    steps = seen.limits.detection.frequency_excursion
    for span in _episodes(seen, off > steps.mild, 10 * MINUTE_MS, 0):
        worst = span[0] + int(np.nanargmax(off[span[0] : span[1] + 1]))
        allowed = seen.limits.supply.frequency * nominal
        yield _event(
            seen,
            "frequency_excursion",
            span,
            off[worst],
            (values[worst], nominal),
            f"frequency {values[worst]:.2f} Hz for {_duration(_lasting(span, seen))}; EN 50160 allows "
            f"{nominal - allowed:.1f} to {nominal + allowed:.1f} Hz",
            "frequency",
        )


def _idle(seen: Minutes) -> Iterator[Event]:
    """Find a machine that runs empty for longer than a break takes."""
    states, steps = seen.limits.states, seen.limits.detection.idle_waste
    idle = (seen.active >= states.off_below) & (seen.active < states.idle_below)
    # A minute of another state within parts it; a gap of readings does not.
    for begin, end, lasts in _unbroken(seen, idle, steps.mild * HOUR_MS):
        power = float(np.mean(seen.active[begin : end + 1])) * rated_kva(seen.machine)
        length = _lasting((begin, end, lasts), seen)
        yield _event(
            seen,
            "idle_waste",
            (begin, end, lasts),
            length,
            (power, 0.0),
            f"ran empty for {length:.1f} h at {power:.2g} kW: {power * length:.2g} kWh without work",
            "current",
        )


def _unbroken(seen: Minutes, flagged: Flags, shortest: float) -> Iterator[tuple[int, int, bool]]:
    """Give the stretches of rows that are all flagged, however far apart in time."""
    edges = np.flatnonzero(np.diff(np.r_[False, flagged, False].astype(np.int8)))
    for begin, stop in zip(edges[0::2].tolist(), edges[1::2].tolist(), strict=True):
        if seen.time[stop - 1] + seen.step - seen.time[begin] >= shortest:
            yield begin, stop - 1, stop == len(flagged)


def _stuck(seen: Minutes, units: Mapping[str, str]) -> Iterator[Event]:
    """Find sensors that put out one value for long, though they usually do not; zero is what a machine at rest has."""
    steps = seen.limits.detection.sensor_stuck
    shortest = max(steps.mild * HOUR_MS, 5 * seen.step)
    for name in _sensors(seen):
        low, high = seen.columns[f"{name}_low"], seen.columns[f"{name}_high"]
        same = (low[1:] == high[1:]) & (low[1:] == high[:-1])
        if same.mean() > 0.5:
            continue
        for begin, end, lasts in _unbroken(seen, np.r_[False, same & (low[1:] != 0.0)], shortest):
            span = (begin, end, lasts)
            length = _lasting(span, seen)
            value = low[end]
            yield _event(
                seen,
                "sensor_stuck",
                span,
                length,
                (value, float(np.nanmedian(seen.columns[f"{name}_mean"]))),
                f"{name.replace('_', ' ')} has been exactly {value:g} {units.get(name, '')}".rstrip()
                + f" for {_duration(length)}",
                name,
            )


def _sensors(seen: Minutes) -> list[str]:
    """List the measurements that are not the electric meter's."""
    names = [name.removesuffix("_mean") for name in seen.columns if name.endswith("_mean")]
    return [name for name in names if name not in ELECTRIC and len(seen.time) > 1]
