"""Write Arrow tables into Cassandra as native-protocol batches that numpy lays out whole.

The driver binds and serialises value by value, in Python. Here a slice of rows becomes the entries of BATCH messages at
once (native protocol specification v4/v5, section 4.1.7): per row `kind, id, number of values`, then per value a length
and its bytes. Each column is scattered to where its values belong in the rows, whatever their widths, so missing values
and text need no separate path. Connections, routing, framing and timeouts stay the driver's.
"""

import gc
import heapq
import itertools
import random
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from cassandra import ConsistencyLevel, DriverException
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Session
from cassandra.policies import FallthroughRetryPolicy
from cassandra.protocol import BatchMessage
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, PreparedStatement
from cassandra.util import Date
from numpy.typing import NDArray

from etl.cassandra.connection import IN_FLIGHT, PATIENCE, driver_errors, retrying, worth_retrying
from etl.errors import SettingsError, Unreachable

log = structlog.get_logger("etl.columnar")

# Rows are encoded in slices of about this much Arrow data, so that memory stays bounded and the caches warm.
SLICE_ROWS = 16_384
SLICE_BYTES = 4 * 2**20

# The name that Cassandra gives to the bind marker of USING TIMESTAMP.
WRITE_TIME = "[timestamp]"
NULL, UNSET = -1, -2

BACKOFF_SECONDS = (0.05, 5.0)
# After so many batches the memory of their requests is taken back.
CYCLES_BATCHES = 500

Bytes = NDArray[np.uint8]


class Written(NamedTuple):
    """What a write has done."""

    rows: int = 0
    batches: int = 0
    retries: int = 0
    bytes: int = 0


def insert(session: Session, table: str, columns: Sequence[str]) -> PreparedStatement:
    """Prepare the INSERT of some columns with a bound write time.

    Args:
        session: a session in the keyspace.
        table: name of the table.
        columns: names of the columns, as in what is to be written.

    Raises:
        SettingsError: the table, a column or a right is missing.
        Unreachable: no node answers.
    """
    names = ", ".join(f'"{column}"' for column in columns)
    marks = ", ".join("?" * len(columns))
    # Qualified by its keyspace, the statement has one id whatever keyspace a connection is in.
    cql = f'INSERT INTO "{session.keyspace}"."{table}" ({names}) VALUES ({marks}) USING TIMESTAMP ?'  # noqa: S608
    return retrying(lambda: session.prepare(cql))


def write(
    session: Session,
    statement: PreparedStatement,
    tables: Iterable[pa.Table],
    *,
    rows_per_batch: int = 400,
    bytes_per_batch: int = 64 * 1024,
    in_flight: int = IN_FLIGHT,
    patience: float = PATIENCE,
    profile: Any = EXEC_PROFILE_DEFAULT,
) -> Written:
    """Write every row of some tables as UNLOGGED batches of one partition each.

    Rows of one partition should follow each other: a batch ends where the partition key changes. A row with its own
    write time may be written any number of times, hence what fails for a while is sent again.

    Args:
        session: an open session.
        statement: a prepared INSERT, such as `insert` makes. Its consistency level, if set, goes before the profile's.
        tables: tables with a column for each bind marker, named alike; the marker of USING TIMESTAMP takes `write_time`
            (int64, microseconds since 1970). The boolean column `replaces`, if there, tells what becomes of a missing
            value: true = null, which deletes a stored value; false, null or no such column = left unset, which makes no
            tombstone.
        rows_per_batch: most rows in a batch.
        bytes_per_batch: most bytes of entries in a batch; a larger row goes alone.
        in_flight: most batches under way, those that wait to be sent again included.
        patience: seconds from the first failure of a batch to giving up.
        profile: the driver's execution profile: consistency, request timeout, load balancing.

    Raises:
        SettingsError: the table, a column or a right is missing, or a column has another type.
        Unreachable: a batch was not taken within `patience`.
        ValueError: the partition key or the write time of a row is null.
    """
    table = _table(statement)
    sender = _Sender(session, table, in_flight, patience, profile)
    schema: pa.Schema | None = None
    batches: _Encoding = _bound_batches
    with _encoded_messages(session):
        for rows in _slices(tables):
            if rows.schema != schema:
                schema, batches = rows.schema, _encoding(table, rows, session.cluster.protocol_version)
            for batch in batches(table, rows, rows_per_batch, bytes_per_batch):
                sender.send(batch)
        sender.drain()
    return Written(sender.rows, sender.batches, sender.retries, sender.bytes)


