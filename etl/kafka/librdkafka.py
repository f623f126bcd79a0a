"""Read and write with librdkafka (extra `librdkafka`), several times as fast as `etl.kafka.kafka_python`."""

import logging
from collections.abc import Callable, Iterator, Mapping
from operator import methodcaller
from time import monotonic
from typing import Any

from kafka import errors as kafka_errors

from etl.errors import EtlError, SettingsError
from etl.kafka import kafka_python
from etl.kafka.connection import BATCH_BYTES, LARGEST_BYTES, WAITING_BYTES, explain, reach, stalled
from etl.kafka.identity import named, rdkafka_options
from etl.kafka.records import BLOCK_BYTES, FIRST_RECORDS, Headers, Records, Span, next_number
from etl.settings import KafkaSettings

try:
    import confluent_kafka as rdkafka
except ImportError as error:
    raise SettingsError(
        "ETL_KAFKA_CLIENT=librdkafka needs the package confluent-kafka: install the extra `librdkafka`"
    ) from error


# librdkafka asks for a new token only when it is polled.
TOKEN_POLL_SECONDS = 1.0
# A placeholder of headers that have to be read in another way.
_UNREAD: Headers = [("", None)]

# Its errors are raised as one line instead.
_SILENT = logging.getLogger("etl.librdkafka.silent")
_SILENT.disabled = True


def _options(settings: KafkaSettings, failures: list[Any]) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": "sensor-etl",
        "error_cb": failures.append,
        "logger": _SILENT,
    } | rdkafka_options(settings, failures)


def _explain(error: Any, subject: str, settings: KafkaSettings) -> EtlError:
    code = error.code()
    known = {
        rdkafka.KafkaError._AUTHENTICATION: kafka_errors.SaslAuthenticationFailedError,
        rdkafka.KafkaError._MSG_TIMED_OUT: kafka_errors.KafkaTimeoutError,
        rdkafka.KafkaError._UNKNOWN_TOPIC: kafka_errors.UnknownTopicOrPartitionError,
        rdkafka.KafkaError._UNKNOWN_PARTITION: kafka_errors.UnknownTopicOrPartitionError,
        rdkafka.KafkaError._AUTO_OFFSET_RESET: kafka_errors.OffsetOutOfRangeError,
        rdkafka.KafkaError._BAD_MSG: kafka_errors.CorruptRecordError,
        rdkafka.KafkaError._TRANSPORT: kafka_errors.KafkaConnectionError,
        rdkafka.KafkaError._ALL_BROKERS_DOWN: kafka_errors.KafkaConnectionError,
    }
    kind = known.get(code) or (kafka_errors.for_code(code) if code > 0 else kafka_errors.KafkaError)
    return explain(kind(error.str()), subject, settings)


# Consequences of a fatal error, which do not name it.
_CONSEQUENCES = (
    rdkafka.KafkaError._FATAL,
    rdkafka.KafkaError._PURGE_QUEUE,
    rdkafka.KafkaError._PURGE_INFLIGHT,
)
# Permanent errors. All others are reported by the absence of progress.
_FINAL = (rdkafka.KafkaError._AUTHENTICATION,)


def _raise_final(failures: list[Any], subject: str, settings: KafkaSettings) -> None:
    for failure in failures:
        if isinstance(failure, EtlError):
            raise failure
        # A token expires while nobody polls, and the next poll renews it.
        if failure.fatal() or (failure.code() in _FINAL and not settings.uses_tokens):
            raise _explain(failure, subject, settings)
    failures.clear()


def read(settings: KafkaSettings, topic: str, spans: Mapping[int, Span]) -> Iterator[Records]:
    """See `etl.kafka.ports.read`."""
    reach(settings)
    waiting = {p: span for p, span in spans.items() if span.begin < span.end}
    failures: list[Any] = []
    consumer = _consumer(settings, failures)
    try:
        consumer.assign([rdkafka.TopicPartition(topic, p, span.begin) for p, span in waiting.items()])
        at = {p: span.begin for p, span in waiting.items()}
        number, moved = FIRST_RECORDS, monotonic()
        while waiting:
            messages = consumer.consume(number, timeout=0.05)
            _raise_final(failures, f"topic {topic}", settings)
            if messages:
                moved = monotonic()
            elif monotonic() - moved > settings.timeout:
                raise stalled(topic, {p: at[p] for p in waiting}, settings)
            block = _block(messages, waiting, at, topic, settings)
            if block.offsets:
                yield block
                # The time that the consumer of the block took does not count as time without progress.
                number, moved = next_number(block), monotonic()
            done = [p for p, span in waiting.items() if at[p] >= span.end]
            for p in done:
                del waiting[p]
            if done and waiting:
                consumer.incremental_unassign([rdkafka.TopicPartition(topic, p) for p in done])
    except rdkafka.KafkaException as error:
        raise _explain(error.args[0], f"topic {topic}", settings) from error
    finally:
        consumer.close()


def _consumer(settings: KafkaSettings, failures: list[Any]) -> Any:
    return rdkafka.Consumer(
        _options(settings, failures)
        | {
            "group.id": settings.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
            "fetch.max.bytes": 2 * BLOCK_BYTES,
            "queued.max.messages.kbytes": 4 * BLOCK_BYTES // 1024,
            # If more bytes wait, fetching would pause for a second.
            "fetch.queue.backoff.ms": 5,
        }
    )


