"""What a machine did, minute by minute, hour by hour and in a day: pure functions over its readings of one UTC day.

Readings are a table of one machine, ascending by `timestamp` (ms in UTC), with declared measurements (float64, null
where missing; text is passed over) and `quality`, which names the bad measurements of a reading. What depends on a
measurement that is not there is null.

Energy and times: a reading stands for the time up to the next one, if that comes within `hold_intervals` expected
intervals, else for one interval; power is taken to change evenly in between (trapezoid rule). So what is said of an
hour depends on its readings, and on others up to `reach` before and after it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from etl.insight.limits import Limits, default_limits, power_scale, rated_kva, vibration_zones
from etl.model.catalogue import Machine
from etl.model.schemas import DAY_MS, HOUR_MS, TIMESTAMP

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Row = dict[str, Any]

MINUTE_MS = 60_000
DAY_HOURS = range(24)
# What `by_minute` gives besides the spread of each measurement; `first` and `last` reading are ms into the minute.
MINUTE_COLUMNS = {
    "minute": TIMESTAMP,
    "count": pa.int32(),
    "bad": pa.int32(),
    "first": pa.int32(),
    "last": pa.int32(),
    "kilowatts": pa.float32(),
    "kilovars": pa.float32(),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_MEASUREMENTS = frozenset({"equipment_id", "day", "timestamp", "quality"})
_LEAST_POINTS = 0.5


class Judged(Protocol):
    """What a day's row needs to know of an event."""

    @property
    def kind(self) -> str:
        """Its kind."""

    @property
    def severity(self) -> str:
        """One of mild, moderate, severe."""


def to_ms(time: datetime) -> int:
    """Give an aware time as milliseconds since 1970."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def from_ms(time: int) -> datetime:
    """Give milliseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(milliseconds=time)


def day_start(day: date) -> int:
    """Give the first millisecond of a UTC day."""
    return (day - date(1970, 1, 1)).days * DAY_MS


def values_of(readings: pa.Table) -> dict[str, Floats]:
    """Give each measurement that is a number as an array of shape (n,), NaN where it is missing."""
    return {
        field.name: readings[field.name].to_numpy().astype(np.float64, copy=False)
        for field in readings.schema
        if field.name not in _NO_MEASUREMENTS and pa.types.is_floating(field.type)
    }


def times_of(table: pa.Table, name: str = "timestamp") -> Integers:
    """Give a column of timestamps in ms since 1970; shape (n,)."""
    return np.asarray(table[name].cast(TIMESTAMP).cast(pa.int64()).to_numpy())


def powers(values: Mapping[str, Floats], machine: Machine) -> tuple[Floats, Floats] | None:
    """Give active power in kW and reactive power in kvar; shape (n,) each; None where it takes what is not measured.

    P = sqrt(3) * U * I * cos phi with three phases (U between them), U * I * cos phi with one; Q = sqrt(S**2 - P**2)
    (IEEE 1459, sinusoidal and balanced).
    """
    if not {"voltage", "current", "power_factor"} <= values.keys():
        return None
    factor = values["power_factor"]
    apparent = power_scale(machine) * values["voltage"] * values["current"]
    return apparent * np.abs(factor), apparent * np.sqrt(np.maximum(0.0, 1.0 - factor * factor))


def reach(machine: Machine, limits: Limits | None = None) -> timedelta:
    """Give for how long a reading stands at most."""
    return timedelta(milliseconds=_reach(machine, limits or default_limits()))


def _reach(machine: Machine, limits: Limits) -> float:
    return limits.states.hold_intervals * (machine.interval_seconds * 1000.0)


