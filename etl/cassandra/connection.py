"""Reach Cassandra: connect, tell errors apart, and read what transform needs."""

import logging
import random
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import structlog
from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    RequestExecutionException,
    Unauthorized,
    UnresolvableContactPoints,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.metadata import TableMetadata
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, TokenAwarePolicy
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import (
    ErrorMessage,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    RequestValidationException,
    ServerError,
)
from cassandra.query import BoundStatement, SimpleStatement, tuple_factory
from cassandra.util import Date

from etl.cassandra.nodes import NamedCluster
from etl.errors import CredentialsError, EtlError, SettingsError, Unreachable
from etl.model.measurements import Measurements
from etl.model.schemas import DAY_MS, TIMESTAMP, WATERMARKS
from etl.model.tables import Table
from etl.patience import patiently
from etl.settings import CassandraSettings

log = structlog.get_logger("etl.cassandra")

CONNECT_SECONDS = 10
REQUEST_SECONDS = 20.0
AGREEMENT_SECONDS = 30
RECONNECT_SECONDS = 10.0
# A connection over which nothing comes for so long is tried; without an answer in the same time it is given up.
HEARTBEAT_SECONDS = 10
# Attempts to reach nodes that are away, each of which may take `CONNECT_SECONDS`, keep no other waiting.
DRIVER_THREADS = 8
PATIENCE = 60.0
PAGE_ROWS = 5_000
# A range of keys is asked for at once where it looks dense, and given up at this multiple of the rows wanted.
RANGE_KEYS = 1_000
RANGE_EXCESS = 4
IN_KEYS = 100
IN_FLIGHT = 32

# Every statement of ours is idempotent (each write carries its own timestamp), so all of these are safe to repeat.
RETRYABLE: tuple[type[Exception], ...] = (
    OperationTimedOut,
    RequestExecutionException,
    OverloadedErrorMessage,
    IsBootstrappingErrorMessage,
    ServerError,
    ConnectionException,
    ConnectionBusy,
    NoConnectionsAvailable,
)
_DRIVER_ERRORS = (
    *RETRYABLE,
    NoHostAvailable,
    AuthenticationFailed,
    Unauthorized,
    InvalidRequest,
    ErrorMessage,
    UnresolvableContactPoints,
)
# Of these the driver shows what it has inside.
_PLAIN: dict[type[Exception], str] = {
    NoHostAvailable: "no node answers",
    OperationTimedOut: "no answer in time",
    UnresolvableContactPoints: "none of the names is known, is ETL_CASSANDRA_CONTACT_POINTS right?",
}
# So a node begins its answer when it cannot read roles or rights, as while their replicas are away.
_UNREADABLE = "Unable to perform auth"

Result = TypeVar("Result")


class Connection(Cluster.connection_class):  # type: ignore[misc]
    """The driver's connection, for messages as large as batches are."""

    # The driver passes 4 KiB to the socket at a time.
    out_buffer_size = 128 * 1024
    # While the socket's buffer is full, the driver refuses messages and loses a stream ID for good with each one. Here
    # they wait in its queue; how many do is bounded by those who send.
    _socket_writable = property(lambda _: True, lambda _, __: None)


@contextmanager
def connect(
    settings: CassandraSettings, *, keyspace: bool = True, request_seconds: float = REQUEST_SECONDS
) -> Iterator[Session]:
    """Connect, yield a session in the keyspace (or in none) whose requests wait so long, and shut everything down.

    The session finds its nodes again when all of them have come back at other addresses behind the same names.

    Raises:
        Unreachable: no node answers, or no name is known, for `settings.timeout` seconds.
        CredentialsError: no node takes the credentials.
        SettingsError: CA, datacenter or keyspace are wrong.
    """
    # The driver reports each failing node at length; what matters of it is in our own message.
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    cluster, session = patiently(settings.timeout, partial(_open, settings, request_seconds))
    try:
        if keyspace:
            if settings.keyspace not in cluster.metadata.keyspaces:
                raise SettingsError(f"Cassandra has no keyspace {settings.keyspace!r}: run `etl schema`")
            with driver_errors(_where(settings)):
                session.set_keyspace(settings.keyspace)
        yield session
    finally:
        cluster.shutdown()


