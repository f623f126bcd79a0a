"""What a record of the topic holds: one JSON reading, or an Arrow IPC stream with readings of one equipment.

The key is the equipment ID. The header `content-type` tells the two apart; without one the value is JSON.
Arrow's stream format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
"""

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from etl.kafka.records import Headers, Records
from etl.model.equipment import key_to_id
from etl.model.measurements import MAX_TEXT_BYTES, Measurement, Measurements
from etl.model.schemas import CHUNK_ROWS, DEAD_LETTERS, RECORDS, TIMESTAMP, consumed

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
CONTENT_TYPE = "content-type"
REPLAYS = "etl-replays"

# Half of what a broker takes by default (message.max.bytes, 1 MiB), so that a dead letter with its headers fits too.
RECORD_BYTES = 512 * 1024
# No timestamp is longer; one that is gets cut, and the mark keeps the rest from being taken for a timestamp.
MAX_TIMESTAMP = 64
CUT = "…"
# Stands for bytes that are not UTF-8, such as those of a header's name.
_REPLACED = "\ufffd"

log = structlog.get_logger("etl.record")

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Decoded(NamedTuple):
    """What a block of records holds.

    `sizes` counts the readings of each record, one for a record that is none; `records` are the raw bytes of those
    that cannot be rebuilt from their readings.
    """

    readings: pa.Table
    records: pa.Table
    dead_letters: pa.Table
    sizes: Positions


class _Dead(NamedTuple):
    position: int
    reason: str
    detail: str


class _Part(NamedTuple):
    """Some readings of a block: `positions` tells the record of each, `indexes` its place in there."""

    positions: Positions
    indexes: Positions
    batch: pa.RecordBatch


class _Said(NamedTuple):
    """What the headers of a record say."""

    kind: str
    content_type: str | None
    replays: int
    unreadable: str | None = None


_NOTHING_SAID = _Said(JSON, None, 0)


def decode(records: Records, topic: str, measurements: Measurements) -> Decoded:
    """Decode a block of records; whatever they hold, nothing is raised and nothing is left out."""
    names, troubles = _read_keys(records.keys)
    said = _read_headers(records.headers)
    dead: list[_Dead] = []
    in_json: dict[int, bytes] = {}
    in_arrow: dict[int, bytes] = {}
    for position, (key, value, headers) in enumerate(zip(records.keys, records.values, said, strict=True)):
        kind = headers.kind
        if key in troubles:
            dead.append(_Dead(position, "missing-key", troubles[key]))
        elif value is None:
            dead.append(_Dead(position, "undecodable", "the record has no value"))
        elif kind == JSON:
            in_json[position] = value
        elif kind == ARROW:
            in_arrow[position] = value
        else:
            dead.append(_Dead(position, "content-type", f"{kind[:100]!r} is neither {JSON} nor {ARROW}"))
    parts, raw = _decode_arrow(in_arrow, measurements, dead)
    objects = _decode_json(in_json, dead)
    if objects:
        parts.append(_json_part(objects, measurements))
    # The key of a letter is the one that was sent, so a record whose key is no ID by itself is kept too.
    other = {key for key, name in names.items() if key != name.encode()}
    raw += [position for position in in_arrow if records.keys[position] in other] if other else []
    return Decoded(
        _readings(parts, records, said, names, measurements),
        _raw(sorted({*objects, *raw}), records, said),
        _dead_letters(sorted(dead), records, said, topic),
        _sizes(parts, dead, len(records.keys)),
    )


def _read_keys(keys: Sequence[bytes | None]) -> tuple[dict[bytes | None, str], dict[bytes | None, str]]:
    """Return the equipment IDs of the keys that hold one, and what is wrong with the others."""
    names: dict[bytes | None, str] = {}
    troubles: dict[bytes | None, str] = {}
    for key in set(keys):
        try:
            names[key] = key_to_id(key)
        except ValueError as error:
            troubles[key] = f"the key {error}"
    return names, troubles


