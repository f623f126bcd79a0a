"""Try a mapping on the first lines of a recorded file, or on the newest records of the topic; write nothing."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from etl.codec.columns import CONTENT_TYPE
from etl.codec.envelope import decode
from etl.codec.foreign import Foreign
from etl.codec.formats import open_parser
from etl.codec.formats.births import Births
from etl.codec.json_records import encode_json
from etl.codec.mapped import foreign
from etl.kafka.client import connect
from etl.kafka.ports import read
from etl.kafka.records import Records, Span
from etl.mapping.language import read_mapping
from etl.mapping.topics import read_topic_mappings
from etl.model.measurements import Measurements
from etl.model.timestamps import OLDEST_MS
from etl.printable import printable
from etl.settings import KafkaSettings, RegistrySettings
from etl.stages.generate.files import recorded_readings
from etl.stages.transform.clean import Times, clean

# Rows of a file, or records of the topic: enough to see each kind, and read in a moment.
SAMPLE = 1000
_SHOWN_BYTES = 120


@dataclass
class Trial:
    """The readings as they would be stored, the dead letters (where, reason, detail), and the unknown fields.

    `bad` has by measurement the readings whose value is not stored, or uncertain, and the record of the first of them.
    """

    readings: list[dict[str, object]] = field(default_factory=list)
    dead_letters: list[tuple[str, str, str]] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)


def try_file(url: str, mapping_file: Path, measurements: Measurements) -> Trial:
    """Return the first rows of a recorded file, read by a mapping.

    Raises:
        SettingsError: the mapping or the file cannot be used.
        Unreachable: the storage of the file does not answer.
    """
    mapping = read_mapping(mapping_file, measurements)
    trial = Trial()
    for block in recorded_readings(url, mapping, measurements):
        for letter in block.dead_letters.slice(0, SAMPLE).to_pylist():
            trial.dead_letters.append((f"{letter['file']}:{letter['line']}", letter["reason"], letter["detail"] or ""))
        _add_readings(trial, _as_records(block.readings.slice(0, SAMPLE), measurements), "file", measurements)
        if len(trial.readings) + len(trial.dead_letters) >= SAMPLE:
            break
    return trial


def _as_records(readings: pa.Table, measurements: Measurements) -> Records:
    """Return generated readings as the records that `produce` would send."""
    now = int(time.time() * 1000)
    records = Records([], [], [], [], [], [])
    for offset, (key, value, content_type, _) in enumerate(encode_json(readings, measurements)):
        headers = [(CONTENT_TYPE, content_type.encode())]
        for column, cell in zip(records, (0, offset, now, key, value, headers), strict=True):
            column.append(cell)  # type: ignore[attr-defined]
    return records


def try_topic(
    kafka: KafkaSettings, registry: RegistrySettings, mapping_file: Path | None, measurements: Measurements
) -> Trial:
    """Return the newest records of each partition of each topic, read by a mapping, or without one.

    Raises:
        SettingsError: the mapping cannot be used, or the topic may not be read.
        Unreachable: Kafka does not answer.
    """
    readers: dict[str, Foreign] = {}
    if mapping_file is not None:
        for topic, mapping in read_topic_mappings(mapping_file, measurements, kafka.topics).items():
            parse = open_parser(mapping.record, mapping_file.parent, registry, topic, Births())
            readers[topic] = foreign(mapping, parse)
    trial = Trial()
    for topic, records in newest_records(kafka):
        _add_readings(trial, records, topic, measurements, readers.get(topic))
    return trial


def newest_records(kafka: KafkaSettings) -> Iterable[tuple[str, Records]]:
    """Yield the newest records of each partition of each topic, at most about SAMPLE of a topic."""
    with connect(kafka) as client:
        spans_of = {topic: client.log_spans(topic) for topic in kafka.topics}
    for topic, spans in spans_of.items():
        each = max(1, SAMPLE // max(1, len(spans)))
        newest = {p: Span(max(span.begin, span.end - each), span.end) for p, span in spans.items()}
        wanted = {p: span for p, span in newest.items() if span.begin < span.end}
        for records in read(kafka, topic, wanted) if wanted else ():
            yield topic, records


def _add_readings(
    trial: Trial, records: Records, topic: str, measurements: Measurements, reader: Foreign | None = None
) -> None:
    decoded = decode(records, topic, measurements, reader)
    trial.unknown += decoded.unknown
    for letter in decoded.dead_letters.to_pylist():
        trial.dead_letters.append((_origin(topic, letter), letter["reason"], letter["detail"] or ""))
    machines: dict[str, int] = {}
    good, rejected = clean(decoded.readings, measurements, machines, Times(OLDEST_MS, int(time.time() * 1000)))
    names = np.array(list(machines), dtype=object)
    values = dict(zip(zip(records.partitions, records.offsets, strict=True), records.values, strict=True))
    origins = decoded.readings.select(["partition", "offset", "index"]).to_pylist()
    for row in good.to_pylist():
        stored = {"equipment_id": names[row["equipment"]], "timestamp": f"{np.datetime64(row['timestamp'], 'ms')}Z"}
        given = {name: row[name] for name in measurements.names if row[name] is not None and row[name] == row[name]}
        trial.readings.append({**stored, **given, "quality": row["quality"]})
        for name in {note.partition("=")[0] for note in row["quality"].split(",") if note}:
            trial.bad[name] += 1
            trial.examples.setdefault(name, _text(values, row))
    for row in rejected.to_pylist():
        origin = origins[row["row"]]
        trial.dead_letters.append((_origin(topic, origin), row["reason"], f"{row['detail']}: {_text(values, origin)}"))


def _text(values: dict[tuple[int, int], bytes | None], row: dict[str, Any]) -> str:
    """Return the begin of the record of a reading, for a message."""
    value = values.get((row["partition"], row["offset"])) or b""
    text = " ".join(value[:_SHOWN_BYTES].decode(errors="replace").split())
    return printable(text) + ("..." if len(value) > _SHOWN_BYTES else "")


def _origin(topic: str, row: dict[str, Any]) -> str:
    return f"{topic} {row['partition']}:{row['offset']} reading {row['index']}"
