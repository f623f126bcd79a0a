"""The readings of a machine, watched day by day: each analysis continues where the one before stopped."""

from datetime import date, datetime, timedelta
from typing import NamedTuple

import numpy as np

from etl.cassandra.store import Store
from etl.insight import repository as insight
from etl.insight.detection import Watch, new_watch, pack_watch, unpack_watch, watch
from etl.insight.indicators import readings_within, to_ms
from etl.insight.limits import Limits
from etl.model.measurements import Measurements
from etl.model.tables import day_start

_DAY = timedelta(days=1)


class ReadingsOf(NamedTuple):
    """The readings of a machine, and how they are judged."""

    store: Store
    measurements: Measurements
    equipment_id: str
    limits: Limits

    @property
    def names(self) -> list[str]:
        """The measurements that are numbers."""
        return [one.name for one in self.measurements.declared if one.type == "double"]

    def watch(self, known: Watch, start: datetime, end: datetime) -> Watch:
        """Watch the readings from `start` up to before `end`, of one UTC day."""
        if start >= end or not known.names:
            return known
        table = insight.read_readings(self.store, self.measurements, self.equipment_id, start, end)
        times, values, _ = readings_within(table, to_ms(start), to_ms(end))
        readings = np.column_stack([values[name] for name in known.names])
        return watch(known, times, readings, self.limits.unusual)


def watch_day(source: ReadingsOf, day: date, changed: datetime, newest: datetime, end: datetime) -> Watch:
    """Watch the readings of a day before `end`, from the newest stored watch that is not after `changed`.

    The watch as of the hour of the `newest` reading is stored. So an hour that is loaded in pieces, and the day after,
    continue from there; an earlier reading makes the day begin again.
    """
    begin, equipment_id = day_start(day), source.equipment_id
    stored = insight.read_watch(source.store, equipment_id, day, changed)
    since, known = begin, new_watch(source.names)
    if stored:
        since, known = stored[0], unpack_watch(stored[1], source.names)
    if since < begin:
        # What came on that day after the watch was stored.
        known = source.watch(known, since, day_start(since.date()) + _DAY)
        since = begin
    hour = min(end, newest + timedelta(milliseconds=1)).replace(minute=0, second=0, microsecond=0)
    stop = max(since, hour)
    known = source.watch(known, since, stop)
    insight.write_watch(source.store, equipment_id, day, stop, pack_watch(known))
    return source.watch(known, stop, end)
