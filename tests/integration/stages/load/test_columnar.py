"""The columnar writes against the driver's own, on a real node, and through whatever happens between them and it."""

import gc
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
import pytest
from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy
from cassandra.query import tuple_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.cassandra.connection import Connection
from etl.errors import SettingsError, Unreachable
from etl.stages.load import columnar, messages
from images import local

HOST = "127.0.0.1"
KEYSPACE = "columnar"
COLUMNS = ["equipment_id", "day", "timestamp", "voltage", "current", "state", "quality"]
SCHEMA = pa.schema(
    {
        "equipment_id": pa.string(),
        "day": pa.date32(),
        "timestamp": pa.timestamp("ms", "UTC"),
        "voltage": pa.float64(),
        "current": pa.float64(),
        "state": pa.string(),
        "quality": pa.string(),
        "write_time": pa.int64(),
        "replaces": pa.bool_(),
    }
)


class RecordingPolicy(TokenAwarePolicy):  # type: ignore[misc]
    """Token awareness that remembers what it was asked to route."""

    def __init__(self) -> None:
        super().__init__(DCAwareRoundRobinPolicy("datacenter1"))
        self.routed: list[tuple[str, bytes]] = []

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Any]:
        if isinstance(query, messages.Batch):
            self.routed.append((query.keyspace, query.routing_key))
        return super().make_query_plan(working_keyspace, query)


@contextmanager
def connected(port: int, version: int = 5, timeout: float = 20.0, **options: Any) -> Iterator[Session]:
    profile = ExecutionProfile(
        load_balancing_policy=RecordingPolicy(),
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        row_factory=tuple_factory,
        request_timeout=timeout,
    )
    options = {"connection_class": Connection, "compression": False} | options
    cluster = Cluster(
        [HOST], port=port, protocol_version=version, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, **options
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


def create(session: Session, *tables: str) -> None:
    session.execute(
        f"CREATE KEYSPACE IF NOT EXISTS {KEYSPACE} WITH replication = "
        "{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}",
        timeout=60,
    )
    session.set_keyspace(KEYSPACE)
    for table in tables:
        session.execute(
            f"CREATE TABLE IF NOT EXISTS {table} (equipment_id text, day date, timestamp timestamp, voltage double,"
            " current double, state text, quality text, PRIMARY KEY ((equipment_id, day), timestamp))"
            " WITH CLUSTERING ORDER BY (timestamp DESC)",
            timeout=60,
        )


@pytest.fixture(scope="module", params=[4, 5], ids=["v4", "v5"])
def session(request: pytest.FixtureRequest, cassandra: local.Service) -> Iterator[Session]:
    with connected(cassandra.ports["port"], request.param) as session:
        create(session, "ours", "drivers")
        yield session


@pytest.fixture
def table(session: Session) -> str:
    name = f"t{time.monotonic_ns()}"
    create(session, name)
    return name


@pytest.fixture
def drivers_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "encoding", lambda *_: messages.bound_batches)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {name: [row.get(name) for row in rows] for name in SCHEMA.names}
    casts = {"day": pa.int32(), "timestamp": pa.int64()}
    return pa.table(
        {n: pa.array(columns[n], casts.get(n, SCHEMA.field(n).type)).cast(SCHEMA.field(n).type) for n in columns}
    )


def readings(count: int, **values: Any) -> pa.Table:
    return table_of(
        [
            {
                "equipment_id": f"machine-{index // 1_000}",
                "day": 20_000,
                "timestamp": 1_728_000_000_000 + index,
                "voltage": index / 7,
                "current": None if index % 10 == 3 else float(index),
                "state": "x" * (index % 5),
                "quality": "",
                "write_time": 1_000 + index,
            }
            | values
            for index in range(count)
        ]
    )