def by_minute(readings: pa.Table, machine: Machine, day: date, hours: range = DAY_HOURS) -> pa.Table:
    """Sum up the readings of some hours of the day by minute.

    Gives one row per minute that has readings: the columns of `MINUTE_COLUMNS` (mean active and reactive power in kW
    and kvar), and `<measurement>_low`, `_mean` and `_high` (float32, null where the minute has no value).
    """
    times, values = times_of(readings), values_of(readings)
    bounds = (day_start(day) + hours.start * HOUR_MS, day_start(day) + hours.stop * HOUR_MS)
    inside = slice(*np.searchsorted(times, bounds).tolist())
    times, values = times[inside], {name: column[inside] for name, column in values.items()}
    minutes = times // MINUTE_MS
    starts = np.flatnonzero(np.diff(minutes, prepend=-1))
    count = np.diff(starts, append=len(times))
    first, last = (times[row] - minutes[row] * MINUTE_MS for row in (starts, starts + count - 1))
    bad = _sums(_bad(readings)[inside], starts)
    nothing = np.full(len(starts), np.nan)
    power = powers(values, machine)
    kilowatts, kilovars = (nothing, nothing) if power is None else (_mean(each, starts) for each in power)
    fixed = [minutes[starts] * MINUTE_MS, count, bad, first, last, kilowatts, kilovars]
    columns = {
        name: pa.array(column, from_pandas=True).cast(kind)
        for (name, kind), column in zip(MINUTE_COLUMNS.items(), fixed, strict=True)
    }
    for name, column in values.items():
        for label, spread in zip(("low", "mean", "high"), _spread(column, starts), strict=True):
            columns[f"{name}_{label}"] = pa.array(spread.astype(np.float32), from_pandas=True)
    return pa.table(columns)


def pack(minutes: pa.Table) -> bytes:
    """Write a table as an Arrow IPC stream, compressed with zstd."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, minutes.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(minutes.combine_chunks())
    return bytes(sink.getvalue())


def unpack(packed: bytes) -> pa.Table:
    """Read what `pack` wrote."""
    return pa.ipc.open_stream(packed).read_all()


def by_hour(
    readings: pa.Table,
    machine: Machine,
    day: date,
    until: datetime | None = None,
    limits: Limits | None = None,
    since: datetime | None = None,
    wanted: range = DAY_HOURS,
) -> list[Row]:
    """Give the rows of MACHINE_HOURS for the wanted hours of the day that begin before `until` (None: all of them).

    The row of an hour is the same whatever else is wanted. Of a machine that is new since some time, nothing is
    expected before it, and hours that end before have no row.

    Times in a state are seconds of known power. `power_factor` is sum(P) / sum(S) while running; `vibration` is the
    mean while running (of all readings, in an hour without known power), and `vibration_zone` its zone.
    """
    limits = limits or default_limits()
    times, values = times_of(readings), values_of(readings)
    low, high = day_start(day), day_start(day) + DAY_MS
    inside = slice(*np.searchsorted(times, (low, high)).tolist())
    times, values = times[inside], {name: column[inside] for name, column in values.items()}
    stop = high if until is None else min(high, to_ms(until))
    born = low if since is None else max(low, to_ms(since))
    bounds = np.arange(low, high + 1, HOUR_MS)
    integrals = _integrals(times, values, machine, bounds, limits)
    hours = (times - low) // HOUR_MS
    starts = np.flatnonzero(np.diff(hours, prepend=-1))
    received = np.bincount(hours, minlength=24)
    bad = np.bincount(hours, _bad(readings)[inside], minlength=24)
    interval = machine.interval_seconds * 1000.0
    expected = np.diff(np.ceil(np.clip(bounds, min(born, stop), stop) / interval)).astype(np.int64)
    spreads = {name: _by_hour(_spread(column, starts), hours[starts]) for name, column in values.items()}
    running = _running(integrals.power, machine, limits)
    vibration = values.get("vibration")
    if vibration is not None and running is not None and integrals.power is not None:
        blind = np.bincount(hours, np.isfinite(integrals.power), minlength=24) == 0
        vibration = np.where(running | blind[hours], vibration, np.nan)
    shaking = None if vibration is None else _by_hour(_spread(vibration, starts), hours[starts])
    peak = None if integrals.power is None else _by_hour(_spread(integrals.power, starts), hours[starts])
    rows: list[Row] = []
    for hour in wanted:
        begin = low + hour * HOUR_MS
        if begin >= stop:
            break
        if begin + HOUR_MS <= born:
            continue
        means = {name: float(spread[1][hour]) for name, spread in spreads.items() if np.isfinite(spread[1][hour])}
        rows.append(
            {
                "equipment_id": machine.equipment_id,
                "month": f"{day:%Y-%m}",
                "hour": from_ms(begin),
                "expected": int(expected[hour]),
                "received": int(received[hour]),
                "bad": int(bad[hour]),
                **integrals.row(hour),
                "peak_kw": _number(peak, 2, hour),
                "temperature": means.get("temperature"),
                "temperature_highest": _number(spreads.get("temperature"), 2, hour),
                "vibration": _number(shaking, 1, hour),
                "vibration_highest": _number(shaking, 2, hour),
                "vibration_zone": zone(_number(shaking, 1, hour), machine, limits),
                "means": means,
                "lows": {name: float(spreads[name][0][hour]) for name in means},
                "highs": {name: float(spreads[name][2][hour]) for name in means},
            }
        )
    return rows


def zone(vibration: float | None, machine: Machine, limits: Limits | None = None) -> str | None:
    """Name the zone of a vibration in mm/s: A as new, B good for long, C for a while, D does damage."""
    if vibration is None:
        return None
    return "ABCD"[int(np.searchsorted(vibration_zones(machine, limits), vibration, side="right"))]


def nominal_frequency(frequencies: Floats, limits: Limits | None = None) -> float:
    """Give the nominal frequency in Hz that is nearest to what is measured; the first where nothing is."""
    limits = limits or default_limits()
    known = frequencies[np.isfinite(frequencies)]
    middle = float(np.median(known)) if len(known) else limits.supply.nominal_frequencies[0]
    return min(limits.supply.nominal_frequencies, key=lambda nominal: abs(nominal - middle))


@dataclass(frozen=True)
class _Integrals:
    """Seconds and kWh by hour, each of shape (24,) or None; `power` is by reading (n,), in kW, or None."""

    power: Floats | None
    by_hour: dict[str, Floats | None]
    running_kwh: Floats | None
    running_kvah: Floats | None

    def row(self, hour: int) -> Row:
        """Give the hour's columns."""
        factor = None
        if self.running_kvah is not None and self.running_kwh is not None and self.running_kvah[hour] > 0:
            factor = float(self.running_kwh[hour] / self.running_kvah[hour])
        columns = {
            name: None if column is None or not np.isfinite(column[hour]) else float(column[hour])
            for name, column in self.by_hour.items()
        }
        return {**columns, "power_factor": factor}


