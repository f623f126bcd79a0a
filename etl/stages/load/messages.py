"""Batches of one partition, encoded as a whole or bound row by row by the driver."""

import itertools
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from cassandra import ConsistencyLevel
from cassandra.cluster import Session
from cassandra.policies import FallthroughRetryPolicy
from cassandra.protocol import BatchMessage
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, PreparedStatement
from cassandra.util import Date
from numpy.typing import NDArray

from etl.errors import SettingsError
from etl.stages.load.layout import NULL, absent_lengths, cells, is_columnar, window

log = structlog.get_logger("etl.columnar")
# Cassandra's name of the bind marker of USING TIMESTAMP.
WRITE_TIME = "[timestamp]"


class Target(NamedTuple):
    """A prepared INSERT as the encoders need it."""

    statement: PreparedStatement
    name: str
    columns: list[str]
    cql_types: list[str]
    partition_key: list[int]


def target_of(statement: PreparedStatement) -> Target:
    """Return the columns and keys of a prepared INSERT for the encoders.

    Raises:
        ValueError: the INSERT does not bind the whole partition key.
    """
    markers = statement.column_metadata
    if not statement.routing_key_indexes:
        raise ValueError(f"the statement does not bind a whole partition key: {statement.query_string}")
    return Target(
        statement,
        f"{markers[0].keyspace_name}.{markers[0].table_name}",
        ["write_time" if marker.name == WRITE_TIME else marker.name for marker in markers],
        [marker.type.typename for marker in markers],
        list(statement.routing_key_indexes),
    )


def _never_null(table: Target, rows: pa.RecordBatch) -> None:
    for name in {*(table.columns[index] for index in table.partition_key), "write_time"} & set(table.columns):
        if rows.column(name).null_count:
            raise ValueError(f"a row for {table.name} has no {name}")


def _runs(table: Target, rows: pa.RecordBatch) -> list[int]:
    """Return the ends of runs of rows of one partition."""
    changes = np.zeros(rows.num_rows - 1, dtype=bool)
    for index in table.partition_key:
        key = rows.column(table.columns[index])
        changes |= pc.not_equal(key.slice(1), key.slice(0, len(key) - 1)).to_numpy(zero_copy_only=False)
    return [*(np.flatnonzero(changes) + 1).tolist(), rows.num_rows]


