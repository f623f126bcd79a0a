"""Events joined with known ones, and compared between machines."""

from dataclasses import replace
from datetime import timedelta

from etl.insight.detection import merge, without_shared
from etl.insight.detection.events import without_doubles, without_explained
from etl.model.events import Event
from tests.unit.insight.detection.synthetic import (
    START,
    UNTIL,
)

EVENT = Event("dropout", "mild", None, START, START + timedelta(hours=1), 0.0, 60.0, "first")


def test_events_become_one_when_they_overlap():
    later = replace(EVENT, severity="severe", start=START + timedelta(hours=0.5), end=None, evidence="second")
    assert merge([EVENT], [later], UNTIL) == [replace(later, start=START)]


def test_later_event_stays_apart_when_the_one_before_lasted():
    ended = replace(EVENT, end=START + timedelta(hours=5))
    later = replace(EVENT, start=START + timedelta(hours=9), end=None)
    assert merge([replace(EVENT, end=None)], [ended, later], UNTIL) == [ended, later]


def test_event_stays_whole_when_only_its_end_is_seen_again():
    rest = replace(EVENT, start=START + timedelta(minutes=20), evidence="rest")
    assert merge([EVENT], [rest], UNTIL) == [EVENT]


def test_event_is_kept_as_it_was_when_it_is_not_found_again():
    assert merge([EVENT], [], UNTIL) == [EVENT]
    assert merge([replace(EVENT, end=None)], [], UNTIL) == [replace(EVENT, end=UNTIL)]


def test_events_stay_apart_when_kind_measurement_or_time_differ():
    others = [
        replace(EVENT, kind="idle_waste"),
        replace(EVENT, measurement="pressure"),
        replace(EVENT, start=START + timedelta(hours=3), end=None),
    ]
    assert len(merge([EVENT], others, UNTIL)) == 4


def test_severity_stays_when_it_was_worse_before():
    known = replace(EVENT, severity="severe", evidence="worse")
    assert merge([known], [EVENT], UNTIL) == [known]


def test_drift_is_left_out_when_other_machines_show_it_too():
    drift = replace(EVENT, kind="sensor_drift", measurement="humidity", end=None)
    elsewhere = replace(drift, measurement="pressure")
    events = {"a": [drift, EVENT], "b": [drift, elsewhere], "c": [drift], "d": []}
    assert without_shared(events) == {"a": [EVENT], "b": [elsewhere], "c": [], "d": []}
    assert without_shared({"a": [drift], "b": [drift], "c": [EVENT]}) == {"a": [drift], "b": [drift], "c": [EVENT]}


def test_event_that_is_not_found_again_ends_with_a_whole_second_when_readings_end_so():
    until = START + timedelta(hours=21, minutes=59, milliseconds=1)
    (ended,) = merge([replace(EVENT, end=None)], [], until)
    assert ended.end == START + timedelta(hours=21, minutes=59)


UNUSUAL = replace(EVENT, kind="unusual", measurement="pressure")


def test_unusual_event_is_left_out_when_another_kind_explains_it():
    stuck = replace(UNUSUAL, kind="sensor_stuck")
    assert without_doubles([UNUSUAL], [stuck]) == []


def test_unusual_event_is_kept_when_another_kind_is_elsewhere_or_follows():
    elsewhere = replace(UNUSUAL, kind="sensor_stuck", measurement="oil")
    long = replace(UNUSUAL, end=None)
    follows = replace(UNUSUAL, kind="sensor_stuck", start=START + timedelta(hours=2), end=None)
    assert without_doubles([long], [elsewhere, follows]) == [long]


def test_unusual_events_of_a_measurement_become_the_worse_one_when_they_overlap():
    worse = replace(UNUSUAL, severity="severe", start=START + timedelta(minutes=30), end=None, evidence="worse")
    assert without_doubles([UNUSUAL, worse], []) == [replace(worse, start=START)]


def test_drift_is_left_out_when_the_machine_is_unusual_then():
    drift = replace(EVENT, kind="sensor_drift", measurement="oil")
    before = replace(drift, start=START - timedelta(days=3), end=START - timedelta(days=2))
    stuck = replace(drift, kind="sensor_stuck")
    assert without_explained([drift, before, stuck], [UNUSUAL]) == [before, stuck]
