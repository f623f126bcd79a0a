"""Faults of a machine, found in its minutes of the last days and its hours of the last weeks."""

from etl.insight.detection.detectors import detect
from etl.insight.detection.events import merge, same_event, without_shared
from etl.insight.detection.operation import shortest_dropout

__all__ = ["detect", "merge", "same_event", "shortest_dropout", "without_shared"]
