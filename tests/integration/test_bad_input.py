"""Bad input in the whole pipeline, on the real services: it never stops the rest, and it never disappears."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from etl.errors import NothingNew
from etl.run.dead_letters import Choice, list_letters
from tests.integration.machine import Machine
from tests.integration.plant import MIDNIGHT, Plant, run_behind_topic
from tests.integration.topics import in_json

# A million takes minutes: TINY_RECORDS=1000000.
TINY = int(os.environ.get("TINY_RECORDS", "30000"))
MEGABYTE = 1_000_000
POISON = [
    b"",
    b"\x00" * 100,
    b"[" * 1_000_000,
    b'{"a":' * 150_000,
    b'{"voltage":',
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xef\xbb\xbf{}",
]
NAMES = [
    "'; DROP TABLE sensor_data; --",
    '=HYPERLINK("http://example.org","x")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "../../../etc/passwd",
    "%s%n{0}${HOME}$(id)`id`",
    "a,b;c\td"[:-2],
    "\u202egnp.exe",
]


def produce(plant: Plant, *records: dict[str, Any], **options: Any) -> None:
    """Send records as a foreign producer does."""
    servers = plant.client.settings.bootstrap_servers
    largest = {"message.max.bytes": 100 * MEGABYTE, "queue.buffering.max.messages": 200_000, "linger.ms": 50}
    producer = confluent_kafka.Producer({"bootstrap.servers": servers, **largest, **options})
    for record in records:
        while True:
            try:
                producer.produce(plant.topic, **record)
                break
            except BufferError:
                producer.poll(1)
    assert producer.flush(120) == 0


def peak_bytes(pid: int) -> int:
    """Return the highest memory of a process so far, which unlike `ru_maxrss` leaves out that of its parent."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def reading(number: int, **more: object) -> bytes:
    return json.dumps({"timestamp": MIDNIGHT + number, "voltage": number, **more}).encode()


def stored(plant: Plant) -> int:
    return int(plant.session.execute("SELECT count(*) FROM sensor_data").one()[0])


def lag(plant: Plant) -> int:
    committed = plant.client.committed(plant.topic)
    return sum(span.end - (committed[p] or 0) for p, span in plant.client.log_spans(plant.topic).items())


@pytest.mark.parametrize("library", ["kafka-python", "librdkafka"])
def test_run_stores_the_rest_when_one_record_in_ten_thousand_is_poison(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setenv("ETL_KAFKA_CLIENT", library)
    records = [in_json(reading(number)) for number in range(9_999)]
    records.insert(5_000, in_json(b'{"voltage":\xff'))
    produce(plant, *records)
    counts = run_behind_topic("r1")
    assert (counts["consumed"], counts["loaded"], counts["rejected"]) == (10_000, 9_999, 1)
    assert stored(plant) == 9_999
    (letter,) = list_letters(plant.client, Choice())
    assert (letter.value, letter.key, letter.offset) == (b'{"voltage":\xff', b"m1", 5_000)
    assert lag(plant) == 0


def test_run_ends_well_when_all_records_are_poison(plant: Plant) -> None:
    produce(plant, *(in_json(value) for value in POISON))
    counts = run_behind_topic("r1")
    assert (counts["consumed"], counts["loaded"], counts["rejected"]) == (len(POISON), 0, len(POISON))
    assert [letter.value for letter in list_letters(plant.client, Choice())] == POISON
    assert (stored(plant), lag(plant)) == (0, 0)
    with pytest.raises(NothingNew):
        run_behind_topic("r2")


def allow(plant: Plant, *topics: str) -> None:
    """Let topics take records of 64 MB."""
    admin = KafkaAdminClient(bootstrap_servers=plant.client.settings.bootstrap_servers)
    admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, {"max.message.bytes": str(64 * MEGABYTE)}) for name in topics]
    )
    admin.close()


@pytest.mark.parametrize("library", ["kafka-python", "librdkafka"])
def test_run_stores_the_rest_when_a_record_has_50_megabytes(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setenv("ETL_KAFKA_CLIENT", library)
    allow(plant, plant.topic, plant.client.settings.dead_letter_topic)
    poison = b'{"voltage":1,"more":"' + b"x" * (50 * MEGABYTE)
    large = reading(2, more="x" * (50 * MEGABYTE))
    produce(plant, *map(in_json, (reading(1), poison, large, reading(3))))
    counts = run_behind_topic("r1")
    assert (counts["consumed"], counts["loaded"], counts["rejected"]) == (4, 3, 1)
    (letter,) = list_letters(plant.client, Choice())
    assert letter.value == poison
    assert (stored(plant), lag(plant)) == (3, 0)


def test_run_balances_when_records_are_tiny(plant: Plant) -> None:
    produce(plant, *(in_json(b'{"voltage":1,"timestamp":%d}' % (MIDNIGHT + i)) for i in range(TINY // 2)))
    produce(plant, *(in_json(b"1") for _ in range(TINY - TINY // 2)))
    counts = run_behind_topic("r1")
    assert (counts["consumed"], counts["loaded"], counts["rejected"]) == (TINY, TINY // 2, TINY - TINY // 2)
    assert lag(plant) == 0


@pytest.mark.parametrize(("codec", "megabytes"), [("gzip", 32), ("snappy", 12), ("lz4", 32), ("zstd", 32)])
def test_consume_takes_bounded_memory_when_batches_are_decompression_bombs(
    plant: Plant, machine: Machine, codec: str, megabytes: int
) -> None:
    plant = Plant(plant.session, plant.client, machine.kafka.topic, plant.workspace)
    # A batch may have a megabyte, so each record is a batch of its own.
    large = reading(1, more="x" * (megabytes * MEGABYTE))
    number = 480 // megabytes
    produce(plant, *[{**in_json(large), "partition": 0}] * number, **{"compression.type": codec, "batch.size": 1000})
    process = machine.start("consume", "--run", "r1")
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_bytes(process.pid))
        time.sleep(0.05)
    assert process.returncode == 0, process.stderr and process.stderr.read()
    assert machine.counts("r1", "consume")["records"] == number
    # Together they hold 480 MB, and each takes a multiple of its size while it is decoded.
    assert peak < 1000 * MEGABYTE


def test_run_keeps_each_name_as_it_is_when_it_is_an_injection(plant: Plant) -> None:
    produce(plant, *(in_json(reading(at, mode=name), name.encode()) for at, name in enumerate(NAMES)))
    hidden = [b"m\n2026-01-05 [error] forged", b"m\x1b[2J", b"m\r", b"\x00m"]
    produce(plant, *(in_json(reading(1), key + b"\x07x") for key in hidden))
    counts = run_behind_topic("r1")
    assert (counts["loaded"], counts["rejected"]) == (len(NAMES), len(hidden))
    rows = plant.session.execute("SELECT equipment_id, mode FROM sensor_data").all()
    assert sorted(tuple(row) for row in rows) == sorted((name, name) for name in NAMES)
    assert {letter.reason for letter in list_letters(plant.client, Choice())} == {"missing-key"}
