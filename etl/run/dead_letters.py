"""The dead-letter topic: publish, list and replay dead letters.

A dead letter has the value, key and content type of the original. Its headers state the reason and the origin. A dead
letter that is published twice counts once. A recreated topic, or a file with other lines under the same name, gives
dead letters with the same origin. So the identity of a dead letter is its origin, the time of the record, and its
content.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from etl.codec.columns import CONTENT_TYPE, REPLAYS
from etl.errors import Unreachable
from etl.kafka.client import Client
from etl.kafka.ports import Producer, open_producer, read
from etl.kafka.records import Span

# Replayed only with `--force`: another reading won, or they are late.
LOST = frozenset(["conflicting", "superseded", "late"])
_HEADERS = ("reason", "detail", "stage", "topic", "partition", "offset", "index", "file", "line", "record_time")
_NUMBERS = frozenset(["partition", "offset", "index", "line", "record_time"])
# Headers must leave room for the value.
_MAX_DETAIL = 1000
# Memory for known identities; the others are on disk.
_CACHE_KIB = 2048
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")


@dataclass(frozen=True)
class Letter:
    """One dead letter; `published` is when it was appended to the dead-letter topic."""

    published: datetime
    value: bytes | None
    key: bytes | None
    content_type: str | None
    run: str
    reason: str
    replays: int
    detail: str | None = None
    stage: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    index: int | None = None
    file: str | None = None
    line: int | None = None
    record_time: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def identity(self) -> tuple[object, ...]:
        """The identity of a dead letter; a superseded row has the origin of the reading that replaced it."""
        origin = (self.topic, self.partition, self.offset, self.index, self.file, self.line)
        return (*origin, self.record_time, self.key, self.value, self.reason == "superseded")


@dataclass(frozen=True)
class Choice:
    """A filter of dead letters by all of these conditions; times are times of publication, `until` excluded."""

    reasons: frozenset[str] = frozenset()
    run: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, letter: Letter) -> bool:
        """Return whether a dead letter meets the conditions."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (self.run is None or letter.run == self.run)
            and (self.since is None or letter.published >= self.since)
            and (self.until is None or letter.published < self.until)
        )


@dataclass
class Replayed:
    """Counts of a replay: sent letters, and letters that need force or come from a file."""

    sent: int = 0
    lost: int = 0
    from_files: int = 0


def publish(producer: Producer, topic: str, letters: Iterable[pa.Table], run: str) -> int:
    """Send dead letters (`schemas.DEAD_LETTERS`), and return their number once all are confirmed.

    Raises:
        SettingsError: the topic may not be written, or does not accept a record of this size.
        Unreachable: Kafka does not confirm them.
    """
    sent = 0
    for table in letters:
        for batch in table.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                # Kafka's clients refuse a record without key and value.
                value = b"" if row["value"] is None and row["key"] is None else row["value"]
                producer.send(topic, row["key"], value, _headers(row, run))
                sent += 1
    producer.flush()
    return sent


def _headers(row: dict[str, Any], run: str) -> list[tuple[str, bytes]]:
    named = {_header(name): row[name] for name in _HEADERS}
    named |= {CONTENT_TYPE: row["content_type"], REPLAYS: row["replays"], "etl-run": run}
    texts = {name: str(value) for name, value in named.items() if value is not None}
    own = [(name, text[:_MAX_DETAIL].encode(errors="replace")) for name, text in texts.items()]
    return [*own, *((name, value) for name, value in row["headers"] or () if value is not None)]


def _header(name: str) -> str:
    return f"etl-{name.replace('_', '-')}"


def list_letters(client: Client, choice: Choice) -> Iterator[Letter]:
    """Yield the selected dead letters, oldest first within each partition, each once.

    Raises:
        SettingsError: the dead-letter topic is missing, or may not be read.
        Unreachable: Kafka does not answer, or the folder of temporary files is full.
    """
    return each_once(letter for letter in _read(client, choice.since) if choice.holds(letter))


def each_once(letters: Iterable[Letter]) -> Iterator[Letter]:
    """Yield the first letter of each identity; known identities are in a temporary file, `_CACHE_KIB` of it in memory.

    Raises:
        Unreachable: the temporary file cannot be written.
    """
    try:
        # SQLite deletes the file of a temporary table at once, so that it never outlives the process.
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as known:
            known.execute("PRAGMA temp_store = FILE")
            known.execute("CREATE TEMP TABLE known (identity BLOB PRIMARY KEY) WITHOUT ROWID")
            known.execute(f"PRAGMA temp.cache_size = -{_CACHE_KIB}")
            known.execute("PRAGMA temp.journal_mode = OFF")
            # One transaction: each further one would cost time.
            known.execute("BEGIN")
            for letter in letters:
                identity = blake2b(repr(letter.identity).encode(), digest_size=16).digest()
                if known.execute("INSERT OR IGNORE INTO known VALUES (?)", (identity,)).rowcount:
                    yield letter
    except sqlite3.Error as error:
        raise Unreachable(f"the folder of temporary files cannot be written: {error} (TMPDIR)") from error


def _read(client: Client, since: datetime | None) -> Iterator[Letter]:
    topic = client.settings.dead_letter_topic
    spans = client.log_spans(topic)
    if since is not None:
        begins = client.offsets_at(topic, int(since.timestamp() * 1000))
        spans = {p: Span(span.end if (at := begins[p]) is None else at, span.end) for p, span in spans.items()}
    for block in read(client.settings, topic, spans):
        for time, key, value, headers in zip(block.times, block.keys, block.values, block.headers, strict=True):
            texts = {name: (raw or b"").decode(errors="replace") for name, raw in headers}
            foreign = [
                (name, raw or b"") for name, raw in headers if not name.startswith("etl-") and name != CONTENT_TYPE
            ]
            yield replace(_letter(time, key, value, texts), headers=tuple(foreign))


def _letter(time: int, key: bytes | None, value: bytes | None, headers: dict[str, str]) -> Letter:
    named: dict[str, Any] = {}
    for field in fields(Letter):
        text = headers.get(_header(field.name))
        if text is not None:
            named[field.name] = _number(text) if field.name in _NUMBERS else text
    replays = _number(named.pop("replays", "0"))
    defaults = {"reason": "", "run": ""}
    return Letter(
        published=datetime.fromtimestamp(time / 1000, UTC),
        value=value,
        key=key,
        content_type=headers.get(CONTENT_TYPE),
        replays=max(replays or 0, 0),
        **(defaults | named),
    )


def _number(text: str) -> int | None:
    return int(text) if _WHOLE_NUMBER.fullmatch(text) else None


def replay(client: Client, choice: Choice, force: bool = False) -> Replayed:
    """Send the selected dead letters to their original topic, each once, and count the replay in a header.

    Conflicting, superseded and late ones are sent only with `force`. Lines of a file are never sent: correct the file,
    and generate from it again.

    Raises:
        SettingsError: a topic is missing, or may not be written.
    """
    done = Replayed()
    known: set[str] = set()
    with open_producer(client.settings) as producer:
        for letter in list_letters(client, choice):
            if letter.topic is None:
                done.from_files += 1
            elif letter.reason in LOST and not force:
                done.lost += 1
            else:
                if letter.topic not in known:
                    client.partitions(letter.topic)
                    known.add(letter.topic)
                headers = [(REPLAYS, str(letter.replays + 1).encode())]
                if letter.content_type is not None:
                    headers.append((CONTENT_TYPE, letter.content_type.encode()))
                headers += letter.headers
                producer.send(letter.topic, letter.key, letter.value, headers)
                done.sent += 1
        producer.flush()
    return done
