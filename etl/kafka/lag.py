"""Consumer lag: the offsets between the committed offset and the end of each partition."""

from collections.abc import Mapping
from dataclasses import dataclass

from etl.kafka.client import Client
from etl.settings import KafkaSettings


@dataclass(frozen=True)
class Lag:
    """The consumer lag in one partition: `lag` is the number of offsets from the committed one to the end."""

    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int


def read_lags(client: Client) -> list[Lag]:
    """Return the consumer lag of all topics; a group without a valid offset starts at the begin of the log."""
    return [lag for topic in client.settings.topics for lag in _of_topic(client, topic)]


def _of_topic(client: Client, topic: str) -> list[Lag]:
    committed = client.committed(topic)
    return [
        Lag(topic, partition, committed[partition], span.end, span.end - max(committed[partition] or 0, span.begin))
        for partition, span in client.log_spans(topic).items()
    ]


def from_offset(settings: KafkaSettings, topic: str, offsets: Mapping[int, int]) -> str:
    """Return the option that starts a run at these offsets by partition."""
    before = f"{topic}/" if len(settings.topics) > 1 else ""
    return f"--from-offset {','.join(f'{before}{partition}:{offset}' for partition, offset in offsets.items())}"