def _running(power: Floats | None, machine: Machine, limits: Limits) -> npt.NDArray[np.bool_] | None:
    rated = rated_kva(machine)
    return None if power is None or np.isnan(rated) else power >= limits.states.idle_below * rated


def _integrals(
    times: Integers, values: Mapping[str, Floats], machine: Machine, bounds: Integers, limits: Limits
) -> _Integrals:
    """Integrate power, and the times in states and outside of limits, over each hour."""
    interval = machine.interval_seconds * 1000.0
    gaps = np.diff(times, append=bounds[-1]).astype(np.float64)
    held = gaps <= _reach(machine, limits)
    reading, hour, length = _pieces(times, np.where(held, gaps, interval), bounds)

    def integral(rate: Floats) -> Floats:
        return np.asarray(np.bincount(hour, np.nan_to_num(rate)[reading] * length, len(bounds) - 1), float)

    def seconds(where: npt.NDArray[np.bool_], known: Floats) -> Floats:
        result = integral(where.astype(np.float64))
        return np.where(integral(np.isfinite(known).astype(np.float64)) > 0, result, np.nan)

    names = ("off_seconds", "idle_seconds", "running_seconds", "overload_seconds", "energy_kwh", "idle_energy_kwh")
    found: dict[str, Floats | None] = dict.fromkeys((*names, "voltage_outside_seconds", "frequency_outside_seconds"))
    running_kwh = running_kvah = power = None
    if (both := powers(values, machine)) is not None:
        power = both[0]
        share = power / rated_kva(machine)
        off, running = share < limits.states.off_below, share >= limits.states.idle_below
        states = [off, (share >= limits.states.off_below) & ~running]
        for name, state in zip(names, [*states, running], strict=False):
            found[name] = seconds(state, share)
        active, apparent = (_between(each, held) / 3600.0 for each in (power, np.hypot(*both)))
        nothing, no_state = (np.where(seconds(running, each) >= 0, 0.0, np.nan) for each in (power, share))
        found["energy_kwh"] = integral(active) + nothing
        found["idle_energy_kwh"] = integral(np.where(running, 0.0, active)) + no_state
        running_kwh, running_kvah = (integral(np.where(running, each, 0.0)) for each in (active, apparent))
    if (current := values.get("current")) is not None and machine.rated_current is not None:
        found["overload_seconds"] = seconds(current > limits.states.overload_above * machine.rated_current, current)
    if (voltage := values.get("voltage")) is not None and machine.nominal_voltage is not None:
        away = np.abs(voltage / machine.nominal_voltage - 1.0)
        found["voltage_outside_seconds"] = seconds(away > limits.supply.voltage, voltage)
    if (frequency := values.get("frequency")) is not None:
        parts = np.split(frequency, np.searchsorted(times, bounds[1:-1]))
        nominal = np.repeat([nominal_frequency(part, limits) for part in parts], [len(part) for part in parts])
        away = np.abs(frequency / nominal - 1.0)
        found["frequency_outside_seconds"] = seconds(away > limits.supply.frequency, frequency)
    return _Integrals(power, found, running_kwh, running_kvah)


