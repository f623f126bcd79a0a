"""Records that are Protobuf messages, by a descriptor set. The bytes of the messages are written by hand."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from etl.codec.formats import open_parser
from etl.errors import SettingsError
from etl.mapping.record_format import RecordFormat
from etl.settings import RegistrySettings
from tests.unit.codec.formats.records import parsed

PROTO = """syntax = "proto3";
package plant;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
enum State { OFF = 0; ON = 1; }
message Reading {
  google.protobuf.Timestamp ts = 1;
  double voltage = 2;
  optional double current = 3;
  sint64 count = 4;
  State state = 5;
  repeated float phases = 6;
  map<string, int32> tags = 7;
  bytes raw = 8;
  repeated Reading parts = 9;
  oneof kind { string text = 10; bool flag = 11; }
  google.protobuf.Duration uptime = 12;
  google.protobuf.DoubleValue power = 13;
  google.protobuf.Struct more = 14;
  map<bool, State> switches = 15;
}
"""
ENTRY = {"format": "protobuf", "schema_file": "plant.desc", "message": "plant.Reading"}
# What a message says that has no bytes.
EMPTY = {"voltage": 0.0, "count": 0, "state": "OFF", "phases": [], "tags": {}, "raw": "", "parts": [], "switches": {}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("protobuf")
    (made / "plant.proto").write_text(PROTO, encoding="utf-8")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{made}", "--include_imports", "plant.proto"]
    subprocess.run([*command, f"--descriptor_set_out={made / 'plant.desc'}"], check=True)
    subprocess.run([*command[:-2], "plant.proto", f"--descriptor_set_out={made / 'alone.desc'}"], check=True)
    return made


@pytest.mark.parametrize(
    ("value", "right"),
    [
        (b"", {}),
        (b"\x0a\x08\x08\x80\xb9\xed\xca\x06\x10\x01", {"ts": "2026-01-05T06:38:56.000000001Z"}),
        (b"\x11\x00\x00\x00\x00\x00\xd0\x6c\x40", {"voltage": 230.5}),
        (b"\x19\x00\x00\x00\x00\x00\x00\x00\x00", {"current": 0.0}),
        (b"\x20\x03", {"count": -2}),
        (b"\x28\x01", {"state": "ON"}),
        (b"\x28\x07", {"state": 7}),
        (b"\x32\x08\x00\x00\x80\x3f\x00\x00\x00\x40", {"phases": [1.0, 2.0]}),
        (b"\x3a\x05\x0a\x01a\x10\x07", {"tags": {"a": 7}}),
        (b"\x42\x02\x00\xff", {"raw": "00ff"}),
        (b"\x4a\x02\x20\x02", {"parts": [EMPTY | {"count": 1}]}),
        (b"\x52\x00", {"text": ""}),
        (b"\x62\x07\x08\x02\x10\x80\xe5\x9a\x77", {"uptime": 2.25}),
        (b"\x6a\x09\x09\x00\x00\x00\x00\x00\x00\xf8\x3f", {"power": 1.5}),
        (b"\x72\x09\x0a\x07\x0a\x01a\x12\x02\x20\x01", {"more": {"a": True}}),
        (b"\x7a\x04\x08\x01\x10\x01", {"switches": {"true": "ON"}}),
        (b"\xf8\x07\x01", {}),  # a field that the schema does not have
    ],
)
def test_message_is_an_object_when_its_type_is_in_the_descriptor_set(
    value: bytes, right: dict[str, Any], folder: Path
) -> None:
    assert parsed(ENTRY, value, folder=folder) == [EMPTY | right]


def test_nan_stays_a_double_when_a_sensor_has_no_value(folder: Path) -> None:
    (found,) = parsed(ENTRY, b"\x11\x00\x00\x00\x00\x00\x00\xf8\x7f", folder=folder)
    assert math.isnan(found["voltage"])


@pytest.mark.parametrize("value", [b"\xff", b"\x11\x00", b"\x52\x01\xff", b"\x4a\xff\xff\xff\xff\x7f", b"{}"])
def test_record_is_refused_when_it_is_no_message(value: bytes, folder: Path) -> None:
    assert parsed(ENTRY, value, folder=folder) == ["<no Protobuf message plant.Reading>"]


def test_record_is_refused_when_it_is_nested_deeply_or_may_take_much_memory(folder: Path) -> None:
    nested = b""
    for _ in range(150):
        length = len(nested)
        nested = b"\x4a" + (bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])) + nested
    assert parsed(ENTRY, nested, folder=folder) == ["<no Protobuf message plant.Reading>"]
    (found,) = parsed(ENTRY, b"\x4a\x00" * 1_000_000, folder=folder)
    assert found == "<2000000 bytes may take too much memory as a Protobuf message>"


def test_prefix_of_a_registry_is_told_when_the_format_has_none(folder: Path) -> None:
    (found,) = parsed(ENTRY, b"\x00\x00\x00\x00\x07\x00\x11", folder=folder)
    assert "begins with the magic byte of a schema registry and ID 7" in found


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"message": "plant.Other"}, "plant.desc has no message 'plant.Other'"),
        ({"schema_file": "none.desc"}, "No such file"),
        ({"schema_file": "plant.proto"}, "no descriptor set with all of its imports"),
    ],
)
def test_settings_are_refused_in_one_line_when_the_descriptor_set_cannot_be_used(
    changed: dict[str, str], reason: str, folder: Path
) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        open_parser(RecordFormat.model_validate(ENTRY | changed), folder, RegistrySettings())
    assert "\n" not in str(caught.value)