def _block(
    messages: list[Any], waiting: Mapping[int, Span], at: dict[int, int], topic: str, settings: KafkaSettings
) -> Records:
    """Take the records of the range, and advance the positions in `at`."""
    failed = [message for message in messages if message.error() is not None]
    for message in failed:
        # Only the end of the partition shows that the last offsets contain no records.
        if message.error().code() != rdkafka.KafkaError._PARTITION_EOF:
            raise _explain(message.error(), f"topic {topic}", settings)
        at[message.partition()] = max(at[message.partition()], message.offset())
    found = [message for message in messages if message.error() is None] if failed else messages
    partitions, offsets = [message.partition() for message in found], [message.offset() for message in found]
    last = dict(zip(partitions, offsets, strict=True))
    at.update({partition: offset + 1 for partition, offset in last.items()})
    if any(partition not in waiting or offset >= waiting[partition].end for partition, offset in last.items()):
        found = [m for m in found if m.partition() in waiting and m.offset() < waiting[m.partition()].end]
        partitions, offsets = [message.partition() for message in found], [message.offset() for message in found]
    block = Records(
        partitions,
        offsets,
        [message.timestamp()[1] for message in found],
        [message.key() for message in found],
        [message.value() for message in found],
        [_headers(message) for message in found],
    )
    if any(headers is _UNREAD for headers in block.headers):
        _read_headers_again(block, topic, settings)
    return block


# confluent-kafka 2.16 leaves an exception behind instead of raising it. A direct call would not notice once Python 3.11
# has specialised it, as it then skips that check.
_ask_for_headers = methodcaller("headers")


def _headers(message: Any) -> Headers:
    try:
        return _ask_for_headers(message) or ()
    except SystemError:
        # A name is not UTF-8. A second call of confluent-kafka 2.16 would return a null pointer.
        return _UNREAD


def _read_headers_again(block: Records, topic: str, settings: KafkaSettings) -> None:
    """Read with kafka-python the headers that confluent-kafka cannot return."""
    places = {
        (partition, offset): at
        for at, (partition, offset, headers) in enumerate(
            zip(block.partitions, block.offsets, block.headers, strict=True)
        )
        if headers is _UNREAD
    }
    offsets: dict[int, list[int]] = {}
    for partition, offset in places:
        offsets.setdefault(partition, []).append(offset)
    spans = {partition: Span(min(of), max(of) + 1) for partition, of in offsets.items()}
    for again in kafka_python.read(settings, topic, spans):
        for partition, offset, headers in zip(again.partitions, again.offsets, again.headers, strict=True):
            if (partition, offset) in places:
                block.headers[places[partition, offset]] = headers


class RdkafkaProducer:
    """`etl.kafka.ports.Producer` with librdkafka."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Connect in the background; `send` and `flush` report failures."""
        self._settings = settings
        self._failures: list[Any] = []
        self._failed: list[tuple[Any, str]] = []
        self._topic = ""
        self._polled = monotonic()
        reach(settings)
        self._producer = rdkafka.Producer(
            _options(settings, self._failures)
            | {
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "partitioner": "murmur2_random",
                "batch.size": BATCH_BYTES,
                "linger.ms": 5,
                "message.max.bytes": LARGEST_BYTES,
                # The largest record must fit, or it would never be sent.
                "queue.buffering.max.kbytes": (LARGEST_BYTES + WAITING_BYTES) // 1024,
                "message.timeout.ms": max(10, int(settings.timeout * 1000)),
                "delivery.report.only.error": True,
                "on_delivery": self._delivered,
            }
        )

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed.append((error, message.topic()))

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """See `etl.kafka.ports.Producer`."""
        self._topic = topic
        if self._settings.uses_tokens and monotonic() - self._polled > TOKEN_POLL_SECONDS:
            self._polled = monotonic()
            self._serve(lambda _: self._producer.poll(0))
        while True:
            try:
                self._producer.produce(topic, value=value, key=key, headers=[*headers])
                break
            except BufferError:
                self._serve(self._producer.poll)
            except rdkafka.KafkaException as error:
                raise self._failure(error.args[0], topic) from error
        if self._failed or self._failures:
            self._raise()

    def flush(self) -> None:
        """See `etl.kafka.ports.Producer`."""
        while self._serve(self._producer.flush):
            pass

    def _serve(self, call: Callable[[float], int]) -> int:
        """Run callbacks for a while, and raise their errors; return the result of `call`."""
        try:
            result = call(0.5)
        except rdkafka.KafkaException as error:
            raise self._failure(error.args[0], self._topic) from error
        except SystemError as error:
            # confluent-kafka 2.16 confuses a fatal error with its callbacks: the error becomes their cause, or is lost.
            cause = error.__cause__
            reason = cause.args[0] if isinstance(cause, rdkafka.KafkaException) else None
            raise self._failure(reason, self._topic) from error
        self._raise()
        return result

    def _raise(self) -> None:
        _raise_final(self._failures, f"topic {self._topic}", self._settings)
        if self._failed:
            raise self._failure(*self._failed.pop(0))

    def _failure(self, error: Any | None, topic: str) -> EtlError:
        if error is not None and error.code() not in _CONSEQUENCES:
            return _explain(error, f"topic {topic}", self._settings)
        return SettingsError(
            f"topic {topic}: librdkafka gave up, and its reason got lost. May {named(self._settings)} write there?"
            " ETL_KAFKA_CLIENT=kafka-python would say more"
        )
