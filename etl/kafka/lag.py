"""Consumer lag: how far the group is behind the end of each partition."""

from dataclasses import dataclass

from etl.kafka.client import Client


@dataclass(frozen=True)
class Lag:
    """How far the group is in one partition; `lag` is the number of offsets from there to the end."""

    partition: int
    committed: int | None
    end: int
    lag: int


def read_lags(client: Client) -> list[Lag]:
    """Read how far the group is behind; where it has no offset, or one that is gone, it starts at the log's begin."""
    topic = client.settings.topic
    committed = client.committed(topic)
    return [
        Lag(partition, committed[partition], span.end, span.end - max(committed[partition] or 0, span.begin))
        for partition, span in client.log_spans(topic).items()
    ]
