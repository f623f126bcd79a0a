"""What Kafka clients do by themselves with the same readings as JSON: in Python, by librdkafka, in Java."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import confluent_kafka
import orjson
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from etl.kafka.connection import BATCH_BYTES
from etl.kafka.records import BLOCK_RECORDS
from images import jars
from tests.bench.figures import Figure, measured, median
from tests.bench.place import Place, fresh_topics

Records = Sequence[tuple[bytes, bytes]]

# As our own producer is set: everything acknowledged, nothing twice, compressed, in large batches.
_COMMON = {"acks": "all", "enable.idempotence": "true", "compression.type": "lz4", "batch.size": str(BATCH_BYTES)}


def kafka_python_produce(place: Place, records: Records) -> Figure:
    """Send bytes that are there already: what remains is the client's own work."""

    def once() -> Figure:
        with fresh_topics() as topic:
            producer = KafkaProducer(
                bootstrap_servers=place.kafka.address,
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                batch_size=BATCH_BYTES,
                linger_ms=5,
                metrics_enabled=False,
            )
            with measured("kafka-python produces bytes", len(records), place.only_kafka) as figure:
                for key, value in records:
                    producer.send(topic, value=value, key=key)
                producer.flush()
            producer.close()
        return figure

    return median(once, place.both)


def kafka_python_consume(place: Place, topic: str, readings: int) -> Figure:
    """Poll every record of a topic and count it."""

    def once() -> Figure:
        consumer = KafkaConsumer(
            bootstrap_servers=place.kafka.address,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_bytes=64 * 2**20,
            max_partition_fetch_bytes=8 * 2**20,
        )
        consumer.assign([TopicPartition(topic, partition) for partition in consumer.partitions_for_topic(topic)])
        with measured("kafka-python consumes bytes", readings, place.only_kafka) as figure:
            missing = readings
            while missing > 0:
                polled = consumer.poll(timeout_ms=1000, max_records=BLOCK_RECORDS)
                missing -= sum(map(len, polled.values()))
        consumer.close(autocommit=False)
        return figure

    return median(once, place.both)


def confluent_produce(place: Place, readings: Sequence[tuple[bytes, dict[str, Any]]]) -> Figure:
    """Turn each reading into JSON with orjson, and send it."""

    def once() -> Figure:
        with fresh_topics() as topic:
            producer = confluent_kafka.Producer(
                _COMMON
                | {
                    "bootstrap.servers": place.kafka.address,
                    "linger.ms": 5,
                    "queue.buffering.max.messages": 500_000,
                    "delivery.report.only.error": True,
                }
            )
            producer.list_topics(topic, timeout=10)
            with measured("confluent-kafka and orjson produce", len(readings), place.only_kafka) as figure:
                for key, reading in readings:
                    _retry_while_full(producer, topic, orjson.dumps(reading), key)
                producer.flush()
        return figure

    return median(once, place.both)


def _retry_while_full(producer: Any, topic: str, value: bytes, key: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
            return
        except BufferError:
            producer.poll(0.1)


def confluent_consume(place: Place, topic: str, readings: int) -> Figure:
    """Read every record of a topic and parse it with orjson."""

    def once() -> Figure:
        # It reads ahead as soon as it is there.
        with measured("confluent-kafka and orjson consume", readings, place.only_kafka) as figure:
            consumer = confluent_consumer(place.kafka.address, topic)
            missing = readings
            while missing > 0:
                parsed = [orjson.loads(message.value()) for message in consumer.consume(BLOCK_RECORDS, timeout=1)]
                missing -= len(parsed)
        consumer.close()
        return figure

    return median(once, place.both)


def confluent_consumer(address: str, topic: str) -> Any:
    """Open a consumer at the beginning of every partition of a topic."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "bench",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    found = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    begin = confluent_kafka.OFFSET_BEGINNING
    consumer.assign([confluent_kafka.TopicPartition(topic, partition, begin) for partition in found])
    return consumer


def java_produce(place: Place, records: Records) -> Figure:
    """Let Kafka's own ProducerPerformance send as many of these values, drawn at random; its own rate counts."""
    payload = place.folder / "payload.jsonl"
    payload.write_bytes(b"\n".join(value for _, value in records[:50_000]))
    properties = _COMMON | {"bootstrap.servers": place.kafka.address, "linger.ms": "5"}

    def once() -> Figure:
        with fresh_topics() as topic:
            command = [java(), "-Xmx512m", "-cp", f"{jars.resolve('kafka')}/*"]
            command += ["org.apache.kafka.tools.ProducerPerformance", "--topic", topic]
            command += ["--num-records", str(len(records)), "--payload-file", str(payload), "--throughput", "-1"]
            command += ["--command-property", *(f"{name}={value}" for name, value in properties.items())]
            with measured("Java's ProducerPerformance", len(records), place.only_kafka) as figure:
                done = subprocess.run(command, capture_output=True, text=True, check=True)
            # The last line is about all of it; the process itself took longer, as Java has to start.
            rate = re.findall(r"([0-9.]+) records/sec", done.stdout)[-1]
            figure.seconds = len(records) / float(rate)
        return figure

    return median(once, place.both)


def java() -> str:
    """Return the Java program to start."""
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


def fill(place: Place, topic: str, records: Records) -> None:
    """Put records into a topic, quickly and unmeasured."""
    producer = confluent_kafka.Producer(
        _COMMON
        | {
            "bootstrap.servers": place.kafka.address,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "queue.buffering.max.messages": 500_000,
        }
    )
    for key, value in records:
        _retry_while_full(producer, topic, value, key)
    producer.flush()
