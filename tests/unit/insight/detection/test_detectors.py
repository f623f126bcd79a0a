"""Each kind of event on a synthetic machine, once with a fault and once without."""

from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from etl.insight.detection import detect
from etl.insight.indicators import by_hour, by_minute
from etl.model.catalogue import Machine
from etl.model.events import Event
from tests.unit.insight.detection.synthetic import (
    AT,
    DAYS,
    FIRST,
    MACHINE,
    START,
    UNTIL,
    decayed,
    dropped,
    grown,
    healthy,
    scaled,
    shifted,
    signals,
    steady,
    stuck,
    summed,
    table_of,
)

CASES = {
    "voltage_sag": (lambda: scaled("voltage", AT, AT + 0.2, 0.8), "voltage", AT, AT + 0.2),
    "voltage_swell": (lambda: scaled("voltage", AT, AT + 0.2, 1.17), "voltage", AT, AT + 0.2),
    "frequency_excursion": (shifted, "frequency", AT, AT + 0.2),
    "phase_imbalance": (lambda: scaled("current", AT, AT + 4, 1.22), "current", AT, AT + 4),
    "overheating": (lambda: summed(signals(AT, AT + 5, heat=1.8)), "temperature", AT, AT + 5),
    "bearing_wear": (
        lambda: grown("vibration", AT - 70, AT, lambda share: 1 + 2 * share * share),
        "vibration",
        AT - 70,
        AT,
    ),
    "power_factor_decay": (lambda: decayed(AT - 70, AT, 1.2), "power_factor", AT - 70, AT),
    "idle_waste": (lambda: summed(signals(AT, AT + 5, load_factor=0.07)), "current", AT, AT + 5),
    "sensor_stuck": (lambda: stuck("pressure", AT, AT + 4), "pressure", AT, AT + 4),
    "sensor_drift": (lambda: grown("pressure", AT - 48, AT, lambda share: 1 + 0.22 * share), "pressure", AT - 48, AT),
    "dropout": (lambda: dropped(AT, AT + 2), None, AT, AT + 2),
}


def test_nothing_is_found_when_the_machine_is_healthy():
    assert detect(MACHINE, *healthy(), UNTIL) == []


@pytest.mark.parametrize("kind", CASES)
def test_event_is_found_once_when_something_is_wrong(kind):
    make, measurement, begin, end = CASES[kind]
    found = detect(MACHINE, *make(), UNTIL)
    assert [(event.kind, event.measurement) for event in found] == [(kind, measurement)]
    event = found[0]
    slack = timedelta(hours=max(0.6, 0.3 * (end - begin)))
    assert abs(event.start - (START + timedelta(hours=begin))) < slack
    # Heat takes its time to go, and an hour of slow change ends with the hour.
    assert -slack < event.end - (START + timedelta(hours=end)) < slack + timedelta(hours=1)
    assert event.severity == "moderate"
    assert event.evidence
    assert "nan" not in event.evidence


@pytest.mark.parametrize("kind", CASES)
def test_event_has_no_end_when_it_lasts(kind):
    make, _, begin, end = CASES[kind]
    found = detect(MACHINE, *make(), START + timedelta(hours=begin + 0.95 * (end - begin)))
    assert [(event.kind, event.end) for event in found] == [(kind, None)]


@pytest.mark.parametrize("kind", CASES)
def test_future_does_not_matter_when_until_lies_before_it(kind):
    make, *_ = CASES[kind]
    minutes, hours = make()
    until = START + timedelta(hours=AT - 80)
    before = pa.compute.less(minutes["minute"], pa.scalar(until))
    own = detect(MACHINE, minutes.filter(before), [row for row in hours if row["hour"] < until], until)
    assert detect(MACHINE, minutes, hours, until) == own == []


@pytest.mark.parametrize("noise", [0.0005, 0.002, 0.01])
@pytest.mark.parametrize("seed", [1, 3, 7])
def test_nothing_is_found_when_a_machine_always_does_the_same(seed, noise):
    minutes, hours = summed(steady(seed, noise))
    for days in (6, 7, DAYS):
        until = START + timedelta(days=days)
        past = [row for row in hours if START + timedelta(days=5) <= row["hour"] < until]
        assert detect(MACHINE, minutes, past, until) == []


def test_nothing_is_found_when_a_machine_takes_no_reactive_power():
    heater = steady(1, 0.002) | {"power_factor": np.ones(DAYS * 1440)}
    assert detect(MACHINE, *summed(heater), UNTIL) == []


def test_imbalance_is_found_when_a_machine_always_does_the_same():
    (event,) = detect(MACHINE, *summed(steady(1, 0.002, AT, AT + 4, 1.15)), UNTIL)
    assert (event.kind, event.start) == ("phase_imbalance", START + timedelta(hours=AT))


def test_imbalance_and_overheating_are_not_mixed_up_when_uneven_current_heats():
    made = signals(AT, AT + 5, heat=1.4**2)
    made["current"] = np.where(made["wrong"], made["current"] * 1.4, made["current"])
    assert {event.kind for event in detect(MACHINE, *summed(made), UNTIL)} == {"phase_imbalance"}


def test_break_is_no_waste_when_it_is_short():
    minutes, hours = summed(signals(AT, AT + 1, load_factor=0.04))
    assert detect(MACHINE, minutes, hours, UNTIL) == []


