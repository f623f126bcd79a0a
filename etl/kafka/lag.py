"""Consumer lag: the offsets between the committed offset and the end of each partition."""

from dataclasses import dataclass

from etl.kafka.client import Client


@dataclass(frozen=True)
class Lag:
    """The consumer lag in one partition: `lag` is the number of offsets from the committed one to the end."""

    partition: int
    committed: int | None
    end: int
    lag: int


def read_lags(client: Client) -> list[Lag]:
    """Return the consumer lag; a group without a valid offset starts at the begin of the log."""
    topic = client.settings.topic
    committed = client.committed(topic)
    return [
        Lag(partition, committed[partition], span.end, span.end - max(committed[partition] or 0, span.begin))
        for partition, span in client.log_spans(topic).items()
    ]