def _read_headers(all_headers: Sequence[Headers]) -> list[_Said]:
    """Read each combination of headers once: there are few, and looking at each record's would take the longest."""
    known: dict[tuple[tuple[str, bytes | None], ...], _Said] = {(): _NOTHING_SAID}
    found = []
    for headers in all_headers:
        combination = tuple(headers)
        said = known.get(combination)
        if said is None:
            said = known[combination] = _read_combination(headers)
        found.append(said)
    if unreadable := sorted({said.unreadable for said in known.values() if said.unreadable}):
        records = sum(said.unreadable is not None for said in found)
        log.warning("headers ignored, their names are not UTF-8", records=records, for_example=unreadable[0][:100])
    return found


def _read_combination(headers: Headers) -> _Said:
    named = {name.lower(): value for name, value in headers if value}
    declared = named.get(CONTENT_TYPE)
    times = named.get(REPLAYS) or b""
    replays = int(times) if times.isdigit() and len(times) < 10 else 0
    unreadable = next((name for name, _ in headers if _REPLACED in name), None)
    if declared is None:
        return _Said(JSON, None, replays, unreadable)
    content_type = declared.decode(errors="replace")
    return _Said(_kind(content_type), content_type, replays, unreadable)


def _kind(content_type: str | None) -> str:
    return JSON if content_type is None else content_type.partition(";")[0].strip().lower()


def _payload(measurements: Measurements) -> pa.Schema:
    """The columns of `readings.consumed` that a value holds; the others come from the record around it."""
    names = ["timestamp", "timestamp_ms", *measurements.names, "bad"]
    schema = consumed(measurements)
    return pa.schema([schema.field(name) for name in names])


def _readings(
    parts: list[_Part],
    records: Records,
    said: list[_Said],
    names: Mapping[bytes | None, str],
    measurements: Measurements,
) -> pa.Table:
    schema = consumed(measurements)
    if not parts:
        return schema.empty_table()
    positions = np.concatenate([part.positions for part in parts])
    columns: dict[str, Any] = {
        "partition": np.array(records.partitions, np.int32)[positions],
        "offset": np.array(records.offsets, np.int64)[positions],
        "index": np.concatenate([part.indexes for part in parts]).astype(np.int32),
        "record_time": np.array(records.times, np.int64)[positions],
        "equipment_id": pa.array([names.get(key) for key in records.keys], pa.string()).take(pa.array(positions)),
        "replays": np.array([headers.replays for headers in said], np.int32)[positions],
    }
    payload = pa.Table.from_batches([part.batch for part in parts])
    columns.update(zip(payload.column_names, payload.columns, strict=True))
    table = pa.table({field.name: columns[field.name] for field in schema}, schema=schema)
    # Arrow and JSON are decoded apart: back to the order of the topic where a block holds both.
    in_order = bool(np.all(positions[1:] >= positions[:-1]))
    return table if in_order else table.take(pa.array(np.argsort(positions, kind="stable")))


def _raw(positions: list[int], records: Records, said: list[_Said]) -> pa.Table:
    columns: list[list[Any]] = [records.partitions, records.offsets, records.times, records.keys, records.values]
    arrays: list[list[Any]] = [[column[position] for position in positions] for column in columns]
    arrays.append([said[position].content_type for position in positions])
    return pa.table(arrays, schema=RECORDS)


def _dead_letters(dead: list[_Dead], records: Records, said: list[_Said], topic: str) -> pa.Table:
    rows = [
        {
            "value": records.values[at],
            "key": records.keys[at],
            "content_type": said[at].content_type,
            "reason": reason,
            "detail": detail,
            "stage": "consume",
            "topic": topic,
            "partition": records.partitions[at],
            "offset": records.offsets[at],
            "index": 0,
            "record_time": records.times[at],
            "replays": said[at].replays,
        }
        for at, reason, detail in dead
    ]
    return pa.Table.from_pylist(rows, schema=DEAD_LETTERS)