def _between(rate: Floats, held: npt.NDArray[np.bool_]) -> Floats:
    """Give the mean of each value and the next, where the first is held up to the next; shape (n,)."""
    following = np.append(rate[1:], np.nan)
    return np.where(held & np.isfinite(following), (rate + following) / 2.0, rate)


def _pieces(times: Integers, lengths: Floats, bounds: Integers) -> tuple[Integers, Integers, Floats]:
    """Cut the times for which readings stand (from `times` on, `lengths` ms) at the bounds of hours.

    Gives for each piece the reading, the hour, and its seconds.
    """
    low, hours = bounds[0], len(bounds) - 1
    first = (times - low) // HOUR_MS
    last = np.minimum(np.ceil((times + lengths - low) / HOUR_MS).astype(np.int64), hours) - 1
    counts = last - first + 1
    reading = np.repeat(np.arange(len(times)), counts)
    hour = first[reading] + np.arange(len(reading)) - np.repeat(np.cumsum(counts) - counts, counts)
    begins = np.maximum(times[reading], bounds[hour])
    ends = np.minimum((times + lengths)[reading], bounds[hour + 1])
    return reading, hour, (ends - begins) / 1000.0


def _bad(readings: pa.Table) -> Floats:
    """Tell the readings with a bad measurement by 1; shape (n,)."""
    if "quality" not in readings.column_names:
        return np.zeros(len(readings))
    return np.asarray(pa.compute.fill_null(pa.compute.not_equal(readings["quality"], ""), False).to_numpy(), float)


def _sums(values: Floats, starts: Integers) -> Floats:
    return np.asarray(np.add.reduceat(values, starts)) if len(starts) else np.zeros(0)


def _mean(values: Floats, starts: Integers) -> Floats:
    """Give the mean of the values that are there in each group; shape (groups,), NaN where there are none."""
    there = np.isfinite(values)
    count = _sums(there.astype(np.float64), starts)
    total = _sums(np.where(there, values, 0.0), starts)
    return np.asarray(np.divide(total, count, np.full(len(starts), np.nan), where=count > 0))


def _spread(values: Floats, starts: Integers) -> tuple[Floats, Floats, Floats]:
    """Give lowest, mean and highest in each group that begins at `starts`; NaN where a group has no value."""
    if not len(starts):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    return np.fmin.reduceat(values, starts), _mean(values, starts), np.fmax.reduceat(values, starts)


def _by_hour(spread: Sequence[Floats], hours: Integers) -> list[Floats]:
    """Place groups at their hours; three arrays of shape (24,), NaN elsewhere."""
    placed = [np.full(24, np.nan) for _ in spread]
    for target, source in zip(placed, spread, strict=True):
        target[hours] = source
    return placed


