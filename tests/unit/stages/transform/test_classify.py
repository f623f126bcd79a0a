"""Classes of readings, against a reading-by-reading model of the sentences in docs/delivery.md."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from etl.stages.transform.classify import (
    CONFLICTING,
    DUPLICATE,
    LATE_REJECTED,
    LOADED,
    NO_WATERMARK,
    ORDER,
    Classes,
    classify,
)

VALUES = ["voltage", "state"]
Value = tuple[float | None, str | None]
Key = tuple[int, int]


@dataclass(frozen=True)
class Reading:
    key: Key
    record_time: int
    offset: int
    value: Value


@dataclass
class Row:
    value: Value
    write_time: int


def to_frame(readings: list[Reading], watermarks: dict[int, int]) -> pd.DataFrame:
    ordered = sorted(readings, key=lambda reading: reading.key)
    return pd.DataFrame(
        {
            "equipment": np.array([r.key[0] for r in ordered], dtype=np.int64),
            "timestamp": np.array([r.key[1] for r in ordered], dtype=np.int64),
            "watermark": np.array([watermarks.get(r.key[0], NO_WATERMARK) for r in ordered], dtype=np.int64),
            "record_time": np.array([r.record_time for r in ordered], dtype=np.int64),
            "partition": np.zeros(len(ordered), dtype=np.int32),
            "offset": np.array([r.offset for r in ordered], dtype=np.int64),
            "index": np.zeros(len(ordered), dtype=np.int32),
            "voltage": pd.array([np.nan if r.value[0] is None else r.value[0] for r in ordered], dtype="float64"),
            "state": pd.array([r.value[1] for r in ordered], dtype="str"),
        }
    )


def to_stored(table: dict[Key, Row], readings: list[Reading], watermarks: dict[int, int]) -> pd.DataFrame:
    keys = sorted({r.key for r in readings if r.key in table and r.key[1] <= watermarks.get(r.key[0], NO_WATERMARK)})
    return pd.DataFrame(
        {
            "equipment": np.array([k[0] for k in keys], dtype=np.int64),
            "timestamp": np.array([k[1] for k in keys], dtype=np.int64),
            "write_time": np.array([table[k].write_time for k in keys], dtype=np.int64),
            "voltage": pd.array(
                [np.nan if table[k].value[0] is None else table[k].value[0] for k in keys], dtype="float64"
            ),
            "state": pd.array([table[k].value[1] for k in keys], dtype="str"),
        }
    )


@dataclass
class World:
    """A table with Cassandra's rule (the larger write time wins, cell by cell), and its watermarks."""

    table: dict[Key, Row]
    watermarks: dict[int, int]

    def run(
        self, readings: list[Reading], lateness: int | None = None, upto: str = "commit"
    ) -> tuple[Classes, list[Reading]]:
        """Classify and load; `upto` tells where it crashes: before writes, before watermarks, or not at all."""
        classes = classify(
            to_frame(readings, self.watermarks), to_stored(self.table, readings, self.watermarks), VALUES, lateness
        )
        ordered = sorted(readings, key=lambda reading: reading.key)
        if upto == "nothing":
            return classes, ordered
        for reading, code, time, replaces in zip(
            ordered, classes.code, classes.write_time, classes.replaces, strict=True
        ):
            if code == LOADED:
                self.write(reading, int(time), bool(replaces))
        if upto == "commit":
            for reading, code in zip(ordered, classes.code, strict=True):
                if code == LOADED:
                    equipment, timestamp = reading.key
                    self.watermarks[equipment] = max(timestamp, self.watermarks.get(equipment, timestamp))
        return classes, ordered

    def write(self, reading: Reading, time: int, replaces: bool) -> None:
        row = self.table.get(reading.key)
        if row is None:
            self.table[reading.key] = Row(reading.value, time)
        elif time == row.write_time:
            assert row.value == reading.value, "two rows with one write time: Cassandra would mix their cells"
        elif time > row.write_time:
            kept = row.value if not replaces else (None, None)
            mixed = tuple(new if new is not None else old for new, old in zip(reading.value, kept, strict=True))
            self.table[reading.key] = Row((mixed[0], mixed[1]), time)


