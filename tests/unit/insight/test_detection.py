"""Each kind of event on a machine made for the purpose, once with what is wrong and once without."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from scipy.signal import lfilter

from etl.insight.detection import detect, merge, without_shared
from etl.insight.indicators import by_hour, by_minute, day_start_ms
from etl.insight.limits import rated_kva
from etl.model.catalogue import Machine
from etl.model.events import Event
from etl.model.schemas import TIMESTAMP

MACHINE = Machine(equipment_id="pump-1", nominal_voltage=400.0, rated_current=20.0, interval_seconds=60.0)
FIRST = date(2026, 1, 5)
START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 12
UNTIL = START + timedelta(days=DAYS)
# When things go wrong, in hours from the start: at work on a Thursday, in the shift from 06:00 to 22:00.
AT = 10 * 24 + 12


def signals(begin=0.0, end=0.0, load_factor=None, magnetising=1.0, heat=1.0):
    """Made-up signals by minute; what is given as an argument is changed between two hours."""
    minute = np.arange(DAYS * 1440)
    hour = minute / 60
    wrong = (hour >= begin) & (hour < end)
    noise = np.random.default_rng(1)
    clock = hour % 24
    load = np.where(
        (clock >= 6) & (clock < 22), 0.6 + 0.15 * np.sin(hour) + 0.02 * noise.standard_normal(len(hour)), 0.004
    )
    load = np.where((clock >= 10) & (clock < 10.5), 0.04, load)
    load = np.where(wrong, load_factor, load) if load_factor else load
    present = load / (load + 0.02)
    active = load + 0.03 * present
    reactive = 0.35 * present * np.where(wrong, magnetising, 1.0) + 0.12 * load * load
    daily = np.sin(2 * np.pi * (clock - 9) / 24)
    voltage = 400 * (1 + 0.01 * daily + 0.002 * noise.standard_normal(len(hour)))
    rise = 50 * lfilter([1 / 30], [1, 1 / 30 - 1], active**2)
    return {
        "hour": hour,
        "wrong": wrong,
        "voltage": voltage,
        "current": np.hypot(active, reactive) * rated_kva(MACHINE) * 1000 / np.sqrt(3) / voltage,
        "power_factor": active / np.hypot(active, reactive),
        "frequency": 50 + 0.02 * noise.standard_normal(len(hour)),
        "temperature": 20 + 2 * daily + rise * np.where(wrong, heat, 1.0) + 0.1 * noise.standard_normal(len(hour)),
        "vibration": (0.1 + 1.5 * present * (0.3 + 0.7 * load)) * (1 + 0.05 * noise.standard_normal(len(hour))),
        "pressure": 6 - 0.4 * load + 0.02 * noise.standard_normal(len(hour)),
        "humidity": 45 - 6 * daily + 0.4 * noise.standard_normal(len(hour)),
    }


def summed(made, machine=MACHINE, keep=None):
    """Sum readings up as minutes of the last week and hours of all days."""
    names = [name for name in made if name not in ("hour", "wrong")]
    times = day_start_ms(FIRST) + np.round(made["hour"] * 3_600_000).astype(np.int64)
    keep = np.ones(len(times), dtype=bool) if keep is None else keep
    table = pa.table(
        {
            "timestamp": pa.array(times[keep]).cast(TIMESTAMP),
            **{name: made[name][keep] for name in names},
            "quality": pa.array([""] * int(keep.sum())),
        }
    )
    days = [FIRST + timedelta(days=number) for number in range(DAYS)]
    minutes = pa.concat_tables([by_minute(table, machine, day) for day in days[-7:]])
    return minutes, [row for day in days for row in by_hour(table, machine, day)]


@cache
def healthy():
    return summed(signals())


def scaled(name, begin, end, factor):
    made = signals(begin, end)
    made[name] = np.where(made["wrong"], made[name] * factor, made[name])
    return summed(made)


def grown(name, begin, end, growth):
    """Let a measurement be multiplied by what `growth` makes of the share of the time that has passed."""
    made = signals(begin, end)
    share = np.clip((made["hour"] - begin) / (end - begin), 0, 1)
    made[name] = np.where(made["wrong"], made[name] * growth(share), made[name])
    return summed(made)


def decayed(begin, end, size):
    share = np.clip((np.arange(DAYS * 1440) / 60 - begin) / (end - begin), 0, 1)
    return summed(signals(begin, end, magnetising=1 + size * share))


def stuck(name, begin, end):
    made = signals(begin, end)
    made[name] = np.where(made["wrong"], made[name][made["wrong"]][0], made[name])
    return summed(made)


def shifted():
    made = signals(AT, AT + 0.2)
    made["frequency"] = made["frequency"] + np.where(made["wrong"], 1.2, 0.0)
    return summed(made)


def dropped(begin, end):
    made = signals(begin, end)
    return summed(made, keep=~made["wrong"])


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


def steady(seed, noise, begin=0.0, end=0.0, current=1.0):
    """A machine that always does the same, such as a fan, with noise of that share on each of its sensors."""
    hour = np.arange(DAYS * 1440) / 60
    wrong = (hour >= begin) & (hour < end)
    usual = {"voltage": 400, "current": 12, "power_factor": 0.85, "temperature": 45, "vibration": 1.2, "pressure": 6}
    chance = np.random.default_rng(seed)
    made = {name: value * (1 + noise * chance.standard_normal(len(hour))) for name, value in usual.items()}
    frequency = 50 + 0.02 * chance.standard_normal(len(hour))
    return {**made, "current": made["current"] * np.where(wrong, current, 1), "frequency": frequency} | {
        "hour": hour,
        "wrong": wrong,
    }


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


@pytest.mark.parametrize("growth", [0.4, -0.3])
def test_vibration_is_its_sensors_when_it_grows_evenly_or_falls(growth):
    made = grown("vibration", AT - 60, AT, lambda share: 1 + growth * share)
    assert [(event.kind, event.measurement) for event in detect(MACHINE, *made, UNTIL)] == [
        ("sensor_drift", "vibration")
    ]


def test_break_is_no_waste_when_it_is_short():
    minutes, hours = summed(signals(AT, AT + 1, load_factor=0.04))
    assert detect(MACHINE, minutes, hours, UNTIL) == []


def test_sensor_at_rest_is_not_stuck_when_it_reads_zero():
    made = signals()
    made["flow"] = np.where(made["current"] > 5, made["pressure"], 0.0)
    assert detect(MACHINE, *summed(made), UNTIL) == []


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


ALONE = Machine(equipment_id="rig-1", interval_seconds=60.0)


@pytest.mark.parametrize("empty", [False, True], ids=["no column", "empty column"])
@pytest.mark.parametrize("machine", [MACHINE, ALONE], ids=["rated", "without mains"])
@pytest.mark.parametrize(
    ("growth", "kind"),
    [(lambda share: 1 + 2 * share * share, "bearing_wear"), (lambda share: 1 + 0.4 * share, "sensor_drift")],
    ids=["wear", "drift"],
)
def test_vibration_is_judged_when_nothing_else_is_measured(empty, machine, growth, kind):
    made = steady(4, 0.03, AT - 70, AT)
    share = np.clip((made["hour"] - (AT - 70)) / 70, 0, 1)
    shaking = np.where(made["wrong"], made["vibration"] * growth(share), made["vibration"])
    others = dict.fromkeys(("voltage", "current", "power_factor"), np.full(len(shaking), np.nan)) if empty else {}
    own = {"hour": made["hour"], "wrong": made["wrong"], "vibration": shaking, **others}
    found = detect(machine, *summed(own, machine), UNTIL)
    assert [(event.kind, event.measurement) for event in found] == [(kind, "vibration")]
    assert abs(found[0].end - (START + timedelta(hours=AT))) < timedelta(hours=8)


def test_vibration_is_judged_when_the_meter_has_broken_a_week_ago():
    made = steady(4, 0.03, AT - 70, AT)
    share = np.clip((made["hour"] - (AT - 70)) / 70, 0, 1)
    made["vibration"] = np.where(made["wrong"], made["vibration"] * (1 + 2 * share * share), made["vibration"])
    made["power_factor"] = np.where(made["hour"] > 5 * 24, np.nan, made["power_factor"])
    (event,) = detect(MACHINE, *summed(made), UNTIL)
    assert (event.kind, event.measurement) == ("bearing_wear", "vibration")


@pytest.mark.parametrize("level", [1.0, 0.08, 0.0], ids=["always on", "off at night", "quite still at night"])
def test_nothing_is_found_when_vibration_alone_is_that_of_work(level):
    made = steady(4, 0.03)
    night = (made["hour"] % 24 < 6) | (made["hour"] % 24 >= 22)
    own = {"hour": made["hour"], "wrong": made["wrong"], "vibration": made["vibration"] * np.where(night, level, 1.0)}
    minutes, hours = summed(own)
    for days in range(1, DAYS + 1):
        assert detect(ALONE, minutes, hours, START + timedelta(days=days)) == []


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


@pytest.mark.parametrize("rest", [0.08, 0.5], ids=["quiet", "shaken by others"])
def test_wear_ends_with_the_repair_when_the_machine_is_off_since(rest):
    # It had run day and night, and wore for most of the time that is known.
    repair = 10 * 24
    made = steady(4, 0.02, 4 * 24, repair)
    share = np.clip((made["hour"] - 4 * 24) / (repair - 4 * 24), 0, 1)
    off = made["hour"] >= repair
    made["vibration"] = made["vibration"] * np.where(made["wrong"], 1 + 4 * share * share, 1)
    made["vibration"] = np.where(off, made["vibration"] * rest, made["vibration"])
    made["current"] = np.where(off, 0.05, made["current"])
    minutes, hours = summed(made)
    past = [row for row in hours if row["hour"] >= START + timedelta(days=3)]
    for later in (6, 12, 24, 47):
        until = START + timedelta(hours=repair + later)
        events = [event for event in detect(MACHINE, minutes, past, until) if event.measurement == "vibration"]
        assert [event.kind for event in events] == ["bearing_wear"]
        assert events[0].end is not None
        assert abs(events[0].end - (START + timedelta(hours=repair))) <= timedelta(hours=3)


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


def table_of(made):
    times = day_start_ms(FIRST) + np.round(made["hour"] * 3_600_000).astype(np.int64)
    columns = {name: column for name, column in made.items() if name != "hour"}
    return pa.table({"timestamp": pa.array(times).cast(TIMESTAMP), **columns, "quality": [""] * len(times)})


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


def test_event_that_is_not_found_again_ends_with_a_whole_second_when_readings_end_so():
    until = START + timedelta(hours=21, minutes=59, milliseconds=1)
    (ended,) = merge([replace(EVENT, end=None)], [], until)
    assert ended.end == START + timedelta(hours=21, minutes=59)
