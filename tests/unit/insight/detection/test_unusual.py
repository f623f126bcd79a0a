"""Readings that do not fit what is usual for a machine of own measurements."""

from datetime import timedelta

import numpy as np
import pytest

from etl.insight.detection import new_watch, pack_watch, unpack_watch, watch
from etl.insight.detection.inputs import minutes_of
from etl.insight.detection.unusual import find_unusual
from etl.insight.indicators import by_minute, from_ms
from etl.insight.limits import default_limits
from etl.insight.units import UNITS
from etl.model.catalogue import Machine
from tests.unit.insight.detection.plants import BEGIN, LEARNED, NAMES, SETTINGS, STEP, found, loop, times, watched
from tests.unit.insight.detection.synthetic import readings_table


def test_nothing_is_unusual_when_the_machine_goes_on_as_before():
    assert found(loop(3000)) == []


def test_alarm_names_the_sensor_when_one_drifts():
    made = loop()
    made[LEARNED:, 3] += np.linspace(0, 3, len(made) - LEARNED)
    ((row, name),) = found(made)
    assert name == "oil"
    assert LEARNED < row < LEARNED + 200


@pytest.mark.parametrize("name", ["speed", "flow", "pressure"])
def test_alarm_is_raised_when_a_measurement_no_longer_follows_the_others(name):
    made = loop()
    place = NAMES.index(name)
    # Every value is usual, but at another time.
    made[LEARNED:, place] = np.roll(made[LEARNED:, place], 125)
    episodes = found(made)
    assert episodes
    assert episodes[0][0] < LEARNED + 200


def test_alarm_is_raised_when_a_measurement_becomes_restless():
    made = loop()
    # Its mean stays.
    made[LEARNED:, 3] += 0.6 * (-1.0) ** np.arange(len(made) - LEARNED)
    ((row, name),) = found(made)
    assert name == "oil"
    assert row < LEARNED + 30


def test_alarm_is_raised_when_the_only_measurement_jumps():
    made = loop(2200)[:, 3:]
    made[LEARNED:] += 1.0
    assert found(made, ["oil"]) == [(pytest.approx(LEARNED, abs=40), "oil")]
    # The baseline does not follow the jump.
    assert watched(made, ["oil"]).episodes[-1].count > 1150


def test_regime_is_learned_when_it_lasts_and_recognised_when_it_returns():
    usual, other = loop(1000), loop(2600, seed=2)
    other[:, 3] += 10
    back = loop(400, seed=3)
    episodes = found(np.concatenate([usual, other, back, other[:400]]))
    # One event when the oil is new; none when either regime comes back.
    assert [row for row, _ in episodes] == [pytest.approx(1000, abs=5)]
    state = watched(np.concatenate([usual, other]))
    assert len(state.regimes) == 2
    assert state.episodes[-1].end - state.episodes[-1].start > 1.5 * 1000 * STEP


def test_fault_stays_an_event_when_it_lasts_no_longer_than_what_was_known():
    made = loop(2200)
    made[LEARNED:, 3] += 5
    state = watched(made)
    assert state.episodes[-1].end is None
    assert state.episodes[-1].count > 1150
    assert len(state.regimes) == 1


