"""Days unlike all earlier ones."""

from datetime import timedelta

import numpy as np
import pytest

from etl.insight.detection import detect
from etl.insight.indicators import by_hour, by_minute, from_ms
from etl.model.catalogue import Machine
from tests.unit.insight.detection.plants import BEGIN
from tests.unit.insight.detection.synthetic import readings_table

HOUR = 3_600_000
DAYS = 20
MACHINE = Machine(equipment_id="room-1", interval_seconds=1200.0)


def room(days=DAYS):
    """Temperatures every 20 minutes: warm in the daytime."""
    chance = np.random.default_rng(4)
    hours = np.arange(days * 72) / 3
    return 20 + 3 * np.sin(2 * np.pi * (hours - 9) / 24) + chance.normal(0, 0.2, len(hours))


def found(values, until=None):
    times = BEGIN + np.arange(len(values)) * 1_200_000
    table = readings_table(times, {"temperature": values})
    days = [from_ms(BEGIN + number * 24 * HOUR).date() for number in range(len(values) // 72)]
    minutes = [by_minute(table, MACHINE, day) for day in days]
    hours = [row for day in days for row in by_hour(table, MACHINE, day)]
    end = until or from_ms(int(times[-1]) + 1_200_000)
    return [each for each in detect(MACHINE, minutes[-1], hours, end) if each.kind == "unusual"]


def test_no_day_is_strange_when_each_is_like_the_one_before():
    assert found(room()) == []


def test_day_is_strange_when_the_night_is_warm():
    values = room()
    night = slice(19 * 72, 19 * 72 + 18)
    values[night] += 4
    (event,) = found(values)
    assert event.measurement == "temperature"
    assert from_ms(BEGIN + 19 * 24 * HOUR) <= event.start < from_ms(BEGIN + 19 * 24 * HOUR) + timedelta(hours=6)
    assert "resemble no earlier day" in event.evidence
    assert event.observed - event.expected == pytest.approx(4, abs=2)


def test_nothing_is_strange_when_too_few_days_are_known():
    values = room(8)
    values[7 * 72 :] = 40.0
    assert found(values) == []


def test_nothing_is_strange_when_a_day_has_no_readings():
    values = room()
    values[18 * 72 : 19 * 72] = np.nan
    assert found(values) == []
