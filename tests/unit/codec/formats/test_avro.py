"""Records in Avro, without a registry. The bytes of the examples are written by hand, from the specification."""

import io
import json
import math
import zlib
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from zstandard import ZstdCompressor

from etl.codec.formats import open_parser
from etl.codec.formats.avro_columns import column_reader
from etl.codec.formats.avro_schema import read_schema
from etl.codec.mapped_columns import listed
from etl.errors import SettingsError
from etl.mapping.record_format import RecordFormat
from etl.settings import RegistrySettings
from tests.unit.codec.formats.records import parsed

LOGICAL: list[tuple[Any, bytes, Any]] = [
    ({"type": "long", "logicalType": "timestamp-millis"}, b"\xf6\xb1\xdc\xd2\xf1\x66", "2026-01-05T08:00:00.123Z"),
    ({"type": "long", "logicalType": "timestamp-millis"}, b"\x01", "1969-12-31T23:59:59.999Z"),
    ({"type": "long", "logicalType": "timestamp-micros"}, b"\x02", "1970-01-01T00:00:00.000001Z"),
    ({"type": "long", "logicalType": "timestamp-nanos"}, b"\x02", "1970-01-01T00:00:00.000000001Z"),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, b"\x02", "1970-01-01T00:00:00.000001"),
    ({"type": "int", "logicalType": "date"}, b"\x02", "1970-01-02"),
    ({"type": "int", "logicalType": "time-millis"}, b"\xfa\x01", "00:00:00.125"),
    ({"type": "int", "logicalType": "date"}, b"\xfe\xff\xff\xff\x0f", "2147483647 days from 1970"),
    ({"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}, b"\x06\xfc\x7c\xde", -2301.78),
    ({"type": "bytes", "logicalType": "decimal", "precision": 4}, b"\x04\x01\x00", 256),
    ({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 1}, b"\x10" + b"\x7f" + b"\xff" * 7, None),
    ({"type": "bytes", "logicalType": "decimal", "precision": 1, "scale": 2}, b"\x02\x05", "05"),
    ({"type": "string", "logicalType": "timestamp-millis"}, b"\x02a", "a"),
    ("bytes", b"\x04\x00\xff", "00ff"),
    ({"type": "fixed", "name": "F", "size": 2}, b"ab", "6162"),
    ({"type": "enum", "name": "E", "symbols": ["ON", "OFF"]}, b"\x02", "OFF"),
    (["null", "double"], b"\x02\x00\x00\x00\x00\x00\xd0\x6c\x40", 230.5),
    (["null", "double"], b"\x00", None),
    ({"type": "array", "items": "boolean"}, b"\x04\x01\x00\x00", [True, False]),
    ({"type": "map", "values": ["int", "string"]}, b"\x02\x02a\x00\x03\x00", {"a": -2}),
    ("float", b"\x00\x00\x80\x3f", 1.0),
]


def written(schema: Any, datum: Any) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), datum)
    return stream.getvalue()


def container(schema: Any, data: list[Any], codec: str = "null") -> bytes:
    if codec == "zstandard":  # fastavro would need another package
        head = container(schema, []).replace(b"\x08null", b"\x12zstandard")
        block = ZstdCompressor().compress(b"".join(written(schema, datum) for datum in data))
        return head + _long(len(data)) + _long(len(block)) + block + head[-16:]
    stream = io.BytesIO()
    fastavro.writer(stream, schema, data, codec=codec)
    return stream.getvalue()


@pytest.mark.parametrize(("schema", "value", "right"), LOGICAL)
def test_value_has_a_type_of_json_when_its_type_is_logical(
    schema: Any, value: bytes, right: Any, tmp_path: Path
) -> None:
    (tmp_path / "s.avsc").write_text(json.dumps(schema), encoding="utf-8")
    if value[:1] == b"\x10":
        right = "922337203685477580.7"  # no double has this text
    assert parsed({"format": "avro", "schema_file": "s.avsc"}, value, folder=tmp_path) == [right]


def test_nan_stays_a_double_when_a_sensor_has_no_value(tmp_path: Path) -> None:
    (tmp_path / "s.avsc").write_text('"double"', encoding="utf-8")
    value = b"\x00\x00\x00\x00\x00\x00\xf8\x7f"
    assert math.isnan(parsed({"format": "avro", "schema_file": "s.avsc"}, value, folder=tmp_path)[0])