def _number(spread: Sequence[Floats] | None, which: int, hour: int) -> float | None:
    return None if spread is None or not np.isfinite(spread[which][hour]) else float(spread[which][hour])


def by_day(
    hours: Sequence[Row],
    machine: Machine,
    day: date,
    events: Mapping[str, Judged],
    minutes: pa.Table,
    limits: Limits | None = None,
) -> Row:
    """Give the row of MACHINE_DAYS from the day's rows of `by_hour`, its minutes, and the events in it by their ID.

    Shares: availability = received / expected; utilisation = running / known time; load factor = mean / highest power
    (IEV 691-10-02); idle share = energy while off or idle / energy. The efficiency index is in `efficiency`.
    """
    limits = limits or default_limits()
    sums = {name: _sum(hours, name) for name in _SUMMED}
    received, expected = sums["received"] or 0, sums["expected"] or 0
    parts = [sums[name] for name in ("off_seconds", "idle_seconds", "running_seconds")]
    known = sum(part for part in parts if part is not None)
    peak = _most(hours, "peak_kw")
    vibration = _weighted(hours, "vibration", "running_seconds")
    worst = max(events, key=lambda name: ("mild", "moderate", "severe").index(events[name].severity), default=None)
    energy, idle = sums["energy_kwh"], sums["idle_energy_kwh"]
    row = {
        "equipment_id": machine.equipment_id,
        "year": day.year,
        "day": day,
        **sums,
        "peak_kw": peak,
        "power_factor": _power_factor(hours),
        "temperature": _weighted(hours, "temperature", "received"),
        "temperature_highest": _most(hours, "temperature_highest"),
        "vibration": vibration,
        "vibration_highest": _most(hours, "vibration_highest"),
        "vibration_zone": zone(vibration, machine, limits),
        **_spreads(hours),
        "availability": min(1.0, received / expected) if expected else None,
        "utilisation": sums["running_seconds"] / known if known and sums["running_seconds"] is not None else None,
        "load_factor": energy / (peak * known / 3600) if energy is not None and peak and known else None,
        "idle_share": idle / energy if idle is not None and energy else None,
        **_last(minutes, machine, limits),
        "events": len(events),
        "worst_event": worst,
        "worst_kind": events[worst].kind if worst else None,
        "worst_severity": events[worst].severity if worst else None,
    }
    index, reasons = efficiency(row, machine, limits)
    return {**row, "efficiency": index, "reasons": reasons}


_SUMMED = (
    *("expected", "received", "bad"),
    *("off_seconds", "idle_seconds", "running_seconds", "overload_seconds", "energy_kwh", "idle_energy_kwh"),
    *("voltage_outside_seconds", "frequency_outside_seconds"),
)


def _sum(hours: Sequence[Row], name: str) -> Any:
    known = [row[name] for row in hours if row[name] is not None]
    return sum(known) if known else None


def _most(hours: Sequence[Row], name: str) -> float | None:
    return max((row[name] for row in hours if row[name] is not None), default=None)


def _weighted(hours: Sequence[Row], name: str, weight: str) -> float | None:
    """Give the mean over hours by weight; hours without a weight count alike where none has one."""
    known = [(row[name], row[weight]) for row in hours if row[name] is not None]
    if not known:
        return None
    values, weights = np.array([value for value, _ in known]), np.array([each or 0.0 for _, each in known])
    return float(np.average(values, weights=weights if weights.sum() > 0 else None))


def _power_factor(hours: Sequence[Row]) -> float | None:
    """Give sum(P) / sum(S) while running: S of an hour is P / cos phi."""
    running = [
        (row["energy_kwh"] - row["idle_energy_kwh"], row["power_factor"]) for row in hours if row["power_factor"]
    ]
    apparent = sum(energy / factor for energy, factor in running)
    return sum(energy for energy, _ in running) / apparent if apparent else None


def _spreads(hours: Sequence[Row]) -> Row:
    names = list(dict.fromkeys(chain.from_iterable(row["means"] for row in hours)))
    there = {name: [row for row in hours if name in row["means"]] for name in names}
    return {
        "means": {
            name: float(np.average([row["means"][name] for row in rows], weights=[row["received"] for row in rows]))
            for name, rows in there.items()
        },
        "lows": {name: min(row["lows"][name] for row in rows) for name, rows in there.items()},
        "highs": {name: max(row["highs"][name] for row in rows) for name, rows in there.items()},
    }


