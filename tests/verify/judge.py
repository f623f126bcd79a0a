"""Read table, topics, ledger and offsets after a verification, and compare them with what was sent."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC

import confluent_kafka
from cassandra.cluster import Session

from tests.simulation.judging import Found, Letter, Load, Violation, compare
from tests.simulation.plant import Reading, Sent, wanted
from tests.verify.gateways import decoded

SECONDS = 120.0


def consumer(servers: str, group: str = "judge") -> confluent_kafka.Consumer:
    """A consumer that commits nothing."""
    return confluent_kafka.Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )


def records(servers: str, topic: str) -> Iterator[confluent_kafka.Message]:
    """Yield all records of a topic."""
    reader = consumer(servers)
    partitions = _partitions(reader, topic)
    reader.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in partitions])
    waiting = set(partitions)
    while waiting:
        message = reader.poll(SECONDS)
        if message is None:
            raise RuntimeError(f"nothing came from topic {topic} for {SECONDS:.0f} s")
        if not message.error():
            yield message
        elif message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF:
            waiting.discard(message.partition())
    reader.close()


def _partitions(reader: confluent_kafka.Consumer, topic: str) -> list[int]:
    return sorted(reader.list_topics(topic, SECONDS).topics[topic].partitions)


def lag(servers: str, topic: str, group: str) -> int:
    """Return the number of records that the group has not committed."""
    reader = consumer(servers, group)
    wanted_of = [confluent_kafka.TopicPartition(topic, p) for p in _partitions(reader, topic)]
    total = 0
    for part in reader.committed(wanted_of, SECONDS):
        begin, end = reader.get_watermark_offsets(part, SECONDS)
        total += end - max(part.offset, begin)
    reader.close()
    return total


def sent(messages: Iterable[confluent_kafka.Message]) -> list[Sent]:
    """Return all that records of the topic of readings hold."""
    found = []
    for message in messages:
        at = (message.timestamp()[1], message.partition(), message.offset())
        kind = dict(message.headers() or []).get("content-type", b"")
        readings = decoded(message.key(), message.value(), kind)
        content: list[Reading] | list[bytes] = [message.value()] if readings is None else readings
        found += [Sent(*at, index, each) for index, each in enumerate(content)]
    return found


def found(session: Session, servers: str, dead_letters: str) -> Found:
    """Read all that the pipeline has written."""
    rows = session.execute('SELECT equipment_id, "timestamp", voltage, current FROM sensor_data')
    loads = session.execute("SELECT run, counts, offsets, stage FROM runs")
    touched = session.execute("SELECT equipment_id, day, hours FROM touched_days")
    return Found(
        table={(key := (row[0], _milliseconds(row[1]))): Reading(key, row[2], row[3]) for row in rows},
        letters=[
            Letter(message.key() or b"", message.value() or b"", dict(message.headers() or []))
            for message in records(servers, dead_letters)
        ],
        watermarks={
            machine: _milliseconds(stamp)
            for machine, stamp in session.execute('SELECT equipment_id, "timestamp" FROM watermarks')
        },
        loads=[
            Load(run, dict(counts), json.loads(offsets)) for run, counts, offsets, stage in loads if stage == "load"
        ],
        touched={(machine, day.days_from_epoch * 24 + hour) for machine, day, hours in touched for hour in hours},
    )


def _milliseconds(stamp: object) -> int:
    return round(stamp.replace(tzinfo=UTC).timestamp() * 1000)  # type: ignore[attr-defined]


def judge(session: Session, servers: str, topic: str, dead_letters: str, acknowledged: list[bytes]) -> tuple[int, int]:
    """Compare what the services hold with what was sent; return the numbers of rows and dead letters.

    Raises:
        Violation: they differ; the message names the first difference.
    """
    messages = list(records(servers, topic))
    on_topic = {message.value() for message in messages}
    if lost := [value for value in acknowledged if value not in on_topic]:
        raise Violation(f"the broker has acknowledged {lost[0]!r}, and does not have it")
    state = found(session, servers, dead_letters)
    analyzed = {run for (run,) in session.execute("SELECT run FROM analyzed_runs")}
    if missed := sorted({load.run for load in state.loads} - analyzed):
        raise Violation(f"the load of {missed[0]} was not analysed")
    compare(wanted(sent(messages)), state)
    return len(state.table), len(state.letters)
