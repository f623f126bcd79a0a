"""Slopes and forecasts on rows of hours whose growth is known."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from etl.catalogue import Machine
from etl.limits import LIMITS, rated_kva
from etl.tables import TRENDS
from etl.trends import slope_of, trends

MACHINE = Machine(equipment_id="pump-1", nominal_voltage=400.0, rated_current=20.0)
UNTIL = datetime(2026, 2, 2, tzinfo=UTC)
HOURS = 28 * 24


def rows(vibration=1.0, temperature=40.0, power_factor=0.95, load=0.5, running=3600.0):
    columns = np.broadcast_arrays(vibration, temperature, power_factor, load, running, np.zeros(HOURS))
    return [
        {
            "hour": UNTIL - timedelta(hours=HOURS - number),
            "running_seconds": float(own[4]),
            "energy_kwh": float(own[3]) * rated_kva(MACHINE) * float(own[4]) / 3600 + 1.0,
            "idle_energy_kwh": 1.0,
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
    # 1.8 mm/s is where zone C begins for this machine of 13.9 kVA.
    found = trends(MACHINE, rows(1.4 + 0.04 * DAYS), UNTIL)
    assert [row["measurement"] for row in found] == ["vibration"]
    row = found[0]
    assert {*row} == {*TRENDS.columns}
    assert (row["value"], row["per_day"], row["threshold"]) == pytest.approx((1.4, 0.04, 1.8), rel=0.01)
    assert abs(row["reached"] - (UNTIL + timedelta(days=10))) < timedelta(hours=6)
    assert row["evidence"].startswith("vibration grows by 0.04 mm/s a day; at 1.4 mm/s now, it reaches 1.8 mm/s on")


def test_next_bound_is_forecast_when_the_first_is_passed():
    found = trends(MACHINE, rows(3.5 + 0.05 * DAYS), UNTIL)
    assert found[0]["threshold"] == 4.5


def test_power_factor_is_forecast_when_it_falls():
    found = trends(MACHINE, rows(power_factor=0.92 - 0.002 * DAYS), UNTIL)
    assert [(row["measurement"], row["threshold"]) for row in found] == [("power_factor", LIMITS.power_factor)]
    assert found[0]["per_day"] == pytest.approx(-0.002)


@pytest.mark.parametrize(
    "values",
    [
        {"vibration": 1.4 + noise(0.1)},
        {"vibration": 1.4 - 0.04 * DAYS},
        {"vibration": 1.0 + 0.001 * DAYS},
        {"power_factor": 0.92 + 0.0005 * DAYS},
        {"vibration": 5.0 + 0.05 * DAYS},
        {"vibration": np.nan},
        {"vibration": 1.4 + 0.04 * DAYS, "running": 600.0},
    ],
    ids=["noise", "falls", "far off", "rises", "past all", "unknown", "hardly runs"],
)
def test_nothing_is_forecast_when_no_limit_is_ahead(values):
    assert trends(MACHINE, rows(**values), UNTIL) == []


def test_nothing_is_forecast_when_load_alone_grows():
    load = 0.5 + 0.01 * DAYS + noise(0.1)
    assert trends(MACHINE, rows(vibration=1.0 + 0.8 * load, load=load), UNTIL) == []


def test_recent_growth_counts_when_there_was_none_before():
    found = trends(MACHINE, rows(np.where(DAYS < -5, 1.0, 1.5 + 0.1 * DAYS) + noise(0.01)), UNTIL)
    assert found[0]["per_day"] == pytest.approx(0.1, rel=0.1)


def test_slope_stays_when_a_tenth_of_the_hours_is_wrong():
    wrong = np.random.default_rng(1).random(HOURS) < 0.1
    found = trends(MACHINE, rows(np.where(wrong, 9.0, 1.4 + 0.04 * DAYS)), UNTIL)
    assert found[0]["per_day"] == pytest.approx(0.04, rel=0.1)


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


@pytest.mark.parametrize("count", [0, 1, 5])
def test_no_slope_is_given_when_there_is_too_little(count):
    assert slope_of(DAYS[:count], DAYS[:count]) is None
