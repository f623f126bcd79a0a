"""The ports to records: reading and writing by the client that the settings name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from etl.kafka.records import Records, Span
from etl.settings import KafkaSettings


class Producer(Protocol):
    """Sends records in order, acknowledged by all in-sync replicas and without duplicates of its own."""

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """Hand over one record; wait while too much is unacknowledged; raise if an earlier one failed."""

    def flush(self) -> None:
        """Return when the broker has acknowledged everything; raise if something failed."""


def read(settings: KafkaSettings, topic: str, spans: Mapping[int, Span]) -> Iterator[Records]:
    """Read the committed records of some offsets, in blocks; each partition in order.

    It ends when the position of each partition is at its end, also where the last offsets hold nothing to deliver
    (transaction markers, compacted records); never because nothing comes.

    Raises:
        Unreachable: no partition moves on for `settings.timeout` seconds.
        DeliveryError: records of the range are gone.
    """
    if settings.client == "librdkafka":
        from etl.kafka import librdkafka

        return librdkafka.read(settings, topic, spans)
    from etl.kafka import kafka_python

    return kafka_python.read(settings, topic, spans)


@contextmanager
def open_producer(settings: KafkaSettings) -> Iterator[Producer]:
    """Open a producer; call its `flush` before the end, what has not been acknowledged then is given up."""
    if settings.client == "librdkafka":
        from etl.kafka import librdkafka

        yield librdkafka.RdkafkaProducer(settings)
        return
    from etl.kafka import kafka_python

    with kafka_python.open_producer(settings) as producer:
        yield producer