def _open(settings: CassandraSettings, request_seconds: float) -> tuple[Cluster, Session]:
    with driver_errors(_where(settings)):
        cluster = _cluster(settings, request_seconds)
        try:
            return cluster, _connected(cluster, settings)
        except BaseException:
            cluster.shutdown()
            raise


def _where(settings: CassandraSettings) -> str:
    return f"{settings.contact_points} port {settings.port}"


def _cluster(settings: CassandraSettings, request_seconds: float) -> Cluster:
    auth = None
    if settings.username and settings.password:
        auth = PlainTextAuthProvider(settings.username, settings.password.get_secret_value())
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.local_datacenter)),
        consistency_level=ConsistencyLevel.name_to_value[settings.consistency],
        row_factory=tuple_factory,
        request_timeout=request_seconds,
    )
    return NamedCluster(
        [host.strip() for host in settings.contact_points.split(",")],
        port=settings.port,
        auth_provider=auth,
        ssl_context=_tls(settings),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connection_class=Connection,
        # Compression costs more processor time, here and there, than a batch does otherwise.
        compression=False,
        connect_timeout=CONNECT_SECONDS,
        max_schema_agreement_wait=AGREEMENT_SECONDS,
        control_connection_timeout=CONNECT_SECONDS,
        # The driver waits up to ten minutes between attempts otherwise, and gives a node up for good after nine hours.
        reconnection_policy=ExponentialReconnectionPolicy(1.0, RECONNECT_SECONDS, max_attempts=None),
        idle_heartbeat_interval=HEARTBEAT_SECONDS,
        idle_heartbeat_timeout=HEARTBEAT_SECONDS,
        executor_threads=DRIVER_THREADS,
        monitor_reporting_enabled=False,
    )


def _tls(settings: CassandraSettings) -> ssl.SSLContext | None:
    if not (settings.tls or settings.ca_file):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"ETL_CASSANDRA_CA_FILE: {settings.ca_file} cannot be used: {error}") from error
    # Nodes are reached by addresses that they gossip and that no certificate names: trust the CA, not the name.
    context.check_hostname = False
    return context


def _connected(cluster: Cluster, settings: CassandraSettings) -> Session:
    try:
        return cluster.connect()
    except NoHostAvailable:
        known = {host.datacenter for host in cluster.metadata.all_hosts() if host.datacenter}
        if known and settings.local_datacenter not in known:
            raise SettingsError(
                f"ETL_CASSANDRA_LOCAL_DATACENTER: {settings.local_datacenter!r} is none of {', '.join(sorted(known))}"
            ) from None
        raise


@contextmanager
def driver_errors(what: str = "") -> Iterator[None]:
    """Turn the driver's errors into one clear line each, without secrets."""
    try:
        yield
    except _DRIVER_ERRORS as error:
        raise translated(error, what) from error


def translated(error: Exception, what: str = "") -> EtlError:
    """Tell what an error of the driver means to an operator."""
    cause = _cause(error)
    text = " ".join(str(cause).split())
    at = f" at {what}" if what else ""
    if _is_unreadable(cause):
        return Unreachable(f"Cassandra{at} cannot read its roles, are their replicas up? {server_message(cause)}")
    if isinstance(cause, AuthenticationFailed):
        return CredentialsError(f"Cassandra{at} refuses the credentials: check ETL_CASSANDRA_USERNAME and _PASSWORD")
    # A connection that ends amid the handshake is that of a node that goes down, or of a proxy without one.
    if "[SSL" in text and "EOF occurred" not in text:
        return SettingsError(f"Cassandra{at}: TLS fails ({text}): check ETL_CASSANDRA_TLS and ETL_CASSANDRA_CA_FILE")
    if isinstance(cause, Unauthorized):
        return SettingsError(f"Cassandra: the role lacks a right, grant it: {server_message(cause)}")
    if isinstance(cause, InvalidRequest | RequestValidationException):
        return SettingsError(f"Cassandra: {server_message(cause)}: run `etl schema`")
    text = _PLAIN.get(type(cause), text)
    return Unreachable(f"Cassandra{at} cannot be reached: {text or type(cause).__name__}")


