"""Minutes, hours and days of one machine: answers worked out by hand, and what must hold for any readings."""

import math
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.insight.indicators import (
    MINUTE_COLUMNS,
    by_day,
    by_hour,
    by_minute,
    day_start_ms,
    efficiency,
    pack,
    state_of,
    unpack,
    zone,
)
from etl.insight.limits import default_limits, rated_kva
from etl.model.catalogue import Machine
from etl.model.schemas import DAY_MS, TIMESTAMP
from etl.model.tables import MACHINE_DAYS, MACHINE_HOURS

DAY = date(2026, 1, 5)
START = day_start_ms(DAY)
MACHINE = Machine(equipment_id="press-1", nominal_voltage=400.0, rated_current=20.0, interval_seconds=60.0)
SINGLE = MACHINE.model_copy(update={"nominal_voltage": 230.0, "phases": 1})
HOUR = 3_600_000


def readings(times, quality=None, **values):
    columns = {"timestamp": pa.array(START + np.asarray(times, dtype=np.int64)).cast(TIMESTAMP)}
    for name, value in values.items():
        columns[name] = pa.array(np.broadcast_to(np.asarray(value, dtype=float), len(times)), from_pandas=True)
    columns["quality"] = pa.array(quality or [""] * len(times))
    return pa.table(columns)


def whole_day(interval=60_000, **values):
    return readings(np.arange(0, DAY_MS, interval), **values)


def electric(current=10.0, power_factor=0.8, voltage=400.0, **values):
    return {"voltage": voltage, "current": current, "power_factor": power_factor, **values}


class Found(NamedTuple):
    kind: str
    severity: str


def test_minutes_hold_spread_and_power_when_readings_are_given():
    table = readings(
        [0, 20_000, 70_000],
        ["", "voltage", ""],
        voltage=[400, 410, 390],
        current=[10, 20, 10],
        power_factor=[1, 0.5, 0.6],
    )
    minutes = by_minute(table, MACHINE, DAY)
    assert minutes["count"].to_pylist() == [2, 1]
    assert minutes["bad"].to_pylist() == [1, 0]
    assert (minutes["first"].to_pylist(), minutes["last"].to_pylist()) == ([0, 10_000], [20_000, 10_000])
    assert [minutes[f"voltage_{label}"].to_pylist() for label in ("low", "mean", "high")] == [
        [400, 390],
        [405, 390],
        [410, 390],
    ]
    root = math.sqrt(3) / 1000
    assert minutes["kilowatts"].to_pylist() == pytest.approx([root * (4000 + 4100) / 2, root * 3900 * 0.6], rel=1e-6)
    reactive = [root * 8200 * math.sqrt(0.75) / 2, root * 3900 * 0.8]
    assert minutes["kilovars"].to_pylist() == pytest.approx(reactive, rel=1e-6)


def test_minutes_are_null_when_a_measurement_is_missing():
    table = readings([0, 1000, 60_000, 61_000, 62_000], flow=[np.nan, np.nan, 2.0, np.nan, 4.0])
    minutes = by_minute(table, MACHINE, DAY)
    assert [minutes[f"flow_{label}"].to_pylist() for label in ("low", "mean", "high")] == [
        [None, 2.0],
        [None, 3.0],
        [None, 4.0],
    ]
    assert minutes["kilowatts"].null_count == 2


def test_minutes_pass_over_text_and_other_days_when_there_are_such():
    table = readings([-1, 0, DAY_MS], flow=1.0).append_column("mode", pa.array(["a", "b", "c"]))
    minutes = by_minute(table, MACHINE, DAY)
    assert minutes.column_names == [*MINUTE_COLUMNS, "flow_low", "flow_mean", "flow_high"]
    assert minutes["count"].to_pylist() == [1]


def test_minutes_come_back_when_they_were_packed():
    minutes = by_minute(whole_day(1000, **electric()), MACHINE, DAY)
    assert unpack(pack(minutes)).equals(minutes)
    assert len(pack(minutes)) < minutes.nbytes / 3


@pytest.mark.parametrize(("machine", "volts", "root"), [(MACHINE, 400.0, math.sqrt(3)), (SINGLE, 230.0, 1.0)])
def test_energy_is_power_times_time_when_it_is_constant(machine, volts, root):
    hours = by_hour(whole_day(**electric(voltage=volts)), machine, DAY)
    kilowatts = root * volts * 10 * 0.8 / 1000
    assert [row["energy_kwh"] for row in hours] == pytest.approx([kilowatts] * 24)
    assert hours[0]["peak_kw"] == pytest.approx(kilowatts)
    assert hours[0]["power_factor"] == pytest.approx(0.8)


