"""Records of formats besides JSON and Arrow. An input is the name of a format, a key and a value, split by zeros."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from etl.codec.formats import Parser, open_parser, registry, sparkplug
from etl.codec.formats.births import Births
from etl.codec.formats.protobuf_text import Messages
from etl.codec.mapped_columns import listed
from etl.kafka.records import Records
from etl.mapping.record_format import RecordFormat
from etl.settings import RegistrySettings

BATCH = 200
WORDS = (
    *(b"Obj\x01", b"\xc3\x01", b"avro.schema", b"avro.codec", b"\x08null", b"\x0edeflate", b"\x0csnappy", b"\x04xz"),
    *(b'{"type":', b'"record"', b'"array"', b'"items":', b'"bytes"', b'"fixed"', b'"size":', b'"null"', b'"name":'),
    *(b'"logicalType":"decimal","precision":', b'"scale":', b"999999999", b'"enum","symbols":[]', b"[" * 500),
    *(b"\0\0\0\0\x01", b"\0\0\0\0\x02", b"\0\0\0\0\x03", b"\x01" + bytes(16), b"\xff\xff\xff\xff\x0f", b"\x80" * 10),
    *(
        b"spBv1.0/G/NBIRTH/N",
        b"spBv1.0/G/DDATA/N/D",
        b"NDEATH",
        b"\x12\x02\x10\x07",
        b"\x12\x00" * 50,
        b"\x0b",
        b"\x0c",
    ),
    *(
        b'"bn":',
        b'"bt":',
        b'"n":',
        b'"v":',
        b'"t":',
        b'"bver":',
        b"1e999",
        b"NaN",
        b"-1e-400",
        b"9" * 400,
        b'{"',
        b"},",
    ),
    *(b"\x81" * 50, b"\x9f", b"\xbf", b"\xff", b"\xc4\x82", b"\xc5\x82", b"\xd8\x1e\x82", b"\xfb\x7f\xf0", b"\xf9\x7e"),
    *(b";", b'"', b"\r", b"\n", b"\r\n", b",", b"\xef\xbb\xbf", b"a;b;c", b"\xe2\x80\xa8", b"\0"),
)
_TIME = 1_767_600_000_000
_DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
_READING = {
    "type": "record",
    "name": "R",
    "fields": [
        {"name": "ts", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {
            "name": "d",
            "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "string"],
        },
        {"name": "a", "type": {"type": "array", "items": {"type": "map", "values": ["double", "boolean"]}}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    ],
}
_PROTO = """syntax = "proto3";
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
enum E { A = 0; B = 1; }
message M {
  google.protobuf.Timestamp ts = 1;
  double v = 2;
  repeated M parts = 3;
  map<string, E> tags = 4;
  google.protobuf.Struct more = 5;
  google.protobuf.Duration up = 6;
  bytes raw = 7;
  string text = 8;
  repeated sint64 many = 9;
}
"""
_SCHEMAS = {1: (json.dumps(_READING), "AVRO"), 2: (_PROTO, "PROTOBUF"), 3: ("{}", "JSON")}


def _schema(number: Any) -> Any:
    text, kind = _SCHEMAS.get(number, ("[", "AVRO"))
    return SimpleNamespace(schema_str=text, schema_type=kind, references=[])


def _open() -> dict[bytes, Parser]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "r.avsc").write_text(json.dumps(_READING), encoding="utf-8")
        (folder / "m.desc").write_bytes(Messages(_PROTO, {}).serialized)
        entries: list[dict[str, Any]] = [
            {"format": "csv", "names": ["a", "b", "c"], "delimiter": ";"},
            {"format": "avro", "schema_file": "r.avsc"},
            {"format": "protobuf", "schema_file": "m.desc", "message": "M"},
            {"format": "senml"},
        ]
        opened = {
            entry["format"].encode(): open_parser(RecordFormat.model_validate(entry), folder, RegistrySettings())
            for entry in entries
        }
    # The registry itself is not the input here.
    client: Any = SimpleNamespace(get_schema=_schema, get_schema_by_guid=_schema)
    opened[b"registry"] = registry.parser(client, RegistrySettings(url="http://registry"))
    return opened


_PARSERS = _open()


def _check_columns(parser: Parser, block: Records, found: Sequence[Any]) -> None:
    """Check that the cells of columns are those of the objects."""
    for shape in [part.shape for part in parser.columns(block, ())] if parser.columns else ():
        paths = [(name,) for name, inner in shape.items() if inner is None]
        for part in parser.columns(block, paths) if parser.columns else ():
            for (name,), cells in part.cells.items():
                assert list(map(repr, listed(cells))) == [repr(found[at][name]) for at in part.positions]


def check(inputs: Sequence[bytes]) -> None:
    """Check that each record becomes objects of JSON or one error in one line, whatever is parsed with it."""
    # A parser of Sparkplug B knows the births that it has seen.
    parsers = {**_PARSERS, b"sparkplug": sparkplug.open_parser(Births(), "topic")}
    names = sorted(parsers)
    blocks: dict[bytes, list[tuple[bytes | None, bytes]]] = {}
    for each in inputs:
        name, _, rest = each.partition(b"\0")
        key, _, value = rest.partition(b"\0")
        blocks.setdefault(name if name in parsers else names[len(each) % len(names)], []).append((key or None, value))
    for name, pairs in blocks.items():
        block = _records(pairs)
        found = parsers[name].parse(block)
        assert len(found) == len(pairs)
        for item in found:
            _check(item)
        _check_columns(parsers[name], block, found)
        again = [parsers[name].parse(block.part(at, at + 1)) for at in range(min(3, len(pairs)))]
        # NaN differs from itself, so results are compared as text.
        assert repr([item for (item,) in again]) == repr(found[: len(again)]), "a record is parsed in another way alone"


def _records(pairs: Sequence[tuple[bytes | None, bytes]]) -> Records:
    number = len(pairs)
    keys, values = [key for key, _ in pairs], [value for _, value in pairs]
    return Records([0] * number, list(range(number)), [_TIME] * number, keys, list(values), [()] * number)


def _check(item: Any) -> None:
    if isinstance(item, ValueError):
        text = str(item)
        assert text, "no reason"
        assert "\n" not in text, "more than one line"
        assert len(text) < 1000, "a long reason"
        return
    waiting = [item]
    while waiting:
        each = waiting.pop()
        assert each is None or type(each) in (dict, list, str, int, float, bool), f"{type(each)} is not of JSON"
        if type(each) is dict:
            assert all(type(name) is str for name in each), "a name is no text"
            waiting += each.values()
        elif type(each) is list:
            waiting += each