def test_alarm_is_usual_when_it_has_recurred_three_times():
    made = loop(4000)
    begins = range(1000, 4000, 500)
    for begin in begins:
        made[begin : begin + 60, 3] += 3
    assert [(row // 500 * 500, name) for row, name in found(made)] == [(begin, "oil") for begin in begins[:3]]


def test_alarm_is_raised_when_it_is_larger_than_those_that_recur():
    made = loop(4000)
    for begin in range(1000, 3500, 500):
        made[begin : begin + 60, 3] += 3
    made[3500:, 3] += 30
    assert found(made)[-1] == (pytest.approx(3500, abs=20), "oil")


def test_constant_sensor_raises_no_alarm_when_it_stays():
    made = loop()
    made[:, 3] = 40.0
    assert found(made) == []


def test_alarm_ends_when_the_fault_is_over():
    made = loop(2000)
    made[LEARNED : LEARNED + 100, 1] += 5
    (episode,) = [each for each in watched(made).episodes if each.count >= 5]
    assert episode.end == pytest.approx(BEGIN + (LEARNED + 100) * STEP, abs=40 * STEP)


def test_missing_values_are_no_alarm_when_every_second_one_is_missing():
    made = loop(3000)
    made[::2, 1] = np.nan
    made[1::2, 2] = np.nan
    assert found(made) == []


def test_alarm_ends_when_its_sensor_sends_nothing_more():
    made = loop(1600)
    made[LEARNED:, 3] += 5
    made[LEARNED + 100 :, 3] = np.nan
    (episode,) = [each for each in watched(made).episodes if each.count >= 5]
    assert episode.end == pytest.approx(BEGIN + (LEARNED + 100) * STEP, abs=40 * STEP)


def test_sensor_that_dies_is_no_alarm_when_its_values_are_missing():
    made = loop(3000)
    made[LEARNED:, 1] = np.nan
    assert found(made) == []


def test_nothing_is_found_when_nothing_was_ever_measured():
    assert found(np.full((1600, 4), np.nan)) == []


def test_readings_are_passed_over_when_they_were_watched_before():
    made = loop()
    made[LEARNED:, 3] += 5
    once = watched(made)
    assert pack_watch(watch(once, times(len(made)), made, SETTINGS)) == pack_watch(once)


@pytest.mark.parametrize("pieces", [2, 7, 60])
def test_watch_is_the_same_when_the_readings_come_in_pieces(pieces):
    made = loop(2600)
    for begin in range(LEARNED, 2600, 400):
        made[begin : begin + 60, 3] += 3
    made[::5, 2] = np.nan
    state = new_watch(NAMES)
    for part in np.array_split(np.arange(len(made)), pieces):
        state = unpack_watch(pack_watch(watch(state, times(len(made))[part], made[part], SETTINGS)), NAMES)
    assert state.regimes[0].recurring
    assert pack_watch(state) == pack_watch(watched(made))


def test_known_watch_is_unchanged_when_it_is_watched_on():
    state = watched(loop(1100))
    before = pack_watch(state)
    watch(state, times(1600)[1100:], loop()[1100:] + 5, SETTINGS)
    assert pack_watch(state) == before


def test_watch_begins_anew_when_measurements_were_declared_since():
    state = unpack_watch(pack_watch(watched(loop())), [*NAMES, "level"])
    assert pack_watch(state) == pack_watch(new_watch([*NAMES, "level"]))


def events_of(made, rows=None):
    machine = Machine(equipment_id="loop-1", interval_seconds=STEP / 1000)
    table = readings_table(times(len(made)), dict(zip(NAMES, made.T, strict=True)))
    until = from_ms(BEGIN + (rows or len(made)) * STEP)
    minutes = minutes_of(machine, by_minute(table, machine, from_ms(BEGIN).date()), until, default_limits(), UNITS)
    return list(find_unusual(minutes, watched(made)))


def test_event_tells_since_when_by_how_much_and_what_contributes_when_a_sensor_jumps():
    made = loop(1300)
    made[LEARNED:, 1] += 4
    (event,) = events_of(made)
    assert (event.kind, event.measurement, event.end) == ("unusual", "flow", None)
    assert abs(event.start - from_ms(BEGIN + LEARNED * STEP)) < timedelta(minutes=10)
    assert event.observed - event.expected == pytest.approx(4, abs=2)
    assert "contributions: flow" in event.evidence


def test_event_ends_with_the_last_alarm_when_readings_stop():
    made = loop(1300)
    made[LEARNED:, 1] += 4
    (event,) = events_of(made, rows=1400)
    assert event.end == from_ms(BEGIN + 1300 * STEP)


def test_event_is_worse_when_the_fault_is_larger():
    severities = []
    for size in (2.0, 20.0):
        made = loop(1300)
        made[LEARNED:, 1] += size
        severities.append(events_of(made)[0].severity)
    assert severities == ["mild", "severe"]
