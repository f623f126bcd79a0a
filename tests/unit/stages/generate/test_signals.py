"""Signals: repeatable bit for bit whatever the chunking, and such as a plant engineer would believe."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.model.catalogue import synthetic_machines
from etl.model.measurements import Measurements, read_measurements
from etl.stages.generate import chance, sensors, signals
from etl.stages.generate.plant import make_plant
from etl.stages.generate.sensors import readings, slow_signals, steps_needed

MACHINES = synthetic_machines(40)
DEFAULT = read_measurements()
MONDAY = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000


def evaluate(machines, times, *, seed=1, machine=None, measurements=DEFAULT):
    plant = make_plant(machines, seed)
    return readings(plant, measurements, slow_signals(plant, measurements, *steps_needed(times)), times, machine)


@pytest.fixture(scope="module")
def week():
    """Every minute of a week, 40 machines; shape (minutes, machines)."""
    return evaluate(MACHINES, np.arange(MONDAY, MONDAY + 7 * 24 * HOUR, 60_000))


@pytest.fixture(scope="module")
def custom(tmp_path_factory) -> Measurements:
    path: Path = tmp_path_factory.mktemp("measurements") / "measurements.yaml"
    path.write_text(
        "measurements:\n"
        "  speed: {type: double, unit: 1/min, decimals: 1, range: [1000, 3000]}\n"
        "  level: {type: double}\n"
        "  depth: {type: double, range: [null, -5]}\n"
        "  state: {type: text}\n"
        "  voltage: {type: double}\n"
        "  temperature: {type: double, range: [0, 30]}\n"
    )
    return read_measurements(path)


@given(
    start=st.integers(-(10**11), 4 * 10**12),
    interval=st.sampled_from([1, 250, 1000, 60_000, 600_000, 7_777_777]),
    count=st.integers(1, 60),
    cuts=st.lists(st.integers(1, 59), max_size=4),
    subset=st.lists(st.integers(0, len(MACHINES) - 1), min_size=1, max_size=12, unique=True),
    seed=st.integers(0, 3),
)
def test_readings_are_the_same_bits_when_chunks_and_machines_differ(start, interval, count, cuts, subset, seed):
    times = start + interval * np.arange(count)
    whole = evaluate(MACHINES, times, seed=seed)
    chunks = [part for part in np.split(times, sorted({cut for cut in cuts if cut < count})) if len(part)]
    parts = [evaluate([MACHINES[place] for place in subset], chunk, seed=seed) for chunk in chunks]
    for name, values in whole.items():
        joined = np.concatenate([part[name] for part in parts])
        assert joined.tobytes() == np.ascontiguousarray(values[:, subset]).tobytes()


@given(pairs=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 10 * HOUR)), min_size=1, max_size=50))
def test_readings_are_the_same_bits_when_asked_one_by_one(pairs):
    machine, times = (np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True))
    times += MONDAY
    whole = evaluate(MACHINES, times)
    single = evaluate(MACHINES, times, machine=machine)
    for name, values in whole.items():
        assert single[name].tobytes() == values[np.arange(len(times)), machine].tobytes()


def test_readings_are_the_same_bits_when_blocks_are_small(monkeypatch, custom):
    times = np.arange(MONDAY, MONDAY + 3 * HOUR, 10_000)
    expected = evaluate(MACHINES, times, measurements=custom)
    monkeypatch.setattr(sensors, "_BLOCK", 1)
    for name, values in evaluate(MACHINES, times, measurements=custom).items():
        assert values.tobytes() == expected[name].tobytes()


def test_readings_stay_as_they_are_when_the_code_changes():
    """A value once given is kept: who repeats a run with a later version must meet duplicates, not conflicts."""
    first = evaluate(MACHINES[:3], np.array([MONDAY + 9 * HOUR]))
    assert {name: values[0].tolist() for name, values in first.items()} == EXPECTED


def test_readings_differ_when_seed_differs():
    times = np.array([MONDAY + 9 * HOUR])
    one, other = evaluate(MACHINES, times, seed=1), evaluate(MACHINES, times, seed=2)
    assert all((one[name] != other[name]).any() for name in DEFAULT.names)


def test_readings_are_in_range_and_rounded_when_declared(week):
    for measurement in DEFAULT.declared:
        values = week[measurement.name]
        assert np.isfinite(values).all()
        assert (values >= measurement.minimum).all()
        assert (values <= measurement.maximum).all()
        assert (np.round(values, measurement.decimals) == values).all()


def test_mains_keep_to_en_50160_when_a_week_passes(week):
    nominal = np.array([machine.nominal_voltage for machine in MACHINES])
    assert np.abs(week["voltage"] / nominal - 1).max() < 0.10
    assert np.abs(week["frequency"] - 50).max() < 0.5
    assert week["frequency"].std() > 0.01
    assert (week["voltage"] / nominal).std() > 0.005


def test_frequency_is_one_for_the_plant_when_machines_differ(week):
    assert np.ptp(week["frequency"], axis=1).max() < 0.01


def test_current_follows_shifts_when_machines_work_in_shifts(week):
    share = week["current"] / np.array([machine.rated_current for machine in MACHINES])
    assert share.max() < 1.5
    hour = np.arange(len(share)) / 60
    shifts = make_plant(MACHINES, 1).calendar
    sunday, monday_noon = (hour >= 6 * 24 + 7) & (hour < 7 * 24), (hour >= 11) & (hour < 13)
    assert share[sunday][:, shifts > 0].max() < 0.1
    assert share[sunday][:, shifts == 0].mean() > 0.5
    assert share[monday_noon].mean() > 0.5
    night = (hour >= 24 + 0.5) & (hour < 24 + 1.5)
    assert share[night][:, shifts == 3].max() < 0.1


def test_power_factor_drops_when_load_is_low(week):
    share = week["current"] / np.array([machine.rated_current for machine in MACHINES])
    assert week["power_factor"][share > 0.8].min() > 0.7
    assert week["power_factor"][share < 0.3].max() < 0.65


def test_temperature_lags_behind_load_when_a_shift_begins(week):
    """After a weekend off, the hottest minute comes long after the load has come on."""
    plant = make_plant(MACHINES, 1)
    early = np.flatnonzero((plant.calendar == 1) & (plant.lag == 0))
    rise = week["temperature"][6 * 60 : 9 * 60, early] - week["temperature"][5 * 60 + 50, early]
    full = rise[-15:].mean(axis=0)
    assert (full > 5).all()
    assert (rise[10] < 0.6 * full).all()


def test_vibration_follows_load_when_machines_run(week):
    for place in range(len(MACHINES)):
        assert np.corrcoef(week["vibration"][:, place], week["current"][:, place])[0, 1] > 0.5


def test_temperature_has_no_step_when_heat_is_forgotten(week):
    """What falls out of the memory of heat must not show."""
    assert np.abs(np.diff(week["temperature"], axis=0)).max() < 5


def test_humidity_is_lowest_when_it_is_afternoon(week):
    by_hour = week["humidity"].mean(axis=1).reshape(7, 24, 60).mean(axis=(0, 2))
    assert 13 <= by_hour.argmin() <= 17


def test_measurements_of_ones_own_stay_in_range_when_no_signal_is_known(custom):
    values = evaluate(MACHINES, np.arange(MONDAY, MONDAY + 48 * HOUR, 60_000), measurements=custom)
    assert (values["speed"] >= 1000).all()
    assert (values["speed"] <= 3000).all()
    assert values["speed"].std() > 100
    assert np.abs(np.diff(values["speed"], axis=0)).max() < 100
    assert (values["level"] >= 0).all()
    assert (values["level"] <= 100).all()
    assert (values["depth"] <= -5).all()
    assert values["temperature"].max() == 30


def test_state_follows_load_when_text_is_declared(custom):
    times = np.arange(MONDAY, MONDAY + 24 * HOUR, 60_000)
    state = evaluate(MACHINES, times, measurements=custom)["state"]
    current = evaluate(MACHINES, times)["current"] / np.array([machine.rated_current for machine in MACHINES])
    assert [signals.STATES[code] for code in np.unique(state)] == ["off", "idle", "running"]
    assert current[state == 2].min() > current[state == 0].max()


def test_cycle_is_a_sine_when_compared():
    times = np.arange(0, 86_400_000, 60_000)
    expected = np.cos(2 * np.pi * (times / 86_400_000 - 15 / 24))
    assert np.abs(chance.cycle(times, 86_400_000, 15 * HOUR) - expected).max() < 0.0015


EXPECTED = {
    "voltage": [396.38, 402.37, 393.57],
    "current": [2.451, 1.727, 37.589],
    "frequency": [50.027, 50.025, 50.028],
    "temperature": [42.95, 31.54, 56.4],
    "power_factor": [0.869, 0.288, 0.88],
    "vibration": [2.989, 0.411, 1.611],
    "pressure": [5.17, 4.682, 5.845],
    "humidity": [52.44, 46.17, 42.9],
}