def test_energy_is_that_of_a_trapezoid_when_power_ramps():
    times = np.arange(0, HOUR + 1, 60_000)
    ramp = 20.0 * times / HOUR
    hours = by_hour(readings(times, **electric(ramp, 1.0)), MACHINE, DAY)
    assert hours[0]["energy_kwh"] == pytest.approx(math.sqrt(3) * 400 * 10 / 1000)


def test_energy_counts_one_interval_when_a_gap_follows():
    hours = by_hour(readings([0, 60_000, 30 * 60_000], **electric(10.0, 1.0)), MACHINE, DAY)
    held = 3 * 60 / 3600
    assert hours[0]["energy_kwh"] == pytest.approx(math.sqrt(3) * 4 * held)
    assert hours[0]["running_seconds"] == pytest.approx(180)


def test_time_is_split_between_hours_when_a_reading_lasts_across():
    machine = MACHINE.model_copy(update={"interval_seconds": 900.0})
    hours = by_hour(readings([HOUR - 300_000, HOUR + 600_000], **electric()), machine, DAY)
    assert hours[0]["running_seconds"] == pytest.approx(300)
    assert hours[1]["running_seconds"] == pytest.approx(600 + 900)


def test_states_share_the_time_when_the_machine_rests_idles_and_runs():
    rated = rated_kva(MACHINE)
    share = np.repeat([0.01, 0.1, 0.5, 0.5], 360)
    current = share * rated / (math.sqrt(3) * 0.4)
    hours = by_hour(whole_day(**electric(current, 1.0)), MACHINE, DAY)
    assert [hours[at]["off_seconds"] for at in (0, 6, 12)] == [3600, 0, 0]
    assert [hours[at]["idle_seconds"] for at in (0, 6, 12)] == [0, 3600, 0]
    assert [hours[at]["running_seconds"] for at in (0, 6, 12)] == [0, 0, 3600]
    day = by_day(hours, MACHINE, DAY, {}, by_minute(whole_day(**electric(current, 1.0)), MACHINE, DAY))
    assert day["utilisation"] == pytest.approx(0.5)
    # The trapezoid between two states lies between both.
    assert day["idle_share"] == pytest.approx((0.01 + 0.1) * 6 / ((0.01 + 0.1) * 6 + 12 * 0.5), rel=0.01)
    assert day["state"] == "running"
    assert day["newest"] == datetime(2026, 1, 5, 23, 59, tzinfo=UTC)


def test_quality_of_supply_is_timed_when_it_leaves_its_limits():
    voltage, frequency = np.full(1440, 400.0), np.full(1440, 50.0)
    voltage[60:70], voltage[70:75], frequency[:30] = 359.0, 441.0, 50.6
    hours = by_hour(whole_day(voltage=voltage, frequency=frequency), MACHINE, DAY)
    assert [row["voltage_outside_seconds"] for row in hours[:3]] == [0, 900, 0]
    assert [row["frequency_outside_seconds"] for row in hours[:3]] == [1800, 0, 0]
    assert hours[0]["energy_kwh"] is None


def test_frequency_is_judged_by_sixty_when_the_grid_has_that():
    hours = by_hour(whole_day(frequency=60.2), MACHINE, DAY)
    assert hours[5]["frequency_outside_seconds"] == 0


