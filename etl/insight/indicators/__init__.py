"""What a machine did, minute by minute, hour by hour and in a day: pure functions over its readings of one UTC day.

Readings are a table of one machine, ascending by `timestamp` (ms in UTC), with declared measurements (float64, null
where missing; text is ignored) and `quality`, which names the bad measurements of a reading. An indicator is null
where a measurement that it needs is missing.

Energy and times: a reading stands for the time up to the next one, if that comes within `hold_intervals` expected
intervals, else for one interval; power is taken to change evenly in between (trapezoid rule). So the figures of an
hour depend on its readings, and on others up to `hold_time` before and after it.
"""

from etl.insight.indicators.days import by_day
from etl.insight.indicators.efficiency import efficiency
from etl.insight.indicators.energy import hold_time
from etl.insight.indicators.hours import by_hour
from etl.insight.indicators.minutes import MINUTE_COLUMNS, by_minute, has_power, pack, unpack
from etl.insight.indicators.readings import readings_within
from etl.insight.indicators.states import nominal_frequency, state_of, zone
from etl.insight.indicators.times import DAY_HOURS, MINUTE_MS, day_start_ms, from_ms, times_of, to_ms

__all__ = [
    "DAY_HOURS",
    "MINUTE_COLUMNS",
    "MINUTE_MS",
    "by_day",
    "by_hour",
    "by_minute",
    "day_start_ms",
    "efficiency",
    "from_ms",
    "has_power",
    "hold_time",
    "nominal_frequency",
    "pack",
    "readings_within",
    "state_of",
    "times_of",
    "to_ms",
    "unpack",
    "zone",
]
