"""Faults of a machine, found in its readings, its minutes of the last days and its hours of the last weeks."""

from etl.insight.detection.detectors import detect
from etl.insight.detection.events import merge, same_event, without_shared
from etl.insight.detection.operation import shortest_dropout
from etl.insight.detection.unusual import watch
from etl.insight.detection.watches import Watch, new_watch, pack_watch, unpack_watch

__all__ = [
    "Watch",
    "detect",
    "merge",
    "new_watch",
    "pack_watch",
    "same_event",
    "shortest_dropout",
    "unpack_watch",
    "watch",
    "without_shared",
]
