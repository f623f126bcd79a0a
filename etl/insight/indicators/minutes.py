"""The minutes of a day, and how they are stored."""

import math
from datetime import date

import numpy as np
import pyarrow as pa

from etl.insight.indicators.readings import group_means, group_spread, group_sums, powers, readings_within
from etl.insight.indicators.times import DAY_HOURS, MINUTE_MS, day_start_ms
from etl.insight.limits import rated_kva
from etl.model.catalogue import Machine
from etl.model.schemas import HOUR_MS, TIMESTAMP

# Columns besides the spread of each measurement; `first` and `last` reading are ms into the minute.
MINUTE_COLUMNS = {
    "minute": TIMESTAMP,
    "count": pa.int32(),
    "bad": pa.int32(),
    "first": pa.int32(),
    "last": pa.int32(),
    "kilowatts": pa.float32(),
    "kilovars": pa.float32(),
}


def by_minute(readings: pa.Table, machine: Machine, day: date, hours: range = DAY_HOURS) -> pa.Table:
    """Aggregate the readings of some hours of the day by minute.

    Return one row per minute that has readings: the columns of `MINUTE_COLUMNS` (mean active and reactive power in kW
    and kvar), and `<measurement>_low`, `_mean` and `_high` (float32, null where the minute has no value).
    """
    start = day_start_ms(day)
    times, values, is_bad = readings_within(readings, start + hours.start * HOUR_MS, start + hours.stop * HOUR_MS)
    minutes = times // MINUTE_MS
    starts = np.flatnonzero(np.diff(minutes, prepend=-1))
    count = np.diff(starts, append=len(times))
    first, last = (times[row] - minutes[row] * MINUTE_MS for row in (starts, starts + count - 1))
    nothing = np.full(len(starts), np.nan)
    power = powers(values, machine)
    kilowatts, kilovars = (nothing, nothing) if power is None else (group_means(each, starts) for each in power)
    fixed = [minutes[starts] * MINUTE_MS, count, group_sums(is_bad, starts), first, last, kilowatts, kilovars]
    columns = {
        name: pa.array(column, from_pandas=True).cast(kind)
        for (name, kind), column in zip(MINUTE_COLUMNS.items(), fixed, strict=True)
    }
    for name, column in values.items():
        for label, each in zip(("low", "mean", "high"), group_spread(column, starts), strict=True):
            columns[f"{name}_{label}"] = pa.array(each.astype(np.float32), from_pandas=True)
    return pa.table(columns)


def has_power(machine: Machine, minutes: pa.Table) -> bool:
    """Return whether a machine's electrical load is known in minutes of `by_minute`: rated values and active power."""
    return not math.isnan(rated_kva(machine)) and minutes["kilowatts"].null_count < len(minutes)


def pack(minutes: pa.Table) -> bytes:
    """Write a table as an Arrow IPC stream, compressed with zstd."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, minutes.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(minutes.combine_chunks())
    return bytes(sink.getvalue())


def unpack(packed: bytes) -> pa.Table:
    """Read what `pack` wrote."""
    return pa.ipc.open_stream(packed).read_all()
