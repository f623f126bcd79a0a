"""A twin of a broker and of kafka-python's clients: logs with transactions and gaps, groups with offsets."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.partitioner.default import murmur2
from kafka.protocol.consumer import OffsetSpec
from kafka.structs import OffsetAndMetadata

from tests.simulation.world import World

# Errors of one request, after which it may or may not have had its effect.
PASSING: tuple[Callable[[], Exception], ...] = (
    kafka_errors.RequestTimedOutError,
    kafka_errors.NotLeaderForPartitionError,
    kafka_errors.KafkaConnectionError,
)
# Of a poll, which mostly brings all that is there: each further block costs time in every stage.
MOST_RECORDS = 60
LATE: tuple[Callable[[], Exception], ...] = (kafka_errors.KafkaTimeoutError,)


class Record(NamedTuple):
    """A record as a consumer gets it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


@dataclass
class Entry:
    """One offset of a log: a record, or the marker of a transaction (`record` None)."""

    record: Record | None
    transaction: int | None = None
    compacted: bool = False


@dataclass
class Log:
    """One partition; offsets before `begin` were deleted."""

    entries: list[Entry] = field(default_factory=list)
    begin: int = 0
    open: dict[int, int] = field(default_factory=dict)
    aborted: set[int] = field(default_factory=set)

    def append(
        self, time: int, key: bytes | None, value: bytes | None, headers: Any = (), transaction: int | None = None
    ) -> int:
        """Append a record, and return its offset."""
        offset = len(self.entries)
        self.entries.append(Entry(Record(offset, time, key, value, list(headers)), transaction))
        if transaction is not None:
            self.open.setdefault(transaction, offset)
        return offset

    def end_transaction(self, transaction: int, commit: bool) -> None:
        """Commit or abort a transaction; its marker takes an offset."""
        self.open.pop(transaction, None)
        if not commit:
            self.aborted.add(transaction)
        self.entries.append(Entry(None))

    def compact(self) -> None:
        """Remove the records that a later one, by offset and by time, equals; their offsets stay."""
        later: dict[tuple[bytes | None, bytes | None], int] = {}
        for entry in reversed(self.entries[: self.end(True)]):
            if entry.record is None or not self.seen(entry, True):
                continue
            same = entry.record.key, entry.record.value
            entry.compacted = entry.record.timestamp <= later.get(same, -1)
            if not entry.compacted:
                later[same] = entry.record.timestamp

    def end(self, committed: bool) -> int:
        """The end of the log, or the last stable offset: that of the first open transaction."""
        return min([len(self.entries), *(self.open.values() if committed else ())])

    def seen(self, entry: Entry, committed: bool) -> bool:
        """Whether a consumer gets this entry."""
        if entry.record is None or entry.compacted:
            return False
        return not (committed and entry.transaction in self.aborted)

    def records(self) -> list[Record]:
        """All records that a consumer of committed data gets."""
        entries = self.entries[self.begin : self.end(True)]
        return [entry.record for entry in entries if entry.record and self.seen(entry, True)]

    def produced(self) -> list[Record]:
        """All committed records, those that were deleted or compacted away too."""
        entries = self.entries[: self.end(True)]
        return [entry.record for entry in entries if entry.record and entry.transaction not in self.aborted]


class Broker:
    """Topics by name, and the offsets of groups."""

    def __init__(self, world: World) -> None:
        """Begin without topics."""
        self.world = world
        self.topics: dict[str, list[Log]] = {}
        # How often each topic was recreated.
        self.recreated: Counter[str] = Counter()
        self.groups: dict[str, dict[tuple[str, int], int]] = {}
        # Commits that moved a group back, except if two came at once: a limit of docs/delivery.md.
        self.moves_back: list[str] = []

    def millis(self) -> int:
        """The broker's clock."""
        return int(self.world.now * 1000)

    def admin(self, **_: Any) -> "Admin":
        """Stand in for `KafkaAdminClient`."""
        return Admin(self)

    def consumer(self, **options: Any) -> "Consumer":
        """Stand in for `KafkaConsumer`."""
        return Consumer(self, options["isolation_level"] == "read_committed")

    def producer(self, **_: Any) -> "Producer":
        """Stand in for `KafkaProducer`."""
        return Producer(self)


