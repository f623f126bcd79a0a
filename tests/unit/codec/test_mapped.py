"""Records of gateways: where the mapping finds ID, time and values, and how elements that are no readings are kept."""

import json
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.codec.envelope import Decoded, decode
from etl.codec.formats import open_parser
from etl.codec.mapped import foreign
from etl.codec.originals import originals
from etl.kafka.records import Records
from etl.mapping.topics import read_topic_mappings
from etl.model.measurements import read_measurements

MEASUREMENTS = read_measurements()
TIME = 1_767_592_800_000  # 2026-01-05T06:00:00Z


def block(*items: tuple[bytes | None, Any, list[tuple[str, bytes]]]) -> Records:
    number = len(items)
    values = [value if isinstance(value, bytes) else json.dumps(value).encode() for _, value, _ in items]
    keys, headers = [key for key, _, _ in items], [headers for _, _, headers in items]
    return Records([0] * number, list(range(number)), [TIME + 5] * number, keys, values, headers)


@pytest.fixture
def read(tmp_path):
    """Decode records with a mapping."""

    def do(mapping: str, *items: Any, topic: str = "plant") -> Decoded:
        path = tmp_path / "mapping.yaml"
        path.write_text(mapping)
        columns = read_topic_mappings(path, MEASUREMENTS, [topic])[topic]
        given = [item if isinstance(item, tuple) else (b"m1", item, []) for item in items]
        return decode(block(*given), topic, MEASUREMENTS, foreign(columns, open_parser(columns.record, tmp_path)))

    return do


def readings(decoded: Decoded) -> list[dict[str, Any]]:
    """Return ID, time and what else a reading holds."""
    kept = ["equipment_id", "timestamp", "timestamp_ms", *MEASUREMENTS.names, "bad"]
    rows = decoded.readings.select(kept).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def letters(decoded: Decoded) -> list[tuple[Any, ...]]:
    return [tuple(row[n] for n in ("offset", "index", "reason", "value")) for row in decoded.dead_letters.to_pylist()]


PLAIN = "timestamp: ts\nmeasurements: {voltage: U}\n"


@pytest.mark.parametrize(
    ("mapping", "item", "topic", "machine"),
    [
        ("", (b"m1", {"ts": 1, "U": 230}, []), "t", "m1"),
        ("equipment: id\n", (None, {"ts": 1, "U": 230, "id": "p-1"}, []), "t", "p-1"),
        ("equipment: id\n", (b"bad\x01key", {"ts": 1, "U": 230, "id": 17}, []), "t", "17"),
        ("equipment: device.tags.id\n", (None, {"ts": 1, "U": 230, "device": {"tags": {"id": "p"}}}, []), "t", "p"),
        ("equipment: \"device['a.b'][1]\"\n", (None, {"ts": 1, "U": 2, "device": {"a.b": ["x", "p"]}}, []), "t", "p"),
        ("equipment: a.b\n", (None, {"ts": 1, "U": 230, "a.b": "exact", "a": {"b": "path"}}, []), "t", "exact"),
        ("equipment: $header.Device\n", (None, {"ts": 1, "U": 230}, [("device", b"p-2")]), "t", "p-2"),
        (
            'equipment: {column: $topic, pattern: "plant/(.+)/data"}\n',
            (None, {"ts": 1, "U": 2}, []),
            "plant/p3/data",
            "p3",
        ),
        ('equipment: {column: $key, pattern: "site:(.+)"}\n', (b"site:p4", {"ts": 1, "U": 2}, []), "t", "p4"),
        ("equipment: $key.payload.id\n", (b'{"payload": {"id": "p5"}}', {"ts": 1, "U": 230}, []), "t", "p5"),
        ("equipment: {constant: only}\n", (None, {"ts": 1, "U": 230}, []), "t", "only"),
        ("equipment: id\n", (None, {"ts": 1, "U": 230, "id": 7.0}, []), "t", "7"),
        ("", (b"m1", b'\xef\xbb\xbf{"ts": 1, "U": 230}\0', []), "t", "m1"),
        ('equipment: {template: "{site}-{n}"}\n', (None, {"ts": 1, "U": 2, "site": "a", "n": 3}, []), "t", "a-3"),
        ('equipment: {template: "{$topic}/{d.n}"}\n', (None, {"ts": 1, "U": 2, "d": {"n": " 3"}}, []), "t", "t/3"),
    ],
)
def test_decode_when_a_mapping_names_the_source_of_the_id_finds_it(read, mapping, item, topic, machine):
    decoded = read(PLAIN + mapping, item, topic=topic)
    assert [row["equipment_id"] for row in readings(decoded)] == [machine]
    assert not decoded.dead_letters.num_rows


