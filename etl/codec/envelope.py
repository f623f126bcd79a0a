"""Decode key and headers of records.

The key is the equipment ID. The header `content-type` names the format of the value; without one it is JSON.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import structlog

from etl.codec.arrow_records import decode_arrow
from etl.codec.columns import (
    ARROW,
    CONTENT_TYPE,
    JSON,
    READING,
    REPLAYS,
    DeadRecord,
    Part,
    Positions,
    format_of,
    readings_table,
)
from etl.codec.foreign import Foreign
from etl.codec.json_readings import json_parts
from etl.kafka.records import Headers, Records
from etl.model.equipment import key_to_id
from etl.model.measurements import Measurements
from etl.model.schemas import DEAD_LETTERS, RECORDS, dead_letter_table

# Replaces bytes that are not UTF-8, for example in the name of a header.
_REPLACED = "\ufffd"
log = structlog.get_logger("etl.record")


class Decoded(NamedTuple):
    """The content of a block of records.

    `sizes` is the number of readings and dead letters of each record. `records` are the raw bytes of those
    that cannot be rebuilt from their readings. `unknown` counts the elements by field that the mapping does not name.
    """

    readings: pa.Table
    records: pa.Table
    dead_letters: pa.Table
    sizes: Positions
    unknown: Counter[str]


class HeaderInfo(NamedTuple):
    """The content of the headers of a record."""

    kind: str
    content_type: str | None
    replays: int
    unreadable: str | None = None


_NO_HEADERS = HeaderInfo(JSON, None, 0)
_NO_DEAD_LETTERS = DEAD_LETTERS.empty_table()


def decode(records: Records, topic: str, measurements: Measurements, foreign: Foreign | None = None) -> Decoded:
    """Decode a block of records; any content is accepted without error, and every record is in the result.

    With `foreign`, it reads all records but those in Arrow and READING.

    Raises:
        TooLarge: there are several records, and together they take too much memory.
    """
    names, troubles = _read_keys(records.keys)
    infos = _read_headers(records.headers)
    dead: list[DeadRecord] = []
    in_json, in_arrow, others = _sorted(records, infos, troubles, foreign is not None, dead)
    parts, raw = decode_arrow(in_arrow, measurements, dead)
    of_json = json_parts(in_json, measurements, dead)
    parts += of_json
    unknown: Counter[str] = Counter()
    if foreign and others:
        ids = [names.get(key) for key in records.keys]
        context: dict[str, list[Any]] = {"$key": ids, "$topic": [topic] * len(ids)}
        part, unknown = foreign.read(others, records, context, measurements, dead)
        parts += [part] if part else []
    # A dead letter has the original key, so keep a record whose key is not exactly an ID.
    other = {key for key, name in names.items() if key != name.encode()}
    raw += [position for position in in_arrow if records.keys[position] in other] if other else []
    return Decoded(
        readings_table(parts, records, [info.replays for info in infos], names, measurements),
        _raw(_kept(of_json, [*others, *raw]), records, infos, others, foreign),
        _dead_letters(dead, records, infos, topic, foreign),
        _sizes(parts, dead, len(records.keys)),
        unknown,
    )


def _sorted(
    records: Records,
    infos: list[HeaderInfo],
    troubles: Mapping[bytes | None, str],
    foreign: bool,
    dead: list[DeadRecord],
) -> tuple[dict[int, bytes], dict[int, bytes], dict[int, bytes]]:
    """Return by position the values in JSON, in Arrow and those for the mapping; add the others to `dead`."""
    kinds = set(map(itemgetter(0), infos))
    if None not in records.values and (not kinds & {ARROW, READING} if foreign else kinds <= {JSON} and not troubles):
        every = cast(dict[int, bytes], dict(enumerate(records.values)))
        return ({}, {}, every) if foreign else (every, {}, {})
    in_json: dict[int, bytes] = {}
    in_arrow: dict[int, bytes] = {}
    others: dict[int, bytes] = {}
    for position, (key, value, info) in enumerate(zip(records.keys, records.values, infos, strict=True)):
        kind = info.kind
        own = not foreign or kind in (ARROW, READING)
        if key in troubles and own:
            dead.append(DeadRecord(position, "missing-key", troubles[key]))
        elif value is None:
            dead.append(DeadRecord(position, "undecodable", "the record has no value"))
        elif not own:
            others[position] = value
        elif kind in (JSON, READING):
            in_json[position] = value
        elif kind == ARROW:
            in_arrow[position] = value
        else:
            dead.append(DeadRecord(position, "content-type", f"{kind[:100]!r} is neither {JSON} nor {ARROW}"))
    return in_json, in_arrow, others


def _read_keys(keys: Sequence[bytes | None]) -> tuple[dict[bytes | None, str], dict[bytes | None, str]]:
    """Return the equipment IDs of valid keys, and the errors of the others."""
    names: dict[bytes | None, str] = {}
    troubles: dict[bytes | None, str] = {}
    for key in set(keys):
        try:
            names[key] = key_to_id(key)
        except ValueError as error:
            troubles[key] = f"the key {error}"
    return names, troubles


def _read_headers(all_headers: Sequence[Headers]) -> list[HeaderInfo]:
    """Parse each combination of headers once; parsing those of each record would be the slowest step."""
    if not any(all_headers):
        return [_NO_HEADERS] * len(all_headers)
    known: dict[tuple[tuple[str, bytes | None], ...], HeaderInfo] = {(): _NO_HEADERS}
    found = []
    for headers in all_headers:
        combination = tuple(headers)
        info = known.get(combination)
        if info is None:
            info = known[combination] = _read_combination(headers)
        found.append(info)
    if unreadable := sorted({info.unreadable for info in known.values() if info.unreadable}):
        records = sum(info.unreadable is not None for info in found)
        log.warning("headers ignored, their names are not UTF-8", records=records, for_example=unreadable[0][:100])
    return found


def _read_combination(headers: Headers) -> HeaderInfo:
    named = {name.lower(): value for name, value in headers if value}
    declared = named.get(CONTENT_TYPE)
    times = named.get(REPLAYS) or b""
    replays = int(times) if times.isdigit() and len(times) < 10 else 0
    unreadable = next((name for name, _ in headers if _REPLACED in name), None)
    if declared is None:
        return HeaderInfo(JSON, None, replays, unreadable)
    content_type = declared.decode(errors="replace")
    return HeaderInfo(format_of(content_type), content_type, replays, unreadable)


def _used(headers: Headers, foreign: Foreign | None) -> list[tuple[str, bytes | None]] | None:
    """Return the headers that the reader uses; a replay needs them."""
    if foreign is None or not foreign.headers:
        return None
    return [(name, value) for name, value in headers if name.lower() in foreign.headers]


def _kept(parts: list[Part], others: Iterable[int]) -> list[int]:
    """Return the positions of the records whose raw bytes are kept, in order."""
    return sorted({*others, *chain.from_iterable(part.positions.tolist() for part in parts)})


def _raw(
    positions: list[int],
    records: Records,
    infos: list[HeaderInfo],
    others: Mapping[int, bytes],
    foreign: Foreign | None,
) -> pa.Table:
    number = len(positions)
    if number < len(infos):
        records, infos = records.at(positions), [infos[position] for position in positions]
    columns: list[Any] = [records.partitions, records.offsets, records.times, records.keys, records.values]
    columns.append([info.content_type for info in infos])
    path = foreign.elements if foreign else None
    columns.append(None if path is None else [path if position in others else None for position in positions])
    columns.append([_used(headers, foreign) for headers in records.headers] if foreign and foreign.headers else None)
    arrays = [
        pa.nulls(number, field.type) if column is None else pa.array(column, field.type)
        for column, field in zip(columns, RECORDS, strict=True)
    ]
    return pa.table(arrays, schema=RECORDS)


def _dead_letters(
    dead: list[DeadRecord], records: Records, infos: list[HeaderInfo], topic: str, foreign: Foreign | None
) -> pa.Table:
    if not dead:
        return _NO_DEAD_LETTERS
    dead = sorted(dead, key=lambda letter: (letter.position, letter.element))
    at = [letter.position for letter in dead]
    columns = {
        "value": [records.values[letter.position] if letter.value is None else letter.value for letter in dead],
        "key": [records.keys[position] for position in at],
        "content_type": [infos[position].content_type for position in at],
        "reason": [letter.reason for letter in dead],
        "detail": [letter.detail for letter in dead],
        "stage": "consume",
        "topic": topic,
        "partition": [records.partitions[position] for position in at],
        "offset": [records.offsets[position] for position in at],
        "index": [letter.element for letter in dead],
        "record_time": [records.times[position] for position in at],
        "replays": [infos[position].replays for position in at],
        "headers": [_used(records.headers[position], foreign) for position in at],
    }
    return dead_letter_table(len(dead), columns)


def _sizes(parts: list[Part], dead: list[DeadRecord], number: int) -> Positions:
    sizes: Positions = np.zeros(number, np.int64)
    for part in parts:
        sizes += np.bincount(part.positions, minlength=number)
    return sizes + np.bincount([letter.position for letter in dead], minlength=number)