def _sizes(parts: list[_Part], dead: list[_Dead], number: int) -> Positions:
    sizes = np.zeros(number, np.int64)
    for part in parts:
        sizes += np.bincount(part.positions, minlength=number)
    sizes[[at for at, _, _ in dead]] = 1
    return sizes


def _bad_names(masks: Mapping[str, Mask], number: int) -> pa.Array:
    """Join the names of the bad measurements of each reading, null where there is none."""
    names: list[str | None] = [None] * number
    for name, mask in masks.items():
        for at in np.flatnonzero(mask):
            before = names[at]
            names[at] = name if before is None else f"{before},{name}"
    return pa.array(names, pa.string())


# JSON


def _decode_json(values: Mapping[int, bytes], dead: list[_Dead]) -> dict[int, dict[str, Any]]:
    """Return the JSON objects by position; what holds none goes to `dead`."""
    objects = {}
    for position, item in zip(values, parse_json(list(values.values())), strict=True):
        if type(item) is dict:
            objects[position] = item
        elif isinstance(item, ValueError):
            dead.append(_Dead(position, "undecodable", f"no JSON: {item}"))
        else:
            dead.append(_Dead(position, "undecodable", "the JSON is no object"))
    return objects


def parse_json(values: list[bytes]) -> list[Any]:
    """Parse JSON values; one that cannot be parsed gives its ValueError.

    All are parsed in one go, which is twice as fast, unless that fails. The secret number between two values keeps
    broken neighbours from making up a good one.
    """
    secret = secrets.randbits(62)
    try:
        items = orjson.loads(b"[%b]" % (b",%d," % secret).join(values))
    except ValueError:
        return [_parse(value) for value in values]
    if len(items) == 2 * len(values) - 1 and items[1::2].count(secret) == len(values) - 1:
        return list(items[::2])
    return [_parse(value) for value in values]


def _parse(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except ValueError as error:
        # Many programs write numbers that JSON does not have: bad values, but the others of the reading are good.
        try:
            return _parse_leniently(value.decode())
        except (ValueError, RecursionError):
            return error


def _parse_leniently(text: str) -> Any:
    """Parse JSON with NaN and infinities, which may also be written as C does or as a number beyond a double's range.

    Raises:
        ValueError: it is no JSON, or no text.
    """
    try:
        item = _LENIENT.decode(text)
    except ValueError:
        if not _SPELLED.search(text):
            raise
        item = _LENIENT.decode(_TEXT_OR_SPELLED.sub(_literal, text))
    if "\\ud" in text.lower():
        json.dumps(item, ensure_ascii=False).encode()  # half a surrogate pair is no text
    return item


def _whole(digits: str) -> int | float:
    """Return a whole number, infinity far beyond a double's range, where Python would refuse to parse it."""
    return int(digits) if len(digits) < 400 else float(digits)


def _literal(found: re.Match[str]) -> str:
    """Return what the standard library calls such a number; a text stays as it is."""
    if found["text"] is not None:
        return found[0]
    return "NaN" if found["nan"] else f"{found['sign'].strip('+')}Infinity"


_LENIENT = json.JSONDecoder(parse_int=_whole)
_SPELLED = re.compile("nan|inf", re.IGNORECASE)
# A text that does not end is taken to the end of all, so that a search takes linear time.
_TEXT_OR_SPELLED = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*+"?)|(?P<sign>[+-]?)(?<![\w.])(?:(?P<nan>nan)|inf(?:inity)?)(?![\w.])',
    re.IGNORECASE | re.DOTALL,
)


