"""What events say, whatever the readings are: finite figures, which agree with what was compared."""

import math
import re
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.insight.detection import detect
from etl.insight.indicators import by_hour, by_minute, day_start_ms
from etl.insight.trends import trends
from etl.insight.units import figure
from etl.model.catalogue import Machine
from etl.model.schemas import TIMESTAMP

FIRST = date(2026, 1, 5)
START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 9
UNTIL = START + timedelta(days=DAYS)
STEP = 10
HOURS = np.arange(DAYS * 24 * 60 // STEP) * STEP / 60
USUAL = {
    "voltage": 400.0,
    "current": 12.0,
    "power_factor": 0.85,
    "frequency": 50.0,
    "temperature": 45.0,
    "vibration": 1.2,
    "pressure": 6.0,
}
MACHINE = Machine(equipment_id="pump-1", nominal_voltage=400.0, rated_current=20.0, interval_seconds=60.0 * STEP)


def read(values, machine=MACHINE, units=None, keep=None, until=UNTIL):
    """Let the detectors see readings of all days, each named column an array over HOURS."""
    minutes, hours = summed(values, machine, keep)
    given = {} if units is None else {"units": units}
    return detect(machine, minutes, hours, until, **given), trends(machine, hours, until)


def summed(values, machine=MACHINE, keep=None):
    keep = np.ones(len(HOURS), dtype=bool) if keep is None else keep
    times = day_start_ms(FIRST) + np.round(HOURS * 3_600_000).astype(np.int64)
    columns = {name: pa.array(column[keep], pa.float64(), from_pandas=True) for name, column in values.items()}
    quality = pa.array([""] * int(keep.sum()), pa.string())
    table = pa.table({"timestamp": pa.array(times[keep]).cast(TIMESTAMP), **columns, "quality": quality})
    days = [FIRST + timedelta(days=number) for number in range(DAYS)]
    minutes = pa.concat_tables([by_minute(table, machine, day) for day in days[-7:]])
    return minutes, [row for day in days for row in by_hour(table, machine, day)]


def noisy(seed=1, noise=0.01, **changes):
    chance = np.random.default_rng(seed)
    made = {name: value * (1 + noise * chance.standard_normal(len(HOURS))) for name, value in USUAL.items()}
    return {name: column * changes.get(name, 1.0) for name, column in made.items()}


def assert_finite(events, rows):
    for event in events:
        assert "nan" not in event.evidence
        assert "inf" not in event.evidence
        assert math.isfinite(event.observed)
        assert math.isfinite(event.expected)
        assert event.end is None or event.end >= event.start
    for row in rows:
        assert "nan" not in row["evidence"]
        assert all(math.isfinite(row[name]) for name in ("value", "per_day", "threshold"))


def test_supply_has_figures_when_a_noisy_meter_loses_its_voltage():
    made = {name: column * (230 / 400 if name == "voltage" else 1.0) for name, column in noisy(noise=0.02).items()}
    made["voltage"][HOURS > 200] = np.nan
    assert_finite(*read(made, keep=~((HOURS > 199) & (HOURS < 201))))


def test_supply_has_figures_when_there_is_usually_none():
    made = noisy()
    made["voltage"] = np.where((HOURS > 190) & (HOURS < 190.5), 230.0, 0.0)
    assert_finite(*read(made, Machine(equipment_id="pump-1", interval_seconds=60.0 * STEP)))


@pytest.mark.parametrize("least", [0.0, 0.001])
def test_vibration_has_figures_when_its_sensor_dies_slowly(least):
    made = noisy()
    made["vibration"] *= np.clip(1 - (HOURS - 120) / 60, least, 1)
    assert_finite(*read(made))


SPAN = st.tuples(st.integers(0, len(HOURS) - 1), st.integers(1, len(HOURS)))
CHANGE = st.sampled_from(["missing", "zero", "constant", "half", "triple", "grow", "shrink", "wild"])


@pytest.mark.parametrize("shape", ["grows", "jumps"])
def test_vibration_has_figures_when_it_grows_at_rest_alone(shape):
    made = noisy()
    off = HOURS % 24 > 12
    off |= HOURS > 6 * 24
    share = np.clip((HOURS - 6 * 24) / 60, 0, 1) ** (2 if shape == "grows" else 0.01)
    made["current"] = np.where(off, 0.02, made["current"])
    made["vibration"] = np.where(off, 0.1, 1.0) * made["vibration"] * (1 + 3 * share)
    events, rows = read(made)
    (event,) = [event for event in events if event.measurement == "vibration"]
    assert event.observed < 0.6
    assert_finite(events, rows)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sets(st.sampled_from(sorted(USUAL)), min_size=1),
    st.lists(st.tuples(st.sampled_from([*USUAL, "all"]), SPAN, CHANGE), max_size=6),
    st.lists(SPAN, max_size=3),
    st.sampled_from([0.0, 0.001, 0.05]),
    st.booleans(),
)
def test_events_are_finite_when_readings_are_any(names, changes, gaps, noise, on_mains):
    made = {name: column for name, column in noisy(3, noise).items() if name in names}
    for name, (begin, length), change in changes:
        for each in names if name == "all" else names & {name}:
            span = slice(begin, begin + length)
            part = made[each][span]
            share = np.linspace(0, 1, len(part))
            made[each][span] = {
                "missing": np.nan * part,
                "zero": 0.0 * part,
                "constant": 0.0 * part + USUAL[each],
                "half": 0.5 * part,
                "triple": 3.0 * part,
                "grow": part * (1 + 3 * share * share),
                "shrink": part * (1 - 0.5 * share),
                "wild": part * np.random.default_rng(len(part)).uniform(-3, 3, len(part)),
            }[change]
    keep = np.ones(len(HOURS), dtype=bool)
    for begin, length in gaps:
        keep[begin : begin + length] = False
    machine = MACHINE if on_mains else Machine(equipment_id="rig", interval_seconds=60.0 * STEP)
    assert_finite(*read(made, machine, keep=keep))


