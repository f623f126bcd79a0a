"""Limits that engineers set."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from etl.insight.detection import detect
from etl.insight.indicators import by_minute, day_start_ms
from etl.insight.limits import Alarm, alarms_of, default_limits
from etl.model.catalogue import Machine
from etl.model.events import Event
from etl.model.schemas import TIMESTAMP
from tests.unit.insight.detection.synthetic import FIRST

MACHINE = Machine(equipment_id="press-01", interval_seconds=30.0)
START = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
NORMAL = 50.0
HOUR = 120  # readings


def found(values: Sequence[float], known: Sequence[Event] = (), **alarm: Any) -> list[Event]:
    """Return the events of the alarm in readings of 30 s from midnight on."""
    times = day_start_ms(FIRST) + 30_000 * np.arange(len(values))
    readings = pa.table(
        {"timestamp": pa.array(times).cast(TIMESTAMP), "speed": pa.array(values), "quality": [""] * len(values)}
    )
    limits = default_limits().model_copy(update={"alarms": (Alarm(measurement="speed", **alarm),)})
    until = START + timedelta(seconds=30 * len(values))
    events = detect(MACHINE, by_minute(readings, MACHINE, FIRST), [], until, limits, {"speed": "m/s"}, known)
    return [event for event in events if event.kind == "limit"]


def readings(*stretches: tuple[int, float]) -> list[float]:
    """Return readings of some values, each for a number of minutes; they differ, as a sensor's do."""
    values = np.concatenate([np.full(2 * minutes, value) for minutes, value in stretches])
    return (values + 0.01 * (np.arange(len(values)) % 2)).tolist()


def minute(number: float) -> datetime:
    return START + timedelta(minutes=number)


def test_event_lasts_from_the_first_to_the_last_reading_beyond_when_a_limit_is_crossed() -> None:
    (event,) = found(readings((60, NORMAL), (20, 85.0), (60, NORMAL)), high=80)
    assert (event.kind, event.severity, event.measurement) == ("limit", "moderate", "speed")
    assert (event.start, event.end) == (minute(60), minute(80))
    assert (event.observed, event.expected) == (pytest.approx(85.01), 80)
    assert event.evidence == "speed above high limit 80 m/s for 20 min: 85.01 m/s"


def test_event_is_severe_when_the_outer_limit_is_crossed_for_a_part_of_it() -> None:
    (event,) = found(readings((60, NORMAL), (5, 85.0), (5, 99.0), (5, 85.0), (60, NORMAL)), high=80, high_high=95)
    assert (event.severity, event.expected, event.observed) == ("severe", 95, pytest.approx(99.01))
    assert (event.start, event.end) == (minute(60), minute(75))


def test_event_is_found_when_a_value_is_below_a_low_limit() -> None:
    (event,) = found(readings((60, NORMAL), (20, 9.0), (60, NORMAL)), low=20, low_low=5)
    assert (event.severity, event.expected, event.observed) == ("moderate", 20, 9.0)
    assert event.evidence == "speed below low limit 20 m/s for 20 min: 9 m/s"


def test_single_reading_is_an_event_only_when_there_is_no_delay() -> None:
    values = readings((120, NORMAL))
    values[100] = 85.0
    (event,) = found(values, high=80)
    assert (event.start, event.end) == (minute(50), minute(51))
    assert found(values, high=80, on_delay=1) == []


@pytest.mark.parametrize(("minutes", "events"), [(4, 0), (5, 1)])
def test_event_needs_the_whole_delay_when_there_is_one(minutes: int, events: int) -> None:
    assert len(found(readings((60, NORMAL), (minutes, 85.0), (60, NORMAL)), high=80, on_delay=5)) == events


def test_events_are_one_when_the_value_returns_only_within_the_deadband() -> None:
    values = readings((60, NORMAL), (5, 85.0), (5, 79.0), (5, 85.0), (60, NORMAL))
    assert len(found(values, high=80)) == 2
    (event,) = found(values, high=80, deadband=2)
    assert (event.start, event.end) == (minute(60), minute(75))


def test_events_are_one_when_the_value_is_back_for_less_than_the_delay() -> None:
    values = readings((60, NORMAL), (5, 85.0), (5, NORMAL), (5, 85.0), (60, NORMAL))
    (event,) = found(values, high=80, off_delay=6)
    assert (event.start, event.end) == (minute(60), minute(75))


def test_event_lasts_when_the_value_is_not_back() -> None:
    (event,) = found(readings((60, NORMAL), (20, 85.0), (5, 79.0)), high=80, deadband=2)
    assert (event.start, event.end) == (minute(60), None)


def test_event_goes_on_when_it_began_before_the_minutes_and_the_value_is_within_the_deadband() -> None:
    began = START - timedelta(days=9)
    known = Event("limit", "moderate", "speed", began, None, 85.0, 80.0, "as found")
    values = readings((60, 79.0))
    assert found(values, high=80, deadband=2) == []
    (event,) = found(values, [known], high=80, deadband=2)
    assert (event.start, event.end) == (START, None)


def test_event_is_found_when_a_value_changes_too_fast() -> None:
    (event,) = found(readings((60, NORMAL), (60, 59.0)), rate=5)
    assert (event.severity, event.expected, event.observed) == ("moderate", 5, pytest.approx(9))
    assert (event.start, event.end) == (minute(60), minute(61))
    assert event.evidence == "speed changed faster than the limit of 5 m/s for 1 min: 9 m/s a minute"


def test_change_is_no_event_when_readings_were_missing_in_between() -> None:
    values = np.array(readings((60, NORMAL), (10, 59.0), (60, 59.0)))
    values[2 * 60 : 2 * 70] = np.nan
    assert found(values.tolist(), rate=5) == []


def test_alarm_is_of_a_machine_when_its_equipment_id_looks_like_a_pattern() -> None:
    (alarm,) = [Alarm(measurement="speed", high=80, machines=("press[1]",))]
    limits = default_limits().model_copy(update={"alarms": (alarm,)})
    assert alarms_of(Machine(equipment_id="press[1]"), limits) == [alarm]


@pytest.mark.parametrize(("machines", "events"), [(["press-*"], 1), (["pump-*"], 0), (["pump-*", "press-01"], 1)])
def test_alarm_is_of_the_machines_that_fit_its_patterns(machines: list[str], events: int) -> None:
    assert len(found(readings((60, NORMAL), (20, 85.0)), high=80, machines=machines)) == events


def test_first_alarm_counts_when_several_fit_a_machine() -> None:
    first, second = Alarm(measurement="speed", high=90, machines=("press-*",)), Alarm(measurement="speed", high=80)
    limits = default_limits().model_copy(update={"alarms": (first, second)})
    times = day_start_ms(FIRST) + 30_000 * np.arange(HOUR)
    table = pa.table({"timestamp": pa.array(times).cast(TIMESTAMP), "speed": [85.0] * HOUR, "quality": [""] * HOUR})
    minutes = by_minute(table, MACHINE, FIRST)
    assert [event for event in detect(MACHINE, minutes, [], minute(60), limits) if event.kind == "limit"] == []


def test_alarm_finds_nothing_when_the_machine_does_not_send_its_measurement() -> None:
    limits = default_limits().model_copy(update={"alarms": (Alarm(measurement="absent", high=80),)})
    times = day_start_ms(FIRST) + 30_000 * np.arange(HOUR)
    table = pa.table({"timestamp": pa.array(times).cast(TIMESTAMP), "speed": [85.0] * HOUR, "quality": [""] * HOUR})
    assert detect(MACHINE, by_minute(table, MACHINE, FIRST), [], minute(60), limits) == []
