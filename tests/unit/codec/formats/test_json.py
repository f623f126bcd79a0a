"""Records in JSON that a mapping reads, among them CloudEvents: https://github.com/cloudevents/spec"""

from tests.unit.codec.formats.records import parsed


def test_record_is_refused_with_a_reason_when_it_is_no_json() -> None:
    found = parsed("json", b'{"v": NaN}', b"{", b"\0\0\0\0\x07\x02")
    assert repr(found[0]) == "{'v': nan}"
    assert found[1].startswith("<no JSON: ")
    assert found[2].endswith("magic byte of a schema registry and ID 7: set format registry in the mapping>")
