"""What is wrong with a machine, found in its minutes of the last days and its hours of the last weeks.

Two layers. Minutes show what comes at once: the supply, current, heat, idling, sensors that say nothing or the same.
Slow changes (wear, decay, drift) show in hours against the machine's own past. Nothing after `until` is looked at; with
a short past there is less to compare with, and less is found.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.signal import lfilter

from etl.insight.indicators import MINUTE_MS, from_ms, nominal_frequency, times_of, to_ms
from etl.insight.limits import Limits, Steps, default_limits, rated_kva
from etl.model.catalogue import Machine
from etl.model.schemas import HOUR_MS

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
# First and last row of a stretch of rows.
Span = tuple[int, int]
# Start and end in ms since 1970; None: it lasts.
Times = tuple[float, float | None]

SEVERITIES = ("mild", "moderate", "severe")
_DEVIATION = 1.4826  # standard deviation of normal noise, by its median absolute deviation
_NOISY = 6.0  # robust deviations that the noise of a week of minutes stays within
_TELLING_MINUTES, _TELLING_HOURS = 120, 12  # so many tell whether a sensor usually moves
# What the electric meter tells; a machine that is off may well keep such a value for hours.
ELECTRIC = frozenset({"voltage", "current", "frequency", "power_factor"})
# Of the measurements that come with the project; the file of measurements names those of others.
UNITS = {
    "voltage": "V",
    "current": "A",
    "frequency": "Hz",
    "temperature": "°C",
    "vibration": "mm/s",
    "pressure": "bar",
    "humidity": "%",
}
# Units whose zero is an arbitrary point or far away, by how many of them a kelvin is: no share of such a value means
# anything.
_PER_KELVIN = {"c": 1.0, "cel": 1.0, "celsius": 1.0, "f": 1.8, "fahrenheit": 1.8, "k": 1.0, "kelvin": 1.0}


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
    units: Mapping[str, str]

    def mean(self, name: str) -> Floats | None:
        """Give a measurement's means; None where it was never measured."""
        means = self.columns.get(f"{name}_mean")
        return means if means is not None and np.isfinite(means).any() else None

    def text(self, value: float, name: str) -> str:
        """Write a value of a measurement with its unit."""
        return f"{figure(value)} {self.units.get(name, '')}".rstrip()

    @property
    def step(self) -> float:
        """Milliseconds from one row to the next when nothing is missing."""
        return max(MINUTE_MS, self.machine.interval_seconds * 1000.0)

    def times(self, span: Span, within: float | None = None) -> Times:
        """Return when the first reading of a stretch of rows came, and when the last one ended, in ms; None: it lasts.

        It lasts where it ends in the last row, which is `within` ms old at most (None: two steps).
        """
        begin, end = span
        lasts = _lasts(self.time, end, self.until, 2 * self.step if within is None else within)
        ends = float(self.time[end] + self.last[end] + 1000 * self.machine.interval_seconds)
        return float(self.time[begin] + self.first[begin]), None if lasts else ends

    def hours(self, span: Span) -> float:
        """Return the length of a stretch of rows in hours."""
        return float(self.time[span[1]] + self.step - self.time[span[0]]) / HOUR_MS


@dataclass(frozen=True)
class Hours:
    """The hours of a machine that have readings; arrays of shape (m,), `time` in ms since 1970, NaN where unknown.

    `vibration` is that of running, or of all readings where no power is known. `load` is the mean active power,
    `load_running` that while running, as shares of the rated apparent power.
    """

    time: Integers
    running: Floats
    load: Floats
    load_running: Floats
    power_factor: Floats
    vibration: Floats
    means: dict[str, Floats]


def detect(
    machine: Machine,
    minutes: pa.Table,
    hours: Sequence[Mapping[str, Any]],
    until: datetime,
    limits: Limits | None = None,
    units: Mapping[str, str] = UNITS,
    known: Sequence[Event] = (),
) -> list[Event]:
    """Find what is wrong with a machine.

    Args:
        machine: the machine.
        minutes: tables of `by_minute` of consecutive days, joined in ascending order; seven days serve best.
        hours: its rows of `by_hour` before `until`, of up to 28 days, in any order.
        until: what comes later is not looked at.
        limits: from where on something is reported; None: the default ones.
        units: of measurements, for the evidence.
        known: what was found before; what lasts longer than the minutes tell began when it says.

    Returns:
        Events by their start; each value and text of theirs is finite.
    """
    seen = _read(machine, minutes, until, limits or default_limits(), units)
    past = _past(machine, hours, until)
    lasting = [event for event in known if event.end is None and event.start < until]
    stuck, electric = list(_stuck(seen, hours, lasting)), list(_electric(seen, past))
    found = [
        *_dropouts(seen, hours, lasting),
        *_voltages(seen),
        *_frequencies(seen),
        *_idle(seen),
        *stuck,
        *electric,
        *_drifts(seen, past),
        *_heat(seen, [*stuck, *electric]),
        *_vibrations(seen, past),
    ]
    return sorted(found, key=lambda event: (event.start, event.kind, event.measurement or ""))


def merge(known: Sequence[Event], found: Sequence[Event], until: datetime) -> list[Event]:
    """Join what was known before with what a later `detect`, up to `until`, found.

    Events of one kind and measurement that overlap are one: it begins with the first of them, ends as found last, and
    has the worst severity. What lasted and is not found again has ended by now, to the second.
    """
    ended = until.replace(microsecond=0)
    events = list(found)
    for old in known:
        same = [event for event in events if same_thing(event, old)]
        if old.end is None:
            # How far it had lasted is not known any more, so later events are others.
            same = sorted(same, key=lambda event: event.start)[:1]
        for event in same:
            events.remove(event)
        if not same:
            events.append(replace(old, end=old.end or max(old.start, ended)))
            continue
        if old.end is not None and all(old.start < event.start and event.end == old.end for event in same):
            # The minutes now begin within it.
            events.append(old)
            continue
        newest = max(same, key=lambda event: event.end or until)
        every = [old, *same]
        worst = max(every, key=lambda event: SEVERITIES.index(event.severity))
        shown = newest if newest.severity == worst.severity else worst
        end = newest.end if newest.end is None or old.end is None else max(newest.end, old.end)
        events.append(replace(shown, start=min(event.start for event in every), end=end))
    return sorted(events, key=lambda event: (event.start, event.kind, event.measurement or ""))


