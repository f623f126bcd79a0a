"""Parts of readings that become one row, against a value-by-value model of the sentences in docs/delivery.md."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from etl.stages.transform.classify import (
    CONFLICTING,
    DUPLICATE,
    LATE_REJECTED,
    LOADED,
    MERGED,
    NO_WATERMARK,
)
from etl.stages.transform.lookup import time_of
from etl.stages.transform.merge import Merged, merge, replaced

NAMES = ["voltage", "state", "current"]
TYPES = {"voltage": "float64", "state": "str", "current": "float64"}
Key = tuple[int, int]
Lost = tuple[Key, str, Any]


@dataclass(frozen=True)
class Part:
    key: Key
    record_time: int
    offset: int
    cells: tuple[tuple[str, Any], ...]
    bad: frozenset[str] = frozenset()

    @property
    def quality(self) -> str:
        return ",".join(name for name in NAMES if name in self.bad)


def part(offset: int, record_time: int | None = None, bad: str = "", key: Key = (0, 1), **cells: Any) -> Part:
    return Part(
        key,
        offset if record_time is None else record_time,
        offset,
        tuple(cells.items()),
        frozenset(bad.split(",")) - {""},
    )


Row = dict[str, tuple[Any, int]]


@dataclass
class World:
    """A table with Cassandra's rule (the larger write time of a cell wins), its watermarks, and all dead letters."""

    table: dict[Key, Row] = field(default_factory=dict)
    watermarks: dict[int, int] = field(default_factory=dict)
    # Parts, and replaced values of the table, that are on the topic of dead letters.
    conflicting: set[Part] = field(default_factory=set)
    superseded: set[Lost] = field(default_factory=set)

    def run(
        self, parts: Iterable[Part], lateness: int | None = None, only: set[int] | None = None
    ) -> tuple[Merged, list[Part]]:
        """Classify and load; with `only`, crash after these of the lines, before the watermarks."""
        ordered = sorted(parts, key=lambda each: each.key)
        readings, stored = self._readings(ordered), self._stored(ordered)
        merged = merge(readings, stored, NAMES, lateness)
        self.conflicting |= {p for p, code in zip(ordered, merged.code, strict=True) if code == CONFLICTING}
        if len(merged.beaten):
            rows, by = replaced(stored, merged.beaten, NAMES)
            assert len(rows) == len({ordered[at] for at in by})
            for row, at in zip(rows.to_dict("records"), by, strict=True):
                self.superseded |= {(ordered[at].key, name, row[name]) for name in NAMES if not pd.isna(row[name])}
        lines = merged.writes.to_dict("records")
        for number, line in enumerate(lines):
            if only is None or number in only:
                self._write(ordered[line["position"]].key, line)
        if only is None:
            for line in lines:
                equipment, timestamp = ordered[line["position"]].key
                self.watermarks[equipment] = max(timestamp, self.watermarks.get(equipment, timestamp))
        return merged, ordered

    def _write(self, key: Key, line: dict[Any, Any]) -> None:
        row, time = self.table.setdefault(key, {}), line["write_time"]
        for name in (*NAMES, "quality"):
            value = line[name]
            if value is None or value != value:
                continue
            if name not in row or time > row[name][1]:
                row[name] = (value, time)
            elif time == row[name][1]:
                assert value == row[name][0], "two values of a cell with one write time: Cassandra keeps the larger one"

    def _readings(self, ordered: list[Part]) -> pd.DataFrame:
        columns = {
            "equipment": np.array([p.key[0] for p in ordered], dtype=np.int64),
            "timestamp": np.array([p.key[1] for p in ordered], dtype=np.int64),
            "watermark": np.array([self.watermarks.get(p.key[0], NO_WATERMARK) for p in ordered], dtype=np.int64),
            "record_time": np.array([p.record_time for p in ordered], dtype=np.int64),
            "partition": np.zeros(len(ordered), dtype=np.int32),
            "offset": np.array([p.offset for p in ordered], dtype=np.int64),
            "index": np.zeros(len(ordered), dtype=np.int32),
            "quality": pd.array([p.quality for p in ordered], dtype="str"),
        }
        columns |= {
            name: pd.array([dict(p.cells).get(name, np.nan) for p in ordered], dtype=kind)
            for name, kind in TYPES.items()
        }
        return pd.DataFrame(columns)

    def _stored(self, ordered: list[Part]) -> pd.DataFrame:
        keys = sorted(
            {p.key for p in ordered if p.key in self.table and p.key[1] <= self.watermarks.get(p.key[0], NO_WATERMARK)}
        )
        if not keys:
            # As transform makes it: without types.
            times = [time_of(name) for name in NAMES]
            return pd.DataFrame(columns=["equipment", "timestamp", "write_time", *NAMES, "quality", *times])
        rows = [self.table[key] for key in keys]
        columns = {
            "equipment": np.array([key[0] for key in keys], dtype=np.int64),
            "timestamp": np.array([key[1] for key in keys], dtype=np.int64),
            "write_time": np.array([row.get("quality", ("", -1))[1] for row in rows], dtype=np.int64),
            "quality": pd.array([row.get("quality", (None,))[0] for row in rows], dtype="str"),
        }
        for name, kind in TYPES.items():
            columns[name] = pd.array([row.get(name, (np.nan,))[0] for row in rows], dtype=kind)
            columns[time_of(name)] = np.array([row.get(name, (None, -1))[1] for row in rows], dtype=np.int64)
        return pd.DataFrame(columns)

    @property
    def values(self) -> dict[Key, dict[str, Any]]:
        return {key: {name: value for name, (value, _) in row.items()} for key, row in self.table.items()}