def stored(session: Session, table: str) -> list[Any]:
    values = ", ".join(f"{name}, WRITETIME({name})" for name in COLUMNS[3:])
    query = f"SELECT equipment_id, day, toUnixTimestamp(timestamp), {values} FROM {table}"
    return sorted((tuple(map(repr, row)) for row in session.execute(query)), key=lambda row: row[:3])


def write(session: Session, name: str, *tables: pa.Table, **options: Any) -> columnar.Written:
    return columnar.write(session, columnar.insert(session, name, COLUMNS), tables, **options)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ROW = st.fixed_dictionaries(
    {
        "equipment_id": st.sampled_from(["a", "größer", "c" * 255]),
        "day": st.sampled_from([-(2**31), -1, 0, 20_000, 2**31 - 1]),
        "timestamp": st.integers(-20, 20) | st.integers(-(2**63) + 1, 2**63 - 1),
        "voltage": st.none() | st.floats(allow_nan=False),
        "current": st.none() | st.floats(),
        "state": st.none() | TEXT,
        "quality": st.just("") | TEXT,
        "write_time": st.integers(1, 2**62),
        "replaces": st.booleans(),
    }
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=120), most=st.integers(1, 20))
def test_rows_read_back_equal_when_written_both_ways(session: Session, rows: list[dict[str, Any]], most: int) -> None:
    session.execute("TRUNCATE ours")
    session.execute("TRUNCATE drivers")
    # Two cells with one timestamp are resolved by their values, so the order of batches does not matter.
    written = write(session, "ours", table_of(rows), rows_per_batch=most)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columnar, "encoding", lambda *_: messages.bound_batches)
        assert write(session, "drivers", table_of(rows), rows_per_batch=most) == written
    assert written.rows == len(rows)
    assert stored(session, "ours") == stored(session, "drivers") != []


def test_rows_are_as_given_when_read_back(session: Session, table: str) -> None:
    rows = readings(2_500)
    written = write(session, table, rows.slice(0, 1_700), rows.slice(1_700))
    assert (written.rows, written.retries) == (2_500, 0)
    given_rows = {
        (row["equipment_id"], row["timestamp"]): (row["voltage"], row["current"], row["state"], row["write_time"])
        for row in rows.set_column(2, "timestamp", rows["timestamp"].cast(pa.int64())).to_pylist()
    }
    query = f"SELECT equipment_id, toUnixTimestamp(timestamp), voltage, current, state, WRITETIME(quality) FROM {table}"
    assert {(row[0], row[1]): row[2:] for row in session.execute(query)} == given_rows


def tombstones(session: Session, table: str) -> int:
    query = f"SELECT * FROM {table} WHERE equipment_id = 'machine-0' AND day = '2024-10-04'"
    result = session.execute(query, trace=True)
    events = [event.description for event in result.get_query_trace().events]
    return next(int(event.split()[5]) for event in events if "tombstone cells" in event)


@pytest.mark.parametrize("way", ["columnar", "drivers"])
def test_stored_value_stays_and_no_tombstone_appears_when_missing_is_unset(
    session: Session, table: str, way: str, request: pytest.FixtureRequest
) -> None:
    if way == "drivers":
        request.getfixturevalue("drivers_way")
    write(session, table, readings(1, voltage=1.0, write_time=1))
    write(session, table, readings(1, voltage=None, state=None, quality="late", write_time=2))
    assert session.execute(f"SELECT voltage, quality FROM {table}").one() == (1.0, "late")
    assert tombstones(session, table) == 0


@pytest.mark.parametrize("way", ["columnar", "drivers"])
def test_stored_value_goes_when_missing_replaces(
    session: Session, table: str, way: str, request: pytest.FixtureRequest
) -> None:
    if way == "drivers":
        request.getfixturevalue("drivers_way")
    write(session, table, readings(1, voltage=1.0, write_time=1))
    write(session, table, readings(1, voltage=None, state=None, write_time=2, replaces=True))
    assert session.execute(f"SELECT voltage, state FROM {table}").one() == (None, None)
    assert tombstones(session, table) > 0


