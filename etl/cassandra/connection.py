"""Connect to Cassandra: contact points, TLS, credentials and the driver's options."""

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from cassandra import ConsistencyLevel, DriverException
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, TokenAwarePolicy
from cassandra.query import tuple_factory

from etl.cassandra.nodes import NamedCluster
from etl.cassandra.retry import REQUEST_SECONDS, driver_errors
from etl.errors import SettingsError, Unreachable
from etl.patience import patiently
from etl.settings import CassandraSettings
from etl.tls import client_context

log = structlog.get_logger("etl.cassandra")
CONNECT_SECONDS = 10
AGREEMENT_SECONDS = 30
RECONNECT_SECONDS = 10.0
# A connection without traffic for this time is tested. Without an answer in the same time it is closed.
HEARTBEAT_SECONDS = 10
# Attempts to reach unavailable nodes may take `CONNECT_SECONDS` each, and must not block other requests.
DRIVER_THREADS = 8


class Connection(Cluster.connection_class):  # type: ignore[misc]
    """The driver's connection, adapted to messages as large as batches."""

    # The driver passes 4 KiB to the socket at a time.
    out_buffer_size = 128 * 1024
    # While the buffer of the socket is full, the driver refuses messages and permanently loses a stream ID with each.
    # Here they wait in its queue; the senders limit their number.
    _socket_writable = property(lambda _: True, lambda _, __: None)


@contextmanager
def connect(
    settings: CassandraSettings, *, keyspace: bool = True, request_seconds: float = REQUEST_SECONDS
) -> Iterator[Session]:
    """Connect, yield a session in the keyspace (or in none) with this request timeout, and shut everything down.

    The session finds its nodes again if all of them return at other addresses behind the same names.

    Raises:
        Unreachable: no node answers, or no name resolves, for `settings.timeout` seconds.
        CredentialsError: all nodes refuse the credentials.
        SettingsError: a certificate, the bundle, the datacenter or the keyspace is wrong.
    """
    # The driver reports each failing node at length. The message of the raised error has the important part.
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
    if settings.secure_connect_bundle:
        return f"the addresses of {settings.secure_connect_bundle}"
    return f"{settings.contact_points} port {settings.port}"


def _cluster(settings: CassandraSettings, request_seconds: float) -> Cluster:
    options = _options(settings, request_seconds)
    if settings.secure_connect_bundle:
        return _in_the_cloud(settings.secure_connect_bundle, options)
    return NamedCluster(
        [host.strip() for host in settings.contact_points.split(",")],
        port=settings.port,
        ssl_context=_tls(settings),
        **options,
    )


def _in_the_cloud(bundle: Path, options: dict[str, Any]) -> Cluster:
    """Return a cluster of Astra; its addresses are names of a proxy, which the driver looks up at each connection."""
    # A mounted bundle is in a folder that cannot be written.
    cloud = {"secure_connect_bundle": str(bundle), "connect_timeout": CONNECT_SECONDS, "use_default_tempdir": True}
    try:
        return Cluster(cloud=cloud, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no bundle of Astra"
        raise SettingsError(f"ETL_CASSANDRA_SECURE_CONNECT_BUNDLE: {bundle} cannot be used: {reason}") from error
    except DriverException as error:
        # The driver does not say why; a database that sleeps has no addresses either.
        raise Unreachable(
            f"Astra does not tell the addresses of the database of {bundle}: is it active, and is the bundle current?"
        ) from error


def _options(settings: CassandraSettings, request_seconds: float) -> dict[str, Any]:
    auth = None
    if settings.username and settings.password:
        auth = PlainTextAuthProvider(settings.username, settings.password.get_secret_value())
    # Astra names its datacenter after a region, in answer to the bundle; then the driver uses that of the first node.
    datacenter = "" if settings.secure_connect_bundle else settings.local_datacenter
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(datacenter)),
        consistency_level=ConsistencyLevel.name_to_value[settings.consistency],
        row_factory=tuple_factory,
        request_timeout=request_seconds,
    )
    return {
        "auth_provider": auth,
        "execution_profiles": {EXEC_PROFILE_DEFAULT: profile},
        "connection_class": Connection,
        # Compression would cost more processor time in client and server than everything else about a batch.
        "compression": False,
        "connect_timeout": CONNECT_SECONDS,
        "max_schema_agreement_wait": AGREEMENT_SECONDS,
        "control_connection_timeout": CONNECT_SECONDS,
        # By default the driver waits up to ten minutes between attempts, and gives up a node after nine hours.
        "reconnection_policy": ExponentialReconnectionPolicy(1.0, RECONNECT_SECONDS, max_attempts=None),
        "idle_heartbeat_interval": HEARTBEAT_SECONDS,
        "idle_heartbeat_timeout": HEARTBEAT_SECONDS,
        "executor_threads": DRIVER_THREADS,
        "monitor_reporting_enabled": False,
    }


def _tls(settings: CassandraSettings) -> ssl.SSLContext | None:
    if not (settings.tls or settings.ca_file or settings.certificate_file):
        return None
    files = settings.ca_file, settings.certificate_file, settings.key_file
    context = client_context("ETL_CASSANDRA_", *files, settings.key_password)
    # Nodes announce addresses that no certificate contains, so verify the CA and not the name.
    context.check_hostname = False
    return context


def _connected(cluster: Cluster, settings: CassandraSettings) -> Session:
    try:
        return cluster.connect()
    except NoHostAvailable:
        known = {host.datacenter for host in cluster.metadata.all_hosts() if host.datacenter}
        if known and settings.local_datacenter not in known and not settings.secure_connect_bundle:
            raise SettingsError(
                f"ETL_CASSANDRA_LOCAL_DATACENTER: {settings.local_datacenter!r} is none of {', '.join(sorted(known))}"
            ) from None
        raise