def without_shared(events: Mapping[str, Sequence[Event]]) -> dict[str, list[Event]]:
    """Leave out drifts of sensors that other machines show too: by equipment ID, events of a whole plant.

    A drift is shared when sensors of that measurement drift at the same time on two other machines at least, and on a
    quarter of all: that is the weather or the supply, not a sensor.
    """
    least = max(2.0, len(events) / 4)

    def shared(name: str, event: Event) -> bool:
        if event.kind != "sensor_drift":
            return False
        others = [any(same_thing(event, other) for other in own) for machine, own in events.items() if machine != name]
        return sum(others) >= least

    return {name: [event for event in own if not shared(name, event)] for name, own in events.items()}


def same_thing(one: Event, other: Event) -> bool:
    """Tell whether two events are of one kind and measurement, and overlap."""
    if (one.kind, one.measurement) != (other.kind, other.measurement):
        return False
    first, second = sorted((one, other), key=lambda event: event.start)
    return first.end is None or second.start <= first.end


def figure(value: float, digits: int = 4) -> str:
    """Write a number with so many significant digits, never fewer than its whole ones, and without an exponent."""
    if not value:
        return "0"
    places = min(max(0, digits - 1 - int(np.floor(np.log10(abs(value))))), 9)
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _read(machine: Machine, minutes: pa.Table, until: datetime, limits: Limits, units: Mapping[str, str]) -> Minutes:
    time = times_of(minutes, "minute")
    kept = slice(0, int(np.searchsorted(time, to_ms(until))))
    columns = {
        name: minutes[name].to_numpy()[kept].astype(np.float64)
        for name in minutes.column_names
        if name.endswith(("_low", "_mean", "_high")) or name in ("kilowatts", "kilovars", "first", "last")
    }
    first, last = (columns.pop(name).astype(np.int64) for name in ("first", "last"))
    active, reactive = (columns.pop(name) / rated_kva(machine) for name in ("kilowatts", "kilovars"))
    return Minutes(machine, limits, to_ms(until), time[kept], first, last, active, reactive, columns, units)


def _spans(
    time: Floats | Integers, flagged: Flags, step: float, *, join: float | None, shortest: float = 0.0
) -> Iterator[Span]:
    """Yield first and last row of each stretch of flagged rows of `step` ms that is `shortest` ms long at least.

    Stretches up to `join` ms apart are one. With None rows that follow each other are one, however far apart in time.
    """
    rows = np.flatnonzero(flagged)
    if not len(rows):
        return
    cuts = np.flatnonzero(np.diff(rows) > 1 if join is None else np.diff(time[rows]) > join + step)
    for begin, end in zip(rows[np.append(0, cuts + 1)], rows[np.append(cuts, len(rows) - 1)], strict=True):
        if time[end] + step - time[begin] >= shortest:
            yield int(begin), int(end)


def _lasts(time: Floats | Integers, end: int, until: int, within: float, rows: int = 1) -> bool:
    """Tell whether a stretch goes on: it ends in the last `rows` rows, of which the last one is `within` ms old."""
    return bool(end >= len(time) - rows and until - time[end] <= within)


def _peak(values: Floats, span: Span) -> int:
    """Return the row of the largest value of a stretch."""
    return span[0] + int(np.nanargmax(values[span[0] : span[1] + 1]))


def _last_below(values: Floats, begin: int, bound: float) -> int:
    """Return the last row before `begin` with a value below a bound; the first row where there is none."""
    rows = np.flatnonzero(values[:begin] < bound)
    return int(rows[-1]) if len(rows) else 0


def _event(
    kind: str, severity: str, measurement: str | None, times: Times, compared: tuple[float, float], evidence: str
) -> Event:
    """Make an event from start and end (None: it lasts) in ms since 1970, and the observed and the expected value."""
    start, end = times
    return Event(
        kind,
        severity,
        measurement,
        from_ms(int(start)),
        None if end is None else from_ms(int(end)),
        float(compared[0]),
        float(compared[1]),
        evidence,
    )


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{max(1, round(hours * 60))} min"


def _slow(time: Integers, values: Floats, bin_ms: int, bins: int) -> Floats:
    """Return the running median of a series, over `bins` bins of medians, at each time; shape (n,)."""
    known = np.isfinite(values)
    if not known.any():
        return np.full(len(values), np.nan)
    centres, middles = _medians(time[known], values[known], bin_ms)
    return np.asarray(np.interp(time, centres, _smooth(middles, bins)))


def _spread(values: Floats) -> float:
    """Return the robust deviation of values: of normal ones it is the standard deviation; NaN is passed over."""
    return _DEVIATION * float(np.nanmedian(np.abs(values - np.nanmedian(values))))


@dataclass(frozen=True)
class _Bins:
    """Which bin each value is in: `bins` (k,) are those that have values, as multiples of `width` ms, `place` (n,)."""

    bins: Integers
    place: Integers
    width: int

    @property
    def time(self) -> Floats:
        """Begin of each bin in ms since 1970; shape (k,)."""
        return (self.bins * self.width).astype(np.float64)

    def mean(self, values: Floats | Flags, among: Flags | None = None) -> Floats:
        """Return the mean of values in each bin, or of those flagged; shape (k,), NaN where there are none."""
        counts = np.bincount(self.place, among)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.bincount(self.place, values if among is None else np.where(among, values, 0.0)) / counts


