"""A run belongs to its topics: a topic that is recreated under the same name has other records at the same offsets."""

from etl.errors import DeliveryError
from etl.kafka.client import Client
from etl.run.workspace import Workspace, find, once


def begin_with_topic(workspace: Workspace, client: Client, topic: str) -> None:
    """Keep the ID of the topic before the first attempt of consume chooses offsets; compare it in later ones.

    Raises:
        DeliveryError: the topic was recreated since then.
    """
    once(workspace, "consume", _file(topic), lambda: client.topic_id(topic).encode())
    if is_recreated(workspace, client, topic):
        raise DeliveryError(
            f"topic {topic} was recreated since run {workspace.run} began, which chose offsets of the former topic:"
            " start a new run"
        )


def is_recreated(workspace: Workspace, client: Client, topic: str) -> bool:
    """Return whether the topic was recreated since consume chose its offsets."""
    began = find(workspace, "consume", _file(topic))
    return began is not None and began.decode() != client.topic_id(topic)


def _file(topic: str) -> str:
    return f"topic-id.{topic}"
