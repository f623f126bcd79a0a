"""A twin of Cassandra behind the driver: cells with write times on three replicas, and the statements of the stages.

It reads the same bytes that the driver would send: bound values of prepared statements, and bodies of batches. Where
two cells meet, the larger write time wins, then a deletion, then the larger value:
https://cassandra.apache.org/doc/latest/cassandra/architecture/dynamo.html#data-versioning
"""

import hashlib
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from types import SimpleNamespace
from typing import Any, NamedTuple

from cassandra import ConsistencyLevel, OperationTimedOut, Unavailable, WriteTimeout, cqltypes
from cassandra.cluster import NoHostAvailable
from cassandra.protocol import BatchMessage, ColumnMetadata
from cassandra.query import UNSET_VALUE, BatchStatement, BoundStatement, PreparedStatement

from etl.model.tables import Table
from tests.simulation.world import World

PROTOCOL = 5
REPLICAS = 3
TYPES: dict[str, Any] = {
    "text": cqltypes.UTF8Type,
    "double": cqltypes.DoubleType,
    "timestamp": cqltypes.DateType,
    "date": cqltypes.SimpleDateType,
    "int": cqltypes.Int32Type,
    "bigint": cqltypes.LongType,
    "blob": cqltypes.BytesType,
}
ERROR_TYPES = (OperationTimedOut, Unavailable, WriteTimeout)
# Errors of one request; those of writes also have `WriteTimeout`.
ERRORS: tuple[Callable[[], Exception], ...] = (OperationTimedOut, lambda: Unavailable("too few replicas"))
_INSERT = re.compile(r'INSERT INTO (?:"\w+"\.)?"(\w+)" \(([^)]*)\) VALUES \([?, ]*\)( USING TIMESTAMP \?)?')
_ADD = re.compile(r'UPDATE "(\w+)" SET "(\w+)" = "\2" \+ \? WHERE (.*)')
_SELECT = re.compile(r'SELECT (.*) FROM "(\w+)"(?: WHERE (.*?))?( LIMIT \?)?')
_CONDITION = re.compile(r'"(\w+)" (=|IN|>=|<=) \?')
_CHOSEN = re.compile(r'(?:(toUnixTimestamp|WRITETIME)\()?"(\w+)"\)?')


class Cell(NamedTuple):
    """A value (None: deleted) and its write time in microseconds."""

    time: int
    value: bytes | None

    def beats(self, other: "Cell | None") -> bool:
        """Whether this cell stays if both meet."""
        return other is None or (self.time, self.value is None, self.value or b"") > (
            other.time,
            other.value is None,
            other.value or b"",
        )


Key = tuple[bytes, ...]
# Cells of a row by column; "" is the row itself, which an INSERT makes. Elements of a set have the name of the column
# and their value.
Row = dict[Any, Cell]


@cache
def type_of(cql: str) -> Any:
    """The driver's type of a CQL type."""
    if inner := re.fullmatch(r"(set|map)<(.*)>", cql):
        parts = [TYPES[name.strip()] for name in inner[2].split(",")]
        return (cqltypes.SetType if inner[1] == "set" else cqltypes.MapType).apply_parameters(parts)
    return TYPES[cql]


def merged(rows: list[Row]) -> Row:
    """The row that several replicas hold together."""
    found = dict(rows[0])
    for row in rows[1:]:
        merge(found, row)
    return found


def merge(row: Row, cells: Row) -> None:
    """Add cells to a row, each where it beats the one that is there."""
    for name, cell in cells.items():
        other = row.get(name)
        # Mostly it is the same one, from another replica.
        if other is not cell and cell.beats(other):
            row[name] = cell


def is_live(row: Row) -> bool:
    """Whether a reader sees the row: something in it was not deleted."""
    return any(cell.value is not None for cell in row.values())


@dataclass
class Stored:
    """A table: its definition, and its rows by primary key on each replica."""

    table: Table
    replicas: list[dict[Key, Row]] = field(default_factory=lambda: [{} for _ in range(REPLICAS)])

    @property
    def key(self) -> list[str]:
        """Columns of the primary key."""
        return [*self.table.partition, *self.table.clustering]

    def apply(self, replica: int, key: Key, cells: Row) -> None:
        """Write cells to one replica."""
        merge(self.replicas[replica].setdefault(key, {}), cells)

    def read(self, replicas: list[int], wanted: Callable[[Key], bool]) -> Iterator[tuple[Key, Row]]:
        """Merge rows of several replicas, in order of their keys, and bring each of these up to date."""
        keys = sorted({key for each in replicas for key in self.replicas[each] if wanted(key)})
        for key in keys:
            row = merged([self.replicas[each].get(key, {}) for each in replicas])
            for each in replicas:
                self.replicas[each][key] = dict(row)
            if is_live(row):
                yield key, row

    def row(self, key: Key) -> Row:
        """One row, as all replicas together hold it, without a trace in any of them."""
        return merged([each.get(key, {}) for each in self.replicas])

    def truth(self, wanted: Callable[[Key], bool] = lambda _: True) -> dict[Key, Row]:
        """All wanted rows, as all replicas together hold them, without a trace in any of them."""
        keys = {key for each in self.replicas for key in each if wanted(key)}
        rows = {key: self.row(key) for key in keys}
        return {key: row for key, row in rows.items() if is_live(row)}


