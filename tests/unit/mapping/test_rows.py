"""Elements of JSON files, found as on a topic."""

import json
from types import SimpleNamespace

import pytest

from etl.mapping import paths
from etl.mapping.language import read_mapping
from etl.mapping.rows import cells_of, explode
from etl.model.measurements import read_measurements
from etl.stages.generate.files import recorded_readings


def test_elements_of_a_file_have_the_name_and_the_object_around_them_when_mapped(tmp_path):
    measurements = read_measurements()
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(
        'readings: "*.values"\nequipment: {template: "{$parent.site}-{$name}"}\n'
        "timestamp: t\nmeasurements: {voltage: U}\n"
    )
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"p1": {"site": "a", "values": [{"t": "2026-01-05T06:00:00Z", "U": 1}]}}))
    (block,) = recorded_readings(str(path), read_mapping(mapping, measurements), measurements)
    assert block.readings["equipment_id"].to_pylist() == ["a-p1"]


ROW = ["2026-01-05T06:00:00Z", 230.5]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps([ROW, ROW], indent=1)),
        ("a.jsonl", json.dumps(ROW) + "\n" + json.dumps(ROW) + "\n"),
        ("a.jsonl", "[" + json.dumps(ROW) + ",\n" + json.dumps(ROW) + "]\n"),
        ("a.ndjson", json.dumps([ROW, ROW], indent=1)),
    ],
)
def test_rows_of_a_file_are_arrays_when_columns_are_numbers(tmp_path, name, text):
    measurements = read_measurements()
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("timestamp: '[0]'\nequipment: {constant: p}\nmeasurements: {voltage: '[1]'}\n")
    (tmp_path / name).write_text(text)
    (block,) = recorded_readings(str(tmp_path / name), read_mapping(mapping, measurements), measurements)
    assert (block.readings["voltage"].to_pylist(), block.dead_letters.num_rows) == ([230.5] * 2, 0)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_rows_of_a_file_are_those_of_arrays_within_when_they_are_objects(tmp_path, name):
    measurements = read_measurements()
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("timestamp: t\nequipment: id\nmeasurements: {voltage: U}\n")
    rows = [{"t": "2026-01-05T06:00:00Z", "id": "p", "U": n} for n in range(3)]
    lines = [json.dumps([rows[0], rows[1], 5]), json.dumps([rows[2]])]
    (tmp_path / name).write_text(f"[{lines[0]},\n{lines[1]}]" if name == "a.json" else "\n".join([*lines, ""]))
    (block,) = recorded_readings(str(tmp_path / name), read_mapping(mapping, measurements), measurements)
    assert block.readings["voltage"].to_pylist() == [0, 1, 2]
    assert block.dead_letters.select(["line", "reason", "value"]).to_pylist() == [
        {"line": 1, "reason": "recorded", "value": b"5"}
    ]


def test_text_with_many_elements_is_parsed_once_for_each_step_of_a_path(monkeypatch):
    text = json.dumps({"site": {"id": "a"}, "rows": [{"U": number} for number in range(1000)]})
    parsed = []

    def loads(given):
        parsed.append(given)
        return json.loads(given)

    monkeypatch.setattr(paths, "json", SimpleNamespace(loads=loads))
    rows = explode({0: {"payload": text}}, "payload.rows", 10_000, {}, {})
    assert cells_of(rows, "$.payload.site.id") == ["a"] * 1000
    assert cells_of(rows, "U") == list(range(1000))
    assert len(parsed) <= 3