@pytest.mark.parametrize("interval", [1, 60, 900])
def test_expected_readings_follow_the_interval_when_hours_pass(interval):
    machine = MACHINE.model_copy(update={"interval_seconds": float(interval)})
    hours = by_hour(whole_day(interval * 1000, **electric()), machine, DAY)
    assert {row["expected"] for row in hours} == {row["received"] for row in hours} == {3600 // interval}


def test_hours_end_when_the_day_is_not_over():
    until = datetime(2026, 1, 5, 2, 30, tzinfo=UTC)
    hours = by_hour(readings(np.arange(0, 150 * 60_000, 60_000), **electric()), MACHINE, DAY, until)
    assert [row["expected"] for row in hours] == [60, 60, 30]


def test_rows_have_the_columns_of_the_tables_when_nothing_was_received():
    nothing = readings([], **electric())
    hours = by_hour(nothing, MACHINE, DAY)
    day = by_day(hours, MACHINE, DAY, {}, by_minute(nothing, MACHINE, DAY))
    assert {*hours[0]} == {*MACHINE_HOURS.columns}
    assert {*day} == {*MACHINE_DAYS.columns}
    assert (day["availability"], day["efficiency"], day["state"]) == (0.0, None, None)


@pytest.mark.parametrize("missing", ["voltage", "current", "power_factor", "frequency", "temperature", "vibration"])
def test_only_what_depends_on_it_is_null_when_a_measurement_is_missing(missing):
    values = electric(frequency=50.0, temperature=40.0, vibration=1.0)
    full = by_hour(whole_day(**values), MACHINE, DAY)[3]
    del values[missing]
    part = by_hour(whole_day(**values), MACHINE, DAY)[3]
    lost = {name for name in full if part[name] is None}
    power = {"off_seconds", "idle_seconds", "running_seconds", "energy_kwh", "idle_energy_kwh", "peak_kw"}
    power.add("power_factor")
    assert (
        lost
        == {
            "voltage": power | {"voltage_outside_seconds"},
            "current": power | {"overload_seconds"},
            "power_factor": power,
            "frequency": {"frequency_outside_seconds"},
            "temperature": {"temperature", "temperature_highest"},
            "vibration": {"vibration", "vibration_highest", "vibration_zone"},
        }[missing]
    )
    day = by_day([part] * 24, MACHINE, DAY, {}, by_minute(whole_day(**values), MACHINE, DAY))
    # An index of what cannot be told apart from idling would be a made-up 100.
    assert (day["efficiency"] is None) == (missing in ("voltage", "current", "power_factor"))


def test_vibration_is_that_of_running_when_the_machine_also_rests():
    current = np.r_[np.full(30, 10.0), np.full(30, 0.0)]
    shaking = np.r_[np.full(30, 3.0), np.full(30, 0.1)]
    times = np.arange(0, HOUR, 60_000)
    row = by_hour(readings(times, **electric(current, vibration=shaking)), MACHINE, DAY)[0]
    assert (row["vibration"], row["vibration_zone"]) == (3.0, "C")
    assert row["means"]["vibration"] == pytest.approx(1.55)


def test_vibration_is_that_of_all_readings_when_columns_of_the_meter_are_empty():
    nothing = np.full(1440, np.nan)
    values = {"voltage": nothing, "current": nothing, "power_factor": nothing, "vibration": 2.9, "temperature": 40.0}
    table = whole_day(**values)
    hours = by_hour(table, MACHINE, DAY)
    assert {(row["vibration"], row["vibration_zone"]) for row in hours} == {(2.9, "C")}
    day = by_day(hours, MACHINE, DAY, {}, by_minute(table, MACHINE, DAY))
    unknown = ("energy_kwh", "idle_energy_kwh", "running_seconds", "utilisation", "load_factor", "idle_share", "state")
    assert {name: day[name] for name in unknown} == dict.fromkeys(unknown)
    assert (day["efficiency"], day["reasons"], day["vibration"]) == (None, [], pytest.approx(2.9))


@pytest.mark.parametrize("rated", [{}, {"rated_current": 20.0}, {"nominal_voltage": 400.0, "rated_current": None}])
def test_what_needs_rated_values_is_null_when_the_machine_has_none(rated):
    machine = Machine(equipment_id="rig-1", interval_seconds=60.0, **rated)
    table = whole_day(**electric(vibration=2.0))
    hours = by_hour(table, machine, DAY)
    day = by_day(hours, machine, DAY, {}, by_minute(table, machine, DAY))
    for row in (*hours, day):
        assert row["energy_kwh"] > 0
        assert row["peak_kw"] > 0
        assert row["running_seconds"] is row["idle_energy_kwh"] is row["power_factor"] is None
        assert (row["overload_seconds"] is None) == (machine.rated_current is None)
        assert (row["voltage_outside_seconds"] is None) == (machine.nominal_voltage is None)
        assert row["vibration_zone"] == "B"
    assert day["efficiency"] is day["state"] is day["utilisation"] is day["load_factor"] is None


@pytest.mark.parametrize(("vibration", "name"), [(1.39, "A"), (1.4, "B"), (2.8, "C"), (4.5, "D"), (None, None)])
def test_zone_is_named_when_vibration_is_given(vibration, name):
    assert zone(vibration, MACHINE) == name


def test_day_sums_and_weighs_its_hours_when_they_differ():
    current = np.r_[np.full(720, 10.0), np.full(720, 5.0)]
    table = whole_day(**electric(current, np.r_[np.full(720, 0.9), np.full(720, 0.6)]))
    day = by_day(by_hour(table, MACHINE, DAY), MACHINE, DAY, {}, by_minute(table, MACHINE, DAY))
    assert day["power_factor"] == pytest.approx((10 * 0.9 + 5 * 0.6) / 15, rel=1e-3)
    assert day["load_factor"] == pytest.approx((9 + 3) / 2 / 9, rel=1e-3)
    assert day["means"]["current"] == pytest.approx(7.5)
    assert (day["lows"]["current"], day["highs"]["current"]) == (5, 10)


def test_day_names_its_worst_event_when_there_are_some():
    events = {"a": Found("dropout", "mild"), "b": Found("bearing_wear", "severe"), "c": Found("idle_waste", "moderate")}
    table = whole_day(**electric())
    day = by_day(by_hour(table, MACHINE, DAY), MACHINE, DAY, events, by_minute(table, MACHINE, DAY))
    assert (day["events"], day["worst_event"], day["worst_kind"]) == (3, "b", "bearing_wear")


def test_efficiency_loses_points_and_says_why_when_time_is_wasted():
    current = np.r_[np.full(1200, 10.0), np.full(240, 1.0)]
    table = whole_day(**electric(current, 0.95)).slice(0, 1430)
    day = by_day(by_hour(table, MACHINE, DAY), MACHINE, DAY, {}, by_minute(table, MACHINE, DAY))
    idle = day["idle_seconds"] / (day["idle_seconds"] + day["running_seconds"])
    assert day["efficiency"] == pytest.approx(100 - 40 * idle)
    assert day["reasons"] == [f"idle for 3.8 h: {day['idle_energy_kwh']:.3g} kWh"]


def test_efficiency_is_unknown_when_the_machine_was_off_all_day():
    table = whole_day(**electric(0.01))
    day = by_day(by_hour(table, MACHINE, DAY), MACHINE, DAY, {}, by_minute(table, MACHINE, DAY))
    assert (day["efficiency"], day["reasons"]) == (None, [])


def test_reasons_begin_with_the_costliest_when_there_are_several():
    table = whole_day(**electric(23.0, 0.45, vibration=6.0, temperature=95.0, voltage=330.0))
    day = by_day(by_hour(table, MACHINE, DAY), MACHINE, DAY, {}, by_minute(table, MACHINE, DAY))
    starts = [reason.split()[0] for reason in day["reasons"]]
    assert starts[0] == "vibration"
    assert {*starts} == {"vibration", "power", "overloaded", "supply", "95"}
    index, reasons = efficiency(day, MACHINE)
    assert index == pytest.approx(100 - 25 - 10 - 10 - 10 - 10)
    assert reasons == day["reasons"]


def test_state_is_named_when_power_is_at_its_bounds():
    assert [
        state_of(share) for share in (0.0, default_limits().states.off_below, default_limits().states.idle_below)
    ] == [
        "off",
        "idle",
        "running",
    ]


@given(st.lists(st.integers(0, 86_399), min_size=1, max_size=200, unique=True), st.integers(0, 24))
def test_hours_and_minutes_agree_when_readings_are_any(seconds, cut):
    times = np.sort(np.array(seconds)) * 1000
    noise = np.random.default_rng(len(times)).uniform(0, 25, len(times))
    table = readings(times, **electric(noise))
    hours, minutes = by_hour(table, MACHINE, DAY), by_minute(table, MACHINE, DAY)
    assert sum(row["received"] for row in hours) == minutes["count"].to_numpy().sum() == len(times)
    for row in hours:
        if row["off_seconds"] is not None:
            known = row["off_seconds"] + row["idle_seconds"] + row["running_seconds"]
            assert known <= 3600.001
            assert 0 <= row["idle_energy_kwh"] <= row["energy_kwh"] + 1e-9
    # Minutes do not depend on what else is in the table.
    border = START + cut * HOUR
    parts = [
        by_minute(table.filter(mask), MACHINE, DAY)
        for mask in (
            pa.compute.less(table["timestamp"], pa.scalar(border, pa.int64()).cast(TIMESTAMP)),
            pa.compute.greater_equal(table["timestamp"], pa.scalar(border, pa.int64()).cast(TIMESTAMP)),
        )
    ]
    assert pa.concat_tables(parts).equals(minutes)


def test_day_before_does_not_matter_when_its_readings_are_in_the_table():
    day = timedelta(days=1)
    own = whole_day(**electric())
    both = pa.concat_tables([readings(np.arange(-DAY_MS, 0, 60_000), **electric(3.0)), own])
    assert by_hour(both, MACHINE, DAY) == by_hour(own, MACHINE, DAY)
    assert by_minute(both, MACHINE, DAY).equals(by_minute(own, MACHINE, DAY))
    assert by_hour(both, MACHINE, DAY - day)[0]["means"]["current"] == 3.0
