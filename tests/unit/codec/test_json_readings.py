"""The readings of a block are those of the exact parser, whatever the values are."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from etl.codec import json_readings
from etl.codec.columns import DeadRecord, Part
from etl.codec.json_lines import SMALLEST_VALUES
from etl.codec.json_readings import json_parts
from etl.codec.json_records import decode_json, json_part
from etl.model.measurements import Measurement, Measurements
from tests.unit.codec.json_values import objects

MEASUREMENTS = Measurements(
    (Measurement("voltage", "double"), Measurement("class", "text"), Measurement("x", "double"))
)
# Deeper than any version of Python parses.
DEEP = b'{"other":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
GOOD = b'{"timestamp":"2026-01-05T06:00:00Z","voltage":230.1,"x":1}'

NAMES = ["timestamp", "voltage", "class", "x", "quality", "other", "field_x", "volt\\u0061ge", "X", "", '\\"', "\xb0"]
OBJECTS = objects(NAMES).map(str.encode)
VALUES = (
    st.just(GOOD)
    | OBJECTS
    | st.tuples(OBJECTS, st.sampled_from([b"", b",", b"\n", b"}", b"x"]), OBJECTS).map(b"".join)
    | st.sampled_from([b"", b" ", b"{", b"}", b"[]", b"7", b"null", b"\xef\xbb\xbf" + GOOD, b'{"\xff":1}'])
    | st.sampled_from([b'{"class":"', b'"}', b'{"a":{}', b"{}}", b'{"a":[{}', b"{}]}", GOOD + b"\n", b'{"x":"\xff"}'])
    | st.binary(max_size=8)
)


def exact(values: list[bytes], measurements: Measurements) -> tuple[list[Part], list[DeadRecord]]:
    """Read each value alone, with the exact parser."""
    dead: list[DeadRecord] = []
    parts = [decode_json({at: value}, dead) for at, value in enumerate(values)]
    return [json_part(found, measurements) for found in parts if found], dead


def rows(parts: list[Part]) -> list[tuple[Any, ...]]:
    """Return position, cells, flags and note of each reading by position; a double as its text in base 16."""
    found = []
    for part in parts:
        cells = [[v.hex() if type(v) is float else v for v in column.to_pylist()] for column in part.columns]
        flags = [[False] * len(part.positions) if mask is None else mask.tolist() for mask in part.bad]
        notes = part.notes or [None] * len(part.positions)
        found += zip(part.positions.tolist(), part.indexes.tolist(), *cells, *flags, notes, strict=True)
    return sorted(found, key=lambda row: row[0])


@example([b'{"timestamp":18446744073709551616}'], ["double"] * 3)
@example([b'{"timestamp":-9223372036854775809}'], ["double"] * 3)
@example([b'{"timestamp":-0}'], ["double"] * 3)
@given(st.lists(VALUES, max_size=6), st.lists(st.sampled_from(["double", "text"]), min_size=3, max_size=3))
def test_json_parts_when_values_are_of_any_kind_equal_the_exact_ones(values: list[bytes], types: list[Any]) -> None:
    named = zip(MEASUREMENTS.declared, types, strict=True)
    measurements = Measurements(tuple(replace(measurement, type=kind) for measurement, kind in named))
    dead: list[DeadRecord] = []
    found = json_parts(dict(enumerate(values)), measurements, dead)
    parts, letters = exact(values, measurements)
    assert rows(found) == rows(parts)
    assert sorted(dead) == letters
    for part in found:
        assert [column.type for column in part.columns[2:]] == [m.arrow for m in measurements.declared]


@pytest.fixture
def exactly(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The values that were parsed exactly."""
    seen: list[bytes] = []

    def counted(values: dict[int, bytes], dead: list[DeadRecord]) -> dict[int, Any]:
        seen.extend(values.values())
        return decode_json(values, dead)

    monkeypatch.setattr(json_readings, "decode_json", counted)
    return seen


@pytest.mark.parametrize(
    "bad",
    [b"{", b"", b"[1]", b'{"x":"1"}', b'{"x":nan}', b"{},{}", DEEP, b'{"\xff":1}', b'{"x":"'],
)
def test_json_parts_when_a_few_values_do_not_fit_parse_only_their_neighbours_exactly(bad, exactly):
    values = [GOOD] * 10_000
    for at in (0, 5_000, 9_999):
        values[at] = bad
    assert sum(len(part.positions) for part in json_parts(dict(enumerate(values)), MEASUREMENTS, [])) >= 9_997
    assert bad in exactly
    assert len(exactly) <= 3 * SMALLEST_VALUES


@pytest.mark.parametrize(
    "value",
    [
        GOOD + b"\n",
        b'\r\n{"x": 1,\n "voltage": 2.5,\r\n "timestamp": 1767592800000}\n',
        b'{"x":null,"timestamp":1.5}',
        b'{"unknown":{"a":[1,"\xc2\xb0\\u00b0"]},"class":"a\\"b","quality":192}',
        b"{}",
    ],
)
def test_json_parts_when_values_are_good_parse_none_exactly(value, exactly):
    (part,) = json_parts(dict(enumerate([value] * 700)), MEASUREMENTS, [])
    assert len(part.positions) == 700
    assert not exactly


@pytest.mark.parametrize(
    "values",
    [
        [b'{"x":1}{"x":2}', b" "],
        [b'{"x":1}{"x":2}', b""],
        [b'{"a":', b'{"x":1}}{"x":2}'],
        [b'{"a":{}', b'{"x":1}}', b'{"x":1}{"x":2}{"x":3}'],
        [b'{"x":1', b'}{"x":2}'],
    ],
)
def test_json_parts_when_neighbours_make_up_good_lines_refuse_them(values: list[bytes]) -> None:
    # Joined by line breaks they are as many objects.
    dead: list[DeadRecord] = []
    assert not json_parts(dict(enumerate(values)), MEASUREMENTS, dead)
    assert [letter.position for letter in dead] == list(range(len(values)))
