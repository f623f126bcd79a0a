"""Records that are an Arrow IPC stream with readings of one machine.

The format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.codec.arrow_size import decompressed_bytes
from etl.codec.columns import ARROW, CUT, JSON, DeadRecord, Mask, Part, TooLarge
from etl.model.measurements import MAX_TEXT_BYTES, Measurement, Measurements
from etl.model.schemas import CHUNK_BYTES, CHUNK_ROWS, TIMESTAMP

# Half of a broker's default limit (message.max.bytes, 1 MiB), so that a dead letter with its headers also fits.
RECORD_BYTES = 512 * 1024
# The most memory for the readings of one record, or of several that are decoded together. A few hundred bytes can
# declare gigabytes, by compression or by a dictionary.
MEMORY_BYTES = 4 * CHUNK_BYTES


class _SchemaError(Exception):
    pass


def decode_arrow(
    values: Mapping[int, bytes], measurements: Measurements, dead: list[DeadRecord]
) -> tuple[list[Part], list[int]]:
    """Return the readings, and the positions of the records that cannot be rebuilt from them.

    Raises:
        TooLarge: the readings of several records take more than MEMORY_BYTES together.
    """
    parts: list[Part] = []
    raw = []
    size = 0
    for position, value in values.items():
        try:
            batches = _read_stream(value)
            canonical = all(_is_canonical(batch, measurements) for batch in batches)
            convert = _canonical if canonical else _conform
            converted = [convert(batch, measurements) for batch in batches]
        except _SchemaError as error:
            dead.append(DeadRecord(position, "schema", str(error)))
        # pyarrow raises a dozen types of errors for hostile bytes, some undocumented; all mean the same here.
        except Exception as error:
            dead.append(DeadRecord(position, "undecodable", f"no Arrow stream: {' '.join(str(error).split())[:200]}"))
        else:
            size += sum(column.nbytes for columns, _ in converted for column in columns)
            if size > MEMORY_BYTES and len(values) > 1:
                raise TooLarge
            first = 0
            for columns, bad in converted:
                number = len(columns[0])
                indexes = np.arange(first, first + number)
                parts.append(Part(np.full(number, position), indexes, columns, bad, canonical))
                first += number
            if not canonical:
                raw.append(position)
    return parts, raw


def _read_stream(value: bytes) -> list[pa.RecordBatch]:
    if decompressed_bytes(value) > MEMORY_BYTES:
        raise _SchemaError(f"more than {MEMORY_BYTES} bytes in one record, decompressed")
    with pa.ipc.open_stream(value) as reader:
        trouble = _schema_trouble(reader.schema)
        batches = list(reader)
    # A few bytes can declare any number of rows, for example of type null.
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
    """Return the type of the values, also of dictionary-encoded ones."""
    return kind.value_type if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    # pyarrow 26 does not validate the scale, and reads beyond its table of powers for an invalid one.
    if pa.types.is_decimal(kind):
        return bool(0 <= kind.scale <= kind.precision)
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_canonical(batch: pa.RecordBatch, measurements: Measurements) -> bool:
    """Return whether a batch has the form of this project's producer, so that its readings can be rebuilt."""
    expected = {"timestamp": TIMESTAMP, **{m.name: m.arrow for m in measurements.declared}}
    if not all(expected.get(field.name) == field.type for field in batch.schema):
        return False
    texts = [batch.column(m.name) for m in measurements.declared if m.type == "text" and m.name in batch.schema.names]
    return all((pc.max(pc.binary_length(text)).as_py() or 0) <= MAX_TEXT_BYTES for text in texts)


def _canonical(batch: pa.RecordBatch, measurements: Measurements) -> tuple[list[pa.Array], list[Mask | None]]:
    number, names = batch.num_rows, set(batch.schema.names)
    columns = [pa.nulls(number, pa.string()), batch.column("timestamp").view(pa.int64())]
    columns += [batch.column(m.name) if m.name in names else pa.nulls(number, m.arrow) for m in measurements.declared]
    return columns, [None] * len(measurements.declared)


def _conform(batch: pa.RecordBatch, measurements: Measurements) -> tuple[list[pa.Array], list[Mask | None]]:
    """Cast column by column; a cell that cannot be cast is null and flagged as bad."""
    number, names = batch.num_rows, set(batch.schema.names)
    columns = list(_timestamps(_decoded(batch.column("timestamp"))))
    flags: list[Mask | None] = []
    for measurement in measurements.declared:
        column, bad = pa.nulls(number, measurement.arrow), None
        if measurement.name in names:
            column, bad = _cast(batch.column(measurement.name), measurement)
        columns.append(column)
        flags.append(bad)
    return columns, flags


