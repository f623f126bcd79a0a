"""The interface to records: read and write with the client that the settings name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from etl.kafka import kafka_python
from etl.kafka.records import Records, Span
from etl.settings import KafkaSettings


class Producer(Protocol):
    """Sends records in order and without own duplicates; all in-sync replicas confirm them."""

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """Queue one record; wait while too many are unconfirmed; raise an error if an earlier one failed."""

    def flush(self) -> None:
        """Return when the broker has confirmed everything; raise an error if a record failed."""


def read(settings: KafkaSettings, topic: str, spans: Mapping[int, Span]) -> Iterator[Records]:
    """Yield the committed records of these offsets, in blocks; each partition in order.

    Reading ends when the position of each partition is at its end, even if the last offsets contain no records
    (transaction markers, compacted records). It never ends because no record comes.

    Raises:
        Unreachable: no partition makes progress for `settings.timeout` seconds.
        DeliveryError: the log no longer holds records of the range.
    """
    if settings.client == "librdkafka":
        from etl.kafka import librdkafka

        return librdkafka.read(settings, topic, spans)
    return kafka_python.read(settings, topic, spans)


@contextmanager
def open_producer(settings: KafkaSettings) -> Iterator[Producer]:
    """Open a producer; call its `flush` before the end, because unconfirmed records are then discarded."""
    if settings.client == "librdkafka":
        from etl.kafka import librdkafka

        yield librdkafka.RdkafkaProducer(settings)
        return
    with kafka_python.open_producer(settings) as producer:
        yield producer