def test_dropout_lasts_when_no_reading_is_left():
    _, hours = healthy()
    until = UNTIL + timedelta(days=1)
    found = detect(MACHINE, healthy()[0].slice(0, 0), hours, until)
    assert [(event.kind, event.start, event.end) for event in found] == [("dropout", UNTIL, None)]


def test_sensor_does_not_drift_when_nothing_explains_it():
    made = signals()
    cycles = np.random.default_rng(2).random(DAYS * 6).repeat(240) < 0.3
    made["kitchen"] = np.where(cycles, 20.0 + made["pressure"], made["pressure"])
    assert detect(MACHINE, *summed(made), UNTIL) == []


@pytest.mark.parametrize(
    "missing", ["voltage", "current", "power_factor", "frequency", "temperature", "vibration", "pressure"]
)
def test_rest_is_found_when_a_measurement_is_missing(missing):
    made = signals(AT, AT + 4)
    made["humidity"] = np.where(made["wrong"], 40.0, made["humidity"])
    del made[missing]
    assert [event.kind for event in detect(MACHINE, *summed(made), UNTIL)] == ["sensor_stuck"]


@pytest.mark.parametrize("minutes", [0, 1, 2, 30, 600, 1440])
def test_first_day_is_read_when_there_is_no_past(minutes):
    table, hours = healthy()
    until = START + timedelta(days=DAYS - 7, minutes=minutes)
    first = [row for row in hours if START + timedelta(days=DAYS - 7) <= row["hour"] < until]
    assert detect(MACHINE, table.slice(0, minutes), first, until) == []


def test_sag_is_found_on_the_first_day_when_there_is_no_past():
    minutes, hours = CASES["voltage_sag"][0]()
    day = START + timedelta(days=10)
    own = pa.compute.greater_equal(minutes["minute"], pa.scalar(day))
    found = detect(MACHINE, minutes.filter(own), [row for row in hours if row["hour"] >= day], UNTIL)
    assert [event.kind for event in found] == ["voltage_sag"]


def test_single_phase_and_slow_machines_are_read_when_there_are_such():
    machine = MACHINE.model_copy(update={"interval_seconds": 900.0})
    made = signals(AT, AT + 4)
    keep = (np.arange(DAYS * 1440) % 15 == 0) & ~made["wrong"]
    found = detect(machine, *summed(made, machine, keep), UNTIL)
    assert [event.kind for event in found] == ["dropout"]


def test_gap_ends_when_readings_come_again_after_more_than_the_minutes_tell():
    begin, end = 2 * 24 + 5.5, 10 * 24 + 3.25
    minutes, hours = dropped(begin, end)
    lasting = Event("dropout", "severe", None, START + timedelta(hours=begin), None, 0.0, 60.0, "for 18.5 h")
    expected = (START + timedelta(hours=begin), START + timedelta(hours=end))
    (event,) = detect(MACHINE, minutes, hours, UNTIL, known=[lasting])
    assert (event.start, event.end) == expected
    assert event.evidence == "no reading for 189.8 h, where 11,385 were expected"
    # Without what is known the hour of the last reading is.
    (event,) = detect(MACHINE, minutes, hours, UNTIL)
    assert (event.start, event.end) == (START + timedelta(days=2, hours=6), expected[1])


@pytest.mark.parametrize("interval", [1, 6])
def test_noise_of_a_meter_is_no_sag_or_swell_when_it_is_large(interval):
    count = 6 * 3600 // interval
    chance = np.random.default_rng(2)
    made = {
        "hour": np.arange(count) * interval / 3600,
        "voltage": 230 * (1 + 0.05 * chance.standard_normal(count)),
        "frequency": 50 * (1 + 0.004 * chance.standard_normal(count)),
    }
    machine = Machine(equipment_id="pump-2", nominal_voltage=230.0, phases=1, interval_seconds=float(interval))
    until = START + timedelta(hours=6)
    table = table_of(made)
    hours = by_hour(table, machine, FIRST, until)
    for minutes in (20, 90, 360):
        seen = START + timedelta(minutes=minutes)
        assert detect(machine, by_minute(table, machine, FIRST), hours, seen) == []
    for share, kind in ((0.6, "voltage_sag"), (1.4, "voltage_swell")):
        dip = (made["hour"] > 3) & (made["hour"] < 3.1)
        table = table_of({**made, "voltage": made["voltage"] * np.where(dip, share, 1)})
        found = detect(machine, by_minute(table, machine, FIRST), by_hour(table, machine, FIRST, until), until)
        assert [event.kind for event in found] == [kind]


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_no_sensor_drifts_when_a_plant_is_three_days_old(seed):
    # Weather that wanders is all that moves it; three days do not tell what a day is like.
    made = steady(seed, 0.005)
    wander = np.cumsum(np.random.default_rng(seed).standard_normal(DAYS * 24)) * 1.5
    slow = np.interp(made["hour"], np.arange(DAYS * 24), wander)
    made["humidity"] = 45 + slow
    made["temperature"] = 25 + slow / 2
    minutes, hours = summed(made)
    days = DAYS - 7 + np.arange(1, 4)
    first = START + timedelta(days=DAYS - 7)
    for day in days.tolist():
        until = START + timedelta(days=day)
        past = [row for row in hours if first <= row["hour"] < until]
        assert [event for event in detect(MACHINE, minutes, past, until) if event.kind == "sensor_drift"] == []
