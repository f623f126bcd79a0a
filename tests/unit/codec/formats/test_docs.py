"""The examples of docs/formats.md: each has a mapping, perhaps a schema, records, and the readings that come out."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from etl.codec.envelope import decode
from etl.codec.formats import open_parser
from etl.codec.mapped import foreign
from etl.kafka.records import Headers, Records
from etl.mapping.topics import read_topic_mappings
from etl.model.measurements import read_measurements
from etl.settings import RegistrySettings
from tests.unit.codec.formats.schema_registry import registry

PAGE = (Path(__file__).parents[4] / "docs" / "formats.md").read_text(encoding="utf-8")
# An example ends with the table of its readings.
EXAMPLES = re.findall(
    r"((?:(?!\n\| equipment_id).)*?```yaml.*?)\n((?:\| [^\n]+\n|\|---[^\n]+\n)+)(?=\n|$)", PAGE, re.DOTALL
)
FENCE = re.compile(r"```(\w+)(?: (\S+))?\n(.*?)```", re.DOTALL)


def test_page_has_an_example_of_each_format_when_it_is_read() -> None:
    assert len(EXAMPLES) == PAGE.count("```yaml")


@pytest.mark.parametrize(("text", "table"), EXAMPLES)
def test_readings_are_those_of_the_table_when_an_example_is_read(text: str, table: str, tmp_path: Path) -> None:
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    headers: Headers = []
    with registry() as server:
        for kind, name, body in FENCE.findall(text):
            if kind == "yaml":
                (tmp_path / "mapping.yaml").write_text(body, encoding="utf-8")
            elif kind == "json" and name.isdigit():
                server.add(body, "AVRO", int(name))
            elif kind == "json":
                (tmp_path / name).write_text(body, encoding="utf-8")
            elif kind == "proto":
                describe(tmp_path, name, body)
            elif kind == "headers":
                headers = [(key, value.encode()) for key, value in (line.split(": ") for line in body.splitlines())]
            else:
                keys.append((name or "key").encode())
                values.append(bytes.fromhex(body) if kind == "hex" else body.strip().encode())
        assert readings(tmp_path, Records(*places(len(values)), keys, values, [headers] * len(values)), server.url) == [
            [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "---" not in line
        ]


def places(number: int) -> tuple[list[int], list[int], list[int]]:
    return [0] * number, list(range(number)), [1_767_600_010_000] * number


def describe(folder: Path, name: str, text: str) -> None:
    (folder / "reading.proto").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", "--include_imports"]
    subprocess.run([*command, f"--descriptor_set_out={folder / name}", "reading.proto"], check=True)


def readings(folder: Path, records: Records, url: str) -> list[list[str]]:
    measurements = read_measurements()
    mapping = read_topic_mappings(folder / "mapping.yaml", measurements, ["topic"])["topic"]
    parse = open_parser(mapping.record, folder, RegistrySettings(url=url))
    decoded = decode(records, "topic", measurements, foreign(mapping, parse))
    assert decoded.dead_letters.to_pylist() == []
    found = []
    names = ["equipment_id", "timestamp", *mapping.measurements]
    for reading in decoded.readings.to_pylist():
        if reading["timestamp"] is None:
            reading["timestamp"] = reading["timestamp_ms"]
        found.append(["" if reading[name] is None else str(reading[name]) for name in names])
    return [names, *found]


def test_death_certificate_is_neither_reading_nor_dead_letter_when_it_is_consumed(tmp_path: Path) -> None:
    text = next(text for text, _ in EXAMPLES if "record: sparkplug" in text)
    (tmp_path / "mapping.yaml").write_text(FENCE.findall(text)[0][2], encoding="utf-8")
    death = Records(*places(1), [b"spBv1.0/Plant/NDEATH/Press"], [b"\x08\x01"], [[]])
    assert readings(tmp_path, death, "")[1:] == []