def _binned(time: Integers, width: int) -> _Bins:
    bins, place = np.unique(time // width, return_inverse=True)
    return _Bins(bins, place, width)


def _medians(time: Integers, values: Floats, bin_ms: int) -> tuple[Floats, Floats]:
    """Give centre and median of each bin that has values; shape (bins,) each."""
    bins = time // bin_ms
    order = np.lexsort((values, bins))
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    counts = np.diff(starts, append=len(time))
    ordered = values[order]
    middles = (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2.0
    return ((bins[starts] + 0.5) * bin_ms).astype(np.float64), np.asarray(middles)


def least_dropout(machine: Machine, limits: Limits | None = None) -> float:
    """Give the milliseconds without a reading from which on a machine has dropped out."""
    detection = (limits or default_limits()).detection
    return max(detection.dropout.mild * HOUR_MS, detection.dropout_intervals * (machine.interval_seconds * 1000.0))


def _dropouts(seen: Minutes, hours: Sequence[Mapping[str, Any]], lasting: Sequence[Event]) -> Iterator[Event]:
    """Find gaps between readings, of which the first may have begun before the minutes do."""
    steps, interval = seen.limits.detection.dropout, seen.machine.interval_seconds * 1000.0
    least = least_dropout(seen.machine, seen.limits)
    ends = (seen.time + seen.last).astype(np.float64) + interval
    begins = np.append(seen.time + seen.first, seen.until).astype(np.float64)
    before = _last_before(hours, lasting, begins[0])
    if before is not None:
        ends, begins = np.r_[before, ends], np.r_[0.0, begins]
    for row in np.flatnonzero(begins[1:] - ends >= least).tolist():
        length = float(begins[row + 1] - ends[row]) / HOUR_MS
        lasts = row == len(ends) - 1
        expected = length * HOUR_MS / interval
        yield _event(
            "dropout",
            steps.severity(length),
            None,
            (ends[row], None if lasts else begins[row + 1]),
            (0.0, expected),
            f"no reading for {_duration(length)}, where {expected:,.0f} were expected",
        )


def _last_before(hours: Sequence[Mapping[str, Any]], lasting: Sequence[Event], first: float) -> float | None:
    """Tell when the readings before the first minute ended: as the dropout that lasts says, else with their hour."""
    known = [to_ms(event.start) for event in lasting if event.kind == "dropout" and to_ms(event.start) < first]
    received = [to_ms(row["hour"]) + HOUR_MS for row in hours if row["received"] and to_ms(row["hour"]) < first]
    times = [time for time in received if time <= first]
    if known and not any(time - HOUR_MS > max(known) for time in times):
        times = known
    return float(max(times)) if times else None


def _beyond(off: Floats, mild: float) -> Floats | float:
    """Give what a deviation must pass: the limit, or what the sensor's own noise reaches, whichever is larger."""
    known = off[np.isfinite(off)]
    return max(mild, float(np.median(known)) + _NOISY * _spread(known)) if len(known) else mild


def _voltages(seen: Minutes) -> Iterator[Event]:
    """Find voltages that leave what was usual within two hours, or what EN 50160 allows, and no noise explains."""
    means = seen.mean("voltage")
    if means is None:
        return
    median = _slow(seen.time, means, 10 * MINUTE_MS, 13)
    nominal, allowed = seen.machine.nominal_voltage or np.nan, seen.limits.supply.voltage
    usual = np.where(np.abs(median / nominal - 1) >= allowed, nominal, median)
    for kind, label, sign, word in (("voltage_sag", "low", -1, "below"), ("voltage_swell", "high", 1, "above")):
        values = seen.columns[f"voltage_{label}"]
        with np.errstate(divide="ignore", invalid="ignore"):
            off, own = (sign * (values / np.where(each == 0.0, np.nan, each) - 1.0) for each in (usual, median))
        steps: Steps = getattr(seen.limits.detection, kind)
        least = _beyond(own, steps.mild)
        outside = sign * (np.where(least > steps.mild, median, values) / nominal - 1.0) > allowed
        flagged = (off > least) | (outside & np.isfinite(off))
        for span in _spans(seen.time, flagged, seen.step, join=10 * MINUTE_MS):
            worst = _peak(off, span)
            yield _event(
                kind,
                steps.severity(off[worst]),
                "voltage",
                seen.times(span),
                (values[worst], usual[worst]),
                f"voltage {seen.text(values[worst], 'voltage')} for {_duration(seen.hours(span))}, "
                f"{off[worst]:.0%} {word} the usual {seen.text(usual[worst], 'voltage')}",
            )


def _frequencies(seen: Minutes) -> Iterator[Event]:
    """Find frequencies outside of what EN 50160 allows, and of what the meter's noise explains."""
    means = seen.mean("frequency")
    if means is None:
        return
    nominal = nominal_frequency(means, seen.limits)
    low, high = (seen.columns[f"frequency_{label}"] for label in ("low", "high"))
    values = np.where(nominal - low > high - nominal, low, high)
    off = np.abs(values / nominal - 1.0)
    steps = seen.limits.detection.frequency_excursion
    middle = float(np.nanmedian(means))
    least = _beyond(np.maximum(middle - low, high - middle) / nominal, steps.mild)
    far = (np.abs(_slow(seen.time, means, 10 * MINUTE_MS, 13) / nominal - 1.0) > steps.mild) | (off > least)
    for span in _spans(seen.time, far & (off > steps.mild), seen.step, join=10 * MINUTE_MS):
        worst = _peak(off, span)
        allowed = seen.limits.supply.frequency * nominal
        yield _event(
            "frequency_excursion",
            steps.severity(off[worst]),
            "frequency",
            seen.times(span),
            (values[worst], nominal),
            f"frequency {seen.text(values[worst], 'frequency')} for {_duration(seen.hours(span))}; EN 50160 allows "
            f"{nominal - allowed:.1f} to {nominal + allowed:.1f} Hz",
        )


def _idle(seen: Minutes) -> Iterator[Event]:
    """Find a machine that runs empty for longer than a break takes."""
    states, steps = seen.limits.states, seen.limits.detection.idle_waste
    idle = (seen.active >= states.off_below) & (seen.active < states.idle_below)
    # A minute of another state within parts it; a gap of readings does not.
    for span in _spans(seen.time, idle, seen.step, join=None, shortest=steps.mild * HOUR_MS):
        power = float(np.mean(seen.active[span[0] : span[1] + 1])) * rated_kva(seen.machine)
        length = seen.hours(span)
        yield _event(
            "idle_waste",
            steps.severity(length),
            "current",
            seen.times(span, np.inf),
            (power, 0.0),
            f"ran empty for {length:.1f} h at {figure(power)} kW: {figure(power * length)} kWh without work",
        )


def _stuck(seen: Minutes, hours: Sequence[Mapping[str, Any]], lasting: Sequence[Event]) -> Iterator[Event]:
    """Find sensors that put out one value for long, though they usually do not; zero is what a machine at rest has."""
    steps = seen.limits.detection.sensor_stuck
    shortest = max(steps.mild * HOUR_MS, 5 * seen.step)
    for name in _sensors(seen):
        low, high = seen.columns[f"{name}_low"], seen.columns[f"{name}_high"]
        same = np.r_[False, (low[1:] == high[1:]) & (low[1:] == high[:-1])]
        for begin, end in _spans(seen.time, same & (low != 0.0), seen.step, join=None, shortest=shortest):
            value = float(low[end])
            start = _stuck_since(seen, name, begin, value, hours)
            before = next(
                (event for event in lasting if (event.kind, event.measurement) == ("sensor_stuck", name)), None
            )
            # What is known to be stuck need not be shown again to move, which it may not have done for weeks.
            goes_on = before is not None and to_ms(before.start) <= start + 2 * HOUR_MS and before.observed == value
            if not goes_on and not _moves(seen, name, same, (begin, end), hours, start):
                continue
            since = min(start, to_ms(before.start)) if goes_on and before else start
            length = float(seen.time[end] + seen.step - since) / HOUR_MS
            first, ends = seen.times((begin, end), np.inf)
            yield _event(
                "sensor_stuck",
                steps.severity(length),
                name,
                (min(first, since), ends),
                (value, float(np.nanmedian(seen.columns[f"{name}_mean"]))),
                f"{name.replace('_', ' ')} has been exactly {seen.text(value, name)} for {_duration(length)}",
            )


def _stuck_since(seen: Minutes, name: str, begin: int, value: float, hours: Sequence[Mapping[str, Any]]) -> int:
    """Tell since when a value has been the same, which may be before the minutes begin."""
    since = int(seen.time[begin])
    if begin > 1:
        return since
    for row in sorted((row for row in hours if to_ms(row["hour"]) < since), key=lambda row: row["hour"], reverse=True):
        if not row["received"] or name not in row["means"]:
            continue
        if not np.float32(row["lows"][name]) == np.float32(row["highs"][name]) == np.float32(value):
            break
        since = to_ms(row["hour"])
    return since


def _moves(
    seen: Minutes, name: str, same: Flags, span: tuple[int, int], hours: Sequence[Mapping[str, Any]], start: int
) -> bool:
    """Tell whether a sensor usually moves: by the minutes outside of a stretch, else by the hours before."""
    known = np.isfinite(seen.columns[f"{name}_mean"])
    known[span[0] : span[1] + 1] = False
    if known.sum() >= _TELLING_MINUTES:
        return bool((same & known).sum() <= 0.5 * known.sum())
    rows = [row for row in hours if row["received"] and name in row["means"] and to_ms(row["hour"]) < start]
    moved = sum(row["lows"][name] != row["highs"][name] for row in rows)
    return len(rows) >= _TELLING_HOURS and moved > 0.5 * len(rows)


def _sensors(seen: Minutes) -> list[str]:
    """List the measurements that are not the electric meter's."""
    names = [name.removesuffix("_mean") for name in seen.columns if name.endswith("_mean")]
    known = [name for name in names if seen.mean(name) is not None]
    return [name for name in known if name not in ELECTRIC and len(seen.time) > 1]


def _past(machine: Machine, hours: Sequence[Mapping[str, Any]], until: datetime) -> Hours:
    rows = sorted((row for row in hours if row["received"] and row["hour"] < until), key=lambda row: row["hour"])

    def column(name: str) -> Floats:
        return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)

    off, idle, running = (column(f"{state}_seconds") for state in ("off", "idle", "running"))
    energy, idle_energy = column("energy_kwh"), column("idle_energy_kwh")
    names = dict.fromkeys(name for row in rows for name in row["means"])
    # An hour in which nothing moved tells of a stuck sensor only.
    means = {
        name: np.array(
            [np.nan if row["lows"].get(name) == row["highs"].get(name) else row["means"][name] for row in rows],
            dtype=np.float64,
        )
        for name in names
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        return Hours(
            np.array([to_ms(row["hour"]) for row in rows], dtype=np.int64),
            running,
            energy * 3600.0 / (off + idle + running) / rated_kva(machine),
            (energy - idle_energy) * 3600.0 / running / rated_kva(machine),
            column("power_factor"),
            column("vibration"),
            means,
        )


def _robust(features: Floats, values: Floats, quantile: float = 0.5, rounds: int = 25) -> Floats | None:
    """Fit a linear quantile by reweighted least squares; features (n, k), values (n,) give coefficients (k,).

    Koenker, Bassett, "Regression Quantiles", Econometrica 46, 1978; the weights are q or 1 - q over the distance.
    """
    known = np.isfinite(values) & np.isfinite(features).all(axis=1)
    features, values = features[known], values[known]
    if len(values) < 2 * features.shape[1]:
        return None
    least = 1e-3 * (float(np.std(values)) or 1.0)
    weights = np.ones(len(values))
    # A little of a ridge keeps what hardly varies from being told apart by noise.
    ridge = 1e-6 * np.diag(np.square(features).sum(axis=0))
    for _ in range(rounds):
        weighted = features * weights[:, None]
        found = np.linalg.lstsq(features.T @ weighted + ridge, weighted.T @ values, rcond=None)[0]
        left = values - features @ found
        weights = np.where(left > 0, quantile, 1.0 - quantile) / np.maximum(np.abs(left), least)
        weights /= weights.mean()
    return np.asarray(found)


def _smooth(values: Floats, width: int) -> Floats:
    """Give the centred running median over `width` places, narrower at the ends; NaN is passed over."""
    half = width // 2
    padded = np.pad(values, half, constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    result = np.full(len(values), np.nan)
    known = np.isfinite(windows).any(axis=1)
    result[known] = np.nanmedian(windows[known], axis=1)
    return result


_BIN = 10 * MINUTE_MS
_TELLING = 2.0  # times the mildest drift that a sensor may usually be off what explains it
_DRIFT_HOURS = 96  # of a past that tells what is usual
_CLEAR = 2.2  # vibration changes that much more over a machine's life than what else sensors tell
_VARIED = 1.1  # highest by lowest load, from where on it tells how something depends on load
_RUNNING = 0.2  # share of the rated power, from where on a minute is of running alone


@dataclass(frozen=True)
class _Electric:
    """Bins of ten minutes: `excess` is the log of current above what the load asks for, `reactive` that of Q."""

    time: Floats
    running: Flags
    excess: Floats
    reactive: Floats


def _reactive_curve(seen: Minutes, past: Hours) -> tuple[float, float] | None:
    """Fit Q = a + b * P**2 (shares of rated) to the hours of running: magnetising power, and that of stray fields.

    Both faults of this kind raise Q, so a low quantile is the machine as it should be; of constant load all is a.
    """
    long = (past.running > 1800) & (past.load_running > _RUNNING)
    factor = np.clip(past.power_factor[long], 1e-3, 1.0)
    active = past.load_running[long]
    reactive = active * np.sqrt(1.0 - factor * factor) / factor
    if len(active) < 4:
        running = seen.active > _RUNNING
        active, reactive = seen.active[running], seen.reactive[running]
    if not len(active):
        return None
    low, high = np.quantile(active, (0.1, 0.9))
    if high < _VARIED * low:
        # At one load the two parts cannot be told from each other.
        found: Floats | None = np.array([np.quantile(reactive, 0.3), 0.0])
    else:
        found = _robust(np.column_stack([np.ones(len(active)), active * active]), reactive, 0.3)
    if found is None or found[0] <= 0:
        return None
    return float(found[0]), max(0.0, float(found[1]))


def _excess(active: Floats, reactive: Floats, curve: tuple[float, float]) -> Floats:
    """Give the factor k by which P and Q are both above some point (P / k, Q / k) of the curve; shape (n,)."""
    a, b = curve
    root = np.sqrt(np.maximum(0.0, reactive * reactive - 4.0 * a * b * active * active))
    return (reactive + root) / (2.0 * a)


def _bins(seen: Minutes, past: Hours) -> _Electric | None:
    """Compare current and reactive power with what the machine usually takes at its load, or while it is off."""
    known = np.isfinite(seen.active) & np.isfinite(seen.reactive)
    curve = _reactive_curve(seen, past)
    if curve is None or known.sum() < 30:
        return None
    time, active, reactive = seen.time[known], seen.active[known], seen.reactive[known]
    bins = _binned(time, _BIN)
    running, off = active > _RUNNING, active < seen.limits.states.off_below
    on, rest = bins.mean(running) >= 0.5, bins.mean(off) == 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(_excess(active, reactive, curve))
        above = np.log(reactive / (curve[0] + curve[1] * active * active))
    excess, ratio = (np.where(on, bins.mean(each, running), np.nan) for each in (logs, above))
    if rest.sum() >= 12:
        power, blind = (_smooth(np.where(rest, bins.mean(each), np.nan), 5) for each in (active, reactive))
        with np.errstate(divide="ignore", invalid="ignore"):
            power = np.log(power[rest] / np.quantile(power[rest], 0.4))
            blind = np.log(blind[rest] / np.quantile(blind[rest], 0.3))
        power, blind = (np.where(np.isfinite(each), each, 0.0) for each in (power, blind))
        excess[rest] = np.where(np.abs(power - blind) < 0.05, (power + blind) / 2.0, 0.0)
        ratio[rest] = blind - power
    excess, ratio = (np.where(np.isfinite(each), each, np.nan) for each in (excess, ratio))
    return _Electric(bins.time, on, excess, ratio)


def _electric(seen: Minutes, past: Hours) -> Iterator[Event]:
    """Find current above what the load asks for: at once (phases are uneven), or by decay of compensation."""
    bins = _bins(seen, past)
    if bins is None:
        return
    uneven = np.zeros(len(bins.time), dtype=bool)
    for begin, end in _uneven(seen, bins):
        uneven[begin : end + 1] = True
        size = float(np.exp(np.nanmedian(bins.excess[begin : end + 1])) - 1.0)
        span = _ends(seen, bins, begin, end)
        hours = ((span[1] or seen.until) - span[0]) / HOUR_MS
        inside = (seen.time >= span[0]) & (seen.time < (span[1] or seen.until))
        current = float(np.nanmean(seen.columns["current_mean"][inside]))
        yield _event(
            "phase_imbalance",
            seen.limits.detection.phase_imbalance.severity(size),
            "current",
            span,
            (current, current / (1.0 + size)),
            f"current {seen.text(current, 'current')} for {_duration(hours)}, {size:.0%} above what load and power "
            "factor ask for: "
            "phases are loaded unevenly",
        )
    yield from _decay(seen, bins, uneven)


def _ends(seen: Minutes, bins: _Electric, begin: int, end: int) -> tuple[float, float | None]:
    lasts = _lasts(bins.time, end, seen.until, 2 * _BIN)
    return float(bins.time[begin]), None if lasts else float(bins.time[end] + _BIN)


def _uneven(seen: Minutes, bins: _Electric) -> Iterator[tuple[int, int]]:
    """Give the stretches of bins in which the current is above by a constant factor, which came at once."""
    least = float(np.log1p(seen.limits.detection.phase_imbalance.mild))
    known = np.flatnonzero(np.isfinite(bins.excess))
    flagged = np.isfinite(bins.excess) & (bins.excess > least)
    for begin, end in _spans(bins.time, flagged, _BIN, join=HOUR_MS, shortest=HOUR_MS):
        inside = known[(known >= begin) & (known <= end)]
        hours = (bins.time[inside] - bins.time[begin]) / HOUR_MS
        if len(inside) < 5 or hours[-1] > 14:
            continue
        size = float(np.median(bins.excess[inside]))
        # Decay that went on while the machine was off looks sudden, but was there before, and stays.
        before, after = known[known < begin][-12:], known[known > end][:6]
        if any(len(near) and np.median(bins.reactive[near]) > 0.4 * size for near in (before, after)):
            continue
        middle = inside[1:-1]
        slope = np.polyfit((bins.time[middle] - bins.time[begin]) / HOUR_MS, bins.excess[middle], 1)[0]
        noise = 0.008 if bins.running[middle].all() else 0.03
        if abs(slope) * max(2.0, hours[-1]) < max(noise, 0.05 * size):
            yield begin, end


def _decay(seen: Minutes, bins: _Electric, uneven: Flags) -> Iterator[Event]:
    """Find reactive power that grows for hours against the machine's own."""
    steps = seen.limits.detection.power_factor_decay
    above = np.where(uneven, np.nan, bins.reactive)
    smooth = _smooth(above, 19)
    flagged = np.isfinite(above) & (smooth > np.log1p(steps.mild)) & (above > np.log1p(steps.mild) * 0.7)
    factor = seen.mean("power_factor")
    for begin, end in _spans(bins.time, flagged, _BIN, join=14 * HOUR_MS, shortest=8 * HOUR_MS):
        start = _last_below(smooth, begin, 0.02)
        largest = float(np.nanmax(smooth[begin : end + 1]))
        if factor is None:
            continue
        late = (seen.time >= bins.time[end] - 3 * HOUR_MS) & (seen.time <= bins.time[end] + _BIN) & np.isfinite(factor)
        if not late.any():
            continue
        observed = float(np.mean(factor[late]))
        tangent = np.sqrt(1.0 / max(observed, 1e-3) ** 2 - 1.0) / np.exp(smooth[end])
        expected = float(1.0 / np.sqrt(1.0 + tangent * tangent))
        newest = int(np.flatnonzero(np.isfinite(above))[-1])
        lasts = _lasts(bins.time[: newest + 1], end, seen.until, 14 * HOUR_MS, rows=3)
        yield _event(
            "power_factor_decay",
            steps.severity(float(np.expm1(largest))),
            "power_factor",
            (float(bins.time[start]), None if lasts else float(bins.time[end] + _BIN)),
            (observed, expected),
            f"reactive power has grown to {np.exp(largest):.1f} times what this machine takes at such load; "
            f"power factor {observed:.2f} instead of {expected:.2f}",
        )


def _heat(seen: Minutes, others: Sequence[Event]) -> Iterator[Event]:
    """Find temperature above what the load of the last hours explains."""
    degrees = seen.mean("temperature")
    if degrees is None or not np.isfinite(seen.active).any():
        return
    degrees = np.where(_within(seen, others, "temperature", 0.0), np.nan, degrees)
    warmed = _within(seen, others, "current", 3.0 * HOUR_MS)
    model = _thermal(seen, degrees)
    if model is None:
        return
    time, measured, expected, rise = model
    left = measured - expected
    bound = np.maximum(max(1.5, 4.0 * _spread(left)), seen.limits.detection.overheating.mild * rise)
    smooth = _smooth(left, 3)
    # What heats the machine was not seen while readings were missing, and uneven phases are reported as such.
    unsure = np.interp(time, seen.time, warmed) > 0
    for place in np.flatnonzero(np.diff(time) > 2 * _BIN) + 1:
        unsure |= (time >= time[place]) & (time < time[place] + 3 * HOUR_MS)
    for begin, end in _spans(time, (smooth > bound) & ~unsure, _BIN, join=HOUR_MS, shortest=1.6 * HOUR_MS):
        hours = (time[end] - time[begin]) / HOUR_MS
        before = left[max(0, begin - 12) : max(1, begin - 5)]
        peak = float(np.nanmax(smooth[begin : end + 1]))
        jump = float(np.nanmax(smooth[begin : begin + 12])) - float(np.nanmedian(before))
        if hours > 13 or jump < 0.5 * peak:
            continue
        worst = _peak(smooth, (begin, end))
        size = float(left[worst] / max(rise[worst], 1.0))
        lasts = _lasts(time, end, seen.until, 2 * _BIN)
        yield _event(
            "overheating",
            seen.limits.detection.overheating.severity(size),
            "temperature",
            (float(time[begin]) - _BIN, None if lasts else float(time[end] + _BIN)),
            (measured[worst], expected[worst]),
            f"{seen.text(measured[worst], 'temperature')}, where the load of the last hours explains "
            f"{seen.text(expected[worst], 'temperature')}, "
            f"for {_duration(max(hours, 0.2))}",
        )


def _within(seen: Minutes, events: Sequence[Event], measurement: str, after: float) -> Flags:
    """Tell the minutes within events of a measurement, or up to `after` ms behind them."""
    inside = np.zeros(len(seen.time), dtype=bool)
    for event in events:
        if event.measurement == measurement:
            end = seen.until if event.end is None else to_ms(event.end) + after
            inside |= (seen.time >= to_ms(event.start)) & (seen.time < end)
    return inside


def _thermal(seen: Minutes, degrees: Floats) -> tuple[Floats, Floats, Floats, Floats] | None:
    """Fit T = surroundings by time of day + R * lagged P**2 in bins; give times, measured, expected, and rise by load.

    A body that loses heat in proportion to its excess temperature follows losses with a first-order lag; losses grow
    with the square of the current (IEC 60034-1).
    """
    known = np.isfinite(degrees) & np.isfinite(seen.active)
    if known.sum() < 60:
        return None
    binned = _binned(seen.time[known], _BIN)
    bins, losses, measured = binned.bins, binned.mean(seen.active[known] ** 2), binned.mean(degrees[known])
    every = np.arange(bins[0], bins[-1] + 1)
    even = np.interp(every, bins, losses)
    phase = 2.0 * np.pi * bins * _BIN / (24 * HOUR_MS)
    daily = [np.sin(phase), np.cos(phase)] if len(bins) * _BIN > 20 * HOUR_MS else []
    best = None
    for lag in (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0):
        share = 1.0 / (1.0 + lag)
        state = [(1.0 - share) * float(np.mean(even[:6]))]
        lagged = lfilter([share], [1.0, share - 1.0], even, zi=state)[0][np.searchsorted(every, bins)]
        features = np.column_stack([np.ones(len(bins)), *daily, lagged])
        found = _robust(features, measured, 0.4, 10)
        if found is None:
            return None
        left = measured - features @ found
        error = float(np.median(np.abs(left)))
        if best is None or error < best[0]:
            rise = np.maximum(found[-1], 0.0) * lagged
            best = error, binned.time, measured, features @ found, rise
    return None if best is None else best[1:]


def _drifts(seen: Minutes, past: Hours) -> Iterator[Event]:
    """Find sensors that slowly leave what load and time of day explain, by hours."""
    for name, values in past.means.items():
        # Days must have come again for what they explain to be told from a drift.
        if name not in ELECTRIC and name != "vibration" and np.isfinite(values).sum() >= _DRIFT_HOURS:
            yield from _drift(seen, past, name, values)


def _per_kelvin(name: str, units: Mapping[str, str]) -> float | None:
    """Tell how many of its units are a kelvin, if a measurement is a temperature; None: it is none."""
    said = units.get(name, "").replace("\u2103", "c").replace("\u2109", "f").lower()
    unit = re.sub(r"degrees?|deg|[\s°º_.\[\]]", "", said)
    return 1.0 if not unit and "temperature" in name else _PER_KELVIN.get(unit)


def _drift(seen: Minutes, past: Hours, name: str, values: Floats) -> Iterator[Event]:
    expected = _explained(past, values)
    if expected is None:
        return
    kelvin = _per_kelvin(name, seen.units)
    steps = seen.limits.detection.sensor_drift if kelvin is None else seen.limits.detection.sensor_drift_kelvin
    scale = np.full(len(values), kelvin or 1.0)
    if kelvin is None:
        scale = np.maximum(np.abs(expected), 1e-3 * float(np.nanmedian(np.abs(values))) + 1e-9)
    off = _smooth((values - expected) / scale, 7)
    # The weather, and what else lasts for days, moves some sensors: those must leave more than their own range.
    away = np.abs(off - np.nanmedian(off))
    spread = _spread(off)
    # What comes and goes as it likes, such as the meter of a single appliance, has nothing to drift from.
    telling = _TELLING * steps.mild
    if spread > telling or np.nanquantile(away, 0.75) > 2 * telling or np.isfinite(values).mean() < 0.5:
        return
    off = np.where(np.isfinite(values), off, np.nan)
    bound = max(steps.mild, 3.5 * spread)
    # Heat comes and goes within half a day, whatever its cause; nothing else that is measured here does.
    least = (13 if name == "temperature" else 6) * HOUR_MS
    for sign in (1, -1):
        for begin, end in _spans(past.time, sign * off > bound, HOUR_MS, join=6 * HOUR_MS, shortest=least):
            start = _last_below(sign * off, begin, steps.mild / 3)
            lasts = _lasts(past.time, end, seen.until, 3 * HOUR_MS, rows=2)
            worst = _peak(sign * off, (begin, end))
            size = float(sign * off[worst])
            # What is said is what was compared: the median of seven hours.
            observed = float(expected[worst] + off[worst] * scale[worst])
            far = f"{size:.0%}" if kelvin is None else seen.text(size * kelvin, name)
            yield _event(
                "sensor_drift",
                steps.severity(size),
                name,
                (float(past.time[start]), None if lasts else float(past.time[end] + HOUR_MS)),
                (observed, float(expected[worst])),
                f"{name.replace('_', ' ')} reads {seen.text(observed, name)} in the middle of seven hours, {far} "
                f"{'above' if sign > 0 else 'below'} the {seen.text(expected[worst], name)} that load and time of day "
                "explain",
            )


def _explained(past: Hours, values: Floats) -> Floats | None:
    """Give what time of day and the load of three hours explain of a sensor's hours; shape (m,)."""
    phase = 2.0 * np.pi * past.time / (24 * HOUR_MS)
    load = np.where(np.isfinite(past.load), past.load, 0.0)
    before, earlier = np.r_[load[:1], load[:-1]], np.r_[load[:2], load[:-2]]
    features = np.column_stack(
        [np.ones(len(load)), np.sin(phase), np.cos(phase), load, load**2, before**2, earlier[: len(load)] ** 2]
    )
    found = _robust(features, values)
    return None if found is None else np.asarray(features @ found)


def _vibrations(seen: Minutes, past: Hours) -> Iterator[Event]:
    """Find vibration that grows for days at the same load: ever faster when a bearing wears, else evenly.

    Even growth, and a fall, are those of a sensor that drifts. Without a known load, what it explains counts as noise.
    """
    shaking = _shaking(past)
    if not np.isfinite(shaking.ratio).any():
        return
    wear, drift = seen.limits.detection.bearing_wear, seen.limits.detection.sensor_drift
    time = past.time.astype(np.float64)
    smooth = _each(shaking, lambda own: _smooth(own, shaking.width))
    above = smooth / _each(shaking, lambda own: _usual(time, own, 0.3, 156), smooth) - 1.0
    least = max(_CLEAR * drift.mild, shaking.noise)
    sound = smooth.copy()
    for begin, end in _spans(time, above > least, HOUR_MS, join=16 * HOUR_MS, shortest=4 * HOUR_MS):
        largest = float(np.nanmax(above[begin : end + 1]))
        even = largest < 2 * drift.severe and _grows_evenly(time, smooth, begin, end)
        if even or largest > max(wear.mild, 1.5 * shaking.noise):
            yield _of_vibration(seen, past, "sensor_drift" if even else "bearing_wear", (above, shaking), (begin, end))
            sound[max(0, begin - 48) : end + 3] = np.nan
    below = 1.0 - sound / _each(shaking, lambda own: _usual(time, own, 0.7, 108), sound)
    for begin, end in _spans(time, below > least, HOUR_MS, join=16 * HOUR_MS, shortest=6 * HOUR_MS):
        if _grows_evenly(time, -sound, begin, end, can_bend=False):
            yield _of_vibration(seen, past, "sensor_drift", (-below, shaking), (begin, end))


@dataclass(frozen=True)
class _Shaking:
    """Vibration by hour, shape (m,): `value` in its unit, `ratio` of it to what is usual at that load, or at rest.

    `noise` is the share by which it comes and goes, as far as load does not explain it; `width` that of its smoothing.
    """

    value: Floats
    ratio: Floats
    resting: Flags
    noise: float
    width: int
    load_known: bool


def _each(shaking: _Shaking, what: Callable[[Floats], Floats], values: Floats | None = None) -> Floats:
    """Do something with the hours of running and with those at rest apart, since neither tells of the other."""
    values = shaking.ratio if values is None else values
    running, resting = (what(np.where(own, values, np.nan)) for own in (~shaking.resting, shaking.resting))
    return np.where(shaking.resting, resting, running)


def _usual(time: Floats, values: Floats, quantile: float, hours: int) -> Floats:
    """Give the quantile over the hours up to each time of the last ten days; slower changes are a machine's life."""
    usual = np.full(len(values), np.nan)
    firsts = np.searchsorted(time, time - hours * HOUR_MS)
    known = np.isfinite(values)
    for place in range(int(np.searchsorted(time, time[-1] - 240 * HOUR_MS)), len(values)):
        window = np.sort(values[firsts[place] : place + 1][known[firsts[place] : place + 1]])
        if len(window) >= 6:
            usual[place] = window[int(quantile * (len(window) - 1))]
    return usual


def _grows_evenly(time: Floats, values: Floats, begin: int, end: int, can_bend: bool = True) -> bool:
    """Tell whether growth up to the peak is a line from some hour on, not a parabola from there or all along."""
    peak = _peak(values, (begin, end))
    first = int(np.searchsorted(time, time[peak] - 156 * HOUR_MS))
    known = np.arange(first, peak + 1)[np.isfinite(values[first : peak + 1])]
    hours, own = (time[known] - time[peak]) / HOUR_MS, values[known]
    ones = np.ones(len(own))

    def bend(start: int, order: int) -> float:
        grown = np.maximum(0.0, hours - start) ** order
        return _misfit(np.column_stack([ones, hours, grown]), own) if (grown == 0).sum() >= 6 else np.inf

    line = min(bend(start, 1) for start in range(-74, -8, 3))
    if can_bend and line > 0.9 * min(bend(start, 2) for start in range(-122, -11, 3)):
        return False
    return line < 0.6 * _misfit(np.column_stack([ones, hours, hours * hours]), own)


def _misfit(features: Floats, values: Floats) -> float:
    """Give the sum of squares that a linear fit leaves; infinite where there is too little to tell."""
    if len(values) < 3 * features.shape[1]:
        return np.inf
    return float(np.square(values - features @ np.linalg.lstsq(features, values, rcond=None)[0]).sum())


def _of_vibration(
    seen: Minutes, past: Hours, kind: str, compared: tuple[Floats, _Shaking], span: tuple[int, int]
) -> Event:
    (off, shaking), (begin, end) = compared, span
    sign = 1 if np.nansum(off[begin : end + 1]) > 0 else -1
    start = _last_below(sign * off, begin, 0.06)
    worst = _peak(sign * off, span)
    size = float(sign * off[worst])
    lasts = _lasts(past.time, end, seen.until, 3 * HOUR_MS, rows=2)
    # What is said is what was compared: the median of the hours around.
    half = shaking.width // 2
    around = slice(max(0, worst - half), worst + half + 1)
    alike = np.isfinite(shaking.ratio[around]) & (shaking.resting[around] == shaking.resting[worst])
    observed = float(np.median(shaking.value[around][alike]))
    expected = observed / (1.0 + off[worst])
    unit = "vibration"
    numbers = f"{seen.text(observed, unit)}, {size:.0%} {'above' if sign > 0 else 'below'} {seen.text(expected, unit)}"
    load = "at the same load" if shaking.load_known else "at a load that is not known"
    evidence = (
        f"vibration has grown ever faster {load} to {numbers}: a bearing wears"
        if kind == "bearing_wear"
        else f"vibration reads {numbers} of the days before {load}, and got there evenly: its sensor drifts"
    )
    times = float(past.time[start]), None if lasts else float(past.time[end] + HOUR_MS)
    steps: Steps = getattr(seen.limits.detection, kind)
    return _event(kind, steps.severity(size), "vibration", times, (observed, expected), evidence)


def _shaking(past: Hours) -> _Shaking:
    """Compare vibration with what the machine has at that load, or while it is off; without power, with its middle."""
    nothing = np.full(len(past.time), np.nan)
    recent = past.time >= past.time[-1] - _DRIFT_HOURS * HOUR_MS if len(past.time) else np.zeros(0, dtype=bool)
    if np.isfinite(past.load[recent]).sum() <= 0.5 * recent.sum():
        return _shaking_alone(past)
    # Nothing is a share of zero, which is no vibration.
    moving, still = (
        np.where(each > 0, each, np.nan) for each in (past.vibration, past.means.get("vibration", nothing))
    )
    ratio, value = nothing.copy(), moving.copy()
    on = np.isfinite(moving) & (past.running > 900) & np.isfinite(past.load_running)
    features = np.column_stack([np.ones(on.sum()), past.load_running[on]])
    found = _robust(features, moving[on])
    if found is not None:
        ratio[on] = moving[on] / np.maximum(features @ found, 1e-3)
    elif on.any():
        ratio[on] = moving[on] / max(float(np.median(moving[on])), 1e-9)
    off = (past.load < 0.02) & ~on
    if np.isfinite(still[off]).sum() > 5:
        ratio[off] = still[off] / max(float(np.nanmedian(still[off])), 1e-3)
        value[off] = still[off]
    return _Shaking(value, ratio, off, 0.0, 5, load_known=True)


def _shaking_alone(past: Hours) -> _Shaking:
    """Judge vibration at a load that is not known: what comes and goes within a day is noise, or standing still."""
    value = past.means.get("vibration", np.full(len(past.time), np.nan))
    value = np.where(value > 0, value, np.nan)
    nobody = np.zeros(len(value), dtype=bool)
    if np.isfinite(value).sum() < _DRIFT_HOURS:
        return _Shaking(value, np.full(len(value), np.nan), nobody, 0.0, 5, load_known=False)
    resting = _resting(value)
    ratio = value / float(np.nanmedian(value[~resting]))
    ratio[resting] = np.nan
    changes = np.abs(ratio - _smooth(ratio, 25)) / _smooth(ratio, 25)
    noise = 3.5 * _DEVIATION * float(np.nanmedian(changes))
    return _Shaking(value, ratio, nobody, noise, 13, load_known=False)


def _resting(value: Floats) -> Flags:
    """Tell the hours at rest of a machine that often starts and stops: there are two levels and little in between."""
    logs = np.log(np.where(value > 0, value, np.nan))
    low, high = np.nanquantile(logs, (0.05, 0.95))
    share = (logs - low) / max(high - low, 1e-9)
    below = share < 0.5
    known = np.isfinite(share)
    between = np.mean((share[known] > 0.33) & (share[known] < 0.67))
    turns = np.count_nonzero(np.diff(below[known].astype(np.int8)))
    if high - low < np.log(2.0) or between > 0.1 or turns < 4:
        return np.zeros(len(value), dtype=bool)
    return np.asarray(below & known)
