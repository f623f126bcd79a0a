"""Records that are Sparkplug B payloads."""

from pathlib import Path
from typing import Any

import pytest

from etl.codec.formats import open_parser
from etl.codec.formats.births import Births, load
from etl.codec.formats.sparkplug import Source, find_source, learn
from etl.kafka.records import Headers, Records
from etl.mapping.record_format import RecordFormat
from etl.settings import RegistrySettings
from tests.unit.codec.formats.records import TIME, message, records, shown

NODE, DEVICE = b"spBv1.0/Plant/%s/Line 1", b"spBv1.0/Plant/%s/Line 1/pump"
T = TIME


def parsed(block: Records, births: Births | None = None, topic: str = "t") -> list[Any]:
    parse = open_parser(RecordFormat(format="sparkplug"), Path(), RegistrySettings(), topic, births)
    return shown(parse.parse(block))


def births_of(*devices: bytes) -> tuple[list[bytes], list[bytes | None]]:
    """A birth certificate of a node with two metrics, and one of each device."""
    birth = message(
        {"name": "voltage", "alias": 7, "datatype": 10, "double_value": 230.5},
        {"name": "count", "alias": 8, "datatype": 3, "int_value": 2**32 - 5},
    )
    return [birth, *[birth] * len(devices)], [NODE % b"NBIRTH", *devices]


def values(item: Any) -> dict[str, Any]:
    return {metric["name"]: metric["value"] for metric in item["metrics"]}


def test_payload_is_read_when_its_bytes_are_those_of_the_specification() -> None:
    # Timestamp 1486144502122, metric "A" of type Int32 with value -1, seq 3, written by hand.
    value = b"\x08\xea\xf2\xf5\xa8\xa0\x2b\x12\x0b\x0a\x01A\x20\x03\x50\xff\xff\xff\xff\x0f\x18\x03"
    assert parsed(records(value, keys=[NODE % b"NDATA"])) == [
        {
            "group": "Plant",
            "node": "Line 1",
            "device": None,
            "timestamp": 1_486_144_502_122,
            "seq": 3,
            "metrics": [{"name": "A", "timestamp": 1_486_144_502_122, "datatype": "Int32", "value": -1}],
        }
    ]


def test_metric_has_name_and_type_of_the_birth_when_it_has_an_alias_alone() -> None:
    births, keys = births_of()
    data = message({"alias": 7, "double_value": 231.0}, {"alias": 8, "int_value": 2**32 - 6, "timestamp": T + 5}, seq=1)
    found = parsed(records(*births, data, keys=[*keys, NODE % b"NDATA"]))
    assert found[1]["metrics"] == [
        {"name": "voltage", "alias": 7, "timestamp": T, "datatype": "Double", "value": 231.0},
        {"name": "count", "alias": 8, "timestamp": T + 5, "datatype": "Int32", "value": -6},
    ]
    assert values(found[0]) == {"voltage": 230.5, "count": -5}


def test_alias_is_refused_when_no_birth_of_its_device_is_known() -> None:
    births, keys = births_of()
    data = message({"alias": 7, "double_value": 231.0})
    block = records(*births, data, data, keys=[*keys, DEVICE % b"DDATA", b"spBv1.0/Plant/NDATA/Line 2"])
    assert parsed(block)[1:] == ["<alias 7 has no birth certificate>"] * 2
    assert parsed(records(data, *births, keys=[NODE % b"NDATA", *keys]))[0] == "<alias 7 has no birth certificate>"


