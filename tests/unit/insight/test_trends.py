"""Slopes and forecasts on rows of hours whose growth is known."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from etl.insight.limits import default_limits, rated_kva
from etl.insight.trends import slope_of, trends
from etl.model.catalogue import Machine
from etl.model.tables import TRENDS

MACHINE = Machine(equipment_id="pump-1", nominal_voltage=400.0, rated_current=20.0)
UNTIL = datetime(2026, 2, 2, tzinfo=UTC)
HOURS = 28 * 24


def rows(vibration=1.0, temperature=40.0, power_factor=0.95, load=0.5, running=3600.0, idle=1.0):
    columns = np.broadcast_arrays(vibration, temperature, power_factor, load, running, idle, np.zeros(HOURS))
    return [
        {
            "hour": UNTIL - timedelta(hours=HOURS - number),
            "running_seconds": float(own[4]),
            "energy_kwh": float(own[3]) * rated_kva(MACHINE) * float(own[4]) / 3600 + float(own[5]),
            "idle_energy_kwh": float(own[5]),
            "vibration": None if np.isnan(own[0]) else float(own[0]),
            "temperature": float(own[1]),
            "power_factor": float(own[2]),
        }
        for number, own in enumerate(zip(*columns, strict=True))
    ]


def noise(size, seed=1):
    return size * np.random.default_rng(seed).standard_normal(HOURS)


DAYS = np.arange(HOURS) / 24 - 28


def test_limit_is_reached_in_ten_days_when_growth_is_even():
    # 2.8 mm/s is where zone C begins for this machine of 13.9 kVA.
    found = trends(MACHINE, rows(2.4 + 0.04 * DAYS), UNTIL)
    assert [row["measurement"] for row in found] == ["vibration"]
    row = found[0]
    assert {*row} == {*TRENDS.columns}
    assert (row["value"], row["per_day"], row["threshold"]) == pytest.approx((2.4, 0.04, 2.8), rel=0.01)
    assert abs(row["reached"] - (UNTIL + timedelta(days=10))) < timedelta(hours=6)
    assert row["evidence"].startswith("vibration grows by 0.04 mm/s a day; at 2.4 mm/s now, it reaches 2.8 mm/s on")


def test_next_bound_is_forecast_when_the_first_is_passed():
    found = trends(MACHINE, rows(3.5 + 0.05 * DAYS), UNTIL)
    assert found[0]["threshold"] == 4.5


def test_zone_of_new_machines_is_not_forecast_when_vibration_leaves_it():
    # It leaves zone A at 1.4 mm/s on the third day.
    found = trends(MACHINE, rows(1.34 + 0.02 * DAYS), UNTIL)
    assert [row["threshold"] for row in found] == [2.8]


def test_temperature_is_forecast_when_it_rises():
    (row,) = trends(MACHINE, rows(temperature=default_limits().temperature - 5 + 0.5 * DAYS), UNTIL)
    assert (row["measurement"], row["threshold"]) == ("temperature", default_limits().temperature)
    assert row["evidence"].startswith("temperature grows by 0.5 °C a day")
    assert abs(row["reached"] - (UNTIL + timedelta(days=10))) < timedelta(hours=1)


@pytest.mark.parametrize(("late", "count"), [(-0.5, 1), (0.5, 0)])
def test_forecast_ends_at_the_horizon_when_growth_is_slow(late, count):
    growth = 0.4 / (default_limits().trends.horizon_days + late)
    assert len(trends(MACHINE, rows(2.4 + growth * DAYS), UNTIL)) == count


def test_power_factor_is_forecast_when_it_falls():
    found = trends(MACHINE, rows(power_factor=0.92 - 0.002 * DAYS), UNTIL)
    assert [(row["measurement"], row["threshold"]) for row in found] == [
        ("power_factor", default_limits().power_factor)
    ]
    assert found[0]["per_day"] == pytest.approx(-0.002)
    assert found[0]["evidence"].startswith("power factor falls by 0.002 a day; at 0.92 now, it reaches 0.9 on")


@pytest.mark.parametrize(
    "values", [{"vibration": 1.4 + 0.02 * DAYS + noise(0.1)}, {"power_factor": 0.95 - 0.002 * DAYS + noise(0.01)}]
)
def test_limit_is_reached_between_earliest_and_latest_when_noise_is_independent(values):
    (row,) = trends(MACHINE, rows(**values), UNTIL)
    assert UNTIL < row["earliest"] < row["reached"] < row["latest"]


@pytest.mark.parametrize("before", [0.0, 1e-9])
def test_latest_is_open_when_the_slope_may_as_well_be_none(before):
    # It grows on the last days only: they make the slope, but not its lower bound.
    limits = default_limits().model_copy(
        update={"trends": default_limits().trends.model_copy(update={"windows_days": (28.0,)})}
    )
    (row,) = trends(MACHINE, rows(2.4 + np.where(DAYS < -9, before * DAYS, 0.05 * (DAYS + 9))), UNTIL, limits)
    assert row["latest"] is None


@pytest.mark.parametrize(
    "values",
    [
        {"vibration": 1.4 + noise(0.1)},
        {"vibration": 1.4 - 0.04 * DAYS},
        {"vibration": 1.0 + 0.001 * DAYS},
        {"power_factor": 0.92 + 0.0005 * DAYS},
        {"vibration": 5.0 + 0.05 * DAYS},
        {"vibration": np.nan},
        {"vibration": 1.4 + 0.04 * DAYS, "running": 1800.0},
    ],
    ids=["noise", "falls", "far off", "rises", "past all", "unknown", "hardly runs"],
)
def test_nothing_is_forecast_when_no_limit_is_ahead(values):
    assert trends(MACHINE, rows(**values), UNTIL) == []


def test_nothing_is_forecast_when_load_alone_grows():
    load = 0.5 + 0.01 * DAYS + noise(0.1)
    assert trends(MACHINE, rows(vibration=1.0 + 0.8 * load, load=load), UNTIL) == []


def test_nothing_is_forecast_when_load_alone_grows_for_a_few_days():
    load = 0.5 + 0.05 * DAYS + noise(0.01)
    few = rows(vibration=1.0 + 0.8 * load, load=load)[-4 * 24 :]
    assert trends(MACHINE, few, UNTIL) == []


def test_growth_is_kept_when_load_grows_too():
    load = 0.5 + 0.01 * DAYS + noise(0.1)
    found = trends(MACHINE, rows(vibration=1.0 + 0.8 * load + 0.02 * DAYS, load=load), UNTIL)
    assert found[0]["per_day"] == pytest.approx(0.02, rel=0.01)


def test_forecast_stays_when_machines_idle_otherwise_at_the_same_load():
    load = 0.5 + noise(0.1)
    values = 1.0 + 0.8 * load + 0.02 * DAYS
    (steady,) = trends(MACHINE, rows(values, load=load), UNTIL)
    running, idle = 2700 + np.clip(noise(300, 2), -899, 900), np.abs(noise(1.0, 3))
    (changing,) = trends(MACHINE, rows(values, load=load, running=running, idle=idle), UNTIL)
    assert changing["per_day"] == pytest.approx(steady["per_day"])
    assert changing["value"] == pytest.approx(steady["value"])


def test_hours_count_when_the_machine_ran_for_more_than_half_of_them():
    assert len(trends(MACHINE, rows(1.4 + 0.04 * DAYS, running=1801.0), UNTIL)) == 1


def test_recent_growth_counts_when_there_was_none_before():
    found = trends(MACHINE, rows(np.where(DAYS < -5, 1.0, 1.5 + 0.1 * DAYS) + noise(0.01)), UNTIL)
    assert found[0]["per_day"] == pytest.approx(0.1, rel=0.1)


def test_slope_stays_when_a_tenth_of_the_hours_is_wrong():
    wrong = np.random.default_rng(1).random(HOURS) < 0.1
    found = trends(MACHINE, rows(np.where(wrong, 9.0, 1.4 + 0.04 * DAYS)), UNTIL)
    assert found[0]["per_day"] == pytest.approx(0.04, rel=0.1)
    assert found[0]["value"] == pytest.approx(1.4, rel=0.02)


def test_later_hours_do_not_matter_when_until_is_earlier():
    half = UNTIL - timedelta(days=14)
    every = rows(np.where(DAYS < -14, 1.4 + 0.02 * (DAYS + 14), 9.0))
    assert trends(MACHINE, every, half) == trends(MACHINE, [row for row in every if row["hour"] < half], half) != []


def test_bounds_hold_the_slope_about_as_often_as_they_say_when_noise_is_independent():
    held = 0
    for seed in range(100):
        slope = slope_of(DAYS, 1.4 + 0.04 * DAYS + noise(0.15, seed))
        held += slope.low <= 0.04 <= slope.high
    assert 65 <= held <= 95


@pytest.mark.parametrize("seed", range(3))
def test_no_slope_is_given_when_there_is_only_noise(seed):
    assert slope_of(DAYS, 1.4 + noise(0.15, seed)) is None


def test_no_slope_is_given_when_nothing_changes():
    assert slope_of(DAYS, np.ones(HOURS)) is None


@pytest.mark.parametrize("count", [0, 1, 5])
def test_no_slope_is_given_when_there_is_too_little(count):
    assert slope_of(DAYS[:count], DAYS[:count]) is None


@pytest.mark.parametrize("running", [None, 3600.0], ids=["no power", "no rated values"])
@pytest.mark.parametrize("name", ["vibration", "temperature"])
def test_trend_is_found_when_nothing_else_is_measured(name, running):
    end = 2.4 if name == "vibration" else default_limits().temperature - 0.4
    nothing = {"energy_kwh": None, "idle_energy_kwh": None, "power_factor": None, "running_seconds": running}
    others = {"temperature": None, "vibration": None, name: None}
    own = [{**row, **nothing, **others, name: row[name]} for row in rows(**{name: end + 0.04 * DAYS})]
    (row,) = trends(Machine(equipment_id="rig-1"), own, UNTIL)
    assert (row["measurement"], row["per_day"]) == (name, pytest.approx(0.04, rel=0.01))
    assert abs(row["reached"] - (UNTIL + timedelta(days=10))) < timedelta(hours=6)


def test_nothing_is_forecast_when_a_measurement_has_another_unit_than_its_limit():
    for unit in ("g", "mm/s²", "mm/s2", "mm/s^2"):
        assert trends(MACHINE, rows(2.4 + 0.04 * DAYS), UNTIL, units={"vibration": unit}) == []
    assert trends(MACHINE, rows(temperature=85 + 0.5 * DAYS), UNTIL, units={"temperature": "°F"}) == []
    for unit in ("°C", "degC", "\u2103", "", "Celsius", "degrees Celsius"):
        assert len(trends(MACHINE, rows(temperature=85 + 0.5 * DAYS), UNTIL, units={"temperature": unit})) == 1


def test_nothing_is_forecast_when_nothing_is_measured():
    nothing = dict.fromkeys(("energy_kwh", "idle_energy_kwh", "power_factor", "vibration", "temperature"))
    assert trends(MACHINE, [{**row, **nothing, "running_seconds": None} for row in rows()], UNTIL) == []