@pytest.mark.parametrize("rest", [0.1, 0.0, np.nan])
def test_wear_has_figures_when_the_machine_is_off_within_it(rest):
    made = noisy()
    off = (HOURS % 24 > 20) | (HOURS > 8 * 24)
    share = np.clip((HOURS - 5 * 24) / 72, 0, 1)
    made["current"] = np.where(off, 0.02, made["current"])
    made["vibration"] = np.where(off, rest, 1.0) * made["vibration"] * (1 + 3 * share * share)
    events, rows = read(made)
    assert "bearing_wear" in {event.kind for event in events}
    assert_finite(events, rows)


@pytest.mark.parametrize(
    ("name", "way", "growth"),
    [(name, *way) for name in ("pressure", "flow") for way in (("above", 0.4), ("below", -0.35))]
    + [("vibration", "above", 0.4)],
)
def test_percent_is_that_of_the_figures_beside_it_when_a_sensor_drifts(name, way, growth):
    made = noisy(noise=0.03)
    made["flow"] = 120 * made["pressure"] / 6
    made[name] = made[name] * (1 + growth * np.clip((HOURS - 5.5 * 24) / 72, 0, 1))
    (event,) = [event for event in read(made)[0] if event.kind == "sensor_drift"]
    assert event.measurement == name
    found = re.search(rf"reads ([\d.]+).*, (\d+)% {way} (?:the )?([\d.]+)", event.evidence)
    observed, percent, expected = (float(group) for group in found.groups())
    assert (observed, expected) == pytest.approx((event.observed, event.expected), rel=1e-3)
    assert 100 * abs(observed / expected - 1) == pytest.approx(percent, abs=0.7)


@pytest.mark.parametrize(
    ("unit", "scale", "zero"),
    [("°C", 1, 0), ("°F", 1.8, 32), ("K", 1, 273.15), ("degrees Celsius", 1, 0), ("[degF]", 1.8, 32)],
)
@pytest.mark.parametrize("level", [45.0, 0.5, -18.0])
def test_drift_is_in_degrees_when_a_temperature_drifts(unit, scale, zero, level):
    made = noisy()
    degrees = level + 0.2 * np.random.default_rng(5).standard_normal(len(HOURS))
    made["oil"] = (degrees + 8 * np.clip((HOURS - 6 * 24) / 60, 0, 1)) * scale + zero
    (event,) = read(made, units={"oil": unit})[0]
    assert (event.kind, event.measurement, event.severity) == ("sensor_drift", "oil", "moderate")
    assert "%" not in event.evidence
    assert f" {unit}" in event.evidence
    assert event.observed - event.expected == pytest.approx(8 * scale, abs=2 * scale)
    far = float(re.search(rf", ([\d.]+) {re.escape(unit)} above", event.evidence).group(1))
    assert far == pytest.approx(event.observed - event.expected, rel=1e-3)


def test_no_temperature_drifts_when_it_crosses_zero():
    made = noisy()
    made["oil"] = 0.3 * np.sin(HOURS) + 0.3 * np.random.default_rng(5).standard_normal(len(HOURS))
    assert read(made, units={"oil": "°C"})[0] == []


def test_unit_is_the_declared_one_when_a_sensor_is_stuck():
    made = noisy()
    made["torque"] = made["pressure"] * 40
    made["torque"][(HOURS > 190) & (HOURS < 200)] = 250.125
    (event,) = read(made, units={"torque": "Nm"})[0]
    assert "exactly 250.1 Nm" in event.evidence


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.000123456, "0.0001235"), (9.853, "9.853"), (1234567.0, "1234567"), (400.0, "400"), (-20.5, "-20.5")],
)
def test_figure_has_four_digits_and_no_exponent_when_written(value, text):
    assert figure(value) == text
