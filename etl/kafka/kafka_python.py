"""Read and write with kafka-python."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.partitioner.default import murmur2

from etl.kafka.connection import (
    BATCH_BYTES,
    LARGEST_BYTES,
    WAITING_BYTES,
    explain,
    milliseconds,
    options,
    reach,
    stalled,
)
from etl.kafka.records import BLOCK_BYTES, FIRST_RECORDS, Records, Span, next_number
from etl.settings import KafkaSettings

# The most keys whose partition is cached.
MOST_KEYS = 100_000


def read(settings: KafkaSettings, topic: str, spans: Mapping[int, Span]) -> Iterator[Records]:
    """See `etl.kafka.ports.read`."""
    waiting = {TopicPartition(topic, p): span for p, span in spans.items() if span.begin < span.end}
    reach(settings)
    try:
        consumer = KafkaConsumer(
            **options(settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            fetch_max_bytes=2 * BLOCK_BYTES,
            request_timeout_ms=milliseconds(settings.timeout),
            bootstrap_timeout_ms=milliseconds(settings.timeout),
            metrics_enabled=False,
        )
    except kafka_errors.KafkaError as error:
        raise explain(error, "Kafka", settings) from error
    try:
        consumer.assign(list(waiting))
        for tp, span in waiting.items():
            consumer.seek(tp, span.begin)
        at = {tp: span.begin for tp, span in waiting.items()}
        number, moved = FIRST_RECORDS, time.monotonic()
        while waiting:
            polled = consumer.poll(timeout_ms=500, max_records=number)
            block = _block({tp: [r for r in of if r.offset < spans[tp.partition].end] for tp, of in polled.items()})
            if block.offsets:
                yield block
                number = next_number(block)
            before, at = at, {tp: consumer.position(tp, timeout_ms=1000) for tp in waiting}
            if at != before:
                moved = time.monotonic()
            elif time.monotonic() - moved > settings.timeout:
                raise stalled(topic, {tp.partition: offset for tp, offset in at.items()}, settings)
            for tp in [tp for tp, span in waiting.items() if at[tp] >= span.end]:
                consumer.pause(tp)
                del waiting[tp]
    except kafka_errors.KafkaError as error:
        raise explain(error, f"topic {topic}", settings) from error
    finally:
        consumer.close(autocommit=False, timeout_ms=1000)


def _block(polled: Mapping[Any, Sequence[Any]]) -> Records:
    block = Records([], [], [], [], [], [])
    for tp, records in polled.items():
        block.partitions.extend([tp.partition] * len(records))
        block.offsets.extend([record.offset for record in records])
        block.times.extend([record.timestamp for record in records])
        block.keys.extend([record.key for record in records])
        block.values.extend([record.value for record in records])
        block.headers.extend([record.headers for record in records])
    return block


@contextmanager
def open_producer(settings: KafkaSettings) -> "Iterator[PythonProducer]":
    """See `etl.kafka.ports.open_producer`."""
    timeout = milliseconds(settings.timeout)
    reach(settings)
    try:
        producer = KafkaProducer(
            **options(settings),
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            batch_size=BATCH_BYTES,
            linger_ms=5,
            max_request_size=LARGEST_BYTES,
            request_timeout_ms=max(1, timeout // 2),
            delivery_timeout_ms=max(timeout, timeout // 2 + 5 + 1),
            max_block_ms=timeout,
            bootstrap_timeout_ms=timeout,
            metrics_enabled=False,
        )
    except kafka_errors.KafkaError as error:
        raise explain(error, "Kafka", settings) from error
    try:
        yield PythonProducer(settings, producer)
    finally:
        producer.close(timeout=0)


class PythonProducer:
    """`etl.kafka.ports.Producer` with kafka-python; it bounds the memory, which kafka-python would not."""

    def __init__(self, settings: KafkaSettings, producer: Any) -> None:
        """Use `open_producer` instead."""
        self._settings = settings
        self._producer = producer
        self._waiting: deque[tuple[Any, str, int]] = deque()
        self._bytes = 0
        self._partitions: dict[tuple[str, bytes], int] = {}

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """See `etl.kafka.ports.Producer`."""
        try:
            partition = None if key is None else self._partition(topic, key)
            future = self._producer.send(topic, value=value, key=key, headers=headers, partition=partition)
        except kafka_errors.KafkaError as error:
            raise explain(error, f"topic {topic}", self._settings) from error
        # A Python record also has an overhead.
        self._waiting.append((future, topic, len(value or b"") + 500))
        self._bytes += len(value or b"") + 500
        if self._bytes > WAITING_BYTES:
            self._settle(WAITING_BYTES // 2)

    def flush(self) -> None:
        """See `etl.kafka.ports.Producer`."""
        try:
            self._producer.flush(timeout=self._settings.timeout)
        except kafka_errors.KafkaError as error:
            unsent = next((f"topic {topic}" for future, topic, _ in self._waiting if not future.succeeded()), "Kafka")
            raise explain(error, unsent, self._settings) from error
        self._settle(0)

    def _partition(self, topic: str, key: bytes) -> int:
        """Choose as Java's default partitioner does; cached, because hashing each key took a fifth of the time."""
        partition = self._partitions.get((topic, key))
        if partition is None:
            if len(self._partitions) == MOST_KEYS:
                self._partitions.clear()
            partition = (murmur2(key) & 0x7FFFFFFF) % len(self._producer.partitions_for(topic))
            self._partitions[topic, key] = partition
        return partition

    def _settle(self, most: int) -> None:
        while self._bytes > most:
            future, topic, size = self._waiting.popleft()
            self._bytes -= size
            try:
                if not future.succeeded():
                    future.get(timeout=self._settings.timeout)
            except kafka_errors.KafkaError as error:
                raise explain(error, f"topic {topic}", self._settings) from error