def server_message(error: Any) -> str:
    """Return what the server said, in one line, without the driver's words around it."""
    text = " ".join(str(error).split())
    return text.partition('message="')[2].rstrip('">') or text


def identifier(name: str) -> str:
    """Write the name of a role, table or column in CQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Write text in CQL, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def set_role(session: Session, name: str, password: str, *, superuser: bool) -> None:
    """Make a role that may log in, or change it to that.

    Raises:
        SettingsError: whoever is logged in lacks a right.
        Unreachable: Cassandra still fails after all retries.
    """
    there = retrying(lambda: session.execute("SELECT role FROM system_auth.roles WHERE role = %s", (name,)).one())
    # A node refuses to change a password that it has set within five seconds, so a new one is not set twice.
    verb = "ALTER ROLE" if there else "CREATE ROLE IF NOT EXISTS"
    options = f"PASSWORD = {literal(password)} AND LOGIN = true AND SUPERUSER = {str(superuser).lower()}"
    retrying(partial(session.execute, f"{verb} {identifier(name)} WITH {options}"))


def _cause(error: Any) -> Any:
    """Return the reason inside NoHostAvailable; one that waiting does not mend goes first."""
    if not isinstance(error, NoHostAvailable):
        return error
    # Where only the session found nobody, the driver names addresses without reasons.
    causes = error.errors.values() if isinstance(error.errors, dict) else ()
    inner: list[Exception] = [cause for cause in causes if isinstance(cause, Exception)]
    lasting = [cause for cause in inner if not isinstance(cause, RETRYABLE) or isinstance(cause, AuthenticationFailed)]
    return next(iter(lasting or inner), error)


def _is_unreadable(error: Any) -> bool:
    return isinstance(error, AuthenticationFailed | Unauthorized) and _UNREADABLE in str(error)


def worth_retrying(error: Exception) -> bool:
    """Tell whether the same statement may succeed a little later."""
    if isinstance(error, NoHostAvailable):
        cause = _cause(error)
        return cause is error or worth_retrying(cause)
    if _is_unreadable(error):
        return True
    return isinstance(error, RETRYABLE) and not isinstance(error, AuthenticationFailed)


def retrying(call: Callable[[], Result], patience: float = PATIENCE) -> Result:
    """Call until it succeeds, waiting longer each time, for `patience` seconds at most.

    Raises:
        Unreachable: it still fails.
        SettingsError: waiting would not help.
    """
    give_up = time.monotonic() + patience
    wait = 0.1
    while True:
        try:
            return call()
        except _DRIVER_ERRORS as error:
            if not worth_retrying(error) or time.monotonic() + wait > give_up:
                raise translated(error) from error
            log.warning("Cassandra is asked again", reason=type(_cause(error)).__name__, seconds=round(wait, 1))
        # Jitter keeps several clients from coming back at the same moment.
        time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - no secret
        wait = min(wait * 2, 10.0)


def read_schema(refresh: Callable[[], None]) -> None:
    """Call one of the driver's refreshes of its metadata until it succeeds.

    Raises:
        Unreachable: it still fails after all retries.
    """

    def attempt() -> None:
        try:
            refresh()
        except DriverException as error:
            if type(error) is not DriverException:
                raise
            # The driver has no class of its own for a schema that it could not read.
            raise ConnectionException(str(error)) from error

    retrying(attempt)


def gather(
    session: Session, statements: Iterable[Any], in_flight: int = IN_FLIGHT, patience: float = PATIENCE
) -> Iterator[list[tuple[Any, ...]]]:
    """Execute idempotent statements side by side, at most `in_flight` at once; yield the rows of each, in order."""
    waiting: deque[tuple[Any, Any]] = deque()

    def finish() -> list[tuple[Any, ...]]:
        statement, future = waiting.popleft()
        try:
            return list(future.result())
        except _DRIVER_ERRORS as error:
            if not worth_retrying(error):
                raise translated(error) from error
            return retrying(lambda: list(session.execute(statement)), patience)

    for statement in statements:
        waiting.append((statement, session.execute_async(statement)))
        if len(waiting) >= in_flight:
            yield finish()
    while waiting:
        yield finish()


def pages(session: Session, statement: Any, patience: float = PATIENCE) -> Iterator[list[tuple[Any, ...]]]:
    """Execute an idempotent statement; yield its rows page by page, of the size that the statement has."""
    result = retrying(lambda: session.execute(statement), patience)
    while True:
        yield result.current_rows
        if not result.has_more_pages:
            return
        state = result.paging_state
        result = retrying(partial(session.execute, statement, paging_state=state), patience)


def check_columns(session: Session, tables: list[Table]) -> None:
    """Check that these tables are there, with their columns.

    Raises:
        SettingsError: something is missing or has another type; the message names it and `etl schema`.
    """
    found = session.cluster.metadata.keyspaces[session.keyspace].tables
    for table in tables:
        if table.name not in found:
            raise SettingsError(f"keyspace {session.keyspace} has no table {table.name}: run `etl schema`")
        refuse_changes(table, found[table.name])
        if missing := [name for name in table.columns if name not in found[table.name].columns]:
            raise SettingsError(f"table {table.name} has no column {', '.join(missing)}: run `etl schema`")


def refuse_changes(table: Table, found: TableMetadata) -> None:
    """Check that what a table has already is what it should have.

    Raises:
        SettingsError: a column has another type, or the primary key other columns.
    """
    for name, column in found.columns.items():
        if name in table.columns and column.cql_type != table.columns[name]:
            raise SettingsError(
                f"column {name} of table {table.name} is {column.cql_type}, not {table.columns[name]}: a type cannot be"
                " changed, give the measurement another name"
            )
    key = [[column.name for column in columns] for columns in (found.partition_key, found.clustering_key)]
    if key != [table.partition, list(table.clustering)]:
        raise SettingsError(f"table {table.name} has another primary key: use a keyspace of its own")


def read_watermarks(session: Session, patience: float = PATIENCE) -> pa.Table:
    """Read the watermark of every equipment (schema `readings.WATERMARKS`), page by page."""
    query = SimpleStatement(
        'SELECT "equipment_id", toUnixTimestamp("timestamp") FROM "watermarks"', fetch_size=PAGE_ROWS
    )
    batches = []
    for rows in pages(session, query, patience):
        if rows:
            equipment, stamps = zip(*rows, strict=True)
            columns = [pa.array(equipment, pa.string()), pa.array(stamps, pa.int64()).cast(TIMESTAMP)]
            batches.append(pa.record_batch(columns, schema=WATERMARKS))
    return pa.Table.from_batches(batches, schema=WATERMARKS).filter(pc.field("timestamp").is_valid())


def lookup_rows(session: Session, measurements: Measurements, wanted: pa.Table, patience: float = PATIENCE) -> pa.Table:
    """Look up the stored rows among wanted keys.

    Args:
        session: a session in the keyspace.
        measurements: the columns to read.
        wanted: equipment_id (string) and timestamp (ms, UTC), sorted by both; at most one chunk of readings.
        patience: seconds of retries of a statement.

    Returns:
        equipment_id, timestamp, the measurements, quality, and write_time (int64, microseconds), sorted as wanted.

    Raises:
        Unreachable: Cassandra still fails after all retries.
        SettingsError: a table, column or right is missing.
    """
    values = {field.name: (f'"{field.name}"', field.type) for field in measurements.fields}
    values |= {"quality": ('"quality"', pa.string()), "write_time": ('WRITETIME("quality")', pa.int64())}
    found = _ask(session, values, wanted, patience)
    unknown = pc.is_null(found["write_time"])
    if not pc.any(unknown).as_py():
        return found
    # Only rows that somebody else wrote lack the quality cell.
    times = {name: (f'WRITETIME("{name}")', pa.int64()) for name in measurements.names}
    cells = _ask(session, times, found.filter(unknown).select(["equipment_id", "timestamp"]), patience)
    newest = pc.max_element_wise(pa.scalar(0, pa.int64()), *(cells[name] for name in measurements.names))
    keys = cells.select(["equipment_id", "timestamp"]).append_column("newest", newest)
    joined = found.join(keys, ["equipment_id", "timestamp"]).sort_by(
        [("equipment_id", "ascending"), ("timestamp", "ascending")]
    )
    write_time = pc.coalesce(joined["write_time"], joined["newest"], pa.scalar(0, pa.int64()))
    return joined.drop_columns(["newest", "write_time"]).append_column("write_time", write_time)


@dataclass(frozen=True)
class _Piece:
    """Some wanted timestamps (ms, ascending) within one partition, to be asked for at once."""

    equipment: str
    day: int
    stamps: list[int]
    as_range: bool


def _ask(session: Session, values: dict[str, tuple[str, pa.DataType]], wanted: pa.Table, patience: float) -> pa.Table:
    """Select some values (name: CQL, type) of the wanted keys; return them with equipment_id and timestamp."""
    select = (
        f'SELECT toUnixTimestamp("timestamp"), {", ".join(cql for cql, _ in values.values())} FROM "sensor_data"'  # noqa: S608
        ' WHERE "equipment_id" = ? AND "day" = ? AND "timestamp" '
    )
    schema = pa.schema([("equipment_id", pa.string()), ("timestamp", TIMESTAMP)])
    for name, (_, type_) in values.items():
        schema = schema.append(pa.field(name, type_))
    among = retrying(lambda: session.prepare(f"{select}IN ?"), patience)
    within = retrying(lambda: session.prepare(f'{select}>= ? AND "timestamp" <= ? LIMIT ?'), patience)

    def statement(piece: _Piece) -> BoundStatement:
        key = (piece.equipment, Date(piece.day))
        if piece.as_range:
            return within.bind((*key, piece.stamps[0], piece.stamps[-1], RANGE_EXCESS * len(piece.stamps)))
        return among.bind((*key, piece.stamps))

    def answers(pieces: list[_Piece]) -> Iterator[pa.RecordBatch]:
        found = gather(session, map(statement, pieces), patience=patience)
        for piece, rows in zip(pieces, found, strict=True):
            if piece.as_range and len(rows) >= RANGE_EXCESS * len(piece.stamps):
                yield from answers([replace(part, as_range=False) for part in _cut(piece, IN_KEYS)])
            elif rows:
                yield _batch(piece, rows, schema)

    return pa.Table.from_batches(answers(list(_pieces(wanted))), schema=schema).combine_chunks()


def _pieces(wanted: pa.Table) -> Iterator[_Piece]:
    """Group wanted keys by equipment and day, and cut each group into what one statement asks for."""
    if not wanted.num_rows:
        return
    equipment = wanted["equipment_id"].combine_chunks()
    stamps = wanted["timestamp"].cast(pa.int64()).to_numpy()
    days = stamps // DAY_MS
    changes = (days[1:] != days[:-1]) | pc.not_equal(equipment[1:], equipment[:-1]).to_numpy(zero_copy_only=False)
    starts = [0, *(np.flatnonzero(changes) + 1).tolist(), len(stamps)]
    for start, end in pairwise(starts):
        for first in range(start, end, RANGE_KEYS):
            part = np.unique(stamps[first : min(first + RANGE_KEYS, end)])
            piece = _Piece(equipment[start].as_py(), int(days[start]), part.tolist(), _dense(part))
            yield from _cut(piece, RANGE_KEYS if piece.as_range else IN_KEYS)


def _dense(stamps: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
    """Guess whether a range holds few rows beyond those wanted, from how evenly these are spaced.

    Keys picked at random, or with a hole between them, have most gaps far below their mean.
    """
    gaps = np.diff(stamps)
    return len(stamps) > IN_KEYS // 4 and bool(gaps.mean() <= 2 * np.quantile(gaps, 0.1))


def _cut(piece: _Piece, size: int) -> Iterator[_Piece]:
    for first in range(0, len(piece.stamps), size):
        yield replace(piece, stamps=piece.stamps[first : first + size])


def _batch(piece: _Piece, rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    asked = set(piece.stamps)
    kept = sorted((row for row in rows if row[0] in asked), key=itemgetter(0))
    columns = list(zip(*kept, strict=True)) or [()] * (len(schema) - 1)
    stamps = pa.array(columns[0], pa.int64()).cast(TIMESTAMP)
    values = [pa.array(column, schema.field(2 + i).type) for i, column in enumerate(columns[1:])]
    return pa.record_batch([pa.repeat(piece.equipment, len(kept)), stamps, *values], schema=schema)
