"""Consume what other programs put on the topic: their codecs, headers, keys, numbers and clocks, by both clients."""

import struct
import time
from typing import Any

import confluent_kafka
import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from etl.errors import SettingsError
from etl.kafka import client as port
from etl.kafka import ports
from etl.kafka.records import BLOCK_BYTES
from images import local
from tests.integration.topics import arrow, in_json, output, run_consume, send

CODECS = ("gzip", "snappy", "lz4", "zstd")


class NotUtf8(str):
    """The name of a header as a program without Unicode sends it."""

    def encode(self, *_: Any) -> bytes:
        return self.removesuffix("?").encode("latin-1") + b"\xff"


def send_by_librdkafka(service: local.Service, topic: str, codec: str, values: list[bytes]) -> None:
    """Send compressed batches of many records."""
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": service.address, "compression.type": codec, "linger.ms": 500}
    )
    for value in values:
        producer.produce(topic, value=value, key=b"m1", partition=0)
    assert producer.flush(30) == 0


def stamp_by_producers(service: local.Service, topic: str) -> None:
    """Let the topic keep any time that a producer sends."""
    admin = KafkaAdminClient(bootstrap_servers=service.address)
    changed = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(2**62)}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, changed)])
    admin.close()


@pytest.mark.parametrize("codec", CODECS)
def test_consume_when_batches_are_compressed_reads_them(
    kafka: local.Service, client: port.Client, topic: str, codec: str
) -> None:
    values = [b'{"voltage":%d,"more":"%b"}' % (i, b"abc" * 100) for i in range(500)]
    send_by_librdkafka(kafka, topic, codec, values)
    send(kafka, topic, *(in_json(b'{"voltage":%d}' % i) for i in range(500, 600)), compression_type=codec)
    manifest = run_consume("r1")
    assert manifest.summary.counts == {"consumed": 600, "rejected": 0, "records": 600}
    assert sorted(row["voltage"] for row in output("r1", "readings")) == list(range(600))


@pytest.mark.parametrize(
    ("codec", "module", "package"),
    [("snappy", "snappy", "python-snappy"), ("zstd", "zstd", "zstandard"), ("lz4", "lz4", "lz4")],
)
def test_consume_when_the_package_of_a_codec_is_missing_names_it(
    kafka: local.Service, python: port.Client, topic: str, monkeypatch: pytest.MonkeyPatch, codec: str, module: str,
    package: str,
) -> None:  # fmt: skip
    send_by_librdkafka(kafka, topic, codec, [b'{"voltage":1,"more":"%b"}' % (b"abc" * 100)] * 50)
    monkeypatch.setattr(f"kafka.codec.{module}", None)
    with pytest.raises(SettingsError, match=rf"{topic} .*install {package}, or set ETL_KAFKA_CLIENT=librdkafka"):
        run_consume("r1")
    monkeypatch.setenv("ETL_KAFKA_CLIENT", "librdkafka")
    assert run_consume("r1").summary.counts["consumed"] == 50


@pytest.mark.parametrize("codec", [None, "gzip"])
def test_consume_when_a_name_of_a_header_is_not_utf8_keeps_the_reading(
    kafka: local.Service,
    client: port.Client,
    topic: str,
    codec: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    odd = [("etl-replays", b"3"), (NotUtf8("tracé?"), b"x"), (NotUtf8(""), b""), ("", b"y"), ("é", b"\xff")]
    batch = arrow(2, 3)
    send(
        kafka,
        topic,
        {**in_json(b'{"voltage":1}'), "headers": odd},
        {**batch, "headers": [*odd, *batch["headers"]]},
        in_json(b'{"voltage":4}'),
        {**in_json(b"[]"), "headers": odd},
        {**in_json(b'{"voltage":5}', partition=1), "headers": odd},
        {"key": None, "value": b"{}", "headers": odd},
        compression_type=codec,
    )
    manifest = run_consume("r1")
    assert manifest.summary.counts == {"consumed": 7, "rejected": 2, "records": 6}
    rows = sorted(output("r1", "readings"), key=lambda row: row["voltage"])
    assert [(row["voltage"], row["replays"]) for row in rows] == [(1, 3), (2, 3), (3, 3), (4, 0), (5, 3)]
    letters = output("r1", "dead-letters")
    assert sorted((letter["offset"], letter["reason"], letter["replays"]) for letter in letters) == [
        (3, "undecodable", 3),
        (4, "missing-key", 3),
    ]
    assert "headers ignored" in capsys.readouterr().out


def test_consume_when_all_names_of_headers_are_not_utf8_reads_on(
    kafka: local.Service, client: port.Client, topic: str
) -> None:
    records = [{**in_json(b'{"voltage":%d}' % i), "headers": [(NotUtf8("x?"), b"%d" % i)]} for i in range(1000)]
    send(kafka, topic, *records)
    assert run_consume("r1").summary.counts == {"consumed": 1000, "rejected": 0, "records": 1000}
    assert [row["voltage"] for row in output("r1", "readings")] == list(range(1000))


def test_read_when_headers_are_large_keeps_blocks_small(kafka: local.Service, client: port.Client, topic: str) -> None:
    send(kafka, topic, *({"value": b"x", "headers": [("more", b"y" * 500_000)]} for _ in range(60)))
    blocks = list(ports.read(client.settings, topic, client.log_spans(topic)))
    sizes = [sum(len(value or b"") for headers in block.headers for _, value in headers) for block in blocks]
    assert sum(sizes) == 30_000_000
    assert max(sizes[1:]) <= BLOCK_BYTES + 500_000


def test_consume_when_serializers_add_to_the_key_takes_it_for_one_machine(
    kafka: local.Service, client: port.Client, topic: str
) -> None:
    keys = [b"m1", b'"m1"', b"m1\0\0\0", b" m1\n", struct.pack(">bI", 0, 42) + b"m1", b"m\0001", b"\0m1"]
    send(kafka, topic, *({**arrow(i), "key": key} for i, key in enumerate(keys)))
    manifest = run_consume("r1")
    assert manifest.summary.counts == {"consumed": 7, "rejected": 2, "records": 7}
    assert {row["equipment_id"] for row in output("r1", "readings")} == {"m1"}
    letters = output("r1", "dead-letters")
    assert [(letter["key"], letter["reason"]) for letter in letters] == [(key, "missing-key") for key in keys[-2:]]
    assert {letter["detail"] for letter in letters} == {"the key must hold no control characters"}


def test_consume_when_json_holds_nan_keeps_the_other_values(
    kafka: local.Service, client: port.Client, topic: str
) -> None:
    literals = [b"NaN", b"Infinity", b"-Infinity", b"nan", b"1e999"]
    send(kafka, topic, *(in_json(b'{"voltage":%b,"state":"on"}' % literal) for literal in literals))
    assert run_consume("r1").summary.counts == {"consumed": 5, "rejected": 0, "records": 5}
    rows = output("r1", "readings")
    assert str([row["voltage"] for row in rows]) == "[nan, inf, -inf, nan, inf]"
    assert {row["state"] for row in rows} == {"on"}


def test_consume_when_producers_send_any_time_keeps_it(kafka: local.Service, client: port.Client, topic: str) -> None:
    stamp_by_producers(kafka, topic)
    now = int(time.time() * 1000)
    times = [-1, 0, now, 4_070_908_800_000, 2**62]
    send(kafka, topic, *({**in_json(b'{"voltage":1}'), "timestamp_ms": at} for at in times))
    run_consume("r1")
    assert [row["record_time"] for row in output("r1", "readings")] == times
