"""A pair of topics per test, and what it takes to fill them and to run the stages that touch them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from kafka import KafkaProducer

from etl.admin.topics import create_topics
from etl.codec.columns import ARROW
from etl.kafka import client as kafka
from etl.model.measurements import Measurement, Measurements
from etl.model.schemas import DEAD_LETTERS, TIMESTAMP, generated
from etl.run.runner import run_stage
from etl.run.workspace import Manifest, Shard, Source, begin, commit, find_manifest, open_workspace
from etl.settings import KafkaSettings, RunSettings, SchemaSettings, read_settings, read_stage_settings
from etl.stages import consume, produce
from images import local
from tests.integration.plant import Reachable

MEASUREMENTS = Measurements((Measurement("voltage", "double"), Measurement("state", "text")))
MEASUREMENTS_YAML = "measurements:\n  voltage: {type: double}\n  state: {type: text}\n"
ARROW_HEADERS = [("content-type", ARROW.encode())]
CLIENTS = ("kafka-python", "librdkafka")


@contextmanager
def made_topics(
    service: Reachable, topic: str, folder: Path, client: str = "kafka-python", partitions: int = 2
) -> Iterator[kafka.Client]:
    """Make both topics and set the environment so that the stages use them."""
    (folder / "measurements.yaml").write_text(MEASUREMENTS_YAML)
    changes = {
        **service.environment,
        "ETL_KAFKA_TOPIC": topic,
        "ETL_KAFKA_DEAD_LETTER_TOPIC": f"{topic}-dead",
        "ETL_KAFKA_GROUP": topic,
        "ETL_KAFKA_CLIENT": client,
        "ETL_KAFKA_TIMEOUT": "20",
        "ETL_MEASUREMENTS_FILE": str(folder / "measurements.yaml"),
        "ETL_WORKSPACE_URL": str(folder / "workspace"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setenv(name, value)
        with kafka.connect(read_settings(KafkaSettings)) as connected:
            create_topics(connected, SchemaSettings(partitions=partitions))
            yield connected


def make_anew(client: kafka.Client) -> None:
    """Delete the topic and create it again."""
    topic = client.settings.topic
    client.administer(f"topic {topic}", lambda admin: admin.delete_topics([topic]))
    deadline = time.monotonic() + 30
    while not client.create_topic(topic, 2, 1, {"message.timestamp.type": "LogAppendTime"}):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while client.log_spans(topic)[0] != (0, 0):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def send(service: local.Service, topic: str, *records: dict[str, Any], **options: Any) -> list[int]:
    """Send records as they are (partition 0 unless said otherwise), return their offsets."""
    producer = KafkaProducer(bootstrap_servers=service.address, **options)
    futures = [producer.send(topic, **{"partition": 0, **record}) for record in records]
    offsets = [future.get(timeout=30).offset for future in futures]
    producer.close()
    return offsets


@contextmanager
def transaction(service: local.Service, name: str) -> Iterator[KafkaProducer]:
    """A transactional producer that has begun; the test ends what it began."""
    producer = KafkaProducer(bootstrap_servers=service.address, transactional_id=name)
    producer.init_transactions()
    producer.begin_transaction()
    yield producer
    producer.close()


def await_end(client: kafka.Client, end: int) -> None:
    """Wait for partition 0 to end there: a transaction is over before the partition has its marker."""
    deadline = time.monotonic() + 30
    while client.log_spans(client.settings.topic)[0].end != end:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stream(*voltages: float | None, first: int = 1_767_600_000_000) -> bytes:
    """A micro-batch as our producer sends it."""
    times = pa.array(range(first, first + len(voltages)), pa.int64()).cast(TIMESTAMP)
    table = pa.table({"timestamp": times, "voltage": pa.array(voltages, pa.float64())})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def arrow(*voltages: float | None, key: bytes = b"m1", partition: int = 0) -> dict[str, Any]:
    """A record of a micro-batch."""
    return {"key": key, "value": stream(*voltages), "headers": list(ARROW_HEADERS), "partition": partition}


def in_json(value: bytes, key: bytes | None = b"m1", partition: int = 0) -> dict[str, Any]:
    """A record without a content type."""
    return {"key": key, "value": value, "partition": partition}


def generate(
    run: str, rows: Sequence[dict[str, Any]], letters: Sequence[dict[str, Any]] = (), shard: int = 0, shards: int = 1
) -> None:
    """Leave what generate would."""
    workspace = open_workspace(RunSettings().workspace_url, run, Shard(shard, shards))
    output = begin(workspace, "generate")
    if rows:
        output.write("readings", pa.Table.from_pylist(list(rows), schema=generated(MEASUREMENTS)))
    if letters:
        output.write("dead-letters", pa.Table.from_pylist(list(letters), schema=DEAD_LETTERS))
    commit(output, MEASUREMENTS.sha256, {}, [], None)


def run_produce(run: str) -> Manifest:
    """Run the stage as the command does."""
    return run_stage("produce", produce.produce, RunSettings(run_id=run), *read_stage_settings("produce"))


def run_consume(run: str) -> Manifest:
    """Run the stage as the command does."""
    return run_stage("consume", consume.consume, RunSettings(run_id=run), *read_stage_settings("consume"))


def output(run: str, kind: str) -> list[dict[str, Any]]:
    """The rows of one kind that consume left."""
    workspace = open_workspace(RunSettings().workspace_url, run)
    manifest = find_manifest(workspace, "consume")
    assert manifest is not None
    return [row for table in Source(workspace, manifest).tables(kind) for row in table.to_pylist()]
