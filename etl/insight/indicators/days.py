"""The day of a machine: a row of MACHINE_DAYS."""

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from etl.insight.indicators.efficiency import efficiency
from etl.insight.indicators.states import state_of, zone
from etl.insight.indicators.times import from_ms, times_of
from etl.insight.limits import Limits, default_limits, rated_kva
from etl.model.catalogue import Machine
from etl.model.events import SEVERITIES, Event

Row = dict[str, Any]
_SUMMED = (
    *("expected", "received", "bad"),
    *("off_seconds", "idle_seconds", "running_seconds", "overload_seconds", "energy_kwh", "idle_energy_kwh"),
    *("voltage_outside_seconds", "frequency_outside_seconds"),
)


def by_day(
    hours: Sequence[Row],
    machine: Machine,
    day: date,
    events: Mapping[str, Event],
    minutes: pa.Table,
    limits: Limits | None = None,
) -> Row:
    """Return the row of MACHINE_DAYS from the day's rows of `by_hour`, its minutes, and the events in it by their ID.

    Shares: availability = received / expected; utilisation = running / known time; load factor = mean / highest power
    (IEV 691-10-02); idle share = energy while off or idle / energy. The efficiency index is in `efficiency`.
    """
    limits = limits or default_limits()
    sums = {name: _sum(hours, name) for name in _SUMMED}
    vibration = _weighted(hours, "vibration", "running_seconds")
    row = {
        "equipment_id": machine.equipment_id,
        "year": day.year,
        "day": day,
        **sums,
        "peak_kw": _most(hours, "peak_kw"),
        "power_factor": _power_factor(hours),
        "temperature": _weighted(hours, "temperature", "received"),
        "temperature_highest": _most(hours, "temperature_highest"),
        "vibration": vibration,
        "vibration_highest": _most(hours, "vibration_highest"),
        "vibration_zone": zone(vibration, machine, limits),
        **_spreads(hours),
        **_shares(sums, _most(hours, "peak_kw")),
        **_last(minutes, machine, limits),
        **_worst(events),
    }
    index, reasons = efficiency(row, machine, limits)
    return {**row, "efficiency": index, "reasons": reasons}


def _shares(sums: Mapping[str, Any], peak: float | None) -> Row:
    received, expected = sums["received"] or 0, sums["expected"] or 0
    off, idle, running = (sums[f"{state}_seconds"] for state in ("off", "idle", "running"))
    known = sum(seconds for seconds in (off, idle, running) if seconds is not None)
    energy, idle_energy = sums["energy_kwh"], sums["idle_energy_kwh"]
    return {
        "availability": min(1.0, received / expected) if expected else None,
        "utilisation": running / known if known and running is not None else None,
        "load_factor": energy / (peak * known / 3600) if energy is not None and peak and known else None,
        "idle_share": idle_energy / energy if idle_energy is not None and energy else None,
    }


def _worst(events: Mapping[str, Event]) -> Row:
    """Return how many events there are, and which one is the worst, the first of several."""
    worst = max(events, key=lambda name: SEVERITIES.index(events[name].severity), default=None)
    return {
        "events": len(events),
        "worst_event": worst,
        "worst_kind": events[worst].kind if worst else None,
        "worst_severity": events[worst].severity if worst else None,
    }


def _sum(hours: Sequence[Row], name: str) -> Any:
    known = [row[name] for row in hours if row[name] is not None]
    return sum(known) if known else None


def _most(hours: Sequence[Row], name: str) -> float | None:
    return max((row[name] for row in hours if row[name] is not None), default=None)


def _weighted(hours: Sequence[Row], name: str, weight: str) -> float | None:
    """Return the mean over hours by weight; hours without a weight count alike where none has one."""
    known = [(row[name], row[weight]) for row in hours if row[name] is not None]
    if not known:
        return None
    values, weights = np.array([value for value, _ in known]), np.array([each or 0.0 for _, each in known])
    return float(np.average(values, weights=weights if weights.sum() > 0 else None))


def _power_factor(hours: Sequence[Row]) -> float | None:
    """Return sum(P) / sum(S) while running: S of an hour is P / cos phi."""
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
    """Return state and time of the last reading."""
    if not len(minutes):
        return {"state": None, "newest": None}
    last = minutes.slice(len(minutes) - 1)
    newest = int(times_of(last, "minute")[0]) + last["last"][0].as_py()
    power = last["kilowatts"][0].as_py()
    rated = rated_kva(machine)
    state = None if power is None or np.isnan(rated) else state_of(power / rated, limits)
    return {"state": state, "newest": from_ms(newest)}