class Write(NamedTuple):
    """Cells of one row of a table."""

    stored: Stored
    key: Key
    cells: Row


@dataclass
class Database:
    """The tables of a keyspace, and who is told of each write."""

    world: World
    keyspace: str
    tables: dict[str, Stored]
    # One replica that is down for the whole schedule, if any.
    down: int | None = None
    watch: Callable[[Write], None] = lambda _: None

    def cluster(self, *_: Any, **options: Any) -> "Cluster":
        """Stand in for the driver's cluster."""
        level = next(iter(options["execution_profiles"].values())).consistency_level
        return Cluster(self, level)

    def up(self) -> list[int]:
        """Replicas that answer."""
        return [each for each in range(REPLICAS) if each != self.down]

    def some(self, level: int) -> list[int]:
        """Replicas that a request of this consistency level waits for."""
        needed = {ConsistencyLevel.LOCAL_QUORUM: 2, ConsistencyLevel.QUORUM: 2, ConsistencyLevel.ALL: 3}.get(level, 1)
        return self.world.random.sample(self.up(), needed)

    def write(self, writes: list[Write], level: int) -> None:
        """Write to the replicas of the level, and mostly to the others that are up."""
        reached = {*self.some(level), *(each for each in self.up() if self.world.random.random() < 0.7)}
        self._write(writes, reached)

    def write_partly(self, writes: list[Write]) -> None:
        """Write to any of the replicas, as a request that times out does."""
        self._write(writes, {each for each in self.up() if self.world.random.random() < 0.5})

    def _write(self, writes: list[Write], reached: set[int]) -> None:
        for write in writes:
            if reached:
                self.watch(write)
            for each in reached:
                write.stored.apply(each, write.key, write.cells)


class Cluster:
    """The part of the driver's cluster that the stages use."""

    protocol_version = PROTOCOL

    def __init__(self, database: Database, level: int) -> None:
        """Use `Database.cluster`."""
        self.database, self.level = database, level
        tables = {name: _described(stored.table) for name, stored in database.tables.items()}
        self.metadata = SimpleNamespace(keyspaces={database.keyspace: SimpleNamespace(tables=tables)}, all_hosts=list)

    def connect(self) -> "Session":
        """Open a session."""
        return self.database.world.call("connect", lambda: Session(self), (lambda: NoHostAvailable("no node", {}),))

    def shutdown(self) -> None:
        """Close without a request."""


def _described(table: Table) -> SimpleNamespace:
    columns = {name: SimpleNamespace(cql_type=cql, name=name) for name, cql in table.columns.items()}
    return SimpleNamespace(
        columns=columns,
        partition_key=[columns[name] for name in table.partition],
        clustering_key=[columns[name] for name in table.clustering],
    )


class Rows(list[Any]):
    """A result of one page."""

    has_more_pages = False

    @property
    def current_rows(self) -> list[Any]:
        """The page."""
        return list(self)


class Future:
    """An answer that is already there."""

    def __init__(self, query: Any, message: Any) -> None:
        """Belong to a request."""
        self.query, self.message = query, message
        self.answer: Any = None
        self.error: Exception | None = None

    def result(self) -> Any:
        """The rows, or the error."""
        if self.error:
            raise self.error
        return self.answer

    def add_callbacks(
        self, callback: Any, errback: Any, callback_args: tuple[Any, ...] = (), errback_args: tuple[Any, ...] = ()
    ) -> None:
        """Call one of them at once."""
        if self.error:
            errback(self.error, *errback_args)
        else:
            callback(self.answer, *callback_args)


