"""Sensors that repeat one value."""

from datetime import timedelta

import numpy as np
import pytest

from etl.insight.detection import detect
from etl.model.events import Event
from tests.unit.insight.detection.synthetic import (
    DAYS,
    MACHINE,
    START,
    UNTIL,
    signals,
    stuck,
    summed,
)


def test_sensor_at_rest_is_not_stuck_when_it_reads_zero():
    made = signals()
    made["flow"] = np.where(made["current"] > 5, made["pressure"], 0.0)
    assert detect(MACHINE, *summed(made), UNTIL) == []


@pytest.mark.parametrize("days", [2, 4.5, 6.5, 9])
def test_sensor_stays_stuck_when_it_has_been_so_for_most_of_the_week(days):
    begin = (DAYS - days) * 24
    minutes, hours = stuck("pressure", begin, DAYS * 24)
    (event,) = detect(MACHINE, minutes, hours, UNTIL)
    assert (event.kind, event.severity, event.end) == ("sensor_stuck", "severe", None)
    assert abs(event.start - (START + timedelta(hours=begin))) <= timedelta(hours=1)
    assert f"for {days * 24:.0f}." in event.evidence or f"for {days * 24 - 1:.0f}." in event.evidence


def test_sensor_stays_stuck_when_no_hour_tells_any_more_that_it_once_moved():
    begin = START - timedelta(days=40)
    minutes, hours = stuck("pressure", 0, DAYS * 24)
    value = float(minutes["pressure_low"][0].as_py())
    assert detect(MACHINE, minutes, hours, UNTIL) == []
    known = Event("sensor_stuck", "severe", "pressure", begin, None, value, 6.0, "as found")
    (event,) = detect(MACHINE, minutes, hours, UNTIL, known=[known])
    assert (event.kind, event.start, event.end) == ("sensor_stuck", begin, None)
    assert f"for {(DAYS + 40) * 24}.0 h" in event.evidence


def test_stuck_sensor_is_healed_when_it_moves_again():
    minutes, hours = stuck("pressure", 4 * 24, 11 * 24 + 12)
    (event,) = detect(MACHINE, minutes, hours, UNTIL)
    assert abs(event.end - (START + timedelta(days=11, hours=12))) <= timedelta(minutes=1)