def test_alias_has_the_name_of_the_latest_birth_before_it_when_a_node_is_born_again() -> None:
    first, second = (message({"name": name, "alias": 1, "datatype": 10, "double_value": 0}) for name in ("a", "b"))
    data = message({"alias": 1, "double_value": 5})
    block = records(first, data, second, data, keys=[NODE % k for k in (b"NBIRTH", b"NDATA", b"NBIRTH", b"NDATA")])
    births = Births()
    assert [values(item) for item in parsed(block, births)] == [{"a": 0}, {"a": 5}, {"b": 0}, {"b": 5}]
    # A part of the block may be parsed once more.
    assert [values(item) for item in parsed(block.part(1, 2), births)] == [{"a": 5}]
    later = load([births.dump()])
    assert [values(item) for item in parsed(block.part(1, 4), later)] == [{"a": 5}, {"b": 0}, {"b": 5}]


def test_births_of_another_partition_are_used_when_they_are_earlier() -> None:
    births, keys = births_of()
    data = message({"alias": 7, "double_value": 231.0})
    block = records(data, *births, data, keys=[NODE % b"NDATA", *keys, NODE % b"NDATA"])
    block = block._replace(partitions=[0, 1, 0])
    known = Births()
    learn(block, known, "t")
    found = parsed(block.part(0, 1), known) + parsed(block.part(2, 3), known)
    assert found[0] == "<alias 7 has no birth certificate>"
    assert values(found[1]) == {"voltage": 231.0}
    # Clocks of brokers differ: it is not known which of two births near the record is the last one before it.
    other = message({"name": "power", "alias": 7, "datatype": 10, "double_value": 0})
    learn(records(other, keys=keys)._replace(partitions=[1], offsets=[9], times=[block.times[2] + 1000]), known, "t")
    assert parsed(block.part(2, 3), known) == ["<alias 7 has two birth certificates with different names>"]


def test_replayed_alias_is_refused_when_its_name_has_changed() -> None:
    first, second = (message({"name": name, "alias": 1, "datatype": 10, "double_value": 0}) for name in ("a", "b"))
    data = message({"alias": 1, "double_value": 5})
    replayed: Headers = [("etl-replays", b"1")]
    keys = [NODE % k for k in (b"NBIRTH", b"NBIRTH", b"NDATA")]
    found = parsed(records(first, second, data, keys=keys, headers=[(), (), replayed]))
    assert found[2] == "<alias 1 has two birth certificates with different names>"
    assert values(parsed(records(first, first, data, keys=keys, headers=[(), (), replayed]))[2]) == {"a": 5}


@pytest.mark.parametrize("kind", [b"NDEATH", b"DDEATH", b"NCMD", b"DCMD", b"STATE"])
def test_record_is_no_reading_and_no_error_when_it_is_a_death_or_a_command(kind: bytes) -> None:
    assert parsed(records(b'{"online": true}', keys=[DEVICE % kind])) == [[]]


def test_record_is_no_reading_when_it_is_the_state_of_a_host() -> None:
    assert parsed(records(b'{"online": true}', keys=[b"spBv1.0/STATE/scada"])) == [[]]


@pytest.mark.parametrize(
    ("key", "headers", "topic", "source"),
    [
        (b"spBv1.0/G/DDATA/N/D", (), "t", Source("DDATA", ("G", "N", "D"))),
        (b'"spBv1.0/G/NDATA/N"', (), "t", Source("NDATA", ("G", "N", ""))),
        (b"k", [("mqtt.topic", b"spBv1.0/G 1/NDATA/N")], "t", Source("NDATA", ("G 1", "N", ""))),
        (b"k", (), "spBv1.0.G.1.DDATA.N.D", Source("DDATA", ("G.1", "N", "D"))),
        (b"k", (), "plant.spBv1.0_G_DBIRTH_N_D", Source("DBIRTH", ("G", "N", "D"))),
        (b"node-1", (), "t", Source(None, ("", "node-1", ""))),
        (None, [("x", None)], "t", Source(None, ("", "", ""))),
    ],
)
def test_origin_is_found_when_a_bridge_has_put_it_anywhere(
    key: bytes | None, headers: Headers, topic: str, source: Source
) -> None:
    assert find_source(key, headers, topic) == source