class Session:
    """The part of the driver's session that the stages use."""

    def __init__(self, cluster: Cluster) -> None:
        """Use `Cluster.connect`."""
        self.cluster = cluster
        self._database = cluster.database
        self._world = cluster.database.world
        self.keyspace: str | None = None
        self._listeners: list[Callable[[Any], None]] = []
        self._prepared: dict[bytes, Prepared] = {}

    def set_keyspace(self, keyspace: str) -> None:
        """Use a keyspace."""
        self.keyspace = keyspace

    def add_request_init_listener(self, listener: Callable[[Any], None]) -> None:
        """Let a function see each request."""
        self._listeners.append(listener)

    def remove_request_init_listener(self, listener: Callable[[Any], None]) -> None:
        """Let it see no more."""
        self._listeners.remove(listener)

    def prepare(self, query: str) -> PreparedStatement:
        """Prepare a statement."""

        def prepare() -> PreparedStatement:
            prepared = parsed(query, self._database)
            query_id = hashlib.md5(query.encode()).digest()
            self._prepared[query_id] = prepared
            return prepared.as_drivers(query, query_id, self._database.keyspace)

        return self._world.call("prepare", prepare, ERRORS[:1])

    def execute(self, query: Any) -> Rows:
        """Execute a statement."""
        return self.execute_async(query).result()  # type: ignore[no-any-return]

    def execute_async(self, query: Any, execution_profile: Any = None) -> Future:
        """Execute a statement now, as far as its process is concerned."""
        batch = isinstance(query, BatchStatement)
        message = None
        if batch:
            message = BatchMessage(query.batch_type, query._statements_and_parameters, self.cluster.level)
        future = Future(query, message)
        for listener in self._listeners:
            listener(future)
        try:
            future.answer = self._write(future.message) if batch else self._read(query)
        except ERROR_TYPES as error:
            future.error = error
        return future

    def _write(self, message: Any) -> Rows:
        body = BytesIO()
        message.send_body(body, PROTOCOL)
        now = int(self._world.now * 1_000_000)
        writes = [self._prepared[name].write(values, now) for name, values in entries_of(body.getvalue())]

        def write() -> Rows:
            self._database.write(writes, self.cluster.level)
            return Rows()

        def partly() -> None:
            self._database.write_partly(writes)

        def timed_out() -> Exception:
            partly()
            return WriteTimeout("too few answers", write_type=0)

        table = writes[0].stored.table.name
        errors = (*ERRORS, timed_out)
        return self._world.call(f"write {len(writes)} {table}", write, errors, partly=partly)

    def _read(self, query: Any) -> Rows:
        if isinstance(query, BoundStatement):
            prepared = self._prepared[query.prepared_statement.query_id]
            values = [None if value is UNSET_VALUE else value for value in query.values]
        else:
            prepared, values = parsed(query.query_string, self._database), []
        return self._world.call(
            f"read {prepared.stored.table.name}",
            lambda: Rows(prepared.rows(values, self._database.some(self.cluster.level))),
            ERRORS,
        )


def entries_of(body: bytes) -> Iterator[tuple[bytes, list[Any]]]:
    """The statements of the body of a BATCH message: ID and values (None: null, UNSET_VALUE: unset).

    Format: native_protocol_v5.spec, 4.1.7.
    """
    (number,) = struct.unpack_from(">H", body, 1)
    at = 3
    for _ in range(number):
        kind, length = struct.unpack_from(">BH", body, at)
        assert kind == 1, "only prepared statements"
        query_id = body[at + 3 : at + 3 + length]
        at += 3 + length
        (count,) = struct.unpack_from(">H", body, at)
        at += 2
        values: list[Any] = []
        for _ in range(count):
            (size,) = struct.unpack_from(">i", body, at)
            at += 4
            values.append({-1: None, -2: UNSET_VALUE}.get(size, body[at : at + max(size, 0)]))
            at += max(size, 0)
        yield query_id, values


class Prepared:
    """A statement of one table: its bind markers."""

    stored: Stored
    markers: list[tuple[str, Any]]

    def as_drivers(self, query: str, query_id: bytes, keyspace: str) -> PreparedStatement:
        """The driver's form of it."""
        table = self.stored.table
        metadata = [ColumnMetadata(keyspace, table.name, name, type_) for name, type_ in self.markers]
        names = [name for name, _ in self.markers]
        bound = all(name in names for name in table.partition)
        routing = [names.index(name) for name in table.partition] if bound else None
        return PreparedStatement(metadata, query_id, routing, query, keyspace, PROTOCOL, None, None)

    def write(self, values: list[Any], now: int) -> Write:
        """The cells that it writes with these values."""
        raise NotImplementedError("it reads")

    def rows(self, values: list[Any], replicas: list[int]) -> Iterator[tuple[Any, ...]]:
        """The rows of these replicas."""
        raise NotImplementedError("a write that is in no batch")


