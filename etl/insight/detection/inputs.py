"""What the detectors read: the minutes and hours of a machine as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from etl.insight.detection.spans import Floats, Integers, Span, Times, is_ongoing
from etl.insight.indicators import MINUTE_MS, times_of, to_ms
from etl.insight.limits import Limits, rated_kva
from etl.insight.units import figure
from etl.model.catalogue import Machine
from etl.model.schemas import HOUR_MS

# The electric meter's measurements.
ELECTRIC = frozenset({"voltage", "current", "frequency", "power_factor"})
# Minutes are averaged over this: much less noise, and a start that is still exact to ten minutes.
BIN = 10 * MINUTE_MS
# Hours that are needed to know what is usual: only repeated days distinguish the time of day from a change.
ENOUGH_HOURS = 96
# An event lasts if its last minute or bin is at most this many steps old: readings may be a little late.
LATE_STEPS = 2
# An event of hours lasts if it ends in the last two of them, up to three hours ago: the last hour has few readings.
_LATE_ROWS, _LATE_HOURS = 2, 3 * HOUR_MS


@dataclass(frozen=True)
class Minutes:
    """The minutes of a machine; arrays of shape (n,), `time` in ms since 1970, NaN where a value is missing.

    `active` and `reactive` are shares of the rated apparent power. `first` and `last` reading are ms into the minute.
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
        """Return a measurement's means; None where it was never measured."""
        means = self.columns.get(f"{name}_mean")
        return means if means is not None and np.isfinite(means).any() else None

    def text(self, value: float, name: str) -> str:
        """Write a value of a measurement with its unit."""
        return f"{figure(value)} {self.units.get(name, '')}".rstrip()

    @property
    def step(self) -> float:
        """Milliseconds from one row to the next when nothing is missing."""
        return max(MINUTE_MS, self.machine.interval_seconds * 1000.0)

    def times(self, span: Span, late_steps: float = LATE_STEPS) -> Times:
        """Return when the first reading of a stretch of rows came and when the last one ended; None: it lasts.

        It lasts if it ends in the last row, which is at most `late_steps` steps old.
        """
        begin, end = span
        lasts = is_ongoing(self.time, end, self.until, late_steps * self.step)
        ends = float(self.time[end] + self.last[end] + 1000 * self.machine.interval_seconds)
        return float(self.time[begin] + self.first[begin]), None if lasts else ends

    def hours(self, span: Span) -> float:
        """Return the length of a stretch of rows in hours."""
        return float(self.time[span[1]] + self.step - self.time[span[0]]) / HOUR_MS


@dataclass(frozen=True)
class Hours:
    """The hours of a machine that have readings; arrays of shape (m,), `time` in ms since 1970, NaN where unknown.

    `running` is in seconds; `load` is the mean active power, `load_running` that while running, as shares of the rated
    apparent power. `vibration` is that of running, or of all readings where no power is known. `lows`, `means` and
    `highs` are by measurement; an hour in which a sensor did not move has no mean, as it only tells of a stuck sensor.
    """

    time: Integers
    running: Floats
    load: Floats
    load_running: Floats
    power_factor: Floats
    vibration: Floats
    lows: dict[str, Floats]
    means: dict[str, Floats]
    highs: dict[str, Floats]

    def times(self, begin: int, end: int, until: int) -> Times:
        """Return begin and end of a stretch of rows in ms; None: it lasts."""
        lasts = is_ongoing(self.time, end, until, _LATE_HOURS, _LATE_ROWS)
        return float(self.time[begin]), None if lasts else float(self.time[end] + HOUR_MS)


def minutes_of(machine: Machine, table: pa.Table, until: datetime, limits: Limits, units: Mapping[str, str]) -> Minutes:
    """Read the minutes before `until` from tables of `by_minute`."""
    time = times_of(table, "minute")
    kept = slice(0, int(np.searchsorted(time, to_ms(until))))
    columns = {
        name: table[name].to_numpy()[kept].astype(np.float64)
        for name in table.column_names
        if name.endswith(("_low", "_mean", "_high")) or name in ("kilowatts", "kilovars", "first", "last")
    }
    first, last = (columns.pop(name).astype(np.int64) for name in ("first", "last"))
    active, reactive = (columns.pop(name) / rated_kva(machine) for name in ("kilowatts", "kilovars"))
    return Minutes(machine, limits, to_ms(until), time[kept], first, last, active, reactive, columns, units)


def hours_of(machine: Machine, rows: Sequence[Mapping[str, Any]], until: datetime) -> Hours:
    """Read the hours before `until` that have readings from rows of `by_hour` in any order."""
    rows = sorted((row for row in rows if row["received"] and row["hour"] < until), key=lambda row: row["hour"])

    def column(name: str) -> Floats:
        return np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float64)

    off, idle, running = (column(f"{state}_seconds") for state in ("off", "idle", "running"))
    energy, idle_energy = column("energy_kwh"), column("idle_energy_kwh")
    names = list(dict.fromkeys(name for row in rows for name in row["means"]))
    lows, means, highs = (
        {name: np.array([row[label].get(name, np.nan) for row in rows], dtype=np.float64) for name in names}
        for label in ("lows", "means", "highs")
    )
    for name in names:
        means[name][lows[name] == highs[name]] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        return Hours(
            np.array([to_ms(row["hour"]) for row in rows], dtype=np.int64),
            running,
            energy * 3600.0 / (off + idle + running) / rated_kva(machine),
            (energy - idle_energy) * 3600.0 / running / rated_kva(machine),
            column("power_factor"),
            column("vibration"),
            lows,
            means,
            highs,
        )
