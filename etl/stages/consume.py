"""Stage 3: read new records of the topic, from the committed offsets to the end. Commit nothing.

A shard reads its own partitions.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import structlog

from etl.codec.columns import TooLarge
from etl.codec.envelope import Decoded, decode
from etl.codec.foreign import Foreign
from etl.codec.formats.births import Births, load
from etl.errors import DeliveryError, NothingNew, SettingsError
from etl.kafka.client import Client, connect
from etl.kafka.ports import read
from etl.kafka.records import Records, Span
from etl.model.measurements import Measurements
from etl.model.schemas import CHUNK_BYTES, CHUNK_ROWS
from etl.printable import printable
from etl.run.carried import begin_with, leave
from etl.run.runner import Outcome, Work
from etl.run.workspace import WHOLE, Attempt, Range, Shard, once
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
    foreign, births = _foreign(work, settings, kafka, registry)
    shard = work.workspace.shard
    with connect(kafka) as client:
        stored = once(work.workspace, "consume", "range.json", lambda: _dump(_choose(client, settings, shard)))
        ranges = [Range(**item) for item in json.loads(stored)]
        _check(ranges, client)
    if births is not None:
        _learn(kafka, ranges, births)
    output = _Output(work.output)
    ends = {r.partition: r.begin for r in ranges}
    capped = False
    with progress("consume") as advance:
        for records, decoded in _decoded(kafka, ranges, work.measurements, foreign):
            if settings.max_readings is not None:
                number = _fitting(decoded, settings.max_readings - output.consumed, output.records == 0)
                capped = number < len(records.offsets)
                if capped:
                    records = records.part(0, number)
                    decoded = decode(records, kafka.topic, work.measurements, foreign)
            output.add(records, decoded)
            advance(int(decoded.sizes.sum()))
            ends.update({p: offset + 1 for p, offset in zip(records.partitions, records.offsets, strict=True)})
            if capped:
                break
    output.flush()
    _note_unknown(work.output, output.unknown)
    if births is not None:
        leave(work.output, "births", births.dump())
    counts = {"consumed": output.consumed, "rejected": output.rejected, "records": output.records}
    if capped:
        ranges = [replace(r, end=ends[r.partition], left=r.end - ends[r.partition]) for r in ranges]
    return Outcome(counts, ranges)


def _foreign(
    work: Work, settings: ConsumeSettings, kafka: KafkaSettings, registry: RegistrySettings | None
) -> tuple[Foreign | None, Births | None]:
    """Return the reader of foreign records; for Sparkplug B also the births that earlier runs have seen."""
    if settings.mapping_file is None:
        return None, None
    # They import pandas, which takes half a second.
    from etl.codec.formats import open_parser
    from etl.codec.mapped import foreign
    from etl.mapping.language import read_mapping

    mapping = read_mapping(settings.mapping_file, work.measurements, topic=True)
    births = None
    if mapping.record.format == "sparkplug":
        births = load([begin_with(work.workspace, "consume", "births", lambda states: load(states).dump())])
    parse = open_parser(mapping.record, settings.mapping_file.parent, registry, kafka.topic, births)
    return foreign(mapping, parse), births


def _learn(kafka: KafkaSettings, ranges: list[Range], births: Births) -> None:
    """Read the births of the range first, because those of a node may be in another partition than its data."""
    from etl.codec.formats.sparkplug import learn

    spans = {r.partition: Span(r.begin, r.end) for r in ranges if r.begin < r.end}
    for block in read(kafka, kafka.topic, spans) if len(spans) > 1 else ():
        learn(block, births, kafka.topic)


def _note_unknown(output: Attempt, unknown: Counter[str]) -> None:
    """Keep the number of elements by field that the mapping does not name, so that a change of a gateway is seen."""
    for name, number in unknown.most_common(_MOST_UNKNOWN):
        output.unknown[printable(name[:_LONGEST_NAME])] = number
    if unknown:
        log.info("fields that are not mapped", number=len(unknown), first=", ".join(list(output.unknown)[:5]))


def _dump(ranges: list[Range]) -> bytes:
    return json.dumps(ranges, default=vars).encode()


def _choose(client: Client, settings: ConsumeSettings, shard: Shard) -> list[Range]:
    topic = client.settings.topic
    spans, committed = client.log_spans(topic), client.committed(topic)
    begins = {p: spans[p].begin if offset is None else offset for p, offset in committed.items()}
    given = _given(client, settings, spans)
    begins |= {p: min(max(offset, spans[p].begin), spans[p].end) for p, offset in given.items()}
    ranges = [Range(topic, p, committed[p], begins[p], spans[p].end) for p in sorted(spans) if shard.has(p)]
    for r in ranges:
        if r.begin > r.end:
            raise DeliveryError(
                f"topic {topic}: group {client.settings.group} committed offset {r.begin} of partition {r.partition},"
                f" which ends at {r.end}: was the topic recreated? Start at its beginning with --from-offset"
                f" {r.partition}:{spans[r.partition].begin}"
            )
    _check(ranges, client)
    # Some of several shards may be empty; the run continues with all of them.
    if shard == WHOLE and all(r.begin == r.end for r in ranges):
        raise NothingNew(f"topic {topic} holds nothing new for group {client.settings.group}")
    return ranges


def _given(client: Client, settings: ConsumeSettings, spans: dict[int, Span]) -> dict[int, int]:
    """Return the offset by partition from which the operator wants to read again."""
    topic = client.settings.topic
    if settings.from_offset is not None:
        given = dict(settings.from_offset)
        everywhere = given.pop(ALL_PARTITIONS, None)
        if unknown := sorted(set(given) - set(spans)):
            raise SettingsError(f"ETL_CONSUME_FROM_OFFSET: topic {topic} has no partition {unknown[0]}")
        return given if everywhere is None else dict.fromkeys(spans, everywhere) | given
    if settings.from_time is not None:
        found = client.offsets_at(topic, int(settings.from_time.timestamp() * 1000))
        return {p: spans[p].end if offset is None else offset for p, offset in found.items()}
    return {}


def _check(ranges: list[Range], client: Client) -> None:
    """Raise an error if the log begins after the start of a range."""
    topic = client.settings.topic
    begins = {p: span.begin for p, span in client.log_spans(topic).items()}
    lost = {r.partition: min(begins[r.partition], r.end) - r.begin for r in ranges}
    gone = {p: number for p, number in lost.items() if number > 0}
    if gone:
        way = ",".join(f"{p}:{begins[p]}" for p in gone)
        raise DeliveryError(
            f"topic {topic}: {sum(gone.values())} records were deleted before group {client.settings.group} read them:"
            f" lengthen the topic's retention, and continue without them in a new run with --from-offset {way}"
        )


def _decoded(
    kafka: KafkaSettings, ranges: list[Range], measurements: Measurements, foreign: Foreign | None
) -> Iterator[tuple[Records, Decoded]]:
    spans = {r.partition: Span(r.begin, r.end) for r in ranges if r.begin < r.end}
    for block in read(kafka, kafka.topic, spans) if spans else ():
        yield from _halved(block, kafka.topic, measurements, foreign)


def _halved(
    records: Records, topic: str, measurements: Measurements, foreign: Foreign | None
) -> Iterator[tuple[Records, Decoded]]:
    """Decode a block; split it if it holds more readings than a file may."""
    number = len(records.offsets)
    if number == 1 or sum(len(value) for value in records.values if value is not None) <= CHUNK_BYTES:
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
        rows, size = decoded.readings.num_rows, decoded.records.nbytes + decoded.dead_letters.nbytes
        if self._rows + rows > CHUNK_ROWS or self._bytes + size > CHUNK_BYTES:
            self.flush()
        self._waiting.append(decoded)
        self._rows += rows
        self._bytes += size
        self.records += len(records.offsets)
        self.unknown += decoded.unknown
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