class Change(Prepared):
    """An INSERT, or an UPDATE that adds to a set."""

    def __init__(self, stored: Stored, names: list[str], timestamp: bool = False, adds: str | None = None) -> None:
        """Take the columns in the order of their markers."""
        self.stored, self._adds = stored, adds
        self.markers = [(name, type_of(stored.table.columns[name])) for name in names]
        if timestamp:
            self.markers.append(("[timestamp]", cqltypes.LongType))

    def write(self, values: list[Any], now: int) -> Write:
        """See `Prepared.write`."""
        given = dict(zip([name for name, _ in self.markers], values, strict=True))
        stamp = given.pop("[timestamp]", None)
        time = now if stamp is None else cqltypes.LongType.deserialize(stamp, PROTOCOL)
        key = tuple(given.pop(name) for name in self.stored.key)
        cells: Row = {} if self._adds else {"": Cell(time, b"")}
        for name, value in given.items():
            cql = self.stored.table.columns[name]
            if cql.startswith("set<") and value:
                cells |= {(name, each): Cell(time, b"") for each in type_of(cql).deserialize(value, PROTOCOL)}
            elif value is not UNSET_VALUE:
                cells[name] = Cell(time, value)
        return Write(self.stored, key, cells)


class Select(Prepared):
    """A SELECT with conditions on columns of the primary key."""

    def __init__(
        self, stored: Stored, chosen: list[tuple[str, str]], where: list[tuple[str, str]], limit: bool
    ) -> None:
        """Take pairs (function, column) and (column, operator)."""
        self.stored, self._chosen, self._where, self._limit = stored, chosen, where, limit
        columns = stored.table.columns
        self.markers = []
        for name, operator in where:
            one = type_of(columns[name])
            self.markers.append((name, cqltypes.ListType.apply_parameters([one]) if operator == "IN" else one))
        if limit:
            self.markers.append(("[limit]", cqltypes.Int32Type))

    def rows(self, values: list[Any], replicas: list[int]) -> Iterator[tuple[Any, ...]]:
        """See `Prepared.rows`."""
        columns, key = self.stored.table.columns, self.stored.key
        conditions = []
        for (name, operator), (_, type_), value in zip(self._where, self.markers, values, strict=False):
            bound = type_.deserialize(value, PROTOCOL)
            conditions.append((key.index(name), type_of(columns[name]), operator, bound))

        def wanted(row_key: Key) -> bool:
            return all(
                _holds(type_.deserialize(row_key[place], PROTOCOL), operator, bound)
                for place, type_, operator, bound in conditions
            )

        most = cqltypes.Int32Type.deserialize(values[-1], PROTOCOL) if self._limit else None
        for number, (row_key, row) in enumerate(self.stored.read(replicas, wanted)):
            if number == most:
                return
            yield tuple(self._value(function, name, row_key, row) for function, name in self._chosen)

    def _value(self, function: str, name: str, row_key: Key, row: Row) -> Any:
        if name in self.stored.key:
            raw: bytes | None = row_key[self.stored.key.index(name)]
        elif self.stored.table.columns[name].startswith("set<"):
            return {each[1] for each in row if isinstance(each, tuple) and each[0] == name} or None
        else:
            cell = row.get(name)
            raw = cell.value if cell else None
            if function == "WRITETIME":
                return cell.time if cell and raw is not None else None
        if raw is None:
            return None
        type_ = cqltypes.LongType if function == "toUnixTimestamp" else type_of(self.stored.table.columns[name])
        return type_.deserialize(raw, PROTOCOL)


def _holds(value: Any, operator: str, bound: Any) -> bool:
    if operator == "IN":
        return value in bound
    if operator == "=":
        return bool(value == bound)
    return bool(value >= bound if operator == ">=" else value <= bound)


def parsed(query: str, database: Database) -> Prepared:
    """Parse a statement of the stages.

    Raises:
        NotImplementedError: the twin does not know such a statement.
    """
    if found := _INSERT.fullmatch(query):
        names = [name.strip().strip('"') for name in found[2].split(",")]
        return Change(database.tables[found[1]], names, timestamp=bool(found[3]))
    if found := _ADD.fullmatch(query):
        keys = [name for name, _ in _CONDITION.findall(found[3])]
        return Change(database.tables[found[1]], [found[2], *keys], adds=found[2])
    if found := _SELECT.fullmatch(query):
        chosen = _CHOSEN.findall(found[1])
        where = _CONDITION.findall(found[3] or "")
        return Select(database.tables[found[2]], chosen, where, bool(found[4]))
    raise NotImplementedError(query)