def expected(parts: Iterable[Part]) -> dict[Key, dict[str, Any]]:
    """The table: the last value of each measurement, and the names of those that only had bad ones."""
    table: dict[Key, dict[str, Any]] = {}
    bad: dict[Key, set[str]] = {}
    for each in sorted(parts, key=lambda p: (p.record_time, p.offset)):
        table.setdefault(each.key, {}).update(each.cells)
        bad.setdefault(each.key, set()).update(each.bad)
    for key, row in table.items():
        row["quality"] = ",".join(name for name in NAMES if name in bad[key] and name not in row)
    return table


def lost(parts: list[Part]) -> set[Lost]:
    """The values that others replaced, without those between two equal ones of a millisecond: a limit of the docs."""
    table, found = expected(parts), set()
    moments: dict[tuple[Key, str, int], list[Any]] = {}
    for each in sorted(parts, key=lambda p: (p.record_time, p.offset)):
        for name, value in each.cells:
            moments.setdefault((each.key, name, each.record_time), []).append(value)
            if table[each.key][name] != value:
                found.add((each.key, name, value))
    for (key, name, _), line in moments.items():
        for value in set(line):
            between = line[line.index(value) : len(line) - line[::-1].index(value)]
            found -= {(key, name, other) for other in between if other != value}
    return found


def kept(world: World) -> set[Lost]:
    """All values that dead letters hold."""
    return world.superseded | {(p.key, name, value) for p in world.conflicting for name, value in p.cells}


CHOICES = {"voltage": [1.0, 2.0], "state": ["on", "off"], "current": [5.0, 6.0]}


@st.composite
def streams(draw: st.DrawFn, conflicts: bool = True, same_moment: bool = True) -> list[Part]:
    """Parts in Kafka's order: offsets rise, record times never fall."""
    fixed = {(key, name): draw(st.sampled_from(CHOICES[name])) for key in range(4) for name in NAMES}
    time, parts = 1000, []
    for offset in range(draw(st.integers(1, 14))):
        key = (draw(st.integers(0, 1)), draw(st.integers(0, 1)))
        has = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
        bad = draw(st.sets(st.sampled_from(NAMES), max_size=2)) - set(has)
        cells = {
            name: draw(st.sampled_from(CHOICES[name])) if conflicts else fixed[key[0] * 2 + key[1], name]
            for name in NAMES
            if name in has
        }
        time += draw(st.sampled_from([0, 0, 1, 5] if same_moment else [1, 5]))
        parts.append(Part(key, time, offset, tuple(cells.items()), frozenset(bad)))
    return parts


cuts_of = st.lists(st.integers(0, 14), max_size=4)


def pieces(parts: list[Part], cuts: list[int]) -> list[list[Part]]:
    return [parts[start:end] for start, end in pairwise([0, *sorted(cuts), len(parts)]) if parts[start:end]]


def classes_of(parts: list[Part]) -> dict[Part, int]:
    """The classes when the table is empty, part by part."""
    held: dict[tuple[Key, str], tuple[Any, Part]] = {}
    adds: list[Part] = []
    conflicting: set[Part] = set()
    for each in sorted(parts, key=lambda p: (p.record_time, p.offset)):
        for name, value in each.cells:
            before = held.get((each.key, name))
            if before and before[0] == value:
                continue
            if before:
                conflicting.add(before[1])
            held[each.key, name] = value, each
            if each not in adds:
                adds.append(each)
    code, led = {}, set()
    for each in adds:
        if each not in conflicting:
            code[each] = MERGED if each.key in led else LOADED
            led.add(each.key)
    return {each: CONFLICTING if each in conflicting else code.get(each, DUPLICATE) for each in parts}


@given(streams())
def test_merge_classifies_each_part_when_the_table_is_empty(parts: list[Part]) -> None:
    merged, ordered = World().run(parts)
    assert dict(zip(ordered, merged.code.tolist(), strict=True)) == classes_of(parts)
    keys = {p.key for p in parts}
    assert int((merged.code == LOADED).sum()) == len(keys)
    assert {ordered[at].key for at in merged.writes["position"]} == keys


