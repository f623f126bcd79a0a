"""How the machine is operated: gaps between readings, and idle running."""

from collections.abc import Iterator, Sequence

import numpy as np

from etl.insight.detection.events import duration, make_event
from etl.insight.detection.inputs import Hours, Minutes
from etl.insight.detection.spans import find_spans
from etl.insight.indicators import to_ms
from etl.insight.limits import Limits, default_limits, rated_kva
from etl.insight.units import figure
from etl.model.catalogue import Machine
from etl.model.events import Event
from etl.model.schemas import HOUR_MS


def shortest_dropout(machine: Machine, limits: Limits | None = None) -> float:
    """Return the milliseconds without a reading that make a dropout."""
    detection = (limits or default_limits()).detection
    return max(detection.dropout.mild * HOUR_MS, detection.dropout_intervals * (machine.interval_seconds * 1000.0))


def find_dropouts(minutes: Minutes, hours: Hours, lasting: Sequence[Event]) -> Iterator[Event]:
    """Find gaps between readings, of which the first may have begun before the minutes do."""
    steps, interval = minutes.limits.detection.dropout, minutes.machine.interval_seconds * 1000.0
    ends = (minutes.time + minutes.last).astype(np.float64) + interval
    begins = np.append(minutes.time + minutes.first, minutes.until).astype(np.float64)
    before = _end_before(hours, lasting, begins[0])
    if before is not None:
        ends, begins = np.r_[before, ends], np.r_[0.0, begins]
    for row in np.flatnonzero(begins[1:] - ends >= shortest_dropout(minutes.machine, minutes.limits)).tolist():
        length = float(begins[row + 1] - ends[row]) / HOUR_MS
        lasts = row == len(ends) - 1
        expected = length * HOUR_MS / interval
        yield make_event(
            "dropout",
            steps.severity(length),
            None,
            (ends[row], None if lasts else begins[row + 1]),
            (0.0, expected),
            f"no reading for {duration(length)}, where {expected:,.0f} were expected",
        )


def _end_before(hours: Hours, lasting: Sequence[Event], first: float) -> float | None:
    """Return when the readings before the first minute ended: by the dropout that lasts, else by their hour."""
    known = [to_ms(event.start) for event in lasting if event.kind == "dropout" and to_ms(event.start) < first]
    begins = hours.time[hours.time + HOUR_MS <= first]
    if known and not (begins > max(known)).any():
        return float(max(known))
    return float(begins[-1] + HOUR_MS) if len(begins) else None


def find_idle(minutes: Minutes) -> Iterator[Event]:
    """Find idle running that takes longer than a break."""
    states, steps = minutes.limits.states, minutes.limits.detection.idle_waste
    idle = (minutes.active >= states.off_below) & (minutes.active < states.idle_below)
    # A minute of another state ends the stretch; a gap of readings does not.
    for span in find_spans(minutes.time, idle, minutes.step, join=None, shortest=steps.mild * HOUR_MS):
        power = float(np.mean(minutes.active[span[0] : span[1] + 1])) * rated_kva(minutes.machine)
        length = minutes.hours(span)
        yield make_event(
            "idle_waste",
            steps.severity(length),
            "current",
            minutes.times(span, np.inf),
            (power, 0.0),
            f"idle for {length:.1f} h at {figure(power)} kW: {figure(power * length)} kWh without work",
        )