values = st.tuples(st.sampled_from([None, 1.0, 2.0]), st.sampled_from([None, "on"]))


@st.composite
def streams(draw: st.DrawFn, conflicts: bool = True) -> list[Reading]:
    """Readings in Kafka's order: offsets rise, record times never fall."""
    fixed: dict[Key, Value] = {}
    time, readings = 1000, []
    for offset in range(draw(st.integers(1, 14))):
        key = (draw(st.integers(0, 1)), draw(st.integers(0, 3)))
        value = draw(values) if conflicts else fixed.setdefault(key, draw(values))
        time += draw(st.sampled_from([0, 0, 1, 5]))
        readings.append(Reading(key, time, offset, value))
    return readings


def last_of_each_key(readings: list[Reading]) -> dict[Key, Value]:
    return {r.key: r.value for r in sorted(readings, key=lambda r: (r.record_time, r.offset))}


def values_of(world: World) -> dict[Key, Value]:
    return {key: row.value for key, row in world.table.items()}


@given(streams())
def test_classify_leaves_the_last_reading_of_each_key_when_the_table_is_empty(readings: list[Reading]) -> None:
    world = World({}, {})
    classes, _ = world.run(readings)
    assert values_of(world) == last_of_each_key(readings)
    assert np.isin(classes.code, [LOADED, DUPLICATE, CONFLICTING]).all()


@given(streams(), st.lists(st.integers(0, 14), max_size=4))
def test_classify_gives_the_same_table_when_the_stream_is_split_in_order(
    readings: list[Reading], cuts: list[int]
) -> None:
    world = World({}, {})
    bounds = [0, *sorted(cuts), len(readings)]
    for start, end in pairwise(bounds):
        if readings[start:end]:
            world.run(readings[start:end])
    assert values_of(world) == last_of_each_key(readings)


@given(streams(conflicts=False), st.randoms(use_true_random=False), st.integers(0, 14))
def test_classify_gives_the_same_table_when_conflict_free_input_comes_in_any_order_and_twice(
    readings: list[Reading], random: "st.DataObject", cut: int
) -> None:
    shuffled = [*readings, *readings]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    shuffled = [Reading(r.key, 1000 + n, n, r.value) for n, r in enumerate(shuffled)]
    world = World({}, {})
    for part in (shuffled[:cut], shuffled[cut:]):
        if part:
            classes, _ = world.run(part)
            assert not (classes.code == CONFLICTING).any()
    assert values_of(world) == last_of_each_key(readings)


@given(streams(), st.integers(1, 14), st.sampled_from(["nothing", "writes", "commit"]))
def test_classify_ends_the_same_when_a_run_crashes_and_a_longer_one_follows(
    readings: list[Reading], cut: int, upto: str
) -> None:
    world, plain = World({}, {}), World({}, {})
    world.run(readings[:cut], upto=upto)
    world.run(readings)
    plain.run(readings)
    assert values_of(world) == values_of(plain)
    assert {k: r.write_time for k, r in world.table.items()} == {k: r.write_time for k, r in plain.table.items()}


@given(streams(), streams())
def test_classify_makes_the_same_losers_when_a_run_is_repeated(first: list[Reading], second: list[Reading]) -> None:
    later = [Reading(r.key, r.record_time + 100, r.offset + 100, r.value) for r in second]
    world = World({}, {})
    world.run(first)
    before, ordered = world.run(later, upto="nothing")
    world.run(later)
    table = values_of(world)
    again, _ = world.run(later)
    assert values_of(world) == table
    assert (again.beaten_by < 0).all()
    assert not (again.code == LOADED).any()
    for reading, was, now in zip(ordered, before.code, again.code, strict=True):
        if was == CONFLICTING and now != CONFLICTING:
            # In one millisecond a reading that equals the row is taken for the one that was stored.
            assert reading.value == table[reading.key]
        if now == CONFLICTING and was != CONFLICTING:
            # It was a duplicate of a row that the run then replaced.
            assert was == DUPLICATE
            assert (before.beaten_by >= 0).any()