def test_birth_is_known_by_its_metrics_when_there_is_no_mqtt_topic() -> None:
    births, _ = births_of()
    data = message({"alias": 7, "double_value": 231.0})
    found = parsed(records(*births, data, data, keys=[b"n1", b"n1", b"n2"]))
    assert values(found[1]) == {"voltage": 231.0}
    assert found[2] == "<alias 7 has no birth certificate>"


def test_value_has_the_sign_and_the_form_of_its_data_type_when_it_has_one() -> None:
    metrics: list[tuple[dict[str, Any], Any]] = [
        ({"datatype": 1, "int_value": 0xFB}, -5),
        ({"datatype": 1, "int_value": 2**32 - 5}, -5),
        ({"datatype": 2, "int_value": 0xFFFB}, -5),
        ({"datatype": 4, "long_value": 2**64 - 5}, -5),
        ({"datatype": 5, "int_value": 251}, 251),
        ({"datatype": 8, "long_value": 2**64 - 5}, 2**64 - 5),
        ({"datatype": 13, "long_value": T + 123}, "2026-01-05T08:00:00.123Z"),
        ({"datatype": 11, "boolean_value": False}, False),
        ({"datatype": 12, "string_value": "on"}, "on"),
        ({"datatype": 10, "is_null": True}, None),
        ({"datatype": 17, "bytes_value": b"\x00\xff"}, "00ff"),
        ({"datatype": 23, "bytes_value": b"\xff\xff\x01\x00"}, [-1, 1]),
        ({"datatype": 31, "bytes_value": b"\x01"}, "01"),
        ({"int_value": 127}, 127),
    ]
    value = message(*({"name": f"m{at}", **given} for at, (given, _) in enumerate(metrics)))
    (found,) = parsed(records(value, keys=[NODE % b"NDATA"]))
    assert [metric["value"] for metric in found["metrics"]] == [right for _, right in metrics]


def test_whole_number_is_refused_when_its_sign_is_not_known() -> None:
    found = parsed(records(message({"name": "m", "int_value": 251}), keys=[NODE % b"NDATA"]))
    assert found == ["<metric 'm' has no data type, and no birth certificate>"]


def test_quality_and_tables_are_read_when_a_metric_has_them() -> None:
    quality = {"keys": ["Quality"], "values": [{"type": 3, "int_value": 192}]}
    table = {
        "columns": ["x", "y"],
        "types": [3, 12],
        "rows": [{"elements": [{"int_value": 2**32 - 1}, {"string_value": "a"}]}],
    }
    value = message(
        {"name": "v", "datatype": 10, "double_value": 1.5, "properties": quality},
        {"name": "t", "datatype": 16, "dataset_value": table},
        {"name": "p", "datatype": 19, "template_value": {"metrics": [{"name": "in", "datatype": 3, "int_value": 1}]}},
    )
    (found,) = parsed(records(value, keys=[NODE % b"NDATA"]))
    assert found["metrics"][0]["properties"] == {"Quality": 192}
    assert values(found)["t"] == {"columns": ["x", "y"], "rows": [[-1, "a"]]}
    assert values(found)["p"]["metrics"][0]["value"] == 1


def test_record_is_refused_when_it_is_no_payload() -> None:
    assert parsed(records(b"\xff", b"{}", keys=[NODE % b"NDATA"] * 2)) == ["<no Sparkplug B payload>"] * 2


def test_births_do_not_grow_when_a_device_is_born_over_and_over() -> None:
    births, keys = births_of()
    known = Births()
    block = records(*births * 1000, keys=keys * 1000)
    parsed(block, known)
    assert len(known.dump()) < 300
    changing = [message({"name": f"m{n}", "alias": 1, "datatype": 10, "double_value": 0}) for n in range(100)]
    parsed(records(*changing, keys=[NODE % b"NBIRTH"] * 100), known)
    assert len(known.dump()) < 1500