def _last(minutes: pa.Table, machine: Machine, limits: Limits) -> Row:
    """Tell state and time of the last reading."""
    if not len(minutes):
        return {"state": None, "newest": None}
    last = minutes.slice(len(minutes) - 1)
    newest = int(times_of(last, "minute")[0]) + last["last"][0].as_py()
    power = last["kilowatts"][0].as_py()
    rated = rated_kva(machine)
    state = None if power is None or np.isnan(rated) else state_of(power / rated, limits)
    return {"state": state, "newest": from_ms(newest)}


def state_of(share: float, limits: Limits | None = None) -> str:
    """Name the state at this active power, a share of the rated apparent power."""
    states = (limits or default_limits()).states
    return "off" if share < states.off_below else "idle" if share < states.idle_below else "running"


def efficiency(
    row: Mapping[str, Any], machine: Machine, limits: Limits | None = None
) -> tuple[float | None, list[str]]:
    """Give the efficiency index of a day, 0 to 100, and what lowers it, most first.

    100 minus, with the points of `limits.yaml` (a convention of this project, as no standard has one):
    idle * idle time / (idle + running time); missing * (1 - availability); power_factor * (1 - cos phi / bound), if
    below the bound; overload * overload time / running time; supply * time with voltage or frequency outside of their
    limits / 24 h; zone_c or zone_d where vibration is in that zone; heat where the temperature limit was passed.
    What else is not measured costs nothing. None: nothing was received, power or what the machine is rated for is not
    known, or it was off all the time.
    """
    limits = limits or default_limits()
    on = (row["idle_seconds"] or 0.0) + (row["running_seconds"] or 0.0)
    if not row["received"] or not on:
        return None, []
    lost = sorted((entry for entry in _losses(row, machine, limits) if entry[0] >= _LEAST_POINTS), reverse=True)
    return max(0.0, 100.0 - sum(points for points, _ in lost)), [reason for _, reason in lost]


def _losses(row: Mapping[str, Any], machine: Machine, limits: Limits) -> Iterator[tuple[float, str]]:
    points = limits.efficiency
    idle, running = row["idle_seconds"], row["running_seconds"]
    if idle:
        spent = f": {row['idle_energy_kwh']:.3g} kWh" if row["idle_energy_kwh"] else ""
        yield points.idle * idle / (idle + (running or 0.0)), f"idle for {idle / 3600:.1f} h{spent}"
    if row["availability"] is not None and row["availability"] < 1:
        missing = row["expected"] - row["received"]
        yield (
            points.missing * (1 - row["availability"]),
            f"{missing:,} of {row['expected']:,} readings missing ({missing / row['expected']:.1%})",
        )
    factor = row["power_factor"]
    if factor is not None and factor < limits.power_factor:
        yield (
            points.power_factor * (1 - factor / limits.power_factor),
            f"power factor {factor:.2f} while running, below {limits.power_factor:g}",
        )
    if row["overload_seconds"] and running:
        over = row["overload_seconds"]
        yield (
            points.overload * min(1.0, over / running),
            f"overloaded for {over / 3600:.1f} h: above "
            f"{limits.states.overload_above * (machine.rated_current or 0.0):.1f} A",
        )
    outside = (row["voltage_outside_seconds"] or 0.0) + (row["frequency_outside_seconds"] or 0.0)
    if outside:
        yield points.supply * min(1.0, outside / 86_400), f"supply outside EN 50160 for {outside / 60:.0f} min"
    if row["vibration_zone"] in ("C", "D"):
        cost = points.zone_c if row["vibration_zone"] == "C" else points.zone_d
        yield cost, f"vibration {row['vibration']:.1f} mm/s, zone {row['vibration_zone']} of ISO 20816-3"
    if row["temperature_highest"] is not None and row["temperature_highest"] > limits.temperature:
        yield points.heat, f"{row['temperature_highest']:.0f} °C at the most, above {limits.temperature:.0f} °C"
