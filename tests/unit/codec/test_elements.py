"""Elements that are cut out of their record."""

import json

import pytest

from etl.codec import elements
from etl.codec.elements import one_element

ITEMS = [{"U": number} for number in range(1000)]


@pytest.mark.parametrize(
    ("record", "path", "eighth"),
    [
        (ITEMS, "", ITEMS[7]),
        ({"site": "a", "rows": ITEMS}, "rows", {"site": "a", "rows": [ITEMS[7]]}),
        ({"payload": json.dumps({"rows": ITEMS})}, "payload.rows", {"payload": {"rows": [ITEMS[7]]}}),
    ],
)
def test_record_is_parsed_once_when_each_of_its_elements_is_cut_out(monkeypatch, record, path, eighth):
    parsed = []

    def counted(parse):
        def call(*given):
            parsed.append(given)
            return parse(*given)

        return call

    class Decoder(json.JSONDecoder):
        raw_decode = counted(json.JSONDecoder.raw_decode)

    monkeypatch.setattr(elements.json, "JSONDecoder", Decoder)
    monkeypatch.setattr(elements, "parse_json", counted(elements.parse_json))
    monkeypatch.setattr(elements, "opened", counted(elements.opened))
    value = json.dumps(record).encode()
    found = [json.loads(one_element(value, path, index)) for index in range(len(ITEMS))]
    assert found[7] == eighth
    assert len(parsed) <= len(ITEMS) + 2


def test_element_behind_a_broken_one_is_the_whole_record():
    value = b'[{"U": 1}, nan, {"U": 2}]'
    assert one_element(value, "", 0) == b'{"U": 1}'
    assert one_element(value, "", 2) == value