def test_older_write_changes_nothing_when_it_comes_later(session: Session, table: str) -> None:
    write(session, table, readings(10, write_time=20))
    before = stored(session, table)
    write(session, table, readings(10, voltage=-1.0, write_time=19))
    assert stored(session, table) == before


def test_batches_go_to_the_partitions_replicas_when_routed(session: Session, table: str) -> None:
    policy = session.get_execution_profile(EXEC_PROFILE_DEFAULT).load_balancing_policy
    policy.routed.clear()
    write(session, table, readings(3_000))
    token_of = session.cluster.metadata.token_map.token_class.from_key
    tokens = {row[0] for row in session.execute(f"SELECT DISTINCT token(equipment_id, day) FROM {table}")}
    assert {token_of(key).value for _, key in policy.routed} == tokens
    assert {keyspace for keyspace, _ in policy.routed} == {KEYSPACE}


def test_columnar_way_is_taken_when_rows_are_readings(session: Session, table: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(messages, "bound_batches", _only_first_rows(messages.bound_batches))
    assert write(session, table, readings(5_000)).rows == 5_000


def _only_first_rows(bound_batches: Callable[..., Any]) -> Callable[..., Any]:
    def checked(table: Any, rows: Any, *caps: int) -> Any:
        assert rows.num_rows == 1
        return bound_batches(table, rows, *caps)

    return checked


def test_rows_are_written_when_a_type_is_unknown(session: Session, table: str) -> None:
    session.execute(f"ALTER TABLE {table} ADD running boolean")
    rows = readings(1_000).append_column("running", pa.array([None, True] * 500))
    written = columnar.write(session, columnar.insert(session, table, [*COLUMNS, "running"]), [rows])
    assert written.rows == 1_000
    assert session.execute(f"SELECT count(running), count(*) FROM {table}").one() == (500, 1_000)


def test_partitions_of_one_row_are_written_when_the_key_is_one_column(session: Session) -> None:
    session.execute("CREATE TABLE IF NOT EXISTS watermarks (equipment_id text PRIMARY KEY, timestamp timestamp)")
    rows = pa.table(
        {
            "equipment_id": [f"machine-{index}" for index in range(500)],
            "timestamp": pa.array(range(500), pa.timestamp("ms", "UTC")),
            "write_time": pa.array(range(1, 501), pa.int64()),
        }
    )
    statement = columnar.insert(session, "watermarks", ["equipment_id", "timestamp"])
    assert columnar.write(session, statement, [rows])[:2] == (500, 500)
    assert session.execute("SELECT count(*) FROM watermarks").one() == (500,)


def test_no_more_batches_are_under_way_when_the_limit_is_reached(session: Session, table: str) -> None:
    under_way, peak, lock = 0, 0, threading.Lock()

    def started(future: Any) -> None:
        nonlocal under_way, peak
        with lock:
            under_way += 1
            peak = max(peak, under_way)
        future.add_callbacks(ended, ended)

    def ended(_: object) -> None:
        nonlocal under_way
        with lock:
            under_way -= 1

    statement = columnar.insert(session, table, COLUMNS)
    session.add_request_init_listener(started)
    try:
        columnar.write(session, statement, [readings(1_000)], rows_per_batch=10, in_flight=7)
    finally:
        session.remove_request_init_listener(started)
    assert peak == 7


@pytest.mark.parametrize("way", ["columnar", "driver's"])
def test_no_rows_are_held_when_they_are_stored(
    session: Session, table: str, way: str, request: pytest.FixtureRequest
) -> None:
    if way == "driver's":
        request.getfixturevalue("drivers_way")
    gc.collect()  # what other tests could not write
    write(session, table, readings(2_000), rows_per_batch=100)
    batches = [batch for batch in gc.get_objects() if isinstance(batch, messages.Batch)]
    assert not any(
        getattr(batch, "entries", b"") or getattr(batch, "bound", []) or batch._statements_and_parameters
        for batch in batches
    )


# --- a schema that changes ---


def test_writes_go_on_when_a_column_was_added(session: Session, table: str) -> None:
    statement = columnar.insert(session, table, COLUMNS)
    rows = readings(2_000)

    def parts() -> Iterator[pa.Table]:
        yield rows.slice(0, 1_000)
        session.execute(f"ALTER TABLE {table} ADD pressure double")
        yield rows.slice(1_000)

    assert columnar.write(session, statement, parts()).rows == 2_000
    assert columnar.write(session, statement, [rows]).rows == 2_000
    assert session.execute(f"SELECT count(*) FROM {table}").one() == (2_000,)


@pytest.mark.parametrize("way", ["columnar", "drivers"])
def test_writes_go_on_when_the_statement_has_another_id(
    session: Session, table: str, way: str, request: pytest.FixtureRequest
) -> None:
    if way == "drivers":
        request.getfixturevalue("drivers_way")
    statement = columnar.insert(session, table, COLUMNS)
    statement.query_id = bytes(16)
    written = columnar.write(session, statement, [readings(2_000)])
    assert written.rows == 2_000
    assert written.retries > 0
    assert session.execute(f"SELECT count(*) FROM {table}").one() == (2_000,)


@pytest.mark.parametrize("change", ["ALTER TABLE {} DROP current", "DROP TABLE {}"])
def test_write_ends_at_once_when_table_or_column_is_gone(session: Session, table: str, change: str) -> None:
    statement = columnar.insert(session, table, COLUMNS)
    session.execute(change.format(table))
    with pytest.raises(SettingsError, match="etl schema"):
        columnar.write(session, statement, [readings(2_000)])


def test_insert_is_refused_when_the_table_lacks_a_column(session: Session, table: str) -> None:
    with pytest.raises(SettingsError, match=r"flow.*etl schema"):
        columnar.insert(session, table, [*COLUMNS, "flow"])


def test_write_is_refused_when_the_role_may_not(secure_cassandra: local.Service, users: dict[str, str]) -> None:
    def login(user: str) -> dict[str, Any]:
        context = ssl.create_default_context(cafile=str(secure_cassandra.ca_file))
        context.check_hostname = False
        return {"auth_provider": PlainTextAuthProvider(user, users[user]), "ssl_context": context}

    port = secure_cassandra.ports["port"]
    with connected(port, **login("admin")) as admin:
        create(admin, "readings")
        assert write(admin, "readings", readings(20_000)).rows == 20_000
        assert admin.execute("SELECT count(*) FROM readings").one() == (20_000,)
    with connected(port, **login("stranger")) as stranger:
        stranger.set_keyspace(KEYSPACE)
        with pytest.raises(SettingsError, match="right"):
            write(stranger, "readings", readings(10))


# --- trouble on the way ---


class Proxy:
    """A TCP proxy in front of the node: it can cut connections, hold bytes back, and be slow."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server((HOST, 0))
        self.port = self._server.getsockname()[1]
        self.held = threading.Event()
        self.pause = 0.0
        self._links: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                node = socket.create_connection((HOST, self._target))
                self._links += [client, node]
                for source, sink in ((client, node), (node, client)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(16_384):
                while self.held.is_set():
                    time.sleep(0.01)
                time.sleep(self.pause)
                sink.sendall(data)
        source.close()
        sink.close()

    def cut(self) -> None:
        links, self._links = self._links, []
        for link in links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._server.close()
        self.cut()


@pytest.fixture
def proxy(cassandra: local.Service) -> Iterator[Proxy]:
    proxy = Proxy(cassandra.ports["port"])
    yield proxy
    proxy.close()


@contextmanager
def through(proxy: Proxy, version: int = 5, timeout: float = 20.0, **options: Any) -> Iterator[tuple[Session, str]]:
    """Connect through the proxy; give the session and a new table."""
    with connected(proxy.port, version, timeout, **options) as session:
        table = f"t{time.monotonic_ns()}"
        create(session, table)
        yield session, table


def after(parts: int, rows: pa.Table, act: Callable[[], object]) -> Iterator[pa.Table]:
    """Give a table in parts and do something after some of them."""
    size = rows.num_rows // (2 * parts)
    for index in range(2 * parts):
        if index == parts:
            act()
        yield rows.slice(index * size, size)


@pytest.mark.parametrize("version", [4, 5])
def test_every_row_is_written_when_connections_break(proxy: Proxy, version: int) -> None:
    with through(proxy, version) as (session, table):
        statement = columnar.insert(session, table, COLUMNS)
        written = columnar.write(session, statement, after(5, readings(20_000), proxy.cut), rows_per_batch=100)
        assert written.rows == 20_000
        assert written.retries > 0
        assert session.execute(f"SELECT count(*) FROM {table}").one() == (20_000,)


def test_every_row_is_written_when_the_node_is_silent_for_a_while(proxy: Proxy) -> None:
    def hold() -> None:
        proxy.held.set()
        threading.Timer(2, proxy.held.clear).start()

    with through(proxy, timeout=0.5) as (session, table):
        statement = columnar.insert(session, table, COLUMNS)
        written = columnar.write(session, statement, after(2, readings(4_000), hold), rows_per_batch=100)
        assert written.rows == 4_000
        assert written.retries > 0
        assert session.execute(f"SELECT count(*) FROM {table}", timeout=20).one() == (4_000,)


@pytest.mark.parametrize("connection", [Connection, Cluster.connection_class], ids=["ours", "drivers"])
def test_every_row_is_written_when_the_way_is_slow(proxy: Proxy, connection: Any) -> None:
    small_buffer = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)]
    with through(proxy, connection_class=connection, sockopts=small_buffer) as (session, table):
        statement = columnar.insert(session, table, COLUMNS)
        proxy.pause = 0.002
        written = columnar.write(session, statement, [readings(30_000, quality="x" * 200)], in_flight=8)
        proxy.pause = 0.0
        assert written.rows == 30_000
        assert (written.retries == 0) == (connection is Connection)
        assert session.execute(f"SELECT count(*) FROM {table}").one() == (30_000,)


def test_write_gives_up_when_the_node_stays_silent(proxy: Proxy) -> None:
    with through(proxy, timeout=0.5) as (session, table):
        statement = columnar.insert(session, table, COLUMNS)
        proxy.held.set()
        begin = time.monotonic()
        with pytest.raises(Unreachable, match=rf"{KEYSPACE}.{table} in \d+ attempts"):
            columnar.write(session, statement, [readings(1_000)], patience=2)
        assert 2 < time.monotonic() - begin < 10
        proxy.held.clear()


def test_every_row_is_written_when_replicas_come_back(session: Session) -> None:
    session.execute(
        "CREATE KEYSPACE IF NOT EXISTS scarce WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 3}"
    )
    session.execute("DROP TABLE IF EXISTS scarce.readings")
    session.execute(
        "CREATE TABLE scarce.readings (equipment_id text, day date, timestamp timestamp, quality text,"
        " PRIMARY KEY ((equipment_id, day), timestamp))"
    )
    statement = session.prepare(
        "INSERT INTO scarce.readings (equipment_id, day, timestamp, quality) VALUES (?, ?, ?, ?) USING TIMESTAMP ?"
    )
    with pytest.raises(Unreachable):
        columnar.write(session, statement, [readings(1_000)], patience=0.5)
    one = "ALTER KEYSPACE scarce WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 1}"
    timer = threading.Timer(1, session.execute, [one])
    timer.start()
    written = columnar.write(session, statement, [readings(1_000)])
    timer.join()
    assert written.rows == 1_000
    assert written.retries > 0
    session.execute("DROP KEYSPACE scarce")
