"""Synthetic readings: what arrives in a range, whatever the ranges and chunks."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.model.catalogue import Machine, synthetic_machines
from etl.model.measurements import read_measurements
from etl.model.schemas import CHUNK_ROWS, generated
from etl.stages.generate import transport as synthetic
from etl.stages.generate.plant import make_plant
from etl.stages.generate.sensors import readings, slow_signals, steps_needed
from etl.stages.generate.transport import Transport, synthetic_readings

DEFAULT = read_measurements()
START = 1_767_603_600_000
MINUTE = 60_000
MIXED = [
    Machine(equipment_id=f"m{place}", interval_seconds=interval) for place, interval in enumerate([10, 1, 30, 7.5, 10])
]
ALL_TROUBLE = Transport(dropout=0.1, duplicate=0.15, late=0.2, late_by=3 * MINUTE, out_of_order=0.2)


def make(start=START, end=START + 5 * MINUTE, *, machines=MIXED, seed=1, measurements=DEFAULT, **options):
    counts = Counter()
    tables = synthetic_readings(machines, seed, measurements, start, end, counts=counts, **options)
    return pa.concat_tables([generated(measurements).empty_table(), *tables]), counts


def keys(table):
    times = table["timestamp"].cast(pa.int64()).to_pylist()
    return list(zip(table["equipment_id"].to_pylist(), times, strict=True))


def test_readings_are_on_the_grid_when_nothing_fails():
    table, counts = make()
    assert table.schema == generated(DEFAULT)
    expected = [
        (machine.equipment_id, time)
        for time in range(START, START + 5 * MINUTE, 500)
        for machine in MIXED
        if time % round(machine.interval_seconds * 1000) == 0
    ]
    assert keys(table) == expected
    assert counts["generated"] == len(expected)
    assert table["json"].null_count == len(table)


def test_readings_hold_the_signals_when_there_is_trouble():
    table, _ = make(machines=synthetic_machines(7), transport=ALL_TROUBLE)
    plant = make_plant(synthetic_machines(7), 1)
    times = table["timestamp"].cast(pa.int64()).to_numpy()
    names = [machine.equipment_id for machine in synthetic_machines(7)]
    place = np.array([names.index(name) for name in table["equipment_id"].to_pylist()])
    expected = readings(plant, DEFAULT, slow_signals(plant, DEFAULT, *steps_needed(times)), times, place)
    for name, values in expected.items():
        assert (table[name].to_numpy() == values).all()


@settings(max_examples=40)
@given(
    start=st.integers(0, 5 * MINUTE),
    lengths=st.lists(st.integers(1, 3 * MINUTE), min_size=1, max_size=4),
    transport=st.builds(
        Transport,
        dropout=st.sampled_from([0.0, 0.3]),
        duplicate=st.sampled_from([0.0, 0.3]),
        late=st.sampled_from([0.0, 0.3]),
        late_by=st.sampled_from([1, 10_000, 4 * MINUTE]),
        out_of_order=st.sampled_from([0.0, 0.3]),
    ),
    rows=st.sampled_from([3, 50, CHUNK_ROWS]),
)
def test_consecutive_ranges_are_the_whole_range_when_joined(start, lengths, transport, rows):
    bounds = [START + start, *(START + start + np.cumsum(lengths)).tolist()]
    whole, counts = make(bounds[0], bounds[-1], transport=transport)
    parts = []
    summed = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "CHUNK_ROWS", rows)
        for low, high in pairwise(bounds):
            for table in synthetic_readings(MIXED, 1, DEFAULT, low, high, transport=transport, counts=summed):
                assert len(table) <= rows
                parts.append(table)
    assert pa.concat_tables([whole.slice(0, 0), *parts]).equals(whole)
    assert summed == counts


def test_each_reading_arrives_once_when_all_have_arrived():
    clean = keys(make()[0])
    reach = 3 * MINUTE + 4 * 30_000
    table, _ = make(end=START + 5 * MINUTE + reach, transport=Transport(late=0.3, late_by=3 * MINUTE, out_of_order=0.3))
    arrived = [key for key in keys(table) if START <= key[1] < START + 5 * MINUTE]
    assert sorted(arrived) == sorted(clean)
    assert arrived != clean


def test_counts_match_rates_when_there_are_many():
    rates = {"dropout": 0.02, "duplicate": 0.03, "late": 0.04, "out_of_order": 0.05}
    table, counts = make(
        end=START + 30 * MINUTE, machines=synthetic_machines(100), transport=Transport(**rates, late_by=10 * MINUTE)
    )
    total = 100 * 30 * 60
    assert counts["generated"] == len(table)
    assert counts["dropped"] == pytest.approx(0.02 * total, rel=0.1)
    assert counts["duplicates"] == pytest.approx(0.03 * total, rel=0.1)
    assert counts["late"] == pytest.approx(0.04 * total, rel=0.1)
    assert counts["out_of_order"] == pytest.approx(0.05 * 0.96 * total, rel=0.1)
    assert len(table) - len(set(keys(table))) == pytest.approx(counts["duplicates"], rel=0.02)


def test_duplicates_are_equal_when_sent_twice():
    table, counts = make(machines=synthetic_machines(3), transport=Transport(duplicate=0.5))
    distinct = table.drop_columns("json").group_by(table.column_names[:-1]).aggregate([])
    assert len(distinct) == len(set(keys(table)))
    assert counts["duplicates"] > 100


def test_a_late_reading_comes_in_a_later_range_when_delayed_past_the_end():
    transport = Transport(late=0.5, late_by=4 * MINUTE)
    later, counts = make(START + 5 * MINUTE, START + 10 * MINUTE, transport=transport)
    before = [time for _, time in keys(later) if time < START + 5 * MINUTE]
    assert before
    assert counts["late"] > len(before) / 2
    assert min(before) >= START + MINUTE


def test_out_of_order_readings_are_overtaken_when_delayed():
    table, counts = make(machines=synthetic_machines(1), transport=Transport(out_of_order=0.1))
    times = [time for _, time in keys(table)]
    assert counts["out_of_order"] > 5
    assert times != sorted(times)
    assert max(early - late for early, late in zip(np.maximum.accumulate(times), times, strict=True)) <= 5000


def test_chunks_are_small_when_readings_are_wide(tmp_path):
    path = tmp_path / "wide.yaml"
    path.write_text("measurements:\n" + "".join(f"  m{number}: {{type: double}}\n" for number in range(200)))
    tables = synthetic_readings(
        synthetic_machines(100), 1, read_measurements(path), START, START + 10 * MINUTE, counts=Counter()
    )
    assert max(table.nbytes for table in tables) < 40 * 1024 * 1024


def test_interval_of_the_catalogue_gives_way_when_one_is_set():
    table, _ = make(interval=MINUTE)
    assert len(table) == 5 * len(MIXED)


def test_a_range_may_hold_nothing_when_it_is_short():
    counts = Counter()
    machines = [Machine(equipment_id="rare", interval_seconds=86_400)]
    tables = synthetic_readings(machines, 1, DEFAULT, START + 1, START + MINUTE, counts=counts)
    assert sum(map(len, tables)) == 0


def test_many_machines_make_bounded_chunks_when_each_reads_at_once():
    tables = list(synthetic_readings(synthetic_machines(10_000), 1, DEFAULT, START, START + 30_000, counts=Counter()))
    assert [len(table) for table in tables] == [250_000, 50_000]
