"""Topics and the offsets of the group, with kafka-python's admin client.

Offsets count committed data: an end is the last stable offset, at which the first open transaction begins.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from kafka import KafkaAdminClient, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.protocol.consumer import IsolationLevel, OffsetSpec
from kafka.structs import OffsetAndMetadata

from etl.errors import EtlError, SettingsError
from etl.kafka.connection import explain, milliseconds, options, reach
from etl.kafka.records import Span
from etl.settings import KafkaSettings

_T = TypeVar("_T")


class Client:
    """Topics and the offsets of the group; it never joins the group."""

    def __init__(self, settings: KafkaSettings, admin: Any) -> None:
        """Use `connect` instead."""
        self.settings = settings
        self._admin = admin

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic, without creating it.

        Raises:
            SettingsError: the topic does not exist, or the user may not see it.
        """
        return sorted(partition["partition_index"] for partition in self._described(topic)["partitions"])

    def topic_id(self, topic: str) -> str:
        """Return the ID of a topic; a topic that is recreated under the same name has another one.

        Brokers before Kafka 2.8 have no IDs, and the text is the same for all topics.

        Raises:
            SettingsError: the topic does not exist, or the user may not see it.
        """
        return str(self._described(topic).get("topic_id"))

    def _described(self, topic: str) -> dict[str, Any]:
        def ask() -> dict[str, Any]:
            found: dict[str, Any]
            (found,) = self._admin.describe_topics([topic])
            error = kafka_errors.for_code(found["error_code"])
            if error is not kafka_errors.NoError:
                raise error(topic)
            return found

        return self._ask(f"topic {topic}", ask)

    def log_spans(self, topic: str) -> dict[int, Span]:
        """Return the begin of the log and the end of the committed data of each partition."""
        found = [
            self._offsets(topic, dict.fromkeys(self.partitions(topic), spec))
            for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
        ]
        return {partition: Span(begin, found[1][partition]) for partition, begin in found[0].items()}

    def offsets_at(self, topic: str, milliseconds: int) -> dict[int, int | None]:
        """Return the first offset of each partition with a record at or after a time, None if there is none."""
        found = self._offsets(topic, dict.fromkeys(self.partitions(topic), milliseconds))
        return {partition: None if offset < 0 else offset for partition, offset in found.items()}

    def _offsets(self, topic: str, specs: Mapping[int, int]) -> dict[int, int]:
        wanted = {TopicPartition(topic, partition): spec for partition, spec in specs.items()}
        found = self._ask(
            f"topic {topic}", lambda: self._admin.list_partition_offsets(wanted, IsolationLevel.READ_COMMITTED)
        )
        return {tp.partition: at.offset for tp, at in sorted(found.items())}

    def committed(self, topic: str) -> dict[int, int | None]:
        """Return the committed offset of each partition, None if there is none."""
        group = self.settings.group
        wanted = [TopicPartition(topic, partition) for partition in self.partitions(topic)]
        found = self._ask(f"group {group}", lambda: self._admin.list_group_offsets({group: wanted})[group])
        at = {tp.partition: stored.offset for tp, stored in found.items() if stored.offset >= 0}
        return {tp.partition: at.get(tp.partition) for tp in wanted}

    def commit(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit the offsets of the group: the next one to read of each partition.

        Raises:
            SettingsError: another program is a member of the group, or the user may not commit.
        """
        stored = {TopicPartition(topic, p): OffsetAndMetadata(at, "", None) for p, at in offsets.items()}

        def ask() -> None:
            for error in self._admin.alter_group_offsets(self.settings.group, stored).values():
                if error is not kafka_errors.NoError:
                    raise error(self.settings.group)

        self._ask(f"group {self.settings.group}", ask)

    def topic_settings(self, topic: str) -> dict[str, str]:
        """Return the settings of a topic, including defaults.

        Raises:
            SettingsError: the user may not see them.
        """
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)

        def ask() -> dict[str, Any]:
            found: dict[str, Any] = self._admin.describe_configs([resource], config_filter="all")["topic"][topic]
            # kafka-python ignores the error of this answer, and each topic has settings.
            if not found:
                raise kafka_errors.TopicAuthorizationFailedError(topic)
            return found

        found = self._ask(f"topic {topic}", ask)
        return {name: entry["value"] for name, entry in found.items()}

    def create_topic(self, topic: str, partitions: int, replication: int, settings: Mapping[str, str]) -> bool:
        """Create a topic; return False if it exists."""
        wanted = {topic: {"num_partitions": partitions, "replication_factor": replication, "configs": dict(settings)}}
        try:
            self._ask(f"topic {topic}", lambda: self._admin.create_topics(wanted, wait_for_metadata=True))
        except _ExistsError:
            return False
        return True

    def administer(self, subject: str, ask: Callable[[Any], _T]) -> _T:
        """Send an idempotent request with kafka-python's admin client until the broker answers."""
        return self._ask(subject, lambda: ask(self._admin))

    def _ask(self, subject: str, ask: Callable[[], _T]) -> _T:
        """Repeat a request until the broker answers; it may still elect coordinators and leaders."""
        deadline = time.monotonic() + self.settings.timeout
        while True:
            try:
                return ask()
            except kafka_errors.TopicAlreadyExistsError as error:
                raise _ExistsError(subject) from error
            except kafka_errors.KafkaError as error:
                failure = explain(error, subject, self.settings)
                # A missing topic stays missing, although the protocol calls this error retriable.
                if not error.retriable or isinstance(failure, SettingsError) or time.monotonic() > deadline:
                    raise failure from error
                time.sleep(0.2)


class _ExistsError(EtlError):
    pass


@contextmanager
def connect(settings: KafkaSettings) -> Iterator[Client]:
    """Connect to the brokers.

    Raises:
        SettingsError: TLS or the credentials are wrong.
        Unreachable: no broker answers within the time.
    """
    reach(settings)
    try:
        admin = KafkaAdminClient(
            **options(settings),
            request_timeout_ms=milliseconds(settings.timeout),
            bootstrap_timeout_ms=milliseconds(settings.timeout),
        )
    except kafka_errors.KafkaError as error:
        raise explain(error, "Kafka", settings) from error
    try:
        yield Client(settings, admin)
    finally:
        admin.close()
