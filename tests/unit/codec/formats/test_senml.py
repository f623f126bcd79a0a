"""Records that are SenML packs; the first ones are the examples of RFC 8428, section 5."""

import math

import cbor2
import pytest

from tests.unit.codec.formats.records import parsed

# Section 5.1.2: base values for all entries, and a time relative to the base time.
MULTIPLE = b"""[{"bn": "urn:dev:ow:10e2073a0108006:", "bt": 1.276020076001e+09, "bu": "A", "bver": 5,
  "n": "voltage", "u": "V", "v": 120.1}, {"n": "current", "t": -5, "v": 1.2}, {"n": "current", "t": -4, "v": 1.3}]"""


def test_entries_are_resolved_when_they_have_bases() -> None:
    bn = "urn:dev:ow:10e2073a0108006:"
    voltage, current = f"{bn}voltage", f"{bn}current"
    assert parsed("senml", MULTIPLE) == [
        [
            {"bn": bn, "n": "voltage", "name": voltage, "time": at("18:01:16.001"), "unit": "V", "value": 120.1},
            {"bn": bn, "n": "current", "name": current, "time": at("18:01:11.001"), "unit": "A", "value": 1.2},
            {"bn": bn, "n": "current", "name": current, "time": at("18:01:12.001"), "unit": "A", "value": 1.3},
        ]
    ]


def at(clock: str) -> str:
    return f"2010-06-08T{clock}000000Z"


def test_time_is_relative_to_the_record_when_it_is_small_or_missing() -> None:
    found = parsed("senml", b'[{"n":"a","v":1},{"n":"a","t":-0.5,"v":2}]', b'[{"n":"a","v":1}]')
    assert [entry["time"][11:] for pack in found for entry in pack] == [
        "08:00:00.000000000Z",
        "07:59:59.500000000Z",
        "08:00:01.000000000Z",
    ]


def test_values_of_every_type_are_read_when_they_are_sums_texts_flags_or_data() -> None:
    pack = b"""[{"bn":"d/","bt":1767600000,"bv":20,"bs":100},{"n":"t","v":0.1},{"n":"u"},{"n":"x","vs":"on"},
      {"n":"y","vb":false},{"n":"z","vd":"aGk"},{"n":"s","s":2.5},{"n":"i","v":3},{"n":"bad","v":NaN}]"""
    found = {entry["n"]: entry.get("value", entry.get("sum")) for entry in parsed("senml", pack)[0]}
    assert math.isnan(found.pop("bad"))
    assert found == {"t": 20.1, "u": 20, "x": "on", "y": False, "z": "aGk", "s": 102.5, "i": 23}


def test_pack_is_read_when_it_is_cbor() -> None:
    value = cbor2.dumps([{-2: "dev1/", -3: 1_767_600_000, 0: "voltage", 1: "V", 2: 230.5}, {0: "raw", 8: b"\x01\xff"}])
    found = [(entry["name"], entry["time"], entry["value"]) for entry in parsed("senml", value)[0]]
    time = "2026-01-05T08:00:00.000000000Z"
    assert found == [("dev1/voltage", time, 230.5), ("dev1/raw", time, "01ff")]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"n":"a","v":1}', "it is no list of objects"),
        (b"[1]", "it is no list of objects"),
        (b'[{"n":"a"}]', "SenML entry 'a' has no value"),
        (b'[{"v":1}]', "a SenML entry has no name"),
        (b'[{"n":"a","v":"1"}]', "SenML v is no number"),
        (b'[{"n":"a","v":1,"bver":11}]', "SenML version 11 is newer than 10"),
        (b'[{"n":"a","v":1,"new_":1}]', "must be understood"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\x81" * 100_000, "neither JSON nor CBOR"),
        (b"\x9b\x00\x00\x0f\xff\xff\xff\xff\xff", "neither JSON nor CBOR"),
        (b"\x80\x00", "bytes follow the CBOR"),
        (b"", "neither JSON nor CBOR"),
    ],
)
def test_record_is_refused_with_a_reason_when_it_is_no_pack(value: bytes, reason: str) -> None:
    (found,) = parsed("senml", value)
    assert reason in found
    assert "\n" not in found
