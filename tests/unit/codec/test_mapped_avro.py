"""The readings of a block of Avro records are those of the exact parser, whatever the records are."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.codec import mapped
from etl.codec.foreign import Foreign
from etl.codec.formats import open_parser
from etl.mapping.topics import read_topic_mappings
from tests.unit.codec.formats.test_avro import container, written
from tests.unit.codec.test_mapped_lines import MEASUREMENTS, read, shown

SCHEMA = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "t", "type": ["long", "string"]},
        {"name": "id", "type": ["null", "string", "int"]},
        {"name": "U", "type": ["null", "double", "string", "boolean"]},
        {
            "name": "a",
            "type": {
                "type": "record",
                "name": "Inner",
                "fields": [{"name": "U", "type": "float"}, {"name": "a", "type": ["null", "long"]}],
            },
        },
        {"name": "n", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    ],
}
PLAIN = json.loads(json.dumps(SCHEMA).replace("logicalType", "x"))
MAPPINGS = {
    "flat": "timestamp: t\nequipment: id\nmeasurements: {voltage: U, current: a.a}\n",
    "bad": "timestamp: t\nequipment: id\nbad: [-1]\nmissing: [0, x]\nquality: id\n"
    "measurements: {voltage: {column: a.U, scale: 2, values: {1: 7}}, current: {column: U, quality: a.U}}\n",
    "nested": "timestamp: t\nequipment: $key\nmeasurements: {voltage: a.U, current: n}\n",
    "missing": "timestamp: t\nequipment: id\nmeasurements: {voltage: x.y, current: z}\n",
    "of a text": "timestamp: t\nequipment: id\nmeasurements: {voltage: id.U, current: U}\n",
    "of an object": "timestamp: t\nequipment: id\nmeasurements: {voltage: a, current: U}\n",
    "long": "timestamp: t\nequipment: $key\ntag: id\nvalue: U\nmeasurements: {voltage: x}\n",
    "array": "readings: a\ntimestamp: $.t\nequipment: $key\nmeasurements: {voltage: U}\n",
}
VALUES = st.fixed_dictionaries(
    {
        "t": st.sampled_from([1_767_592_800_000, 0, -1, "2026-01-05T08:00:00Z", "x"]),
        "id": st.sampled_from([None, "m", 7, "", '{"U": 1.5}', "x"]),
        "U": st.none() | st.floats() | st.sampled_from(["1.5", "x", "Bad"]) | st.booleans(),
        "a": st.fixed_dictionaries({"U": st.floats(width=32), "a": st.none() | st.integers(-(2**63), 2**63 - 1)}),
        "n": st.binary(max_size=4),
    }
).map(lambda item: written(PLAIN, item))
RECORDS = VALUES | st.tuples(VALUES, st.integers(0, 40)).map(lambda each: each[0][: each[1]])
CONTAINER = container(PLAIN, [{"t": 1, "id": "m", "U": 1.5, "a": {"U": 1.0, "a": 2}, "n": b"\1"}] * 2, "null")


def readers(name: str, folder: Path) -> tuple[Foreign, Foreign]:
    """Return the reader of a mapping, and one with the exact parser alone."""
    (folder / "reading.avsc").write_text(json.dumps(SCHEMA))
    path = folder / f"{name}.yaml"
    path.write_text("record: {format: avro, schema_file: reading.avsc}\n" + MAPPINGS[name])
    columns = read_topic_mappings(path, MEASUREMENTS, ["topic"])["topic"]
    parse = open_parser(columns.record, folder)
    return mapped.foreign(columns, parse), mapped.foreign(columns, replace(parse, columns=None))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Foreign, Foreign]]:
    return {name: readers(name, tmp_path_factory.mktemp("mapping")) for name in MAPPINGS}


@pytest.mark.parametrize("name", MAPPINGS)
@settings(max_examples=50)
@given(values=st.lists(RECORDS | st.just(CONTAINER), min_size=1, max_size=5))
def test_decode_when_records_are_of_any_kind_equals_the_exact_parser(
    both: dict[str, tuple[Foreign, Foreign]], name: str, values: Sequence[bytes]
) -> None:
    fast, exact = both[name]
    assert shown(read(values, fast)) == shown(read(values, exact))


def test_decode_parses_no_record_alone_when_all_fit(
    both: dict[str, tuple[Foreign, Foreign]], monkeypatch: pytest.MonkeyPatch
) -> None:
    value = written(PLAIN, {"t": 1_767_592_800_000, "id": "m", "U": 1.5, "a": {"U": 1.0, "a": 2}, "n": b"\1"})
    monkeypatch.setattr(mapped, "_parsed_elements", None)
    decoded = read([value] * 3, both["flat"][0])
    assert decoded.readings["voltage"].to_pylist() == [1.5] * 3
    assert decoded.unknown == {"a.U": 3, "n": 3}