@given(streams(), streams(), st.sampled_from([None, 0, 1, 2]))
def test_classify_balances_when_anything_comes(
    first: list[Reading], second: list[Reading], lateness: int | None
) -> None:
    world = World({}, {})
    world.run(first)
    held = set(world.table)
    later = [Reading(r.key, r.record_time + 100, r.offset + 100, r.value) for r in second]
    watermarks = dict(world.watermarks)
    classes, ordered = world.run(later, lateness)
    assert len(classes.code) == len(later)
    for reading, code, late in zip(ordered, classes.code, classes.late, strict=True):
        equipment, timestamp = reading.key
        behind = watermarks.get(equipment, timestamp - 1) - timestamp
        absent = reading.key not in held
        if code == LATE_REJECTED:
            assert absent
            assert lateness is not None
            assert behind > lateness
        if code == LOADED:
            assert late == (absent and behind >= 0)
            assert lateness is None or not absent or behind <= lateness


def test_classify_lifts_the_write_time_when_two_conflict_in_one_millisecond() -> None:
    world = World({}, {})
    classes, _ = world.run([Reading((0, 1), 5, 0, (1.0, None)), Reading((0, 1), 5, 1, (2.0, None))])
    assert classes.code.tolist() == [CONFLICTING, LOADED]
    assert classes.write_time[1] == 5001
    assert classes.replaces.tolist() == [False, True]


def test_classify_lets_the_later_of_two_win_when_records_have_no_time() -> None:
    world = World({}, {})
    world.run([Reading((0, 5), -1, 0, (1.0, None))])
    classes, _ = world.run([Reading((0, 5), -1, 1, (2.0, None))])
    assert classes.code.tolist() == [LOADED]
    assert world.table[0, 5].value == (2.0, None)
    classes, _ = world.run([Reading((0, 5), -1, 0, (1.0, None)), Reading((0, 5), -1, 1, (2.0, None))])
    assert classes.code.tolist() == [CONFLICTING, DUPLICATE]


def test_classify_keeps_the_write_time_in_range_when_a_record_has_any_time() -> None:
    world = World({}, {})
    latest = np.iinfo(np.int64).max
    classes, _ = world.run([Reading((0, 5), latest, 0, (1.0, None)), Reading((0, 5), latest, 1, (2.0, None))])
    assert classes.code.tolist() == [CONFLICTING, LOADED]
    assert (classes.write_time > 0).all()
    assert world.table[0, 5].value == (2.0, None)


def test_classify_keeps_the_row_when_an_older_reading_is_read_again() -> None:
    world = World({(0, 1): Row((2.0, None), 9000)}, {0: 1})
    classes, _ = world.run([Reading((0, 1), 5, 0, (1.0, None))])
    assert classes.code.tolist() == [CONFLICTING]
    assert (classes.beaten_by < 0).all()


def test_classify_supersedes_the_row_when_a_later_reading_differs() -> None:
    world = World({(0, 1): Row((2.0, "on"), 9_000)}, {0: 1})
    classes, _ = world.run([Reading((0, 1), 9, 0, (1.0, None))])
    assert classes.beaten_by.tolist() == [0]
    assert world.table == {(0, 1): Row((1.0, None), 9001)}


def test_classify_names_the_next_reading_when_a_row_is_superseded_and_more_follow() -> None:
    world = World({(0, 1): Row((2.0, None), 9_000)}, {0: 1})
    values = [(1.0, None), (2.0, None), (3.0, None), (4.0, None)]
    classes, _ = world.run([Reading((0, 1), 7 + n, n, value) for n, value in enumerate(values)])
    assert classes.code.tolist() == [CONFLICTING, DUPLICATE, CONFLICTING, LOADED]
    assert classes.beaten_by.tolist() == [2]


def test_classify_needs_no_more_columns_than_the_order_when_nothing_is_contested() -> None:
    readings = to_frame([Reading((0, t), t, t, (1.0, None)) for t in range(5)], {0: 2})
    classes = classify(readings[["equipment", "timestamp", "watermark", *ORDER]], to_stored({}, [], {}), [])
    assert classes.late.tolist() == [True, True, True, False, False]