@pytest.mark.parametrize(
    ("mapping", "value", "expected"),
    [
        # ThingsBoard, one reading and several
        (
            "timestamp: ts\nmeasurements: {voltage: values.U, current: values.I}\n",
            {"ts": TIME, "values": {"U": 230.5, "I": 12}},
            [("m1", TIME, 230.5, 12.0)],
        ),
        (
            "timestamp: ts\nmeasurements: {voltage: values.U, current: values.I}\n",
            [{"ts": TIME, "values": {"U": 230.5}}, {"ts": TIME + 1, "values": {"I": 1.5}}],
            [("m1", TIME, 230.5, None), ("m1", TIME + 1, None, 1.5)],
        ),
        # the gateway API of ThingsBoard: objects by device
        (
            'readings: "*"\nequipment: $name\ntimestamp: ts\nmeasurements: {voltage: values.U, current: values.I}\n',
            {"a": [{"ts": TIME, "values": {"U": 1}}], "b": [{"ts": TIME, "values": {"U": 2}}]},
            [("a", TIME, 1.0, None), ("b", TIME, 2.0, None)],
        ),
        # Telegraf, one metric and a batch
        (
            "equipment: tags.host\ntimestamp: timestamp\nmeasurements: {voltage: fields.U, current: fields.I}\n",
            {"fields": {"U": 230, "I": 1}, "name": "p", "tags": {"host": "h"}, "timestamp": TIME // 1000},
            [("h", TIME // 1000, 230.0, 1.0)],
        ),
        (
            "readings: metrics\nequipment: tags.host\ntimestamp: timestamp\n"
            "measurements: {voltage: fields.U, current: fields.I}\n",
            {"metrics": [{"fields": {"U": 230}, "tags": {"host": h}, "timestamp": TIME // 1000} for h in "gh"]},
            [("g", TIME // 1000, 230.0, None), ("h", TIME // 1000, 230.0, None)],
        ),
        # outer fields of a record, arrays on the way, and arrays as elements
        (
            "readings: groups.values\nequipment: $.device\ntimestamp: '[0]'\nmeasurements: {voltage: '[1]'}\n",
            {"device": "d", "groups": [{"values": [[TIME, 1]]}, {"values": [[TIME + 1, 2], [TIME + 2, 3]]}]},
            [("d", TIME, 1.0, None), ("d", TIME + 1, 2.0, None), ("d", TIME + 2, 3.0, None)],
        ),
        # CloudEvents, structured
        (
            "readings: data\nequipment: $.subject\ntimestamp: $.time\nmeasurements: {voltage: U, current: I}\n",
            {"specversion": "1.0", "subject": "d", "time": "2026-01-05T06:00:00Z", "data": {"U": 1, "I": 2}},
            [("d", "2026-01-05T06:00:00Z", 1.0, 2.0)],
        ),
        # Sparkplug B as JSON: long form, two times
        (
            "readings: metrics\ntag: name\nvalue: value\ntimestamp: timestamp\n"
            "measurements: {voltage: U, current: I}\n",
            {
                "seq": 1,
                "metrics": [
                    {"name": "U", "timestamp": TIME, "value": 230},
                    {"name": "I", "timestamp": TIME, "value": 12},
                    {"name": "U", "timestamp": TIME + 1, "value": 231},
                    {"name": "other", "timestamp": TIME, "value": "x"},
                ],
            },
            [("m1", TIME, 230.0, 12.0), ("m1", TIME + 1, 231.0, None)],
        ),
        # a tag that also names the machine
        (
            'tag: {column: tag, pattern: "[.](.+)"}\nvalue: v\nequipment: {column: tag, pattern: "(.+?)[.]"}\n'
            "timestamp: t\nmeasurements: {voltage: U, current: I}\n",
            [
                {"tag": "p1.U", "t": TIME, "v": 1},
                {"tag": "p2.I", "t": TIME, "v": 2},
                {"tag": "p1.I", "t": TIME, "v": 3},
            ],
            [("p1", TIME, 1.0, 3.0), ("p2", TIME, None, 2.0)],
        ),
        # a field for each type of value, as Sparkplug B has them
        (
            "readings: metrics\ntag: name\nvalue: [float_value, int_value]\ntimestamp: $.timestamp\n"
            "measurements: {voltage: U, current: I}\n",
            {"timestamp": TIME, "metrics": [{"name": "U", "float_value": 0.5}, {"name": "I", "int_value": 0}]},
            [("m1", TIME, 0.5, 0.0)],
        ),
        # names of tags as fields, of several machines
        (
            'readings: values.*\nequipment: {column: $name, pattern: "^(.+)[.]"}\n'
            'tag: {column: $name, pattern: "([^.]+)$"}\nvalue: $value\ntimestamp: $.t\n'
            "measurements: {voltage: U, current: I}\n",
            {"t": TIME, "values": {"a.U": 230, "b.U": "231", "a.I": 1, "a.X": True, "b.I": None}},
            [("a", TIME, 230.0, 1.0), ("b", TIME, 231.0, None)],
        ),
        (
            "readings: U.*\nequipment: $name\ntimestamp: $.t\nmeasurements: {voltage: $value, current: I}\n",
            {"U": {"a": 230, "b": "231"}, "t": TIME},
            [("a", TIME, 230.0, None), ("b", TIME, 231.0, None)],
        ),
        # a unit beside each value
        (
            "tag: k\nvalue: v\nunit: u\ntimestamp: t\nmeasurements: {voltage: U, current: I}\n",
            [
                *[{"t": TIME, "k": "U", "v": 0.25, "u": "kV"}, {"t": TIME, "k": "I", "v": 12, "u": "A"}],
                *[{"t": TIME + 1, "k": "U", "v": "230", "u": None}, {"t": TIME + 1, "k": "I", "v": "250", "u": "mA"}],
            ],
            [("m1", TIME, 250.0, 12.0), ("m1", TIME + 1, 230.0, 0.25)],
        ),
        # devices with an array of readings each
        (
            "readings: devices[*].readings\nequipment: $parent.id\ntimestamp: t\n"
            "measurements: {voltage: U, current: I}\n",
            {"devices": [{"id": f"d{n}", "readings": [{"t": TIME, "U": n}, {"t": TIME + 1, "I": n}]} for n in (1, 2)]},
            [
                *[("d1", TIME, 1.0, None), ("d1", TIME + 1, None, 1.0)],
                *[("d2", TIME, 2.0, None), ("d2", TIME + 1, None, 2.0)],
            ],
        ),
        # streams of PI, which have the tag around the values
        (
            "readings: Items.Items\ntag: $parent.Name\nvalue: Value\ntimestamp: T\n"
            "measurements: {voltage: U, current: I}\n",
            {"Items": [{"Name": name, "Items": [{"T": TIME, "Value": n}]} for n, name in enumerate("UIX")]},
            [("m1", TIME, 0.0, 1.0)],
        ),
        # OPC UA PubSub: fields by name, with the time around them
        (
            "readings: Messages.Payload.*\nequipment: $.PublisherId\ntag: $name\nvalue: Value\n"
            "timestamp: $parent.Timestamp\nmeasurements: {voltage: U, current: I}\n",
            {
                "PublisherId": "p",
                "Messages": [{"Timestamp": t, "Payload": {"U": {"Value": 1}, "I": {"Value": 2}}} for t in (TIME, 7)],
            },
            [("p", TIME, 1.0, 2.0), ("p", 7, 1.0, 2.0)],
        ),
        # texts that hold JSON: a field, the elements, the whole record
        (
            "timestamp: t\nmeasurements: {voltage: object.U, current: 'object.a[1]'}\n",
            {"t": TIME, "object": '{"U": 230, "a": [1, 2]}'},
            [("m1", TIME, 230.0, 2.0)],
        ),
        (
            "readings: body\ntimestamp: t\nmeasurements: {voltage: U, current: I}\n",
            {"body": json.dumps([{"t": TIME, "U": 1}, {"t": TIME + 1, "U": 2}])},
            [("m1", TIME, 1.0, None), ("m1", TIME + 1, 2.0, None)],
        ),
        (
            "timestamp: t\nmeasurements: {voltage: U, current: I}\n",
            json.dumps({"t": TIME, "U": 1}),
            [("m1", TIME, 1.0, None)],
        ),
    ],
)
def test_decode_when_a_record_has_the_shape_of_a_gateway_finds_its_readings(read, mapping, value, expected):
    decoded = read(mapping, value)
    found = decoded.readings.select(["equipment_id", "timestamp", "voltage", "current"]).to_pylist()
    wanted = [(machine, str(time), voltage, current) for machine, time, voltage, current in expected]
    assert [tuple(row.values()) for row in found] == wanted
    assert not decoded.dead_letters.num_rows
    assert decoded.sizes.tolist() == [len(expected)]


@pytest.mark.parametrize(
    ("ambiguous", "hour"),
    [("", None), (", ambiguous: refuse", None), (", ambiguous: first", 0), (", ambiguous: second", 1)],
)
def test_decode_when_a_local_time_occurs_twice_takes_only_the_pass_that_is_told(read, ambiguous, hour):
    mapping = f"timestamp: {{column: ts, zone: Europe/Berlin{ambiguous}}}\nmeasurements: {{voltage: U}}\n"
    texts = ["2026-10-25 01:59:59", "2026-10-25 02:30:00", "2026-10-25 02:30:00+01:00", "2026-10-25 03:00:00"]
    found = readings(read(mapping, [{"ts": text, "U": 1} for text in texts]))
    first = 1_792_888_200_000  # 2026-10-25T00:30:00Z
    expected = [
        first - 1_801_000,
        None if hour is None else first + hour * 3_600_000,
        first + 3_600_000,
        first + 5_400_000,
    ]
    assert [row.get("timestamp_ms") for row in found] == expected


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (r"pattern: '\((\d+)\)'", "/Date(1767592800000)/"),
        (r"pattern: '^(.+?) - ', format: '%d.%m.%Y %H:%M', zone: Europe/Berlin", "05.01.2026 07:00 - 05.01.2026 07:15"),
    ],
)
def test_decode_when_the_time_is_a_part_of_a_text_reads_that_part(read, entry, text):
    mapping = f"timestamp: {{column: ts, {entry}}}\nmeasurements: {{voltage: U}}\n"
    found = readings(read(mapping, {"ts": text, "U": 1}, {"ts": "no time", "U": 2}))
    assert [row.get("timestamp_ms") for row in found] == [TIME, None]


def test_decode_when_the_time_is_that_of_the_record_takes_it(read):
    decoded = read("timestamp: $time\nmeasurements: {voltage: U}\n", {"U": 1})
    assert readings(decoded) == [{"equipment_id": "m1", "timestamp": str(TIME + 5), "voltage": 1.0}]


@pytest.mark.parametrize(
    ("entry", "text", "expected"),
    [
        ("zone: Europe/Berlin", "2026-01-05 07:00:00", TIME),
        ("zone: Europe/Berlin", "2026-01-05T06:00:00Z", TIME),
        ('format: "%d.%m.%Y %H:%M"', "05.01.2026 06:00", TIME),
        ('format: "%d.%m.%Y %H:%M"', "2026-01-05T06:00:00Z", "2026-01-05T06:00:00Z…"),
        ("zone: Europe/Berlin", "2026-03-29 02:30:00", "2026-03-29 02:30:00…"),
    ],
)
def test_decode_when_timestamps_have_a_format_or_a_zone_reads_no_other(read, entry, text, expected):
    decoded = read(f"timestamp: {{column: ts, {entry}}}\nmeasurements: {{voltage: U}}\n", {"ts": text, "U": 1})
    (row,) = readings(decoded)
    assert row.get("timestamp_ms", row.get("timestamp")) == expected


@pytest.mark.parametrize(
    ("entries", "cell", "value", "bad"),
    [
        ("", "230.5", 230.5, None),
        ("", "0021.50", 21.5, None),
        ("", "+3e2", 300.0, None),
        ("", "12,5", None, "voltage"),
        ("decimal: ','", "12,5", 12.5, None),
        ("decimal: ','\nthousands: '.'", "1.234,5", 1234.5, None),
        ("", "230.5 V", 230.5, None),
        ("", "230.5mV", 0.2305, None),
        ("", "1.2 kV", 1200.0, None),
        ("", "12 m", None, "voltage"),
        ("", True, 1.0, None),
        ("", "True", 1.0, None),
        ("", "false", 0.0, None),
        ("bad: ['false']", "false", None, "voltage=false,voltage"),
        ("missing: [-9999]", -9999, None, None),
        ("bad: [-9999]", -9999, None, "voltage=-9999,voltage"),
        ("bad: [-9999]", "-9999.0", None, "voltage=-9999.0,voltage"),
        ("bad: [I/O Timeout]", "I/O Timeout", None, "voltage=I/O Timeout,voltage"),
        ("", "I/O Timeout", None, "voltage"),
        ("", {"v": 1}, None, "voltage"),
        ("quality: q", 1.5, 1.5, None),
    ],
)
def test_decode_when_a_value_is_written_in_another_way_reads_it_or_names_it(read, entries, cell, value, bad):
    decoded = read(f"{PLAIN}{entries}\n", {"ts": TIME, "U": cell})
    (row,) = readings(decoded)
    assert (row.get("voltage"), row.get("bad")) == (value, bad)


@pytest.mark.parametrize(
    ("entry", "cell", "value"),
    [
        ("{column: U, unit: kV}", 1.5, 1500.0),
        ("{column: U, unit: mV}", "1500", 1.5),
        ("{column: U, scale: 10, offset: 1}", 2, 21.0),
        ("{column: U, scale: 10}", "2 V", 20.0),
        # The scale may be that of kV.
        ("{column: U, scale: 1000}", "0.23 kV", None),
        ("{column: U, unit: kV, scale: 2}", "100 V", 200.0),
        ("{column: U, unit: kV, scale: 0.1}", 5, 500.0),
        ('{column: U, values: {"on": 1, "off": 0}}', "On", 1.0),
        ("{column: U, values: {on: 1, off: 0}}", "off", 0.0),
        ("{column: U, values: {true: 5}}", True, 5.0),
        ("{column: U, values: {3: 30}, scale: 2}", 3, 30.0),
        ("{column: U, values: {3: 30}, scale: 2}", 4, 8.0),
    ],
)
def test_decode_when_a_mapping_converts_values_stores_the_declared_unit(read, entry, cell, value):
    decoded = read(f"timestamp: ts\nmeasurements: {{voltage: {entry}}}\n", {"ts": TIME, "U": cell})
    wanted = None if value is None else pytest.approx(value, rel=1e-15)
    assert [row.get("voltage") for row in readings(decoded)] == [wanted]


@pytest.mark.parametrize(
    ("codes", "status", "voltage", "bad"),
    [
        ("", "Good", 1.0, None),
        ("", "good, local override", 1.0, None),
        ("", "Uncertain", 1.0, "voltage=Uncertain"),
        ("", "Bad: I/O, timeout=3", None, "voltage=Bad: I/O timeout 3"),
        ("", "strange", 1.0, "voltage=strange"),
        ("", None, 1.0, None),
        ("", 192, 1.0, "voltage=192"),
        (", codes: opc-da", 192, 1.0, None),
        (", codes: opc-da", "216", 1.0, None),
        (", codes: opc-da", 64, 1.0, "voltage=64"),
        (", codes: opc-da", 24, None, "voltage=24"),
        (", codes: opc-ua", 0, 1.0, None),
        (", codes: opc-ua", "0x40000000", 1.0, "voltage=0x40000000"),
        (", codes: opc-ua", 0x80050000, None, "voltage=2147811328"),
        ("", "Error_Configuration", None, "voltage=Error_Configuration"),
        (", codes: opc-ua", {"Code": 0x80050000, "Symbol": "BadCommunicationError"}, None, "voltage=2147811328"),
        (", codes: opc-ua", {"code": 0}, 1.0, None),
        (", codes: opc-ua", "-2147483648", None, "voltage=-2147483648"),
        (", codes: opc-da", -1, 1.0, "voltage=-1"),
        (", codes: opc-ua", "OK (0x0)", 1.0, None),
        (", codes: opc-ua", "StatusBadNodeIDUnknown (0x80340000)", None, "voltage=StatusBadNodeIDUnknown (0x80340000)"),
        ("", {"Symbol": "BadCommunicationError"}, None, "voltage=BadCommunicationError"),
        ("", {}, 1.0, None),
        (", good: [1], bad: [0]", 1, 1.0, None),
        (", good: [1], bad: [0]", "0", None, "voltage=0"),
        (", good: [true], bad: [false]", False, None, "voltage=False"),
    ],
)
def test_decode_when_a_historian_grades_its_values_names_what_is_not_good(read, codes, status, voltage, bad):
    mapping = f"timestamp: ts\nquality: {{column: q{codes}}}\nmeasurements: {{voltage: U, current: I}}\n"
    (row,) = readings(read(mapping, {"ts": TIME, "U": 1, "q": status}))
    assert (row.get("voltage"), row.get("bad")) == (voltage, bad)


def test_decode_when_a_unit_beside_a_value_does_not_fit_names_the_value(read):
    mapping = "readings: m\ntag: k\nvalue: v\nunit: u\ntimestamp: $.t\nmeasurements: {voltage: U, current: I}\n"
    metrics = [{"k": "U", "v": 230, "u": "bar"}, {"k": "I", "v": 12, "u": "mA"}]
    (row,) = readings(read(mapping, {"t": TIME, "m": metrics}))
    assert (row.get("voltage"), row["current"], row["bad"]) == (None, 0.012, "voltage")


def test_decode_when_each_measurement_has_a_status_grades_each_by_its_own(read):
    mapping = (
        "timestamp: ts\nquality: {codes: opc-ua}\nmeasurements:\n  voltage: {column: U.Value, quality: U.StatusCode}\n"
        "  current: {column: I.Value, quality: I.StatusCode}\n"
    )
    value = {"ts": TIME, "U": {"Value": 230}, "I": {"Value": 12, "StatusCode": {"Code": 0x80000000}}}
    (row,) = readings(read(mapping, value))
    assert (row["voltage"], row.get("current"), row["bad"]) == (230.0, None, "current=2147483648")
    (row,) = readings(read(mapping.replace("quality: {codes: opc-ua}\n", ""), value))
    assert row["bad"] == "current=2147483648"


@pytest.mark.parametrize("key", [None, b"", b"\0\0\0\x2a", b"null"])
def test_decode_when_a_key_is_no_id_says_so(read, key):
    (letter,) = read(PLAIN, (key, {"ts": 1, "U": 1}, [])).dead_letters.to_pylist()
    assert letter["detail"].startswith("no equipment ID: $key is 'None'; the key is missing, or no text")


def test_decode_when_an_array_has_a_byte_order_mark_cuts_its_elements(read):
    decoded = read("equipment: id\n" + PLAIN, (None, b'\xef\xbb\xbf[{"id":"a","ts":1,"U":1}, {"ts":2}]', []))
    assert letters(decoded) == [(0, 1, "missing-key", b'{"ts":2}')]


def test_decode_when_elements_are_broken_keeps_the_others_and_their_own_bytes(read):
    value = b'[{"id":"a","ts":1,"U":1}, 5 ,{"ts":1,"U":1.50},\n {"id":"b","ts":1,"U":2}]'
    decoded = read("equipment: id\n" + PLAIN, (None, value, []))
    assert [row["equipment_id"] for row in readings(decoded)] == ["a", "b"]
    assert decoded.readings["index"].to_pylist() == [0, 3]
    assert letters(decoded) == [(0, 1, "schema", b"5"), (0, 2, "missing-key", b'{"ts":1,"U":1.50}')]
    assert decoded.sizes.tolist() == [4]


@pytest.mark.parametrize(
    ("mapping", "value"),
    [
        ("", b'[{"id":"a","ts":1,"U":nan},5]'),
        ("", b'[{"id":"a","ts":1,"U":1' + b"0" * 5000 + b"},5]"),
        pytest.param(
            "readings: m\n",
            b'{"m":[{"id":"a","ts":1},5],"x":' + b"[" * 1000 + b"]" * 1000 + b"}",
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python parses it, and cuts it out"),
        ),
    ],
)
def test_decode_when_an_element_cannot_be_cut_out_keeps_the_whole_record(read, mapping, value):
    decoded = read(f"{mapping}equipment: id\n" + PLAIN, (None, value, []))
    assert [row["equipment_id"] for row in readings(decoded)] == ["a"]
    assert letters(decoded) == [(0, 1, "schema", value)]
    assert originals(decoded.readings, decoded.records, MEASUREMENTS).values == [value]


def test_decode_when_an_element_lies_deep_keeps_the_record_around_it(read):
    value = {
        "site": "x",
        "groups": [{"rows": [{"id": "a", "ts": 1}]}, {"n": 1, "rows": [{"ts": 2}, {"id": "b", "ts": 3}]}],
    }
    mapping = (
        'readings: groups.rows\nequipment: {template: "{$.site}-{id}"}\ntimestamp: ts\nmeasurements: {voltage: U}\n'
    )
    decoded = read(mapping, (None, value, []))
    ((_, index, reason, letter),) = letters(decoded)
    assert (index, reason) == (1, "missing-key")
    assert json.loads(letter) == {"site": "x", "groups": [{"n": 1, "rows": [{"ts": 2}]}]}
    # Sent again, it is the same element.
    assert letters(read(mapping, (None, letter, []))) == [(0, 0, "missing-key", letter)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{", "undecodable"),
        (b"7", "schema"),
        (b"null", "schema"),
        (b'"text"', "schema"),
        (b'{"other":[]}', "schema"),
        (b'{"metrics":null}', "schema"),
        (b"[5]", "schema"),
        (b"[null]", "schema"),
    ],
)
def test_decode_when_a_record_has_no_elements_keeps_it_whole(read, value, reason):
    decoded = read("readings: metrics\n" + PLAIN, value, {"metrics": [{"ts": 1, "U": 1}]})
    assert letters(decoded) == [(0, 0, reason, value)]
    assert decoded.sizes.tolist() == [1, 1]


@pytest.mark.parametrize("path", ["'*.values'", "Messages.*.Payload", "Messages[0].*.x"])
def test_decode_when_a_path_with_a_star_finds_nothing_keeps_the_record(read, path):
    value = json.dumps({"Messages": [{"Timestamp": 1, "Payload": {"U": 1}}], "id": "p"}).encode()
    decoded = read(f"readings: {path}\n" + PLAIN, value)
    assert letters(decoded) == [(0, 0, "schema", value)]


def test_decode_when_an_element_of_a_text_is_no_reading_replays_it(read):
    mapping = "readings: body\nequipment: $.id\n" + PLAIN
    decoded = read(mapping, (None, {"body": json.dumps([{"ts": 1, "U": 1}, 5])}, []))
    ids = [(index, reason) for _, index, reason, _ in letters(decoded)]
    assert ids == [(0, "missing-key"), (1, "schema")]
    assert [len(letters(read(mapping, (None, letter, [])))) for *_, letter in letters(decoded)] == [1, 1]


def test_decode_when_an_array_is_empty_finds_nothing(read):
    decoded = read("readings: metrics\n" + PLAIN, {"metrics": []}, [])
    assert (decoded.readings.num_rows, decoded.dead_letters.num_rows, decoded.sizes.tolist()) == (0, 0, [0, 0])


def test_originals_when_a_record_has_several_readings_are_those_of_each(read):
    value = b'[{"ts":1,"U":1.0} , {"ts":2,"U":2e0}]'
    decoded = read(PLAIN, value, {"ts": 3, "U": 3})
    found = originals(decoded.readings, decoded.records, MEASUREMENTS)
    assert found.values == [b'{"ts":1,"U":1.0}', b'{"ts":2,"U":2e0}', b'{"ts": 3, "U": 3}']


def test_originals_when_a_mapping_uses_headers_keep_them(read):
    headers = [("Device", b"p"), ("other", b"x")]
    decoded = read("equipment: $header.device\n" + PLAIN, (None, {"ts": 1, "U": 1}, headers))
    found = originals(decoded.readings, decoded.records, MEASUREMENTS)
    assert (found.keys, found.headers) == ([None], [[("Device", b"p")]])


def test_decode_when_fields_are_not_mapped_counts_them(read):
    mapping = "readings: m\nequipment: $.id\ntimestamp: ts\nmeasurements: {voltage: f.U}\n"
    decoded = read(mapping, {"id": "a", "m": [{"ts": 1, "f": {"U": 1, "x": 2}}, {"ts": 1, "f": {"U": 1}, "new": 3}]})
    assert decoded.unknown == {"f.x": 1, "new": 1}


def test_decode_when_records_are_of_the_project_itself_reads_them_without_the_mapping(read):
    headers = [("content-type", b"application/vnd.sensor-etl.reading+json")]
    decoded = read("equipment: id\n" + PLAIN, (b"m1", {"timestamp": "2026-01-05T06:00:00Z", "voltage": 1}, headers))
    assert readings(decoded) == [{"equipment_id": "m1", "timestamp": "2026-01-05T06:00:00Z", "voltage": 1.0}]


TEXTS = [
    "a",
    "U",
    "2026-01-05",
    "1 kV",
    '{"id": "a", "ts": 1, "U": 2, "n": [3]}',
    '[{"ts": 1, "id": "b"}, {"U": 1}]',
    "[]",
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, TIME) | st.floats() | st.sampled_from(TEXTS),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["ts", "U", "id", "m", "n", "q"]), inner, max_size=5)
    ),
    max_leaves=20,
)
MAPPINGS = [
    PLAIN,
    "readings: m\nequipment: id\n" + PLAIN,
    "readings: m.n\nequipment: $.id\n" + PLAIN,
    'readings: "*.m"\nequipment: $name\n' + PLAIN,
    "readings: '[0].m'\nequipment: id\n" + PLAIN,
    "readings: m.n\nequipment: $parent.id\n" + PLAIN,
    "readings: m.*\nequipment: $name\ntimestamp: $.ts\nmeasurements: {voltage: $value}\n",
    "readings: m.*\nequipment: $parent.id\ntag: $name\nvalue: [U, $value]\nunit: n\ntimestamp: $.ts\n"
    "measurements: {voltage: n}\n",
    "readings: m\nequipment: id\ntag: n\nvalue: U\nquality: q\n" + PLAIN,
    "equipment: id\nquality: {column: q, codes: opc-da}\nbad: [-5]\ntimestamp: {column: ts, zone: Europe/Berlin}\n"
    "measurements: {voltage: {column: U, unit: kV, values: {a: 7}}}\n",
]


@pytest.mark.parametrize("mapping", MAPPINGS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(values=st.lists(JSON_VALUES, min_size=1, max_size=4))
def test_decode_when_records_are_any_json_keeps_each_element_once_and_replays_it(read, mapping, values):
    decoded = read(mapping, *values)
    assert decoded.sizes.sum() == decoded.readings.num_rows + decoded.dead_letters.num_rows
    for _, _, reason, letter in letters(decoded):
        # Sent again, it is rejected for the same reason, and nothing else of its record comes with it. An array that is
        # an element of an array is taken for a record of several.
        if json.loads(letter) != [] and not (mapping in (PLAIN, MAPPINGS[-1]) and type(json.loads(letter)) is list):
            again = read(mapping, letter)
            assert again.readings.num_rows == 0 or "tag:" in mapping
            assert {each[2] for each in letters(again)} >= {reason}
    found = originals(decoded.readings, decoded.records, MEASUREMENTS)
    for reading, value in zip(readings(decoded), found.values, strict=True):
        if mapping in (PLAIN, MAPPINGS[-1]) and type(json.loads(value)) is list:
            continue
        # A NaN is not equal to itself.
        assert repr(reading) in map(repr, readings(read(mapping, value)))