READING = {
    "type": "record",
    "name": "Reading",
    "namespace": "plant",
    "fields": [
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "voltage", "type": ["null", "double"], "default": None},
        {"name": "phase", "type": {"type": "array", "items": {"type": "record", "name": "P", "fields": [
            {"name": "current", "type": "double"}]}}},
        {"name": "other", "type": {"type": "array", "items": "plant.P"}},
    ],
}  # fmt: skip
DATUM = {"ts": 1_767_600_000_123, "voltage": 230.5, "phase": [{"current": 1.5}], "other": []}
RIGHT = {"ts": "2026-01-05T08:00:00.123Z", "voltage": 230.5, "phase": [{"current": 1.5}], "other": []}
ENTRY = {"format": "avro", "schema_file": "reading.avsc"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reading.avsc").write_text(json.dumps(READING), encoding="utf-8")
    return tmp_path


def test_datum_is_read_when_it_is_written_in_the_single_object_encoding(folder: Path) -> None:
    (folder / "int.avsc").write_text('"int"', encoding="utf-8")
    # The fingerprint of "int" in the test cases of the specification.
    single = b"\xc3\x01" + (0x7275D51A3F395C8F).to_bytes(8, "little") + b"\x04"
    assert parsed({"format": "avro", "schema_file": "int.avsc"}, single, folder=folder) == [2]
    assert parsed(ENTRY, single, folder=folder) == ["<the record was written with another schema than schema_file>"]


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz", "snappy", "zstandard"])
def test_data_of_a_container_are_a_list_when_it_is_compressed(codec: str) -> None:
    value = container(READING, [DATUM, DATUM | {"voltage": None}], codec)
    assert parsed({"format": "avro"}, value) == [[RIGHT, RIGHT | {"voltage": None}]]


def test_record_is_refused_with_a_reason_when_its_bytes_are_not_one_datum(folder: Path) -> None:
    value = written(READING, DATUM)
    found = parsed(ENTRY, value, value[:-9], value + b"\0", b"", b"\0\0\0\0\x07" + value, folder=folder)
    assert found[0] == RIGHT
    assert found[2] == "<no Avro with this schema: 1 bytes follow the datum>"
    assert "begins with the magic byte of a schema registry and ID 7" in found[4]
    assert all(item.startswith("<no Avro with this schema: ") for item in found[1:])
    assert parsed({"format": "avro"}, value)[0].startswith("<no Avro object container")


def test_container_is_refused_when_it_is_damaged_or_large() -> None:
    value = container(READING, [DATUM] * 100)
    assert parsed({"format": "avro"}, value[:-1]) == ["<the Avro object container is damaged>"]
    bomb = zlib.compress(bytes(70 << 20))[2:-4]
    head = container({"type": "array", "items": "int"}, [], "deflate")
    sync = head[-16:]
    size = _long(len(bomb))
    assert parsed({"format": "avro"}, head + b"\x02" + size + bomb + sync) == [
        "<a block of the Avro object container is larger than 64 MiB>"
    ]
    many = container("null", []) + _long(1 << 40) + b"\x00"
    assert parsed({"format": "avro"}, many + many[-22:-6]) != [[None]]


def _long(number: int) -> bytes:
    return written("long", number)


def test_schema_is_refused_when_its_data_may_take_any_memory() -> None:
    node = {"type": "record", "name": "N", "fields": [{"name": "next", "type": ["null", "N"]}]}
    with pytest.raises(ValueError, match="contains itself"):
        read_schema(json.dumps(node).encode())
    with pytest.raises(ValueError, match="items without bytes"):
        read_schema(b'{"type": "array", "items": "null"}')
    with pytest.raises(ValueError, match="nested too deeply"):
        read_schema(b'{"type": "array", "items": ' * 60 + b'"int"' + b"}" * 60)


def test_settings_are_refused_in_one_line_when_the_schema_file_is_no_schema(tmp_path: Path) -> None:
    (tmp_path / "s.avsc").write_text('{"type": "recor"}', encoding="utf-8")
    for name, reason in (("s.avsc", "recor"), ("none.avsc", "No such file")):
        entry = RecordFormat(format="avro", schema_file=name)
        with pytest.raises(SettingsError, match=reason) as caught:
            open_parser(entry, tmp_path, RegistrySettings())
        assert "\n" not in str(caught.value)


SIMPLE = {
    "type": "record",
    "name": "S",
    "fields": [
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "u", "type": ["null", "double"]},
        {"name": "f", "type": "float"},
        {"name": "n", "type": ["int", "string", "boolean", "null"]},
        {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3}},
        {"name": "v", "type": ["null", "double"]},
        {"name": "w", "type": ["float", "null"]},
        {"name": "x", "type": "double"},
        {"name": "y", "type": "float"},
        {"name": "in", "type": {"type": "record", "name": "I", "fields": [{"name": "b", "type": "bytes"}]}},
    ],
}
PLAIN = json.loads(json.dumps(SIMPLE).replace("logicalType", "x"))
PATHS = [*((name,) for name in ("ts", "u", "f", "n", "d", "v", "w", "x", "y")), ("in", "b")]
DATA = st.fixed_dictionaries(
    {
        "ts": st.integers(-(2**63), 2**63 - 1),
        "u": st.none() | st.floats(),
        "f": st.floats(width=32),
        "n": st.integers(-(2**31), 2**31 - 1) | st.text() | st.booleans() | st.none(),
        "d": st.binary(max_size=300),
        "v": st.none() | st.floats(),
        "w": st.none() | st.floats(width=32),
        "x": st.floats(),
        "y": st.floats(width=32),
        "in": st.fixed_dictionaries({"b": st.binary()}),
    }
)