def _json_part(objects: Mapping[int, dict[str, Any]], measurements: Measurements) -> _Part:
    items = list(objects.values())
    fields = _fields(items, ["timestamp", *measurements.names])
    masks: dict[str, Mask] = {}
    columns = [_json_timestamps(fields["timestamp"]), pa.nulls(len(items), pa.int64())]
    for measurement in measurements.declared:
        column, bad = _json_column(fields[measurement.name], measurement)
        columns.append(column)
        if bad is not None:
            masks[measurement.name] = bad
    columns.append(_bad_names(masks, len(items)))
    batch = pa.RecordBatch.from_arrays(columns, schema=_payload(measurements))
    return _Part(np.fromiter(objects, np.int64, len(items)), np.zeros(len(items), np.int64), batch)


def _fields(items: list[dict[str, Any]], names: list[str]) -> dict[str, Sequence[Any]]:
    """Turn objects into columns; those of one program mostly have the same names in the same order."""
    shapes = set(map(tuple, items))
    if len(shapes) > 1:
        return {name: [item.get(name) for item in items] for name in names}
    given = dict(zip(shapes.pop(), zip(*map(dict.values, items), strict=True), strict=True))
    return {name: given.get(name) or [None] * len(items) for name in names}


def _json_timestamps(values: Sequence[Any]) -> pa.Array:
    if set(map(type, values)) <= {str, type(None)}:
        return _short(pa.array(values, pa.string()))
    return _short(pa.array([_timestamp_text(value) for value in values], pa.string()))


