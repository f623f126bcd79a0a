"""Stage 3: read new records of the topics, from the committed offsets to the end. Commit nothing.

A shard reads its own partitions.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from etl.codec.columns import TooLarge
from etl.codec.envelope import Decoded, decode
from etl.codec.foreign import Foreign
from etl.codec.formats.births import Births, load
from etl.errors import DeliveryError, NothingNew, SettingsError
from etl.kafka.client import Client, connect
from etl.kafka.lag import from_offset
from etl.kafka.ports import read
from etl.kafka.records import Records, Span
from etl.model.measurements import Measurements
from etl.model.schemas import CHUNK_BYTES, CHUNK_ROWS, PARTITIONS
from etl.printable import printable
from etl.run.carried import begin_with, leave
from etl.run.runner import Outcome, Work
from etl.run.topics import begin_with_topic
from etl.run.workspace import WHOLE, Attempt, Range, Shard, once, topics_of
from etl.settings import ALL_PARTITIONS, ConsumeSettings, KafkaSettings, RegistrySettings
from etl.terminal import progress

# Fields that the manifest names: a gateway may send any number.
_MOST_UNKNOWN, _LONGEST_NAME = 100, 100
_KNOWN_AT_ONCE = 10_000
log = structlog.get_logger("etl.consume")


def consume(
    work: Work, settings: ConsumeSettings, kafka: KafkaSettings, registry: RegistrySettings | None = None
) -> Outcome:
    """Read the run's range of offsets, which its first attempt fixes before it reads any record.

    Raises:
        NothingNew: the range is empty, and the run has no other shard.
        DeliveryError: the log no longer holds records of the range.
        SettingsError: the topic is missing or may not be read, or an offset cannot be used.
        Unreachable: Kafka or the schema registry does not answer.
    """
    readers = _readers(work, settings, kafka, registry)
    shard = work.workspace.shard
    with connect(kafka) as client:
        for topic in kafka.topics:
            begin_with_topic(work.workspace, client, topic)
        stored = once(work.workspace, "consume", "range.json", lambda: _dump(_choose(client, settings, shard)))
        ranges = [Range(**item) for item in json.loads(stored)]
        _check(ranges, client)
    _learn(kafka, ranges, readers)
    output = _Output(work.output)
    with progress("consume") as advance:
        reading = _Reading(work.measurements, kafka, readers, output, advance)
        ranges = _consume_topics(reading, ranges, settings.max_readings)
    output.flush()
    _note_unknown(work.output, output.unknown)
    for topic, reader in readers.items():
        if reader.births is not None:
            leave(work.output, _births_kind(kafka, topic), reader.births.dump())
    return Outcome({"consumed": output.consumed, "rejected": output.rejected, "records": output.records}, ranges)


class _Reader(NamedTuple):
    """The reader of the foreign records of a topic; for Sparkplug B also the births that were seen so far."""

    foreign: Foreign
    births: Births | None


class _Reading(NamedTuple):
    """What it takes to read the topics of a run: settings, readers by topic, and the way out."""

    measurements: Measurements
    kafka: KafkaSettings
    readers: Mapping[str, _Reader]
    output: "_Output"
    advance: Callable[[int], None]


def _readers(
    work: Work, settings: ConsumeSettings, kafka: KafkaSettings, registry: RegistrySettings | None
) -> dict[str, _Reader]:
    """Return the readers of the topics that have a mapping."""
    if settings.mapping_file is None:
        return {}
    # They import pandas, which takes half a second.
    from etl.codec.formats import open_parser
    from etl.codec.mapped import foreign
    from etl.mapping.topics import read_topic_mappings

    readers = {}
    for topic, mapping in read_topic_mappings(settings.mapping_file, work.measurements, kafka.topics).items():
        births = None
        if mapping.record.format == "sparkplug":
            kind = _births_kind(kafka, topic)
            births = load([begin_with(work.workspace, "consume", kind, lambda states: load(states).dump())])
        parse = open_parser(mapping.record, settings.mapping_file.parent, registry, topic, births)
        readers[topic] = _Reader(foreign(mapping, parse), births)
    return readers


def _births_kind(kafka: KafkaSettings, topic: str) -> str:
    """Return the kind of the files of births: their positions count in one topic alone."""
    return "births" if topic == kafka.topic else f"births.{topic}"


def _learn(kafka: KafkaSettings, ranges: list[Range], readers: Mapping[str, _Reader]) -> None:
    """Read the births of the range first, because those of a node may be in another partition than its data."""
    for topic, reader in readers.items():
        if reader.births is None:
            continue
        from etl.codec.formats.sparkplug import learn

        spans = _spans(ranges, topic)
        for block in read(kafka, topic, spans) if len(spans) > 1 else ():
            learn(block, reader.births, topic)


def _consume_topics(reading: _Reading, ranges: list[Range], most: int | None) -> list[Range]:
    """Read the ranges topic by topic, and return them as far as they were read; the topics share a cap."""
    read_to: list[Range] = []
    waiting = len({r.topic for r in ranges if r.begin < r.end})
    for number, topic in enumerate(topics_of(ranges)):
        spans = _spans(ranges, topic)
        room = None if most is None else (most - reading.output.consumed) // max(waiting, 1)
        ends = _consume_topic(reading, topic, number, spans, room) if spans else {}
        waiting -= bool(spans)
        for r in ranges:
            if r.topic == topic:
                end = ends.get(r.partition, r.end)
                read_to.append(replace(r, end=end, left=r.end - end))
    return read_to


def _spans(ranges: list[Range], topic: str) -> dict[int, Span]:
    return {r.partition: Span(r.begin, r.end) for r in ranges if r.topic == topic and r.begin < r.end}


def _consume_topic(
    reading: _Reading, topic: str, number: int, spans: dict[int, Span], room: int | None
) -> dict[int, int]:
    """Read one topic, at most about `room` readings of it; if that ends it, return the offsets by partition."""
    reader, output = reading.readers.get(topic), reading.output
    foreign = reader.foreign if reader else None
    ends = {p: span.begin for p, span in spans.items()}
    consumed, begun = output.consumed, output.records
    for block in read(reading.kafka, topic, spans):
        for records, decoded in _halved(block, topic, reading.measurements, foreign):
            fitting = len(records.offsets)
            if room is not None:
                fitting = _fitting(decoded, room - (output.consumed - consumed), output.records == begun)
            capped = fitting < len(records.offsets)
            if capped:
                records = records.part(0, fitting)
                decoded = decode(records, topic, reading.measurements, foreign)
            output.add(records, _numbered(decoded, number))
            reading.advance(int(decoded.sizes.sum()))
            last = dict(zip(records.partitions, records.offsets, strict=True))
            ends.update({p: offset + 1 for p, offset in last.items()})
            if capped:
                return ends
    return {}


def _numbered(decoded: Decoded, topic: int) -> Decoded:
    """Return a block with partition numbers that are unique in the run."""
    if topic == 0:
        return decoded

    def numbered(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index("partition")
        return table.set_column(
            at, table.schema.field(at), pc.add(table.column(at), pa.scalar(topic * PARTITIONS, pa.int32()))
        )

    return decoded._replace(readings=numbered(decoded.readings), records=numbered(decoded.records))


def _note_unknown(output: Attempt, unknown: Counter[str]) -> None:
    """Keep the number of elements by field that the mapping does not name, so that a change of a gateway is seen."""
    for name, number in unknown.most_common(_MOST_UNKNOWN):
        output.unknown[printable(name[:_LONGEST_NAME])] = number
    if unknown:
        log.info("fields that are not mapped", number=len(unknown), first=", ".join(list(output.unknown)[:5]))


def _dump(ranges: list[Range]) -> bytes:
    return json.dumps(ranges, default=vars).encode()


def _choose(client: Client, settings: ConsumeSettings, shard: Shard) -> list[Range]:
    topics, group = client.settings.topics, client.settings.group
    given = _given(client, settings)
    ranges = [r for topic in topics for r in _choose_of(client, topic, given, shard)]
    _check(ranges, client)
    # Some of several shards may be empty; the run continues with all of them.
    if shard == WHOLE and all(r.begin == r.end for r in ranges):
        named = f"topic {topics[0]} holds" if len(topics) == 1 else f"topics {', '.join(topics)} hold"
        raise NothingNew(f"{named} nothing new for group {group}")
    return ranges


def _choose_of(client: Client, topic: str, given: Mapping[tuple[str, int], int], shard: Shard) -> list[Range]:
    spans, committed = client.log_spans(topic), client.committed(topic)
    begins = {p: spans[p].begin if offset is None else offset for p, offset in committed.items()}
    begins |= {p: min(max(given[topic, p], spans[p].begin), spans[p].end) for p in spans if (topic, p) in given}
    ranges = [Range(topic, p, committed[p], begins[p], spans[p].end) for p in sorted(spans) if shard.has(p)]
    for r in ranges:
        if r.begin > r.end:
            way = from_offset(client.settings, topic, {r.partition: spans[r.partition].begin})
            raise DeliveryError(
                f"topic {topic}: group {client.settings.group} committed offset {r.begin} of partition {r.partition},"
                f" which ends at {r.end}: was the topic recreated? Start at its beginning with {way}"
            )
    return ranges


def _given(client: Client, settings: ConsumeSettings) -> dict[tuple[str, int], int]:
    """Return the offset by topic and partition from which the operator wants to read again."""
    if settings.from_offset is not None:
        return _given_offsets(client, settings.from_offset)
    if settings.from_time is None:
        return {}
    given: dict[tuple[str, int], int] = {}
    moment = int(settings.from_time.timestamp() * 1000)
    for topic in client.settings.topics:
        spans, found = client.log_spans(topic), client.offsets_at(topic, moment)
        given |= {(topic, p): spans[p].end if offset is None else offset for p, offset in found.items()}
    return given


def _given_offsets(client: Client, offsets: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
    topics = client.settings.topics
    if len(topics) > 1 and any(not topic for topic, _ in offsets):
        raise SettingsError(
            "ETL_CONSUME_FROM_OFFSET: several topics are read: use TOPIC/OFFSET or TOPIC/PARTITION:OFFSET"
        )
    everywhere: dict[tuple[str, int], int] = {}
    single: dict[tuple[str, int], int] = {}
    for (named, partition), offset in offsets.items():
        topic = named or topics[0]
        if topic not in topics:
            raise SettingsError(f"ETL_CONSUME_FROM_OFFSET: topic {topic} is not read")
        found = client.partitions(topic)
        if partition == ALL_PARTITIONS:
            everywhere |= {(topic, each): offset for each in found}
        elif partition in found:
            single[topic, partition] = offset
        else:
            raise SettingsError(f"ETL_CONSUME_FROM_OFFSET: topic {topic} has no partition {partition}")
    return everywhere | single


def _check(ranges: list[Range], client: Client) -> None:
    """Raise an error if the log begins after the start of a range."""
    for topic in topics_of(ranges):
        begins = {p: span.begin for p, span in client.log_spans(topic).items()}
        lost = {r.partition: min(begins[r.partition], r.end) - r.begin for r in ranges if r.topic == topic}
        gone = {p: number for p, number in lost.items() if number > 0}
        if gone:
            way = from_offset(client.settings, topic, {p: begins[p] for p in gone})
            raise DeliveryError(
                f"topic {topic}: {sum(gone.values())} records were deleted before group {client.settings.group} read"
                f" them: lengthen the topic's retention, and continue without them in a new run with {way}"
            )


def _halved(
    records: Records, topic: str, measurements: Measurements, foreign: Foreign | None
) -> Iterator[tuple[Records, Decoded]]:
    """Decode a block; split it if it holds more readings than a file may."""
    number = len(records.offsets)
    if number == 1 or sum(map(len, filter(None, records.values))) <= CHUNK_BYTES:
        with suppress(TooLarge):
            decoded = decode(records, topic, measurements, foreign)
            if number == 1 or decoded.readings.num_rows <= CHUNK_ROWS:
                yield records, decoded
                return
    yield from _halved(records.part(0, number // 2), topic, measurements, foreign)
    yield from _halved(records.part(number // 2, number), topic, measurements, foreign)


def _fitting(decoded: Decoded, room: int, at_least_one: bool) -> int:
    """Return how many records fit with all of their readings; a run takes one even if it is too large alone."""
    number = int(np.searchsorted(np.cumsum(decoded.sizes), room, side="right"))
    return max(number, 1) if at_least_one else number


@dataclass
class _Output:
    """Writes readings into files; each file of readings has a file of raw records with the same number."""

    attempt: Attempt
    consumed: int = 0
    rejected: int = 0
    records: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    _waiting: list[Decoded] = field(default_factory=list)
    _rows: int = 0
    _bytes: int = 0

    def add(self, records: Records, decoded: Decoded) -> None:
        rows = decoded.readings.num_rows
        size = sum(table.nbytes for table in (decoded.records, decoded.dead_letters) if table.num_rows)
        if self._rows + rows > CHUNK_ROWS or self._bytes + size > CHUNK_BYTES:
            self.flush()
        self._waiting.append(decoded)
        self._rows += rows
        self._bytes += size
        self.records += len(records.offsets)
        self.unknown.update(decoded.unknown)
        if len(self.unknown) > _KNOWN_AT_ONCE:
            self.unknown = Counter(dict(self.unknown.most_common(_MOST_UNKNOWN)))
        self.rejected += decoded.dead_letters.num_rows
        self.consumed += rows + decoded.dead_letters.num_rows

    def flush(self) -> None:
        if self._rows:
            self.attempt.write("readings", pa.concat_tables([d.readings for d in self._waiting]).combine_chunks())
            self.attempt.write("records", pa.concat_tables([d.records for d in self._waiting]).combine_chunks())
        if letters := [d.dead_letters for d in self._waiting if d.dead_letters.num_rows]:
            self.attempt.write("dead-letters", pa.concat_tables(letters))
        self._waiting, self._rows, self._bytes = [], 0, 0