@given(streams(), cuts_of)
def test_merge_gives_the_same_table_and_letters_when_the_stream_is_split_in_order(
    parts: list[Part], cuts: list[int]
) -> None:
    world, whole = World(), World()
    whole.run(parts)
    for piece in pieces(parts, cuts):
        world.run(piece)
    assert world.values == whole.values == expected(parts)
    assert lost(parts) <= kept(world)
    assert lost(parts) <= kept(whole)


@given(streams(conflicts=False), st.randoms(use_true_random=False), cuts_of)
def test_merge_gives_the_same_table_when_conflict_free_parts_come_in_any_order_and_twice(
    parts: list[Part], random: Any, cuts: list[int]
) -> None:
    shuffled = [*parts, *parts]
    random.shuffle(shuffled)
    shuffled = [Part(p.key, 1000 + n // 2, n, p.cells, p.bad) for n, p in enumerate(shuffled)]
    runs = pieces(shuffled, cuts)
    random.shuffle(runs)
    world = World()
    for piece in runs:
        world.run(piece)
    assert world.values == expected(parts)
    assert not kept(world)


@given(streams(), st.randoms(use_true_random=False), cuts_of)
def test_quality_is_the_newest_cell_of_its_row_when_parts_come_in_any_order(
    parts: list[Part], random: Any, cuts: list[int]
) -> None:
    world = World()
    for piece in pieces(random.sample(parts, len(parts)), cuts):
        world.run(piece)
    for row in world.table.values():
        assert row["quality"][1] == max(time for _, time in row.values())


@given(streams(same_moment=False), st.randoms(use_true_random=False), cuts_of)
def test_merge_gives_the_same_table_when_parts_of_several_moments_come_in_any_order(
    parts: list[Part], random: Any, cuts: list[int]
) -> None:
    # A value that comes again keeps the place of the first one, so here none does.
    parts = [
        replace(each, cells=tuple((name, CHOICES[name][0] * (n + 1)) for name, _ in each.cells))
        for n, each in enumerate(parts)
    ]
    runs = pieces(random.sample(parts, len(parts)), cuts)
    world = World()
    for piece in runs:
        world.run(piece)
    assert world.values == expected(parts)
    assert lost(parts) <= kept(world)


@given(streams(), st.integers(0, 14), st.integers(1, 14), st.sets(st.integers(0, 14)))
def test_merge_ends_the_same_when_a_run_crashes_anywhere_and_a_longer_one_follows(
    parts: list[Part], begin: int, cut: int, only: set[int]
) -> None:
    world, plain = World(), World()
    for each in (world, plain):
        if parts[:begin]:
            each.run(parts[:begin])
    rest = parts[begin:] or parts
    world.run(rest[:cut], only=only)
    world.run(rest)
    plain.run(rest)
    assert world.values == plain.values
    # A stored value may be taken for an equal one of its millisecond: a limit of the docs.
    for key, row in world.table.items() if not parts[:begin] else ():
        # A crash between two lines of a row may let the text change more often.
        assert {n: row[n][1] for n in row if n != "quality"} == {
            n: plain.table[key][n][1] for n in row if n != "quality"
        }
    assert lost(parts) <= kept(world)


@given(streams(), st.integers(1, 14), st.sets(st.integers(0, 14)))
def test_merge_loses_nothing_when_a_longer_run_is_given_up_and_an_older_one_ends(
    parts: list[Part], cut: int, only: set[int]
) -> None:
    world = World()
    world.run(parts, only=only)
    world.run(parts[:cut])
    if parts[cut:]:
        world.run(parts[cut:])
    assert world.values == expected(parts)
    assert lost(parts) <= kept(world)


@given(streams(), cuts_of, st.integers(0, 14))
def test_merge_writes_nothing_and_makes_the_same_letters_when_a_run_is_repeated(
    parts: list[Part], cuts: list[int], begin: int
) -> None:
    world = World()
    for piece in pieces(parts, cuts):
        world.run(piece)
    table, letters = {key: dict(row) for key, row in world.table.items()}, world.superseded | set()
    world.conflicting.clear()
    again, _ = world.run(parts[begin:] or parts)
    assert not len(again.writes)
    assert world.table == table
    assert world.superseded == letters
    assert np.isin(again.code, [DUPLICATE, CONFLICTING]).all()
    assert lost(parts[begin:] or parts) & lost(parts) <= kept(world) | letters


@given(streams(), streams(), st.sampled_from([None, 0, 1]))
def test_merge_balances_when_anything_comes(first: list[Part], second: list[Part], lateness: int | None) -> None:
    world = World()
    world.run(first)
    held, watermarks = set(world.table), dict(world.watermarks)
    later = [Part(p.key, p.record_time + 100, p.offset + 100, p.cells, p.bad) for p in second]
    merged, ordered = world.run(later, lateness)
    assert len(merged.code) == len(later)
    loaded = [each.key for each, code in zip(ordered, merged.code, strict=True) if code == LOADED]
    written = {ordered[at].key for at in merged.writes["position"]}
    assert len(loaded) == len(set(loaded))
    assert set(loaded) <= written
    for each, code, late in zip(ordered, merged.code, merged.late, strict=True):
        behind = watermarks.get(each.key[0], each.key[1] - 1) - each.key[1]
        is_late = each.key not in held and behind >= 0
        too_late = is_late and lateness is not None and behind > lateness
        if too_late:
            assert code in (LATE_REJECTED, CONFLICTING, DUPLICATE)
            assert each.key not in written
        else:
            assert code != LATE_REJECTED
        assert late == (is_late and code in (LOADED, MERGED))
        assert (code == MERGED) <= (each.key in loaded)


def test_merge_writes_only_the_new_values_when_a_part_completes_a_stored_row() -> None:
    world = World()
    world.run([part(5, voltage=230.0)])
    merged, _ = world.run([part(9, current=12.0)])
    assert merged.code.tolist() == [LOADED]
    (line,) = merged.writes.to_dict("records")
    assert (line["current"], line["write_time"], line["quality"]) == (12.0, 9000, "")
    assert np.isnan(line["voltage"])
    assert world.table[0, 1] == {"voltage": (230.0, 5000), "current": (12.0, 9000), "quality": ("", 9000)}


def test_merge_writes_one_line_when_parts_of_a_row_come_in_one_millisecond() -> None:
    merged, _ = World().run([part(0, 5, voltage=230.0), part(1, 5, current=12.0), part(2, 5, state="on")])
    assert merged.code.tolist() == [LOADED, MERGED, MERGED]
    (line,) = merged.writes.to_dict("records")
    assert (line["voltage"], line["current"], line["state"]) == (230.0, 12.0, "on")


def test_merge_replaces_only_the_value_that_differs_when_two_parts_conflict_in_one_millisecond() -> None:
    world = World()
    parts = [part(0, 5, voltage=230.0, current=12.0), part(1, 5, voltage=231.0, state="on")]
    merged, _ = world.run(parts)
    assert merged.code.tolist() == [CONFLICTING, LOADED]
    assert world.table[0, 1] == {
        "voltage": (231.0, 5001),
        "current": (12.0, 5000),
        "state": ("on", 5000),
        "quality": ("", 5001),
    }


def test_merge_keeps_only_the_replaced_values_of_a_row_when_a_part_supersedes_them() -> None:
    world = World()
    world.run([part(5, voltage=230.0, current=12.0, state="on")])
    world.run([part(9, voltage=231.0, current=12.0)])
    assert world.superseded == {((0, 1), "voltage", 230.0)}
    assert world.values[0, 1] == {"voltage": 231.0, "current": 12.0, "state": "on", "quality": ""}


def test_merge_completes_the_row_when_a_conflicting_part_has_other_values() -> None:
    world = World()
    world.run([part(9, voltage=231.0)])
    merged, _ = world.run([part(5, voltage=230.0, current=12.0)])
    assert merged.code.tolist() == [CONFLICTING]
    assert world.values[0, 1] == {"voltage": 231.0, "current": 12.0, "quality": ""}


def test_quality_names_a_measurement_until_a_good_value_comes_when_parts_are_bad() -> None:
    world = World()
    world.run([part(5, bad="voltage,current", state="on")])
    assert world.values[0, 1]["quality"] == "voltage,current"
    world.run([part(6, voltage=230.0)])
    assert world.values[0, 1]["quality"] == "current"
    world.run([part(4, bad="voltage", state="on")])
    assert world.values[0, 1]["quality"] == "current"
    world.run([part(3, current=1.0)])
    assert world.values[0, 1]["quality"] == ""


def test_quality_keeps_a_name_when_its_measurement_is_no_longer_declared() -> None:
    world = World({(0, 1): {"voltage": (230.0, 5000), "quality": ("speed", 5000)}}, {0: 1})
    world.run([part(9, bad="current", state="on")])
    assert world.values[0, 1]["quality"] == "current,speed"


def test_merge_completes_a_row_of_another_writer_when_it_has_no_quality() -> None:
    world = World({(0, 1): {"voltage": (230.0, 5000)}}, {0: 1})
    merged, _ = world.run([part(4, voltage=230.0)])
    assert merged.code.tolist() == [DUPLICATE]
    assert world.table[0, 1] == {"voltage": (230.0, 5000), "quality": ("", 5001)}