def _timestamp_text(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    return repr(value) if type(value) in (int, float) else json.dumps(value)


def _short(texts: pa.Array) -> pa.Array:
    longest = pc.max(pc.binary_length(texts)).as_py()
    if longest is None or longest <= MAX_TIMESTAMP:
        return texts
    long = pc.greater(pc.binary_length(texts), MAX_TIMESTAMP)
    cut = pc.binary_join_element_wise(pc.utf8_slice_codeunits(texts, 0, MAX_TIMESTAMP), CUT, "")
    return pc.if_else(long, cut, texts)


def _json_column(values: Sequence[Any], measurement: Measurement) -> tuple[pa.Array, Mask | None]:
    """Return one measurement's values, null where missing or bad, and where they are bad (None: nowhere)."""
    kinds = set(map(type, values))
    if measurement.type == "text":
        texts = [value if type(value) is str else None for value in values]
        bad = None if kinds <= {str, type(None)} else _differ(values, texts)
        return _texts(pa.array(texts, pa.string()), bad)
    if kinds <= {float, type(None)}:
        return pa.array(values, pa.float64()), None
    doubles = [_double(value) for value in values]
    return pa.array(doubles, pa.float64()), _differ(values, doubles)


def _double(value: Any) -> float | None:
    """Return a JSON number as the nearest double, None for anything else (a bool is an int to Python, not to JSON)."""
    try:
        return float(value) if type(value) in (int, float) else None
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _differ(values: Sequence[Any], good: Sequence[object]) -> Mask | None:
    bad = np.fromiter((v is not None and g is None for v, g in zip(values, good, strict=True)), np.bool_, len(values))
    return bad if bad.any() else None


def _texts(texts: pa.Array, bad: Mask | None) -> tuple[pa.Array, Mask | None]:
    """Take out texts that are too long."""
    longest = pc.max(pc.binary_length(texts)).as_py()
    if longest is None or longest <= MAX_TEXT_BYTES:
        return texts, bad
    long = pc.greater(pc.binary_length(texts), MAX_TEXT_BYTES).fill_null(False)
    mask = long.to_numpy(zero_copy_only=False)
    return pc.if_else(long, None, texts), mask if bad is None else mask | bad


# Arrow


class _SchemaError(Exception):
    pass


def _decode_arrow(
    values: Mapping[int, bytes], measurements: Measurements, dead: list[_Dead]
) -> tuple[list[_Part], list[int]]:
    """Return the readings, and the positions of the records that cannot be rebuilt from theirs."""
    payload = _payload(measurements)
    parts: list[_Part] = []
    raw = []
    for position, value in values.items():
        try:
            batches = _read_stream(value)
            canonical = all(_is_canonical(batch, measurements) for batch in batches)
            convert = _canonical if canonical else _conform
            converted = [convert(batch, payload, measurements) for batch in batches]
        except _SchemaError as error:
            dead.append(_Dead(position, "schema", str(error)))
        # pyarrow raises a dozen kinds on hostile bytes, some undocumented; each means the same here.
        except Exception as error:
            dead.append(_Dead(position, "undecodable", f"no Arrow stream: {' '.join(str(error).split())[:200]}"))
        else:
            first = 0
            for batch in converted:
                indexes = np.arange(first, first + batch.num_rows)
                parts.append(_Part(np.full(batch.num_rows, position), indexes, batch))
                first += batch.num_rows
            if not canonical:
                raw.append(position)
    return parts, raw


def _read_stream(value: bytes) -> list[pa.RecordBatch]:
    with pa.ipc.open_stream(value) as reader:
        trouble = _schema_trouble(reader.schema)
        batches = list(reader)
    # A few bytes can claim any number of rows, for instance of type null.
    if sum(batch.num_rows for batch in batches) > CHUNK_ROWS:
        raise _SchemaError(f"more than {CHUNK_ROWS} readings in one record")
    for batch in batches:
        batch.validate(full=True)
    if trouble:
        raise _SchemaError(trouble)
    return batches


def _schema_trouble(schema: pa.Schema) -> str | None:
    names = schema.names
    if "timestamp" not in names:
        return "there is no column `timestamp`"
    if len(set(names)) < len(names):
        return "two columns have the same name"
    kind = _plain(schema.field("timestamp").type)
    if pa.types.is_timestamp(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or _is_text(kind):
        return None
    return f"column `timestamp` has type {kind}"


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, whether or not they are dictionary-encoded."""
    return kind.value_type if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    # No validation looks at the scale, and pyarrow 26 reads beyond its table of powers for one that is made up.
    if pa.types.is_decimal(kind):
        return bool(0 <= kind.scale <= kind.precision)
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_canonical(batch: pa.RecordBatch, measurements: Measurements) -> bool:
    """Tell whether a batch holds what our own producer sends, so that any of its readings can be rebuilt."""
    expected = {"timestamp": TIMESTAMP, **{m.name: m.arrow for m in measurements.declared}}
    if not all(expected.get(field.name) == field.type for field in batch.schema):
        return False
    texts = [batch.column(m.name) for m in measurements.declared if m.type == "text" and m.name in batch.schema.names]
    return all((pc.max(pc.binary_length(text)).as_py() or 0) <= MAX_TEXT_BYTES for text in texts)


def _canonical(batch: pa.RecordBatch, payload: pa.Schema, measurements: Measurements) -> pa.RecordBatch:
    number, names = batch.num_rows, set(batch.schema.names)
    columns = [pa.nulls(number, pa.string()), batch.column("timestamp").view(pa.int64())]
    columns += [batch.column(m.name) if m.name in names else pa.nulls(number, m.arrow) for m in measurements.declared]
    return pa.RecordBatch.from_arrays([*columns, pa.nulls(number, pa.string())], schema=payload)


def _conform(batch: pa.RecordBatch, payload: pa.Schema, measurements: Measurements) -> pa.RecordBatch:
    """Cast column by column; a cell that has no place in its column is null and named in `bad`."""
    number, names = batch.num_rows, set(batch.schema.names)
    columns = list(_timestamps(_decoded(batch.column("timestamp"))))
    masks: dict[str, Mask] = {}
    for measurement in measurements.declared:
        if measurement.name not in names:
            columns.append(pa.nulls(number, measurement.arrow))
            continue
        column, bad = _cast(_decoded(batch.column(measurement.name)), measurement)
        columns.append(column)
        if bad is not None:
            masks[measurement.name] = bad
    return pa.RecordBatch.from_arrays([*columns, _bad_names(masks, number)], schema=payload)


def _decoded(column: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    return pc.run_end_decode(column) if pa.types.is_run_end_encoded(column.type) else column


def _cast(column: pa.Array, measurement: Measurement) -> tuple[pa.Array, Mask | None]:
    kind = column.type
    if measurement.type == "text" and _is_text(kind):
        return _texts(column.cast(pa.string()), None)
    if measurement.type == "double" and _is_number(kind):
        return column.cast(pa.float64(), safe=False), None
    bad = column.is_valid().to_numpy(zero_copy_only=False)
    return pa.nulls(len(column), measurement.arrow), bad if bad.any() else None


def _timestamps(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return texts and typed milliseconds; one of both is null."""
    number, kind = len(column), column.type
    if _is_text(kind):
        return _short(column.cast(pa.string())), pa.nulls(number, pa.int64())
    if pa.types.is_integer(kind):
        return column.cast(pa.string()), pa.nulls(number, pa.int64())
    if pa.types.is_floating(kind):
        texts = [None if value is None else repr(value) for value in column.cast(pa.float64()).to_pylist()]
        return pa.array(texts, pa.string()), pa.nulls(number, pa.int64())
    missing = column.is_null().to_numpy(zero_copy_only=False)
    values = column.view(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    if kind.unit != "s":
        # Floor division also rounds down before 1970.
        floored = values // {"ms": 1, "us": 1_000, "ns": 1_000_000}[kind.unit]
        return pa.nulls(number, pa.string()), pa.array(floored, pa.int64(), mask=missing)
    # Seconds can lie beyond what milliseconds hold: then they stay what they are, which is no timestamp.
    beyond = np.abs(values.astype(np.float64)) > 9.2e15
    texts = [f"{value} s{CUT}" if far else None for value, far in zip(values, beyond, strict=True)]
    return pa.array(texts, pa.string()), pa.array(np.where(beyond, 0, values) * 1000, pa.int64(), mask=missing | beyond)


# The way out: what `produce` sends, and what dead letters keep


def encode_arrow(
    readings: pa.Table, measurements: Measurements, batch_readings: int
) -> Iterator[tuple[bytes, bytes, str, int]]:
    """Turn readings (`readings.generated`) into records of one equipment each.

    The readings of one equipment keep their order. One with `json` set is sent as that.

    Yields:
        Key, value, content type and number of readings of each record.
    """
    codes = readings["equipment_id"].combine_chunks().dictionary_encode()
    order = np.argsort(codes.indices.to_numpy(), kind="stable")
    table = readings.take(pa.array(order)).combine_chunks()
    equipment = codes.indices.to_numpy()[order]
    as_json = table["json"].is_valid().to_numpy()
    keys = [key.encode() for key in codes.dictionary.to_pylist()]
    # A batch ends with its equipment, and before and after a reading that only JSON can carry.
    breaks = np.flatnonzero((equipment[1:] != equipment[:-1]) | as_json[1:] | as_json[:-1]) + 1
    names = ["timestamp", *(name for name in measurements.names if table[name].null_count < table.num_rows)]
    whole = table.select(names).to_batches()[0] if table.num_rows else None
    for begin, end in zip([0, *breaks], [*breaks, table.num_rows], strict=True):
        if whole is None:
            return
        key = keys[equipment[begin]]
        if as_json[begin]:
            yield key, table["json"][begin].as_py(), JSON, 1
            continue
        for first in range(begin, end, batch_readings):
            for batch in _fitting(whole.slice(first, min(batch_readings, end - first))):
                yield key, _stream(batch), ARROW, batch.num_rows


def _fitting(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Halve a batch until it fits into a record."""
    if batch.nbytes <= RECORD_BYTES or batch.num_rows == 1:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _fitting(batch.slice(0, half))
    yield from _fitting(batch.slice(half))


def _stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def encode_json(readings: pa.Table, measurements: Measurements) -> Iterator[tuple[bytes, bytes, str, int]]:
    """Turn readings (`readings.generated`) into one JSON record each, in their order; else as `encode_arrow`."""
    names = ["timestamp", *measurements.names]
    columns = [_iso_texts(readings["timestamp"]), *(_jsonable(readings[name]) for name in measurements.names)]
    ids, given = readings["equipment_id"].to_pylist(), readings["json"].to_pylist()
    keys = {name: name.encode() for name in set(ids)}
    for name, raw, values in zip(ids, given, zip(*columns, strict=True), strict=True):
        if raw is None:
            raw = orjson.dumps({n: value for n, value in zip(names, values, strict=True) if value is not None})
        yield keys[name], raw, JSON, 1


def _iso_texts(timestamps: pa.ChunkedArray) -> list[str | None]:
    """ISO 8601 in UTC with milliseconds; numpy writes it twenty times as fast as pyarrow."""
    milliseconds = timestamps.cast(pa.int64()).fill_null(0).to_numpy().astype("datetime64[ms]")
    texts: list[str | None] = np.datetime_as_string(milliseconds, timezone="UTC").tolist()
    if timestamps.null_count:
        return [text if known else None for text, known in zip(texts, timestamps.is_valid().to_pylist(), strict=True)]
    return texts


def _jsonable(column: pa.ChunkedArray) -> list[Any]:
    """Values for JSON, which has no NaN and no infinity: as text they stay the bad values that they are."""
    values: list[Any] = column.to_pylist()
    if pa.types.is_floating(column.type) and pc.all(pc.is_finite(column)).as_py() is False:
        return [repr(v) if v is not None and not np.isfinite(v) else v for v in values]
    return values


class Originals(NamedTuple):
    """Values, keys and content types as they were sent, one per reading."""

    values: list[bytes]
    keys: list[bytes]
    content_types: list[str | None]


def originals(readings: pa.Table, records: pa.Table, measurements: Measurements) -> Originals:
    """Return what was sent for a few readings (`readings.consumed`), for their dead letters.

    Args:
        readings: the selected readings.
        records: the raw records of the same file (`readings.RECORDS`).
        measurements: what the readings hold.

    Returns:
        Of a JSON reading its bytes; of one in a micro-batch a one-row Arrow stream with the batch's own schema.
    """
    wanted = records.filter(pc.is_in(records["offset"], pc.unique(readings["offset"]))).to_pylist()
    raw = {(record["partition"], record["offset"]): record for record in wanted}
    found = Originals([], [], [])
    names = ["partition", "offset", "index", "equipment_id"]
    for at, row in enumerate(readings.select(names).to_pylist()):
        record = raw.get((row["partition"], row["offset"]))
        if record is None:
            value, kind = _stream(_rebuilt(readings.slice(at, 1), measurements)), ARROW
        else:
            kind = record["content_type"]
            value = record["value"] if _kind(kind) == JSON else one_row(record["value"], row["index"])
        found.values.append(value)
        found.keys.append(row["equipment_id"].encode() if record is None else record["key"])
        found.content_types.append(kind)
    return found


def one_row(value: bytes, index: int) -> bytes:
    """Cut one reading out of an Arrow stream, with its schema as it was."""
    with pa.ipc.open_stream(value) as reader:
        for batch in reader:
            if index < batch.num_rows:
                return _stream(batch.slice(index, 1))
            index -= batch.num_rows
    raise IndexError(f"the stream ends {index + 1} readings before")


def _rebuilt(reading: pa.Table, measurements: Measurements) -> pa.RecordBatch:
    names = [name for name in measurements.names if reading[name].null_count == 0]
    columns = [reading["timestamp_ms"].combine_chunks().cast(pa.timestamp("ms")).cast(TIMESTAMP)]
    columns += [reading[name].combine_chunks() for name in names]
    return pa.RecordBatch.from_arrays(columns, names=["timestamp", *names])