def _decoded(column: pa.Array) -> pa.Array:
    """Return a column without encoding, in which each text of a dictionary or of a view takes its own memory.

    Raises:
        _SchemaError: the texts take more than MEMORY_BYTES.
    """
    values = _values(column)
    if _is_text(values.type):
        lengths = _lengths(values)
        if any((pc.sum(each).as_py() or 0) > MEMORY_BYTES for each in (lengths, _expanded(column, lengths))):
            raise _SchemaError(f"more than {MEMORY_BYTES} bytes of texts in one record")
        values = values.cast(pa.string())
    return _expanded(column, values)


def _values(column: pa.Array) -> pa.Array:
    """Return the values of a column, each once if it is encoded."""
    if pa.types.is_dictionary(column.type):
        return column.dictionary
    return column.values if pa.types.is_run_end_encoded(column.type) else column


def _expanded(column: pa.Array, values: pa.Array) -> pa.Array:
    """Return one value for each row of a column, from other values in place of its own."""
    if pa.types.is_dictionary(column.type):
        return values.take(column.indices)
    if pa.types.is_run_end_encoded(column.type):
        # The last run may end behind the column.
        runs = pa.RunEndEncodedArray.from_arrays(column.run_ends, values)
        return pc.run_end_decode(runs.slice(column.offset, len(column)))
    return values


def _lengths(texts: pa.Array) -> pa.Array:
    """Return the bytes of each text; pyarrow has no function for views, which begin with their length."""
    if not pa.types.is_string_view(texts.type):
        return pc.binary_length(texts).cast(pa.int64())
    views = np.frombuffer(texts.buffers()[1] or b"", np.int32).reshape(-1, 4)[texts.offset : texts.offset + len(texts)]
    return pa.array(views[:, 0].astype(np.int64), mask=texts.is_null().to_numpy(zero_copy_only=False))


def _cast(column: pa.Array, measurement: Measurement) -> tuple[pa.Array, Mask | None]:
    kind = _plain(column.type)
    if measurement.type == "text" and _is_text(kind):
        return _decoded(column).cast(pa.string()), None
    if measurement.type == "double" and _is_number(kind):
        return _decoded(column).cast(pa.float64(), safe=False), None
    bad = _expanded(column, _values(column).is_valid()).fill_null(False).to_numpy(zero_copy_only=False)
    return pa.nulls(len(column), measurement.arrow), bad if bad.any() else None


def _timestamps(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return texts and typed milliseconds; one of them is null."""
    number, kind = len(column), column.type
    if _is_text(kind):
        return column.cast(pa.string()), pa.nulls(number, pa.int64())
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
    # Seconds can exceed the range of milliseconds. Then they stay unchanged, and are not a timestamp.
    beyond = np.abs(values.astype(np.float64)) > 9.2e15
    texts = [f"{value} s{CUT}" if far else None for value, far in zip(values, beyond, strict=True)]
    return pa.array(texts, pa.string()), pa.array(np.where(beyond, 0, values) * 1000, pa.int64(), mask=missing | beyond)


def encode_arrow(
    readings: pa.Table, measurements: Measurements, batch_readings: int
) -> Iterator[tuple[bytes, bytes, str, int]]:
    """Encode readings (`schemas.generated`) as records of one machine each.

    The readings of a machine keep their order. A reading with `json` is sent as this JSON.

    Yields:
        Key, value, content type and number of readings of each record.
    """
    codes = readings["equipment_id"].combine_chunks().dictionary_encode()
    order = np.argsort(codes.indices.to_numpy(), kind="stable")
    table = readings.take(pa.array(order)).combine_chunks()
    equipment = codes.indices.to_numpy()[order]
    as_json = table["json"].is_valid().to_numpy()
    keys = [key.encode() for key in codes.dictionary.to_pylist()]
    # A batch ends at the next machine, and before and after a reading that only JSON can represent.
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
                yield key, stream(batch), ARROW, batch.num_rows


def _fitting(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Halve a batch until it fits into a record."""
    if batch.nbytes <= RECORD_BYTES or batch.num_rows == 1:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _fitting(batch.slice(0, half))
    yield from _fitting(batch.slice(half))


def stream(batch: pa.RecordBatch) -> bytes:
    """Return a batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())
