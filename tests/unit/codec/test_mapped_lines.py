"""The readings of a block with a mapping are those of the exact parser, whatever the records are."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.codec import mapped
from etl.codec.envelope import Decoded, decode
from etl.codec.foreign import Foreign
from etl.codec.formats import open_parser
from etl.codec.json_lines import SMALLEST_VALUES
from etl.codec.mapped_lines import paths_of
from etl.kafka.records import Records
from etl.mapping.topics import read_topic_mappings
from etl.model.measurements import read_measurements
from tests.unit.codec.json_values import BLANKS, CELLS, objects

MEASUREMENTS = read_measurements()
MAPPINGS = {
    "flat": "timestamp: t\nequipment: id\nquality: q\nmeasurements: {voltage: U, current: a}\n",
    "nested": "timestamp: t\nequipment: a.id\nmeasurements: {voltage: a.U, current: a.a.U}\n",
    "array": "readings: m\nequipment: $.id\ntimestamp: t\nmeasurements: {voltage: U, current: a.U}\n",
    "deep": "readings: a.m\nequipment: $.a.id\ntimestamp: $.t\nmeasurements: {voltage: U}\n",
    "long": "readings: m\nequipment: $.id\ntimestamp: t\ntag: id\nvalue: U\nquality: q\nmeasurements: {voltage: x}\n",
    "key": "timestamp: $time\nmeasurements: {voltage: \"['U']\", current: a.U}\n",
}
NAMES = ["t", "id", "U", "a", "q", "m", "a.U", "$key", "$.id", "n"]
INNER = objects(NAMES) | objects(NAMES, CELLS | objects(NAMES))
ARRAYS = st.lists(INNER | CELLS, max_size=3).map(lambda items: f"[{','.join(items)}]")
# Some programs encode an object or an array twice.
TEXTS = (INNER | ARRAYS).map(json.dumps)
RECORDS = (
    objects(NAMES, CELLS | INNER | ARRAYS | TEXTS) | ARRAYS | TEXTS | st.tuples(ARRAYS, BLANKS, ARRAYS).map("".join)
).map(str.encode)
GOOD = b'{"t":1767592800000,"a":{"id":"m","U":230.1,"a":{"U":1}},"seq":7}'


def reader(name: str, folder: Path) -> Foreign:
    path = folder / f"{name}.yaml"
    path.write_text(MAPPINGS[name])
    columns = read_topic_mappings(path, MEASUREMENTS, ["topic"])["topic"]
    return mapped.foreign(columns, open_parser(columns.record, folder))


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Foreign]:
    return {name: reader(name, tmp_path_factory.mktemp("mapping")) for name in MAPPINGS}


@pytest.fixture(scope="module")
def exact_readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Foreign]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "paths_of", lambda *_: None)
        return {name: reader(name, tmp_path_factory.mktemp("mapping")) for name in MAPPINGS}


def read(values: Sequence[bytes], foreign: Foreign) -> Decoded:
    number = len(values)
    block = Records([0] * number, list(range(number)), [5] * number, [b"k"] * number, list(values), [()] * number)
    return decode(block, "topic", MEASUREMENTS, foreign)


def shown(decoded: Decoded) -> list[Any]:
    # The text of a double has all its digits, and tells -0.0 from 0.0.
    tables = [table.to_pylist() for table in (decoded.readings, decoded.records, decoded.dead_letters)]
    return [*map(repr, tables), decoded.sizes.tolist(), decoded.unknown]


@pytest.mark.parametrize("name", MAPPINGS)
@example(values=[b'{"t":18446744073709551616,"id":"m","U":18446744073709551617}'])
@example(values=[b'{"t":1,"a":{"id":"m","U":1},"a.U":2}'])
@settings(max_examples=50)
@given(values=st.lists(RECORDS, min_size=1, max_size=4))
def test_decode_when_records_are_of_any_kind_equals_the_exact_reader(readers, exact_readers, name, values):
    assert shown(read(values, readers[name])) == shown(read(values, exact_readers[name]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flat", {"t": "2026-01-05T06:00:00Z", "id": 17, "U": "1,5", "a": True, "q": None, "n": {"deep": [1]}}),
        ("nested", {"t": 1, "a": {"id": "m", "U": 1, "a": {"U": 2, "other": 3}, "more": 4}, "n": 5}),
        ("array", {"id": "m", "other": 1, "m": [{"t": 1, "U": 2, "a": {"U": 3}}, {"t": 2}, {"new": 4}]}),
        ("array", {"id": "m", "m": []}),
        ("deep", {"t": 7, "a": {"id": "m", "m": [{"U": 1}, {"U": 2, "n": 3}]}}),
        ("long", {"id": "m", "m": [{"t": 1, "id": "x", "U": 2, "q": "Bad"}, {"t": 1, "id": "y", "U": 3}]}),
        ("flat", [{"t": 1, "id": "m", "U": 2}, {"t": 2, "id": "m", "n": 5}]),
        ("key", {"a": {"U": 1}}),
    ],
)
def test_decode_when_records_have_the_shape_of_the_mapping_parses_none_exactly(
    readers, exact_readers, monkeypatch, name, value
):
    values = [json.dumps(value, indent=indent).encode() for indent in (None, 2)] * 300
    wanted = shown(read(values, exact_readers[name]))
    monkeypatch.setattr(mapped, "explode", None)
    assert shown(read(values, readers[name])) == wanted


@pytest.mark.parametrize(
    "bad", [b"{", b"", b"7", b"[]", b'{"new":1}', b'{"a":null}', b'{"a":{"U":[1]}}', b'{"a":{"U":nan}}']
)
def test_decode_when_a_few_records_do_not_fit_parses_only_their_neighbours_exactly(
    readers, exact_readers, monkeypatch, bad
):
    seen: list[int] = []

    def counted(items: dict[int, Any], *more: Any, **options: Any) -> Any:
        seen.extend(items)
        return explode(items, *more, **options)

    explode = mapped.explode
    monkeypatch.setattr(mapped, "explode", counted)
    values = [GOOD] * 10_000
    for at in (1, 5_000, 9_999):
        values[at] = bad
    wanted = shown(read(values, exact_readers["nested"]))
    seen.clear()
    assert shown(read(values, readers["nested"])) == wanted
    assert len(seen) <= 3 * SMALLEST_VALUES


@pytest.mark.parametrize(
    ("columns", "readings"),
    [
        (["$name", "x"], "*"),
        (["a[0]"], None),
        (["a", "a.b"], None),
        (["$key"], None),
        (["$.a"], None),
        (["x"], "[0].m"),
    ],
)
def test_paths_of_when_objects_of_a_fixed_type_cannot_hold_the_cells_are_none(columns, readings):
    assert paths_of(columns, readings) is None
