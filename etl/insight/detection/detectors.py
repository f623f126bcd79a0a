"""All detectors over the minutes and hours of one machine.

Three layers. Minutes show sudden faults: the supply, current, heat, idling, sensors that send nothing or the same.
Slow changes (wear, decay, drift) show in hours against the machine's own past. If the electrical load of a machine is
unknown, readings that do not fit its other measurements and days unlike all others are unusual. Nothing after `until`
is read; with a short past there is less to compare with, and less is found.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from etl.insight.detection.alarms import find_alarms
from etl.insight.detection.drift import find_drifts
from etl.insight.detection.electric import find_electric
from etl.insight.detection.events import by_start, without_doubles, without_explained
from etl.insight.detection.heat import find_heat
from etl.insight.detection.inputs import hours_of, minutes_of
from etl.insight.detection.operation import find_dropouts, find_idle
from etl.insight.detection.strange_days import find_strange_days
from etl.insight.detection.stuck import find_stuck
from etl.insight.detection.supply import find_frequencies, find_voltages
from etl.insight.detection.unusual import find_unusual
from etl.insight.detection.vibration import find_vibrations
from etl.insight.detection.watches import Watch
from etl.insight.limits import Limits, default_limits
from etl.insight.units import UNITS
from etl.model.catalogue import Machine
from etl.model.events import Event


def detect(
    machine: Machine,
    minutes: pa.Table,
    hours: Sequence[Mapping[str, Any]],
    until: datetime,
    limits: Limits | None = None,
    units: Mapping[str, str] = UNITS,
    known: Sequence[Event] = (),
    watched: Watch | None = None,
) -> list[Event]:
    """Find what is wrong with a machine.

    Args:
        machine: the machine.
        minutes: tables of `by_minute` of consecutive days, joined in ascending order; seven days serve best.
        hours: its rows of `by_hour` before `until`, of up to 28 days, in any order.
        until: later minutes and hours are not read.
        limits: thresholds of the events; None: the default ones.
        units: of measurements, for the evidence.
        known: events found before; one that has lasted longer than the minutes tell keeps its start.
        watched: what `watch` knows after the readings before `until`; None: `unusual` events are of days only.

    Returns:
        Events by their start; all their values and texts are finite.
    """
    of_minutes = minutes_of(machine, minutes, until, limits or default_limits(), units)
    of_hours = hours_of(machine, hours, until)
    lasting = [event for event in known if event.end is None and event.start < until]
    stuck = list(find_stuck(of_minutes, of_hours, lasting))
    electric = list(find_electric(of_minutes, of_hours))
    alarms = list(find_alarms(of_minutes, lasting))
    special = [
        *find_dropouts(of_minutes, of_hours, lasting),
        *find_voltages(of_minutes),
        *find_frequencies(of_minutes),
        *find_idle(of_minutes),
        *stuck,
        *electric,
        *find_drifts(of_minutes, of_hours),
        *find_heat(of_minutes, [*stuck, *electric]),
        *find_vibrations(of_minutes, of_hours),
    ]
    if np.isfinite(of_minutes.active).any():
        # Load explains its measurements, so each has a detector of its own.
        return by_start([*special, *alarms])
    unusual = [
        *(find_unusual(of_minutes, watched) if watched else ()),
        *find_strange_days(of_minutes, of_hours),
    ]
    special = without_explained(special, unusual)
    return by_start([*special, *alarms, *without_doubles(unusual, special)])