def _slices(tables: Iterable[pa.Table | pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut tables into record batches that are cheap to hold."""
    for table in tables:
        if not table.num_rows:
            continue
        whole = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
        for index, field in enumerate(whole.schema):
            # pandas, for one, makes other kinds of text.
            if pa.types.is_large_string(field.type) or pa.types.is_dictionary(field.type):
                whole = whole.set_column(index, field.name, whole.column(index).cast(pa.string()))
        rows = max(1, min(SLICE_ROWS, SLICE_BYTES * whole.num_rows // max(1, whole.nbytes)))
        yield from whole.combine_chunks().to_batches(max_chunksize=rows)


# --- the columns of a slice, scattered into entries ---


@dataclass(frozen=True)
class _Cells:
    """One column's [value]s: an int of length (negative = none), then as many bytes."""

    widths: int | NDArray[np.int64]
    # (rows or None for all, offset in the cell, bytes per row as a void array)
    pieces: list[tuple[NDArray[np.intp] | None, int, NDArray[np.void]]]


def _window(buffer: Bytes, width: int) -> NDArray[np.void]:
    """View a buffer as an array whose element i is the `width` bytes from i on."""
    return np.ndarray((buffer.size - width + 1,), dtype=f"V{width}", buffer=buffer, strides=(1,))


def _voids(values: NDArray[Any]) -> NDArray[np.void]:
    return values.view(f"V{values.dtype.itemsize}")


def _data(array: pa.Array, dtype: str) -> NDArray[Any]:
    """View a fixed-width Arrow array's values; those of nulls are arbitrary."""
    buffer = array.buffers()[1]
    return (
        np.frombuffer(buffer, dtype, count=array.offset + len(array))[array.offset :] if buffer else np.empty(0, dtype)
    )


def _double(array: pa.Array) -> NDArray[Any]:
    return _data(array, "<f8").astype(">f8")


def _int64(array: pa.Array) -> NDArray[Any]:
    return _data(array, "<i8").astype(">i8")


def _days(array: pa.Array) -> NDArray[Any]:
    # A CQL date is unsigned, with 1970-01-01 in the middle.
    return (_data(array, "<i4").astype(np.int64) + 2**31).astype(">u4")


def _fixed(array: pa.Array, big_endian: Callable[[pa.Array], NDArray[Any]], absent: NDArray[Any]) -> _Cells:
    values = big_endian(array)
    cells = np.empty(len(array), dtype=[("length", ">i4"), ("value", values.dtype)])
    cells["length"] = values.dtype.itemsize
    cells["value"] = values
    if not array.null_count:
        return _Cells(cells.dtype.itemsize, [(None, 0, _voids(cells))])
    valid = _valid(array)
    there, missing = np.flatnonzero(valid), np.flatnonzero(~valid)
    return _Cells(
        np.where(valid, cells.dtype.itemsize, 4),
        [(there, 0, _voids(cells[there])), (missing, 0, _voids(absent[missing]))],
    )


def _text(array: pa.Array, absent: NDArray[Any]) -> _Cells:
    """Lay out text: rows of the same length are copied together."""
    _, offsets_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offsets_buffer, "<i4", count=array.offset + len(array) + 1)[array.offset :].astype(np.int64)
    lengths = np.diff(offsets)
    fields = lengths.astype(">i4")
    if array.null_count:
        missing = ~_valid(array)
        lengths[missing] = 0
        fields[missing] = absent[missing]
    cells = _Cells(lengths + 4, [(None, 0, _voids(fields))])
    if not lengths.any():
        return cells
    data = np.frombuffer(data_buffer, np.uint8)
    if lengths.min() == lengths.max():
        cells.pieces.append((None, 4, _window(data, int(lengths[0]))[offsets[:-1]]))
        return cells
    order = np.argsort(lengths, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if width := int(lengths[rows[0]]):
            cells.pieces.append((rows, 4, _window(data, width)[offsets[rows]]))
    return cells


def _valid(array: pa.Array) -> NDArray[np.bool_]:
    valid: NDArray[np.bool_] = array.is_valid().to_numpy(zero_copy_only=False)
    return valid


_FIXED: dict[tuple[str, pa.DataType], Callable[[pa.Array], NDArray[Any]]] = {
    ("double", pa.float64()): _double,
    ("bigint", pa.int64()): _int64,
    ("date", pa.date32()): _days,
    ("timestamp", pa.timestamp("ms")): _int64,
    ("timestamp", pa.timestamp("ms", "UTC")): _int64,
}
_TEXT = {"text", "varchar"}


def _cells(array: pa.Array, cql_type: str, absent: NDArray[Any]) -> _Cells:
    if cql_type in _TEXT:
        return _text(array, absent)
    return _fixed(array, _FIXED[cql_type, array.type], absent)


def _is_columnar(cql_type: str, arrow_type: pa.DataType) -> bool:
    return (cql_type in _TEXT and arrow_type == pa.string()) or (cql_type, arrow_type) in _FIXED


class _Table(NamedTuple):
    """A prepared INSERT as the encoders need it."""

    statement: PreparedStatement
    name: str
    columns: list[str]
    cql_types: list[str]
    partition_key: list[int]


def _table(statement: PreparedStatement) -> _Table:
    markers = statement.column_metadata
    if not statement.routing_key_indexes:
        raise ValueError(f"the statement does not bind a whole partition key: {statement.query_string}")
    return _Table(
        statement,
        f"{markers[0].keyspace_name}.{markers[0].table_name}",
        ["write_time" if marker.name == WRITE_TIME else marker.name for marker in markers],
        [marker.type.typename for marker in markers],
        list(statement.routing_key_indexes),
    )


def _never_null(table: _Table, rows: pa.RecordBatch) -> None:
    for name in {*(table.columns[index] for index in table.partition_key), "write_time"} & set(table.columns):
        if rows.column(name).null_count:
            raise ValueError(f"a row for {table.name} has no {name}")


def _absent(rows: pa.RecordBatch) -> NDArray[Any]:
    """Give the length field that stands for a missing value, row by row."""
    if "replaces" not in rows.schema.names:
        return np.full(rows.num_rows, UNSET, ">i4")
    replaces = pc.fill_null(rows.column("replaces"), False).to_numpy(zero_copy_only=False)
    return np.where(replaces, NULL, UNSET).astype(">i4")


def _runs(table: _Table, rows: pa.RecordBatch) -> list[int]:
    """Find where runs of rows of one partition end."""
    changes = np.zeros(rows.num_rows - 1, dtype=bool)
    for index in table.partition_key:
        key = rows.column(table.columns[index])
        changes |= pc.not_equal(key.slice(1), key.slice(0, len(key) - 1)).to_numpy(zero_copy_only=False)
    return [*(np.flatnonzero(changes) + 1).tolist(), rows.num_rows]


def _cuts(ends: Iterable[int], offsets: NDArray[np.int64], rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut runs of one partition into batches (first row, row after the last) of at most so many rows and bytes."""
    first = 0
    for end in ends:
        while first < end:
            fits = int(np.searchsorted(offsets, offsets[first] + size, side="right")) - 1
            last = max(first + 1, min(end, first + rows, fits))
            yield first, last
            first = last


class _Batch(BatchStatement):  # type: ignore[misc]
    """An UNLOGGED batch of one partition, prepared under some id; with `entries` if they are laid out already."""

    def __init__(self, statement: PreparedStatement, rows: int, size: int) -> None:
        super().__init__(BatchType.UNLOGGED, FallthroughRetryPolicy(), statement.consistency_level)
        self.is_idempotent = True
        self.prepared = statement
        self.rows, self.size = rows, size

    def __len__(self) -> int:
        # The driver's token-aware policy takes a statement of no length for none.
        return self.rows

    def renamed(self, statement: PreparedStatement) -> "_Batch":
        """Make the same batch for the statement under its new id."""
        raise NotImplementedError

    def forget(self) -> None:
        """Let go of the rows once they are stored: the request itself stays until cycles are looked for."""
        raise NotImplementedError


class _Encoded(_Batch):
    def __init__(
        self, statement: PreparedStatement, entries: bytes, starts: NDArray[np.int64], routing_key: list[bytes]
    ) -> None:
        super().__init__(statement, len(starts), len(entries))
        self.entries, self.starts = entries, starts
        self.key_parts = routing_key
        self.routing_key = routing_key
        self.keyspace = statement.column_metadata[0].keyspace_name
        # Should our message not take the place of the driver's, then sending must fail rather than send no rows.
        self._statements_and_parameters = None

    def renamed(self, statement: PreparedStatement) -> _Batch:
        entries = np.frombuffer(bytearray(self.entries), np.uint8)
        _window(entries, len(statement.query_id))[self.starts + 3] = np.void(statement.query_id)
        return _Encoded(statement, entries.tobytes(), self.starts, self.key_parts)

    def forget(self) -> None:
        self.entries, self.starts = b"", self.starts[:0].copy()


class _Bound(_Batch):
    def __init__(self, statement: PreparedStatement, bound: list[Any], size: int) -> None:
        super().__init__(statement, len(bound), size)
        self.bound = bound
        for row in bound:
            row.prepared_statement = statement
            self.add(row)

    def renamed(self, statement: PreparedStatement) -> _Batch:
        return _Bound(statement, self.bound, self.size)

    def forget(self) -> None:
        self.bound = []
        self.clear()


def _columnar_batches(table: _Table, rows: pa.RecordBatch, most_rows: int, most_bytes: int) -> Iterator[_Batch]:
    """Lay out all rows at once and cut the bytes into batches."""
    _never_null(table, rows)
    query_id, absent = table.statement.query_id, _absent(rows)
    header = struct.pack(f">BH{len(query_id)}sH", 1, len(query_id), query_id, len(table.columns))
    columns = [
        _cells(rows.column(name), cql_type, absent)
        for name, cql_type in zip(table.columns, table.cql_types, strict=True)
    ]
    offsets = np.zeros(rows.num_rows + 1, np.int64)
    offsets[1:] = len(header)
    for column in columns:
        offsets[1:] += column.widths
    np.cumsum(offsets, out=offsets)

    entries = np.empty(offsets[-1], np.uint8)
    position = offsets[:-1].copy()
    _window(entries, len(header))[position] = np.void(header)
    position += len(header)
    key_values = []
    for index, column in enumerate(columns):
        if index in table.partition_key:
            key_values.append((index, position + 4, position + column.widths))
        for some, offset, values in column.pieces:
            place = position if some is None else position[some]
            _window(entries, values.dtype.itemsize)[place + offset if offset else place] = values
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


def _bound_batches(table: _Table, rows: pa.RecordBatch, most_rows: int, most_bytes: int) -> Iterator[_Batch]:
    """Bind value by value with the driver: slower, for whatever cannot be laid out."""
    _never_null(table, rows)
    absent = [None if length == NULL else UNSET_VALUE for length in _absent(rows)]
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
    """Give Python values that the driver binds without losing range or milliseconds."""
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


_Encoding = Callable[[_Table, pa.RecordBatch, int, int], Iterator[_Batch]]


def _encoding(table: _Table, rows: pa.RecordBatch, protocol_version: int) -> _Encoding:
    """Choose the columnar way if it makes the very bytes that the driver makes of the first row."""
    for name, cql_type in zip(table.columns, table.cql_types, strict=True):
        if not _is_columnar(cql_type, rows.column(name).type):
            log.warning("rows are bound one by one", column=name, cql=cql_type, arrow=str(rows.column(name).type))
            return _bound_batches
    first = rows.slice(0, 1)
    drivers = next(_bound_batches(table, first, 1, 1))
    try:
        ours = next(_columnar_batches(table, first, 1, 1))
        same = ours.routing_key == drivers.routing_key and (
            _body(ours, protocol_version) == _body(drivers, protocol_version)
        )
        reason = "the driver writes other bytes for the same row"
    except (AttributeError, TypeError) as error:
        same, reason = False, str(error)
    if not same:
        log.warning("rows are bound one by one", reason=reason)
    return _columnar_batches if same else _bound_batches


# --- into the driver ---


class _EncodedMessage(BatchMessage):  # type: ignore[misc]
    # Named with an underscore: the driver takes messages of other names for its decoder of the opcode.
    encoded: _Encoded

    def send_body(self, f: Any, protocol_version: int) -> None:
        """Write the driver's own body of an empty batch, with the count and the entries in their place."""
        empty = BytesIO()
        super().send_body(empty, protocol_version)
        body = empty.getvalue()
        f.write(body[:1])
        f.write(struct.pack(">H", self.encoded.rows))
        f.write(self.encoded.entries)
        f.write(body[3:])


def _encoded_message(message: BatchMessage, batch: _Encoded) -> _EncodedMessage:
    """Make the message of a batch from the one that the driver made, keeping consistency, tracing and so on."""
    ours = _EncodedMessage.__new__(_EncodedMessage)
    ours.__dict__.update(message.__dict__, queries=(), encoded=batch)
    return ours


def _body(batch: _Batch, protocol_version: int) -> bytes:
    message = BatchMessage(batch.batch_type, batch._statements_and_parameters, ConsistencyLevel.LOCAL_QUORUM)
    body = BytesIO()
    (_encoded_message(message, batch) if isinstance(batch, _Encoded) else message).send_body(body, protocol_version)
    return body.getvalue()


def _on_request(future: Any) -> None:
    """Prepare a request of ours for sending; the driver calls this between making a request and sending it."""
    batch = future.query
    if isinstance(batch, _Batch):
        # With the statement known, a re-prepare that yields another id fails at once instead of going round in circles.
        future.prepared_statement = batch.prepared
    if isinstance(batch, _Encoded):
        future.message = _encoded_message(future.message, batch)


@contextmanager
def _encoded_messages(session: Session) -> Iterator[None]:
    session.add_request_init_listener(_on_request)
    try:
        yield
    finally:
        session.remove_request_init_listener(_on_request)


# --- sending, with back-pressure and retries ---


@dataclass(eq=False)
class _Pending:
    batch: _Batch
    failures: int = 0
    first_failure: float = 0.0
    done: bool = False


class _Sender:
    """Keeps a bounded number of batches under way, and sends again what failed for a while."""

    def __init__(self, session: Session, table: _Table, in_flight: int, patience: float, profile: Any) -> None:
        self._session, self._table, self._profile = session, table, profile
        self._statement = table.statement
        self._most, self._patience = in_flight, patience
        self._under_way = 0
        # (what, how often it had failed when it was sent, with what it failed now)
        self._answers: SimpleQueue[tuple[_Pending, int, Exception | None]] = SimpleQueue()
        # (when to send again, tie-breaker, what), earliest first
        self._waiting: list[tuple[float, int, _Pending]] = []
        self._ties = itertools.count()
        self.rows = self.batches = self.retries = self.bytes = 0

    def send(self, batch: _Batch) -> None:
        while self._under_way + len(self._waiting) >= self._most:
            self._step()
        self._dispatch(_Pending(batch))

    def drain(self) -> None:
        while self._under_way or self._waiting:
            self._step()

    def _dispatch(self, pending: _Pending) -> None:
        if pending.batch.prepared is not self._statement:
            pending.batch = pending.batch.renamed(self._statement)
        self._under_way += 1
        future = self._session.execute_async(pending.batch, execution_profile=self._profile)
        sent = (pending, pending.failures)
        future.add_callbacks(self._succeeded, self._failed, callback_args=sent, errback_args=sent)

    # The driver's event loop calls these two.
    def _succeeded(self, _result: object, pending: _Pending, failures: int) -> None:
        self._answers.put((pending, failures, None))

    def _failed(self, error: Exception, pending: _Pending, failures: int) -> None:
        self._answers.put((pending, failures, error))

    def _step(self) -> None:
        """Wait for the next answer or the next batch to be sent again, and act on it."""
        wait = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None
        with suppress(Empty):
            self._settle(*self._answers.get(timeout=wait))
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            self.retries += 1
            self._dispatch(heapq.heappop(self._waiting)[2])

    def _settle(self, pending: _Pending, failures: int, error: Exception | None) -> None:
        # The driver may answer a request twice, as when it fails once more after an id mismatch.
        if pending.done or failures != pending.failures:
            return
        self._under_way -= 1
        if error:
            self._send_later(pending, error)
            return
        pending.done = True
        self.rows += pending.batch.rows
        self.batches += 1
        self.bytes += pending.batch.size
        pending.batch.forget()
        # A request of the driver and its timer refer to each other.
        if self.batches % CYCLES_BATCHES == 0:
            gc.collect(0)

    def _send_later(self, pending: _Pending, error: Exception) -> None:
        if _is_new_id(error):
            error = self._prepare_again(pending.batch.prepared) or error
        if not (_is_new_id(error) or worth_retrying(error)):
            with driver_errors():
                raise error
        now = time.monotonic()
        pending.first_failure = pending.first_failure or now
        pending.failures += 1
        if now - pending.first_failure > self._patience:
            raise Unreachable(
                f"Cassandra has not taken a batch for {self._table.name} in {pending.failures} attempts: {error}"
            ) from error
        shortest, longest = BACKOFF_SECONDS
        # Jitter keeps the batches that failed together from coming back together.
        pause = min(longest, shortest * 2 ** (pending.failures - 1)) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        heapq.heappush(self._waiting, (now + pause, next(self._ties), pending))

    def _prepare_again(self, old: PreparedStatement) -> Exception | None:
        """Take the id under which Cassandra knows the statement now, unless an earlier failure led to it already."""
        if old is self._statement:
            try:
                self._statement = self._session.prepare(old.query_string)
            except Exception as error:
                return error
        return None


def _is_new_id(error: Exception) -> bool:
    # The driver has no class of its own for a statement that got another id when it was prepared again.
    return type(error) is DriverException and "ID mismatch" in str(error)
