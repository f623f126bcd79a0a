"""Faults of made-up machines: what the labels say is what the readings show, and nothing else changes."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from etl.model.catalogue import synthetic_machines
from etl.model.events import SEVERITIES
from etl.model.measurements import read_measurements
from etl.stages.generate.faults import HOUR, LABELS, WEEK, kinds
from etl.stages.generate.plant import faults_of, make_plant
from etl.stages.generate.transport import fault_labels, synthetic_readings

DEFAULT = read_measurements()
MONDAY = 1_767_571_200_000  # 2026-01-05T00:00:00Z
MACHINES = synthetic_machines(40)
MINUTE = 60_000
SEED = 11  # a week that has every kind asked for below


def read(fault_rate, start=MONDAY, end=MONDAY + WEEK, machines=MACHINES, seed=SEED, interval=5 * MINUTE):
    counts = Counter()
    tables = synthetic_readings(
        machines, seed, DEFAULT, start, end, interval=interval, fault_rate=fault_rate, counts=counts
    )
    return pa.concat_tables(tables), counts


@pytest.fixture(scope="module")
def healthy():
    return read(0)[0].to_pandas().set_index(["equipment_id", "timestamp"])


@pytest.fixture(scope="module")
def made():
    return read(4)


@pytest.fixture(scope="module")
def faulty(made):
    return made[0].to_pandas().set_index(["equipment_id", "timestamp"])


@pytest.fixture(scope="module")
def labels():
    return fault_labels(MACHINES, SEED, 4, MONDAY, MONDAY + WEEK).to_pandas()


def during(readings, label, begin=0.0, end=1.0):
    """The machine's readings in a part of the label's time."""
    length = label.end - label.start
    own = readings.loc[label.equipment_id]
    return own[(own.index >= label.start + begin * length) & (own.index < label.start + end * length)]


def of_kind(labels, kind, severity="severe"):
    found = labels[(labels.kind == kind) & (labels.severity == severity)]
    assert len(found), f"no {severity} {kind} among the labels: take another seed"
    return list(found.itertuples())


def test_labels_have_their_schema_when_there_are_none():
    assert fault_labels(MACHINES, 1, 0, MONDAY, MONDAY + WEEK).equals(LABELS.empty_table())


def test_labels_are_as_many_as_the_rate_says_when_the_plant_is_large():
    found = fault_labels(synthetic_machines(2000), 1, 2, MONDAY, MONDAY + WEEK)
    own = found.filter(pa.compute.not_equal(found["kind"], "frequency_excursion"))
    # One kind of eleven is the whole plant's.
    assert len(own) == pytest.approx(2000 * 2 * 10 / 11, rel=0.1)
    assert set(own["kind"].to_pylist()) == set(kinds()) - {"frequency_excursion"}
    assert set(own["severity"].to_pylist()) == set(SEVERITIES)


def test_labels_lie_within_a_week_when_their_severity_has_a_length(labels):
    for label in labels.itertuples():
        shortest, longest, _ = kinds()[label.kind][label.severity]
        hours = (label.end - label.start).total_seconds() / 3600
        assert shortest - 0.001 <= hours <= longest
        first, last = label.start.value // 10**6, label.end.value // 10**6 - 1
        assert (first - MONDAY) // WEEK == (last - MONDAY) // WEEK


def test_readings_are_those_of_a_healthy_plant_when_no_fault_is_felt(healthy, faulty):
    plant = make_plant(MACHINES, SEED, 4)
    felt = faults_of(plant, MONDAY, MONDAY + WEEK)
    names = [machine.equipment_id for machine in MACHINES]
    times = faulty.index.get_level_values("timestamp").asi8
    touched = np.zeros(len(faulty), dtype=bool)
    for fault in felt:
        # Load is interpolated on a grid of five minutes, and five hours of it are remembered as heat.
        before, after = (5 * MINUTE, 6 * HOUR) if fault.kind == "idle_waste" else (0, 0)
        own = faulty.index.get_level_values("equipment_id") == names[fault.place]
        touched |= own & (times >= fault.start - before) & (times < fault.felt_until + after)
    assert 0.05 < touched.mean() < 0.9
    untouched = faulty[~touched].drop(columns="json")
    assert untouched.equals(healthy.drop(columns="json").loc[untouched.index])


def test_readings_are_the_same_when_made_in_parts(faulty):
    cuts = [MONDAY, MONDAY + 7 * HOUR, MONDAY + 71 * HOUR + 1, MONDAY + WEEK]
    parts = [read(4, begin, end)[0] for begin, end in pairwise(cuts)]
    assert pa.concat_tables(parts).to_pandas().set_index(["equipment_id", "timestamp"]).equals(faulty)


@pytest.mark.parametrize(
    ("kind", "measurement", "low", "high"),
    [
        ("voltage_sag", "voltage", 0.64, 0.66),
        ("voltage_swell", "voltage", 1.24, 1.26),
        ("phase_imbalance", "current", 1.39, 1.41),
    ],
)
def test_value_is_multiplied_when_a_fault_is_there_at_once(kind, measurement, low, high):
    for seed in range(1, 30):
        labels = fault_labels(MACHINES, seed, 2, MONDAY, MONDAY + WEEK).to_pandas()
        alone = [
            label
            for label in labels[(labels.kind == kind) & (labels.severity == "severe")].itertuples()
            if (labels.equipment_id == label.equipment_id).sum() == 1
        ]
        if alone:
            break
    label = alone[0]
    start, end = (time.value // 10**6 for time in (label.start, label.end))
    machines = [machine for machine in MACHINES if machine.equipment_id == label.equipment_id]
    with_fault, without = (read(rate, start, end, machines, seed, 10_000)[0][measurement].to_numpy() for rate in (2, 0))
    assert len(with_fault) > 10
    running = without > np.median(without) / 2
    assert low < np.median(with_fault[running] / without[running]) < high


def test_vibration_grows_when_a_bearing_wears(healthy, faulty, labels):
    label = of_kind(labels, "bearing_wear")[0]
    early, late = (
        during(faulty, label, begin, end).vibration.mean() / during(healthy, label, begin, end).vibration.mean()
        for begin, end in ((0.0, 0.2), (0.9, 1.0))
    )
    assert early < 1.3
    assert late > 3.5


def test_power_factor_falls_and_current_rises_when_compensation_decays(healthy, faulty, labels):
    label = of_kind(labels, "power_factor_decay")[0]
    with_fault, without = during(faulty, label, 0.8), during(healthy, label, 0.8)
    assert with_fault.power_factor.mean() < without.power_factor.mean() - 0.1
    assert with_fault.current.mean() > without.current.mean()


def test_temperature_rises_slowly_and_falls_back_when_cooling_was_lost(healthy, faulty, labels):
    label = of_kind(labels, "overheating")[0]
    rise = (faulty.temperature - healthy.temperature).loc[label.equipment_id]
    lost = rise[(rise.index >= label.start) & (rise.index < label.end)]
    assert lost.iloc[0] < 2
    assert lost.max() > 10 or during(healthy, label).current.mean() < 1
    assert rise[rise.index >= label.end + np.timedelta64(3 * HOUR, "ms")].head(5).abs().max() < 1


def test_sensor_puts_out_one_value_when_it_is_stuck(healthy, faulty, labels):
    for label in of_kind(labels, "sensor_stuck"):
        values = during(faulty, label)[label.measurement]
        assert values.nunique() == 1 or (labels.equipment_id == label.equipment_id).sum() > 1
        assert during(healthy, label)[label.measurement].nunique() > 10


def test_frequency_leaves_its_limits_for_all_when_the_grid_does(faulty, labels):
    label = of_kind(labels, "frequency_excursion", "moderate")[0]
    assert (labels[labels.start == label.start].equipment_id.nunique()) == len(MACHINES)
    away = (faulty.frequency - 50).abs().groupby("timestamp").min()
    assert away[(away.index >= label.start) & (away.index < label.end)].min() > 1


def test_readings_are_missing_when_they_drop_out(made, faulty, labels):
    _, counts = made
    label = of_kind(labels, "dropout")[0]
    assert during(faulty, label).empty
    assert counts["dropped"] == len(MACHINES) * WEEK // (5 * MINUTE) - len(faulty)


def test_machine_runs_empty_when_it_idles(healthy, faulty, labels):
    label = of_kind(labels, "idle_waste")[0]
    steady = during(faulty, label, 0.1, 0.9).current
    assert steady.std() / steady.mean() < 0.1
    assert not np.allclose(steady, during(healthy, label, 0.1, 0.9).current.reindex(steady.index))
