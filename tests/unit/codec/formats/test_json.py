"""Records in JSON that a mapping reads, among them CloudEvents: https://github.com/cloudevents/spec"""

from tests.unit.codec.formats.records import parsed


def test_record_is_refused_with_a_reason_when_it_is_no_json() -> None:
    found = parsed("json", b'{"v": NaN}', b"{", b"\0\0\0\0\x07\x02")
    assert repr(found[0]) == "{'v': nan}"
    assert found[1].startswith("<no JSON: ")
    assert found[2].endswith("magic byte of a schema registry and ID 7: write `record: registry` into the mapping>")


def test_record_names_its_format_when_it_begins_like_one() -> None:
    found = parsed("json", b"Obj\x01abc", b"\xc3\x01abcdefgh", b"\x1f\x8b\x08")
    assert found[0].endswith("`record: avro` into the mapping>")
    assert found[1].endswith("`record: {format: avro, schema_file: FILE}` into the mapping>")
    assert "gzip" in found[2]