class Admin:
    """The part of kafka-python's admin client that the stages use."""

    def __init__(self, broker: Broker) -> None:
        """Use `Broker.admin`."""
        self._broker = broker
        # Offsets of a group when they were last read.
        self._read: dict[tuple[str, int], int] = {}

    def _ask(self, what: str, effect: Callable[[], Any]) -> Any:
        return self._broker.world.call(what, effect, PASSING)

    def describe_topics(self, topics: Sequence[str]) -> list[dict[str, Any]]:
        """Describe topics; unknown ones with their error."""

        def found() -> list[dict[str, Any]]:
            logs = [self._broker.topics.get(topic) for topic in topics]
            return [
                {
                    "error_code": 3 if each is None else 0,
                    "topic_id": UUID(int=1 + self._broker.recreated[topic]),
                    "partitions": [{"partition_index": i} for i in range(len(each or ()))],
                }
                for topic, each in zip(topics, logs, strict=True)
            ]

        return self._ask("describe topics", found)

    def list_partition_offsets(
        self, wanted: Mapping[TopicPartition, Any], _isolation: Any
    ) -> dict[TopicPartition, Any]:
        """Offsets of committed data: begin, end, or the first record at or after a time."""

        def at(tp: TopicPartition, spec: Any) -> int:
            log = self._broker.topics[tp.topic][tp.partition]
            if spec == OffsetSpec.EARLIEST:
                return log.begin
            if spec == OffsetSpec.LATEST:
                return log.end(True)
            return next((record.offset for record in log.records() if record.timestamp >= spec), -1)

        return self._ask(
            "list offsets", lambda: {tp: OffsetAndMetadata(at(tp, spec), "", None) for tp, spec in wanted.items()}
        )

    def list_group_offsets(self, wanted: Mapping[str, Sequence[TopicPartition]]) -> dict[str, Any]:
        """Committed offsets, -1 for none."""

        def found(group: str, tp: TopicPartition) -> int:
            part = tp.topic, tp.partition
            self._read[part] = self._broker.groups.get(group, {}).get(part, -1)
            return self._read[part]

        return self._ask(
            "read group",
            lambda: {g: {tp: OffsetAndMetadata(found(g, tp), "", None) for tp in tps} for g, tps in wanted.items()},
        )

    def alter_group_offsets(self, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> dict[Any, Any]:
        """Commit offsets."""

        def commit() -> dict[Any, Any]:
            stored = self._broker.groups.setdefault(group, {})
            for (topic, partition), at in offsets.items():
                part = topic, partition
                before = stored.get(part)
                if before is not None and at.offset < before and self._read.get(part) in (None, before):
                    self._broker.moves_back.append(f"{group} moves back from {before} to {at.offset}: {part}")
                stored[part] = at.offset
            return dict.fromkeys(offsets, kafka_errors.NoError)

        return self._ask("commit offsets", commit)

    def close(self) -> None:
        """Close without a request."""


class Consumer:
    """The part of kafka-python's consumer that a range of offsets is read with."""

    def __init__(self, broker: Broker, committed: bool) -> None:
        """Use `Broker.consumer`."""
        self._broker, self._committed = broker, committed
        self._at: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Take partitions."""
        self._at = dict.fromkeys(partitions, 0)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Set a position."""
        self._at[tp] = offset

    def position(self, tp: TopicPartition, timeout_ms: int = 0) -> int:
        """The next offset to read."""
        return self._at[tp]

    def pause(self, tp: TopicPartition) -> None:
        """Fetch no more of a partition."""
        self._paused.add(tp)

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Record]]:
        """Fetch records of one partition; nothing now and then."""

        def fetch() -> dict[TopicPartition, list[Record]]:
            reading = [tp for tp in self._at if tp not in self._paused]
            tp = self._broker.world.random.choice(reading)
            if self._broker.world.random.random() < 0.05:
                # Its leader is moving.
                return {}
            log = self._broker.topics[tp.topic][tp.partition]
            if self._at[tp] < log.begin:
                raise kafka_errors.OffsetOutOfRangeError({tp: self._at[tp]})
            most = self._broker.world.random.randint(1, min(max_records, MOST_RECORDS))
            found: list[Record] = []
            at, end = self._at[tp], log.end(self._committed)
            while at < end and len(found) < most:
                entry = log.entries[at]
                if log.seen(entry, self._committed):
                    found.append(entry.record)  # type: ignore[arg-type]
                at += 1
            self._at[tp] = at
            if not found and at == end:
                self._broker.world.now += timeout_ms / 1000
            return {tp: found} if found else {}

        return self._broker.world.call("poll", fetch)

    def close(self, **_: Any) -> None:
        """Close without a request."""


@dataclass
class _Sent:
    """A future of a record."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    stored: bool = False

    def succeeded(self) -> bool:
        return self.stored

    def get(self, timeout: float) -> None:
        if not self.stored:
            raise kafka_errors.KafkaTimeoutError


class Producer:
    """kafka-python's idempotent producer: in order, without own duplicates; all records are there after a flush."""

    def __init__(self, broker: Broker) -> None:
        """Use `Broker.producer`."""
        self._broker = broker
        self._waiting: list[_Sent] = []

    def partitions_for(self, topic: str) -> set[int]:
        """Partitions of a topic."""
        return set(range(len(self._broker.topics[topic])))

    def send(self, topic: str, value: Any, key: Any, headers: Any, partition: int | None) -> _Sent:
        """Queue a record; the queue may be sent now."""
        number = len(self._broker.topics[topic])
        if partition is None:
            partition = self._broker.world.random.randrange(number)
        sent = _Sent(topic, partition, key, value, headers)
        self._waiting.append(sent)
        if self._broker.world.random.random() < 0.2:
            self._broker.world.call("send records", self._some)
        return sent

    def _some(self) -> None:
        self._append(self._broker.world.random.randint(0, len(self._waiting)))

    def _all(self) -> None:
        self._append(len(self._waiting))

    def _append(self, number: int) -> None:
        for sent in self._waiting[:number]:
            log = self._broker.topics[sent.topic][sent.partition]
            log.append(self._broker.millis(), sent.key, sent.value, sent.headers)
            sent.stored = True
        del self._waiting[:number]

    def flush(self, timeout: float) -> None:
        """Send everything; without an answer the records may be there or not."""
        if self._waiting:
            self._broker.world.call("flush records", self._all, LATE, partly=self._some)

    def close(self, timeout: float) -> None:
        """Drop what was not sent."""
        self._waiting.clear()


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, as Java's default partitioner chooses it."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions
