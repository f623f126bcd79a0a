"""Records with the ID of a schema, against a server with the documented API of a registry."""

import datetime
import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.serde import SchemaId
from confluent_kafka.serialization import MessageField, SerializationContext
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from etl.codec.formats import open_parser
from etl.codec.mapped_columns import listed
from etl.errors import CredentialsError, SettingsError, Unreachable
from etl.mapping.record_format import RecordFormat
from etl.settings import RegistrySettings
from tests.unit.codec.formats.records import records, shown
from tests.unit.codec.formats.schema_registry import Registry, guid, registry
from tests.unit.codec.formats.test_avro import written

FIRST = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "voltage", "type": "double"},
    ],
}
SECOND = FIRST | {"fields": [*FIRST["fields"], {"name": "unit", "type": ["null", "string"], "default": None}]}  # type: ignore[misc]
MILLIS = 1_767_600_000_123
READ = {"ts": "2026-01-05T08:00:00.123Z", "voltage": 230.5}
PROTO = """syntax = "proto3";
package plant;
import "google/protobuf/timestamp.proto";
import "confluent/meta.proto";
import "common/unit.proto";
import "google/type/date.proto";
message Other { int32 number = 1; }
message Reading {
  option (confluent.message_meta).doc = "a reading";
  message Inner { bool on = 1; }
  google.protobuf.Timestamp ts = 1;
  double voltage = 2;
  optional double current = 3;
  common.Unit unit = 4;
}
"""
UNIT = 'syntax = "proto3"; package common; enum Unit { NONE = 0; VOLT = 1; }'


@pytest.fixture
def server() -> Iterator[Registry]:
    with registry() as state:
        yield state


def parsed(url: str, *values: bytes, headers: Any = (), **settings: Any) -> list[Any]:
    parse = open_parser(RecordFormat(format="registry"), Path(), RegistrySettings(url=url, **settings))
    return shown(parse.parse(records(*values, headers=headers)))


def framed(number: int, value: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + value


def test_columns_hold_the_records_of_each_schema_when_the_schema_has_changed(server: Registry) -> None:
    server.add(json.dumps(FIRST), "AVRO", 1)
    server.add(json.dumps(SECOND), "AVRO", 2, version=2)
    server.add(json.dumps({"type": "array", "items": "int"}), "AVRO", 3)
    old = framed(1, written(FIRST, {"ts": MILLIS, "voltage": 230.5}))
    new = framed(2, written(SECOND, {"ts": MILLIS, "voltage": 1.5, "unit": "V"}))
    header = [("__value_schema_id", b"\0\0\0\0\1")]
    parse = open_parser(RecordFormat(format="registry"), Path(), RegistrySettings(url=server.url))
    assert parse.columns
    block = records(
        old, new, old[:-1], b"\0", framed(3, b"\0"), framed(9, b"\0"), old, old, headers=[()] * 7 + [header]
    )
    found = parse.columns(block, {("voltage",), ("unit",)})
    assert [each.positions for each in found] == [[0, 6], [1]]
    assert [listed(each.cells["voltage",]) for each in found] == [[230.5, 230.5], [1.5]]
    assert found[1].cells["unit",] == ["V"]


def test_avro_is_read_with_the_schema_of_its_writer_when_the_schema_has_changed(server: Registry) -> None:
    server.add(json.dumps(FIRST), "AVRO", 1)
    server.add(json.dumps(SECOND), "AVRO", 70_000, version=2)
    old = framed(1, written(FIRST, {"ts": MILLIS, "voltage": 230.5}))
    new = framed(70_000, written(SECOND, {"ts": MILLIS, "voltage": 230.5, "unit": "V"}))
    assert parsed(server.url, old, new, old, new[:-1], b"\0\0\0\0\x09") == [
        READ,
        READ | {"unit": "V"},
        READ,
        "<no Avro with this schema: Expected 1 bytes, read 0>",
        "<schema 9 of the schema registry cannot be used: the registry does not have it, or not all of its references>",
    ]
    assert [path.partition("?")[0] for path in server.asked] == [f"/schemas/ids/{number}" for number in (1, 70_000, 9)]


def test_avro_has_named_types_of_other_schemas_when_it_refers_to_them(server: Registry) -> None:
    server.add('{"type": "enum", "name": "plant.State", "symbols": ["ON", "OFF"]}', "AVRO", 1, "state")
    schema = {"type": "record", "name": "R", "fields": [{"name": "state", "type": "plant.State"}]}
    server.add(json.dumps(schema), "AVRO", 2, "reading", references={"plant.State": "state"})
    assert parsed(server.url, framed(2, b"\x02")) == [{"state": "OFF"}]


def test_protobuf_is_read_when_its_schema_imports_references_and_well_known_types(server: Registry) -> None:
    server.add(UNIT, "PROTOBUF", 1, "unit")
    server.add(PROTO, "PROTOBUF", 2, "reading", references={"common/unit.proto": "unit"})
    ts = b"\x0a\x0b\x08\x80\xdf\xed\xca\x06\x10\xc0\xb5\xd3\x3a"  # 1767600000 s, 123001536 ns
    body = ts + b"\x11\x00\x00\x00\x00\x00\xd0\x6c\x40" + b"\x20\x01" + b"\x78\x05"
    right = {"ts": "2026-01-05T08:00:00.123001536Z", "voltage": 230.5, "unit": "VOLT"}
    assert parsed(
        server.url,
        framed(2, b"\x02\x02" + body),
        framed(2, b"\x00\x08\x07"),
        framed(2, b"\x04\x02\x00\x08\x01"),
        framed(2, b"\x02\x0a" + body),
        framed(2, b"\x02\x02\xff"),
        framed(2, b"\x80"),
    ) == [
        right,
        {"number": 7},
        {"on": True},
        "<the schema has no message at position 5>",
        "<no Protobuf message plant.Reading>",
        "<the record does not name the type of its Protobuf message>",
    ]


def test_json_is_read_when_its_schema_is_a_json_schema(server: Registry) -> None:
    server.add('{"type": "object"}', "JSON", 3)
    found = parsed(server.url, framed(3, b'{"voltage": 230.5}'), framed(3, b"{"), b'{"voltage": 1}')
    assert found[0] == {"voltage": 230.5}
    assert found[1].startswith("<no JSON: ")
    assert found[2] == "<the record does not begin with the ID of a schema in a schema registry>"


def test_value_is_read_when_the_schema_is_named_in_a_header(server: Registry) -> None:
    server.add(json.dumps(FIRST), "AVRO", 1)
    server.add("syntax = 'proto3'; message A { int32 a = 1; } message B { int32 b = 1; }", "PROTOBUF", 2)
    avro, proto = SchemaId("AVRO", guid=guid(1)), SchemaId("PROTOBUF", schema_id=2, message_indexes=[1])
    headers = [
        [("other", b"\xff"), ("__value_schema_id", avro.guid_to_bytes())],
        [("__value_schema_id", proto.id_to_bytes())],
        [("__value_schema_id", b"\x07")],
    ]
    values = written(FIRST, {"ts": MILLIS, "voltage": 230.5}), b"\x08\x05", b"{}"
    assert parsed(server.url, *values, headers=headers) == [
        READ,
        {"b": 5},
        "<the header __value_schema_id holds no ID of a schema>",
    ]


def test_record_is_read_when_the_serializer_of_confluent_wrote_it(server: Registry) -> None:
    server.add(json.dumps(FIRST), "AVRO", 5, "t-value")
    conf = {"auto.register.schemas": False, "use.latest.version": True}
    client = SchemaRegistryClient({"url": server.url})
    client.get_latest_version = lambda *_: client.get_version("t-value", 1)
    serialize = AvroSerializer(client, json.dumps(FIRST), conf=conf)
    at = datetime.datetime.fromtimestamp(MILLIS / 1000, datetime.UTC)
    value = serialize({"ts": at, "voltage": 230.5}, SerializationContext("t", MessageField.VALUE))
    assert value is not None
    assert parsed(server.url, value) == [READ]


def test_schema_is_an_error_of_its_records_when_it_cannot_be_used(server: Registry) -> None:
    server.add("message {", "PROTOBUF", 1)
    server.add("{", "AVRO", 2)
    server.add("x", "XML", 3)
    server.add('import "../../secret.proto";', "PROTOBUF", 4, "a", references={"../../secret.proto": "a"})
    found = parsed(server.url, *(framed(number, b"\x00") for number in (1, 2, 3, 4)), framed(9, b""))
    assert all(item.startswith("<schema ") and "\n" not in item for item in found)
    assert "no Protobuf schema: schema:1:9: Expected message name." in found[0]
    assert "which is no name of a file" in found[3]
    assert "its type is 'XML'" in found[2]


def test_registry_is_unreachable_when_it_does_not_answer_in_time(server: Registry) -> None:
    server.status = 503
    with pytest.raises(Unreachable, match="HTTP 503"):
        parsed(server.url, framed(1, b""), timeout=0.3)
    assert len(server.asked) > 1
    with pytest.raises(Unreachable, match=r"schema registry http://127\.0\.0\.1:1: "):
        parsed("http://127.0.0.1:1", framed(1, b""), timeout=0.1)


def test_settings_are_refused_when_the_registry_refuses_the_user(server: Registry) -> None:
    server.user = "etl:se:cret"
    server.add('"int"', "AVRO", 1)
    assert parsed(server.url, framed(1, b"\x02"), username="etl", password=SecretStr("se:cret")) == [1]
    with_user = server.url.replace("//", "//etl:wrong-secret@")
    for url, given in ((server.url, {}), (with_user, {})):
        with pytest.raises(CredentialsError, match="HTTP 401") as caught:
            parsed(url, framed(1, b"\x02"), **given)
        assert "wrong-secret" not in str(caught.value)


def test_settings_are_refused_when_the_url_is_that_of_another_server(server: Registry) -> None:
    with pytest.raises(SettingsError, match=r"ETL_REGISTRY_URL: .* is it a schema registry"):
        parsed(f"{server.url}/other", framed(1, b""))
    with pytest.raises(SettingsError, match="needs the URL"):
        open_parser(RecordFormat(format="registry"), Path(), RegistrySettings())


def test_registry_is_trusted_by_its_ca_file_alone_when_it_has_tls(tmp_path: Path) -> None:
    files = certificate(tmp_path)
    with registry(files) as server:
        server.add('"int"', "AVRO", 1)
        assert parsed(server.url, framed(1, b"\x02"), ca_file=Path(files[0])) == [1]
        with pytest.raises(SettingsError, match="certificate verify failed"):
            parsed(server.url, framed(1, b"\x02"), timeout=0.1)
        with pytest.raises(SettingsError, match=r"ETL_REGISTRY_CA_FILE: .*No such file"):
            parsed(server.url, framed(1, b"\x02"), ca_file=tmp_path / "none.pem")


def certificate(folder: Path) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "registry")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(cert), str(private)
