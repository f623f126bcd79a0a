"""The examples of docs/mapping.md and docs/gateways.md: each has a mapping, a record, and its readings."""

import re
from pathlib import Path

import pytest

from etl.codec.envelope import decode
from etl.codec.formats import open_parser
from etl.codec.mapped import foreign
from etl.kafka.records import Records
from etl.mapping.topics import read_topic_mappings
from etl.model.measurements import read_measurements

PAGES = [Path(__file__).parents[3] / "docs" / name for name in ("mapping.md", "gateways.md")]
EXAMPLE = re.compile(r"```yaml\n(.+?)```\n\n```json\n(.+?)```\n\n((?:\|[^\n]+\n)+)", re.DOTALL)
EXAMPLES = [example for page in PAGES for example in EXAMPLE.findall(page.read_text())]


def test_pages_have_readings_beside_each_record():
    assert len(EXAMPLES) == sum(page.read_text().count("```json\n") for page in PAGES)


@pytest.mark.parametrize(("mapping", "record", "table"), EXAMPLES)
def test_example_gives_the_readings_beside_it(tmp_path, mapping, record, table):
    path = tmp_path / "mapping.yaml"
    path.write_text(mapping)
    measurements = read_measurements()
    columns = read_topic_mappings(path, measurements, ["topic"])["topic"]
    reader = foreign(columns, open_parser(columns.record, tmp_path))
    records = Records([0], [0], [1_767_592_800_005], [b"key"], [record.encode()], [[]])
    decoded = decode(records, "topic", measurements, reader)
    assert not decoded.dead_letters.num_rows
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    found = []
    for reading in decoded.readings.to_pylist():
        if reading["timestamp"] is None:
            reading["timestamp"] = reading["timestamp_ms"]
        found.append(["" if reading[name] is None else str(reading[name]) for name in header])
    assert found == rows
