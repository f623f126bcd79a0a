"""Synthetic minutes and hours of machines, with one thing wrong between two hours."""

from datetime import UTC, date, datetime, timedelta
from functools import cache

import numpy as np
import pyarrow as pa
from scipy.signal import lfilter

from etl.insight.indicators import by_hour, by_minute, day_start_ms
from etl.insight.limits import rated_kva
from etl.model.catalogue import Machine
from etl.model.schemas import TIMESTAMP

MACHINE = Machine(equipment_id="pump-1", nominal_voltage=400.0, rated_current=20.0, interval_seconds=60.0)
ALONE = Machine(equipment_id="rig-1", interval_seconds=60.0)
FIRST = date(2026, 1, 5)
START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 12
UNTIL = START + timedelta(days=DAYS)
# When things go wrong, in hours from the start: at work on a Thursday, in the shift from 06:00 to 22:00.
AT = 10 * 24 + 12


def signals(begin=0.0, end=0.0, load_factor=None, magnetising=1.0, heat=1.0):
    """Made-up signals by minute; what is given as an argument is changed between two hours."""
    minute = np.arange(DAYS * 1440)
    hour = minute / 60
    wrong = (hour >= begin) & (hour < end)
    noise = np.random.default_rng(1)
    clock = hour % 24
    load = np.where(
        (clock >= 6) & (clock < 22), 0.6 + 0.15 * np.sin(hour) + 0.02 * noise.standard_normal(len(hour)), 0.004
    )
    load = np.where((clock >= 10) & (clock < 10.5), 0.04, load)
    load = np.where(wrong, load_factor, load) if load_factor else load
    present = load / (load + 0.02)
    active = load + 0.03 * present
    reactive = 0.35 * present * np.where(wrong, magnetising, 1.0) + 0.12 * load * load
    daily = np.sin(2 * np.pi * (clock - 9) / 24)
    voltage = 400 * (1 + 0.01 * daily + 0.002 * noise.standard_normal(len(hour)))
    rise = 50 * lfilter([1 / 30], [1, 1 / 30 - 1], active**2)
    return {
        "hour": hour,
        "wrong": wrong,
        "voltage": voltage,
        "current": np.hypot(active, reactive) * rated_kva(MACHINE) * 1000 / np.sqrt(3) / voltage,
        "power_factor": active / np.hypot(active, reactive),
        "frequency": 50 + 0.02 * noise.standard_normal(len(hour)),
        "temperature": 20 + 2 * daily + rise * np.where(wrong, heat, 1.0) + 0.1 * noise.standard_normal(len(hour)),
        "vibration": (0.1 + 1.5 * present * (0.3 + 0.7 * load)) * (1 + 0.05 * noise.standard_normal(len(hour))),
        "pressure": 6 - 0.4 * load + 0.02 * noise.standard_normal(len(hour)),
        "humidity": 45 - 6 * daily + 0.4 * noise.standard_normal(len(hour)),
    }


def summed(made, machine=MACHINE, keep=None):
    """Sum readings up as minutes of the last week and hours of all days."""
    names = [name for name in made if name not in ("hour", "wrong")]
    times = day_start_ms(FIRST) + np.round(made["hour"] * 3_600_000).astype(np.int64)
    keep = np.ones(len(times), dtype=bool) if keep is None else keep
    table = pa.table(
        {
            "timestamp": pa.array(times[keep]).cast(TIMESTAMP),
            **{name: made[name][keep] for name in names},
            "quality": pa.array([""] * int(keep.sum())),
        }
    )
    days = [FIRST + timedelta(days=number) for number in range(DAYS)]
    minutes = pa.concat_tables([by_minute(table, machine, day) for day in days[-7:]])
    return minutes, [row for day in days for row in by_hour(table, machine, day)]


@cache
def healthy():
    return summed(signals())


def scaled(name, begin, end, factor):
    made = signals(begin, end)
    made[name] = np.where(made["wrong"], made[name] * factor, made[name])
    return summed(made)


def grown(name, begin, end, growth):
    """Let a measurement be multiplied by what `growth` makes of the share of the time that has passed."""
    made = signals(begin, end)
    share = np.clip((made["hour"] - begin) / (end - begin), 0, 1)
    made[name] = np.where(made["wrong"], made[name] * growth(share), made[name])
    return summed(made)


def decayed(begin, end, size):
    share = np.clip((np.arange(DAYS * 1440) / 60 - begin) / (end - begin), 0, 1)
    return summed(signals(begin, end, magnetising=1 + size * share))


def stuck(name, begin, end):
    made = signals(begin, end)
    made[name] = np.where(made["wrong"], made[name][made["wrong"]][0], made[name])
    return summed(made)


def shifted():
    made = signals(AT, AT + 0.2)
    made["frequency"] = made["frequency"] + np.where(made["wrong"], 1.2, 0.0)
    return summed(made)


def dropped(begin, end):
    made = signals(begin, end)
    return summed(made, keep=~made["wrong"])


def steady(seed, noise, begin=0.0, end=0.0, current=1.0):
    """A machine that always does the same, such as a fan, with noise of that share on each of its sensors."""
    hour = np.arange(DAYS * 1440) / 60
    wrong = (hour >= begin) & (hour < end)
    usual = {"voltage": 400, "current": 12, "power_factor": 0.85, "temperature": 45, "vibration": 1.2, "pressure": 6}
    chance = np.random.default_rng(seed)
    made = {name: value * (1 + noise * chance.standard_normal(len(hour))) for name, value in usual.items()}
    frequency = 50 + 0.02 * chance.standard_normal(len(hour))
    return {**made, "current": made["current"] * np.where(wrong, current, 1), "frequency": frequency} | {
        "hour": hour,
        "wrong": wrong,
    }


def table_of(made):
    times = day_start_ms(FIRST) + np.round(made["hour"] * 3_600_000).astype(np.int64)
    columns = {name: column for name, column in made.items() if name != "hour"}
    return pa.table({"timestamp": pa.array(times).cast(TIMESTAMP), **columns, "quality": [""] * len(times)})


def readings_table(times, columns):
    """Make a table of readings from times in ms and values by measurement; NaN is missing."""
    return pa.table(
        {
            "timestamp": pa.array(times).cast(TIMESTAMP),
            **{name: pa.array(values, from_pandas=True) for name, values in columns.items()},
            "quality": pa.array([""] * len(times)),
        }
    )