def leaves(item: Any, path: tuple[str, ...]) -> Any:
    return leaves(item[path[0]], path[1:]) if path else item


@given(st.lists(DATA, min_size=1, max_size=5), st.data())
def test_columns_agree_with_fastavro_when_records_are_whole_or_damaged(items: list[Any], data: st.DataObject) -> None:
    schema = read_schema(json.dumps(SIMPLE).encode())
    read = column_reader(schema)
    assert read
    values = {2 * at: bytearray(written(PLAIN, item)) for at, item in enumerate(items)}
    for _ in range(data.draw(st.integers(0, 3))):
        value = values[data.draw(st.sampled_from(list(values)))]
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    found = read({at: bytes(value) for at, value in values.items()}, PATHS)
    cells = {path: listed(column) for path, column in found.cells.items()}
    for row, at in enumerate(found.positions):
        stream = io.BytesIO(values[at])
        right = fastavro.schemaless_reader(stream, schema.parsed, None)
        assert stream.tell() == len(values[at])
        assert {path: repr(cells[path][row]) for path in PATHS} == {p: repr(leaves(right, p)) for p in PATHS}


@pytest.mark.parametrize("u", [None, 1.5])
def test_columns_hold_all_records_when_their_fields_are_simple(u: float | None) -> None:
    schema = read_schema(json.dumps(SIMPLE).encode())
    datum = {"ts": 1, "u": u, "f": 1.0, "n": "a", "d": b"\x01", "v": 2.5, "w": u, "x": 3.5, "y": -0.0, "in": {"b": b""}}
    others = [datum | {"u": 2.5 if u is None else None, "n": n} for n in (True, -7, None, "\0ä\0")]
    read = column_reader(schema)
    assert read
    found = read({at: written(PLAIN, item) for at, item in enumerate([datum, *others])}, PATHS)
    assert found.positions == [0, 1, 2, 3, 4]
    assert found.cells["n",] == ["a", True, -7, None, "\0ä\0"]
    assert listed(found.cells["u",]) == [u, *[others[0]["u"]] * 4]
    assert found.cells["ts",] == ["1970-01-01T00:00:00.000001Z"] * 5
    assert found.cells["d",] == [0.001] * 5
    assert found.cells["in", "b"] == [""] * 5


NO_DATUM = [b"", b"\0", b"\x80" * 9 + b"\0", b"\2\x08ab", b"\2\1", b"\4\2\xff", b"\2\2a\0", b"\2\2a" * 2]


@pytest.mark.parametrize("value", NO_DATUM)
def test_columns_leave_out_a_record_when_its_bytes_do_not_fit(value: bytes) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "n", "type": "long"}, {"name": "s", "type": "string"}]}
    read = column_reader(read_schema(json.dumps(schema).encode()))
    assert read
    found = read({3: b"\2\2a", 5: value, 8: b"\4\2b"}, {("n",), ("s",)})
    assert found.positions == [3, 8]
    assert found.cells == {("n",): [1, 2], ("s",): ["a", "b"]}