def _cuts(ends: Iterable[int], offsets: NDArray[np.int64], rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Split runs of one partition into batches (first row, row after the last) with limits of rows and bytes."""
    first = 0
    for end in ends:
        while first < end:
            fits = int(np.searchsorted(offsets, offsets[first] + size, side="right")) - 1
            last = max(first + 1, min(end, first + rows, fits))
            yield first, last
            first = last


class Batch(BatchStatement):  # type: ignore[misc]
    """An UNLOGGED batch of one partition, prepared under some ID; with `entries` if they are already encoded."""

    def __init__(self, statement: PreparedStatement, rows: int, size: int) -> None:
        """Take the number of rows, and the bytes of their entries."""
        super().__init__(BatchType.UNLOGGED, FallthroughRetryPolicy(), statement.consistency_level)
        self.is_idempotent = True
        self.prepared = statement
        self.rows, self.size = rows, size

    def __len__(self) -> int:
        """Return the number of rows: the driver's token-aware policy ignores a statement of length 0."""
        return self.rows

    def renamed(self, statement: PreparedStatement) -> "Batch":
        """Return the same batch for the statement under its new ID."""
        raise NotImplementedError

    def forget(self) -> None:
        """Release the rows once they are stored; the request itself stays until the next garbage collection."""
        raise NotImplementedError


class _Encoded(Batch):
    def __init__(
        self, statement: PreparedStatement, entries: bytes, starts: NDArray[np.int64], routing_key: list[bytes]
    ) -> None:
        super().__init__(statement, len(starts), len(entries))
        self.entries, self.starts = entries, starts
        self.key_parts = routing_key
        self.routing_key = routing_key
        self.keyspace = statement.column_metadata[0].keyspace_name
        # If the message does not replace the driver's, sending must fail rather than send no rows.
        self._statements_and_parameters = None

    def renamed(self, statement: PreparedStatement) -> Batch:
        entries = np.frombuffer(bytearray(self.entries), np.uint8)
        window(entries, len(statement.query_id))[self.starts + 3] = np.void(statement.query_id)
        return _Encoded(statement, entries.tobytes(), self.starts, self.key_parts)

    def forget(self) -> None:
        self.entries, self.starts = b"", self.starts[:0].copy()


class _Bound(Batch):
    def __init__(self, statement: PreparedStatement, bound: list[Any], size: int) -> None:
        super().__init__(statement, len(bound), size)
        self.bound = bound
        for row in bound:
            row.prepared_statement = statement
            self.add(row)

    def renamed(self, statement: PreparedStatement) -> Batch:
        return _Bound(statement, self.bound, self.size)

    def forget(self) -> None:
        self.bound = []
        self.clear()


def columnar_batches(table: Target, rows: pa.RecordBatch, most_rows: int, most_bytes: int) -> Iterator[Batch]:
    """Encode all rows in one step and split the bytes into batches."""
    _never_null(table, rows)
    query_id, absent = table.statement.query_id, absent_lengths(rows)
    header = struct.pack(f">BH{len(query_id)}sH", 1, len(query_id), query_id, len(table.columns))
    columns = [
        cells(rows.column(name), cql_type, absent)
        for name, cql_type in zip(table.columns, table.cql_types, strict=True)
    ]
    offsets = np.zeros(rows.num_rows + 1, np.int64)
    offsets[1:] = len(header)
    for column in columns:
        offsets[1:] += column.widths
    np.cumsum(offsets, out=offsets)

    entries = np.empty(offsets[-1], np.uint8)
    position = offsets[:-1].copy()
    window(entries, len(header))[position] = np.void(header)
    position += len(header)
    key_values = []
    for index, column in enumerate(columns):
        if index in table.partition_key:
            key_values.append((index, position + 4, position + column.widths))
        for some, offset, values in column.pieces:
            place = position if some is None else position[some]
            window(entries, values.dtype.itemsize)[place + offset if offset else place] = values
        position += column.widths

    key_values.sort(key=lambda value: table.partition_key.index(value[0]))
    for first, last in _cuts(_runs(table, rows), offsets, most_rows, most_bytes):
        routing_key = [entries[begin[first] : end[first]].tobytes() for _, begin, end in key_values]
        yield _Encoded(
            table.statement,
            entries[offsets[first] : offsets[last]].tobytes(),
            offsets[first:last] - offsets[first],
            routing_key,
        )


def bound_batches(table: Target, rows: pa.RecordBatch, most_rows: int, most_bytes: int) -> Iterator[Batch]:
    """Bind value by value with the driver; slower, for types that cannot be encoded here."""
    _never_null(table, rows)
    absent = [None if length == NULL else UNSET_VALUE for length in absent_lengths(rows)]
    columns = [_values(rows.column(name), absent) for name in table.columns]
    try:
        bound = [table.statement.bind(values) for values in zip(*columns, strict=True)]
    except TypeError as error:
        raise SettingsError(f"{table.name} has a column of another type than the rows: {error}") from error
    header = 5 + len(table.statement.query_id)
    sizes = [header + sum(4 + (len(value) if isinstance(value, bytes) else 0) for value in row.values) for row in bound]
    offsets = np.array([0, *itertools.accumulate(sizes)])
    for first, last in _cuts(_runs(table, rows), offsets, most_rows, most_bytes):
        yield _Bound(table.statement, bound[first:last], int(offsets[last] - offsets[first]))


def _values(array: pa.Array, absent: list[Any]) -> list[Any]:
    """Return Python values that the driver binds without loss of range or milliseconds."""
    if pa.types.is_date32(array.type):
        days = array.cast(pa.int32()).to_pylist()
        values = [None if day is None else Date(day) for day in days]
    elif array.type in (pa.timestamp("ms"), pa.timestamp("ms", "UTC")):
        values = array.cast(pa.int64()).to_pylist()
    else:
        values = array.to_pylist()
    if not array.null_count:
        return values
    return [missing if value is None else value for value, missing in zip(values, absent, strict=True)]


Encoding = Callable[[Target, pa.RecordBatch, int, int], Iterator[Batch]]


def encoding(table: Target, rows: pa.RecordBatch, protocol_version: int) -> Encoding:
    """Choose the columnar encoding if it gives the same bytes as the driver for the first row."""
    for name, cql_type in zip(table.columns, table.cql_types, strict=True):
        if not is_columnar(cql_type, rows.column(name).type):
            log.warning("rows are bound one by one", column=name, cql=cql_type, arrow=str(rows.column(name).type))
            return bound_batches
    first = rows.slice(0, 1)
    drivers = next(bound_batches(table, first, 1, 1))
    try:
        ours = next(columnar_batches(table, first, 1, 1))
        same = ours.routing_key == drivers.routing_key and (
            _body(ours, protocol_version) == _body(drivers, protocol_version)
        )
        reason = "the driver writes other bytes for the same row"
    except (AttributeError, TypeError) as error:
        same, reason = False, str(error)
    if not same:
        log.warning("rows are bound one by one", reason=reason)
    return columnar_batches if same else bound_batches


class _EncodedMessage(BatchMessage):  # type: ignore[misc]
    # The name has an underscore: the driver registers messages with other names as decoders of the opcode.
    encoded: _Encoded

    def send_body(self, f: Any, protocol_version: int) -> None:
        """Write the driver's body of an empty batch, with the count and the entries inserted."""
        empty = BytesIO()
        super().send_body(empty, protocol_version)
        body = empty.getvalue()
        f.write(body[:1])
        f.write(struct.pack(">H", self.encoded.rows))
        f.write(self.encoded.entries)
        f.write(body[3:])


def _encoded_message(message: BatchMessage, batch: _Encoded) -> _EncodedMessage:
    """Return the message of a batch with the consistency, tracing and other settings of the driver's message."""
    ours = _EncodedMessage.__new__(_EncodedMessage)
    ours.__dict__.update(message.__dict__, queries=(), encoded=batch)
    return ours


def _body(batch: Batch, protocol_version: int) -> bytes:
    message = BatchMessage(batch.batch_type, batch._statements_and_parameters, ConsistencyLevel.LOCAL_QUORUM)
    body = BytesIO()
    (_encoded_message(message, batch) if isinstance(batch, _Encoded) else message).send_body(body, protocol_version)
    return body.getvalue()


def _on_request(future: Any) -> None:
    """Insert the encoded message into a request; the driver calls this after it creates the request."""
    batch = future.query
    if isinstance(batch, Batch):
        # With a known statement, a re-prepare that yields another ID fails at once instead of looping.
        future.prepared_statement = batch.prepared
    if isinstance(batch, _Encoded):
        future.message = _encoded_message(future.message, batch)


@contextmanager
def encoded_messages(session: Session) -> Iterator[None]:
    """Let the session send encoded batches unchanged while the context is open."""
    session.add_request_init_listener(_on_request)
    try:
        yield
    finally:
        session.remove_request_init_listener(_on_request)
