"""Elements of JSON files, found as on a topic."""

import json

from etl.mapping.language import read_mapping
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
