"""The topics that `etl schema` creates or checks."""

from etl.errors import SettingsError
from etl.kafka.client import Client
from etl.settings import SchemaSettings

# Bytes that the headers of a dead letter may add to its value.
HEADER_BYTES = 64 * 1024


def create_topics(client: Client, schema: SchemaSettings) -> list[str]:
    """Create the missing topics and check the existing ones; return a line for each.

    The broker sets the timestamps of records, so no producer's clock decides which of two readings came later. The
    dead-letter topic keeps everything, and accepts any record of the topic of readings with the additional headers.

    Raises:
        SettingsError: an existing dead-letter topic would lose dead letters.
    """
    settings = client.settings
    made = client.create_topic(
        settings.topic, schema.partitions, schema.kafka_replication, {"message.timestamp.type": "LogAppendTime"}
    )
    source = client.topic_settings(settings.topic)
    lines = [f"topic {settings.topic}: {'created' if made else 'is there'}"]
    if not made and source["message.timestamp.type"] != "LogAppendTime":
        lines[0] += ", stamped by its producers: the order of two readings with one key depends on their clocks"
    largest = int(source["max.message.bytes"]) + HEADER_BYTES
    wanted = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
    name = settings.dead_letter_topic
    stamped = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(largest)}
    made = client.create_topic(name, 1, schema.kafka_replication, wanted | stamped)
    found = client.topic_settings(name)
    wrong = [f"{key}={value}" for key, value in wanted.items() if found[key] != value]
    if int(found["max.message.bytes"]) < largest:
        wrong.append(f"max.message.bytes={largest}")
    if wrong:
        raise SettingsError(f"topic {name} would lose dead letters: set {', '.join(wrong)}")
    lines.append(f"topic {name}: {'created' if made else 'is there'}")
    made = client.create_topic(settings.events_topic, 1, schema.kafka_replication, {})
    return [*lines, f"topic {settings.events_topic}: {'created' if made else 'is there'}"]
