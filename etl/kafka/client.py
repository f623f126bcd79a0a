"""The port to Kafka: offsets and topics by kafka-python, reading and writing by it or by librdkafka.

Offsets are those of committed data: an end is the last stable offset, where the first open transaction begins.
"""

import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.partitioner.default import murmur2
from kafka.protocol.consumer import IsolationLevel, OffsetSpec
from kafka.structs import OffsetAndMetadata

from etl.codec.record import Records
from etl.errors import CredentialsError, DeliveryError, EtlError, SettingsError, Unreachable
from etl.kafka import header_names
from etl.patience import patiently
from etl.settings import KafkaSettings, SchemaSettings, check_host

# The library logs each failed attempt; what comes of them is raised as one line. Its debug log shows the password.
logging.getLogger("kafka").setLevel(logging.CRITICAL)

# Raw bytes in one block of a reader, and most bytes that a producer holds before it waits for the broker.
BLOCK_BYTES = 4 * 1024 * 1024
BLOCK_RECORDS = 10_000
# Before anything is known of their size.
FIRST_RECORDS = 10
MOST_KEYS = 100_000
WAITING_BYTES = 16 * 1024 * 1024
# A batch must stay below the broker's message.max.bytes, 1 MiB by default; a larger record goes alone.
BATCH_BYTES = 900_000
LARGEST_BYTES = 64 * 1024 * 1024
# The longest pause between two attempts to reach a broker; that of kafka-python would be half a minute.
RECONNECT_MILLISECONDS = 5_000
# What the headers of a dead letter may add to its value.
HEADER_BYTES = 64 * 1024
# The packages by which kafka-python reads what producers compress; it reads gzip by itself.
_CODECS = {"snappy": "python-snappy", "lz4": "lz4", "zstd": "zstandard"}

# What a new attempt heals: it has another producer ID, and more brokers may be up.
_PASSING = (
    kafka_errors.UnknownError,
    kafka_errors.OutOfOrderSequenceNumberError,
    kafka_errors.UnknownProducerIdError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidReplicationFactorError,
)

_T = TypeVar("_T")


def _keep_last_words(receive: Callable[[Any], tuple[bytes, Any]]) -> Callable[[Any], tuple[bytes, Any]]:
    """Let kafka-python 3.0.12 hear what a broker says before it hangs up: why it refuses a password."""

    def received(transport: Any) -> tuple[bytes, Any]:
        data, error = receive(transport)
        return (data, None) if data else (data, error)

    return received


def _ask_bootstrap_servers(choose: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let kafka-python 3.0.12 ask where the brokers are now, once it can ask none of those that it knows."""

    def chosen(manager: Any) -> Any:
        node = choose(manager)
        if node is not None:
            return node
        servers = [server.node_id for server in manager.cluster.bootstrap_brokers()]
        return next((server for server in servers if not manager.connection_delay(server)), None)

    return chosen


KafkaConnectionManager.least_loaded_node = _ask_bootstrap_servers(KafkaConnectionManager.least_loaded_node)
for _transport in (KafkaTCPTransport, KafkaSSLTransport):
    _transport._sock_recv = _keep_last_words(_transport._sock_recv)
header_names.tolerate()


class Span(NamedTuple):
    """Offsets [begin, end) of one partition."""

    begin: int
    end: int


class Producer(Protocol):
    """Sends records in order, acknowledged by all in-sync replicas and without duplicates of its own."""

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """Hand over one record; wait while too much is unacknowledged; raise if an earlier one failed."""

    def flush(self) -> None:
        """Return when the broker has acknowledged everything; raise if something failed."""


class Client:
    """Topics and the group's offsets; it never joins the group."""

    def __init__(self, settings: KafkaSettings, admin: Any) -> None:
        """Use `connect` instead."""
        self.settings = settings
        self._admin = admin

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic, without creating it.

        Raises:
            SettingsError: it does not exist, or the user may not see it.
        """

        def ask() -> list[int]:
            (found,) = self._admin.describe_topics([topic])
            error = kafka_errors.for_code(found["error_code"])
            if error is not kafka_errors.NoError:
                raise error(topic)
            return sorted(partition["partition_index"] for partition in found["partitions"])

        return self._ask(f"topic {topic}", ask)

    def log_spans(self, topic: str) -> dict[int, Span]:
        """Return where the log of each partition begins, and where its committed data ends."""
        found = [
            self._offsets(topic, dict.fromkeys(self.partitions(topic), spec))
            for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)
        ]
        return {partition: Span(begin, found[1][partition]) for partition, begin in found[0].items()}

    def offsets_at(self, topic: str, milliseconds: int) -> dict[int, int | None]:
        """Return the first offset of each partition with a record at or after a time, None where there is none."""
        found = self._offsets(topic, dict.fromkeys(self.partitions(topic), milliseconds))
        return {partition: None if offset < 0 else offset for partition, offset in found.items()}

    def _offsets(self, topic: str, specs: Mapping[int, int]) -> dict[int, int]:
        wanted = {TopicPartition(topic, partition): spec for partition, spec in specs.items()}
        found = self._ask(
            f"topic {topic}", lambda: self._admin.list_partition_offsets(wanted, IsolationLevel.READ_COMMITTED)
        )
        return {tp.partition: at.offset for tp, at in sorted(found.items())}

    def committed(self, topic: str) -> dict[int, int | None]:
        """Return the group's offset of each partition, None where it has none."""
        group = self.settings.group
        wanted = [TopicPartition(topic, partition) for partition in self.partitions(topic)]
        found = self._ask(f"group {group}", lambda: self._admin.list_group_offsets({group: wanted})[group])
        at = {tp.partition: stored.offset for tp, stored in found.items() if stored.offset >= 0}
        return {tp.partition: at.get(tp.partition) for tp in wanted}

    def commit(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Commit the group's offsets: of each partition the next one to read.

        Raises:
            SettingsError: another program is a member of the group, or the user may not commit.
        """
        stored = {TopicPartition(topic, p): OffsetAndMetadata(at, "", None) for p, at in offsets.items()}

        def ask() -> None:
            for error in self._admin.alter_group_offsets(self.settings.group, stored).values():
                if error is not kafka_errors.NoError:
                    raise error(self.settings.group)

        self._ask(f"group {self.settings.group}", ask)

    def topic_settings(self, topic: str) -> dict[str, str]:
        """Return the settings of a topic, defaults included."""
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        found = self._ask(
            f"topic {topic}", lambda: self._admin.describe_configs([resource], config_filter="all")["topic"][topic]
        )
        return {name: entry["value"] for name, entry in found.items()}

    def create_topic(self, topic: str, partitions: int, replication: int, settings: Mapping[str, str]) -> bool:
        """Create a topic; return False if it is there already."""
        wanted = {topic: {"num_partitions": partitions, "replication_factor": replication, "configs": dict(settings)}}
        try:
            self._ask(f"topic {topic}", lambda: self._admin.create_topics(wanted, wait_for_metadata=True))
        except _ExistsError:
            return False
        return True

    def administer(self, subject: str, ask: Callable[[Any], _T]) -> _T:
        """Ask kafka-python's admin client something that may be repeated, until the broker answers."""
        return self._ask(subject, lambda: ask(self._admin))

    def _ask(self, subject: str, ask: Callable[[], _T]) -> _T:
        """Ask until the broker answers; coordinators and leaders may still be on their way."""
        deadline = time.monotonic() + self.settings.timeout
        while True:
            try:
                return ask()
            except kafka_errors.TopicAlreadyExistsError as error:
                raise _ExistsError(subject) from error
            except kafka_errors.KafkaError as error:
                failure = explain(error, subject, self.settings)
                # A topic that is not there stays so, whatever the protocol says.
                if not error.retriable or isinstance(failure, SettingsError) or time.monotonic() > deadline:
                    raise failure from error
                time.sleep(0.2)


class _ExistsError(EtlError):
    pass


@contextmanager
def connect(settings: KafkaSettings) -> Iterator[Client]:
    """Connect to the brokers.

    Raises:
        SettingsError: TLS or the credentials do not fit.
        Unreachable: no broker answers within the time.
    """
    reach(settings)
    try:
        admin = KafkaAdminClient(
            **_options(settings),
            request_timeout_ms=_milliseconds(settings.timeout),
            bootstrap_timeout_ms=_milliseconds(settings.timeout),
        )
    except kafka_errors.KafkaError as error:
        raise explain(error, "Kafka", settings) from error
    try:
        yield Client(settings, admin)
    finally:
        admin.close()


def explain(error: Exception, subject: str, settings: KafkaSettings) -> EtlError:
    """Turn a client's error into the one that says what to do.

    Both clients name errors alike: kafka-python by class, librdkafka by the code that `etl.librdkafka` looks up here.
    """
    user = f"user {settings.username}" if settings.username else "an unauthenticated user"
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError | kafka_errors.UnsupportedSaslMechanismError):
        return CredentialsError(
            f"Kafka refused {user}: check ETL_KAFKA_USERNAME, ETL_KAFKA_PASSWORD and ETL_KAFKA_SECURITY_PROTOCOL"
        )
    # kafka-python tells of an idempotent producer's denial in the text of an error without a class.
    if isinstance(error, kafka_errors.AuthorizationError) or "AuthorizationFailed" in str(error):
        # As with users: an operator may have yet to make the ACL.
        return CredentialsError(f"{subject}: Kafka does not allow this to {user}: grant it with an ACL")
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
        return SettingsError(f"{subject} does not exist: create it with `etl schema`")
    if isinstance(error, kafka_errors.InvalidTopicError):
        return SettingsError(f"{subject}: Kafka does not allow this name")
    if isinstance(error, kafka_errors.MessageSizeTooLargeError | kafka_errors.RecordListTooLargeError):
        return SettingsError(f"{subject} does not take a record that large: raise its max.message.bytes")
    if isinstance(error, kafka_errors.UnknownMemberIdError | kafka_errors.RebalanceInProgressError):
        return SettingsError(f"{subject} has members, another program reads with it: choose another ETL_KAFKA_GROUP")
    if isinstance(error, kafka_errors.InvalidReceiveError):
        return SettingsError(f"{subject}: the answer is not Kafka's: check ETL_KAFKA_SECURITY_PROTOCOL and the port")
    if isinstance(error, kafka_errors.UnsupportedCodecError):
        # kafka-python names the codec in a sentence only.
        package = next((name for codec, name in _CODECS.items() if codec in str(error)), "the package of its codec")
        return SettingsError(
            f"{subject} has compressed batches that kafka-python cannot read here ({error}): install {package},"
            " or set ETL_KAFKA_CLIENT=librdkafka"
        )
    if isinstance(error, kafka_errors.OffsetOutOfRangeError | kafka_errors.CorruptRecordError):
        return DeliveryError(f"{subject} can no longer be read: {_name(error)}")
    if getattr(error, "retriable", False):
        return Unreachable(f"{subject}: no answer from Kafka at {settings.bootstrap_servers} ({_name(error)})")
    if isinstance(error, _PASSING):
        return Unreachable(f"{subject}: Kafka could not do it ({_name(error)})")
    return SettingsError(f"{subject}: Kafka refused the request ({error})")


def _name(error: Exception) -> str:
    return type(error).__name__.removesuffix("Error")


def reach(settings: KafkaSettings) -> None:
    """Wait until one broker takes a connection and the credentials.

    By themselves the clients try again what cannot heal, until their time is up.

    Raises:
        CredentialsError: a broker refuses user and password.
        SettingsError: an address cannot be used, or TLS does not fit.
        Unreachable: no broker answers within the time, or no name is known.
    """
    servers = [_address(server.strip()) for server in settings.bootstrap_servers.split(",")]
    context = _tls(settings) if settings.security_protocol == "SASL_SSL" else None
    deadline = time.monotonic() + settings.timeout
    patiently(settings.timeout, lambda: _reach_one(settings, servers, context, deadline))


def _reach_one(
    settings: KafkaSettings, servers: list[tuple[str, int]], context: ssl.SSLContext | None, deadline: float
) -> None:
    reason = ""
    for host, port in servers:
        seconds = max(0.1, min(10, deadline - time.monotonic()))
        try:
            socket.getaddrinfo(host, port)
            if context:
                with socket.create_connection((host, port), timeout=seconds) as plain:
                    context.wrap_socket(plain, server_hostname=host).close()
            _greet(settings, f"{host}:{port}", seconds)
            return
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # So ends a broker that goes down, and a proxy without one, as well as a port without TLS.
            reason = "TLS was cut off"
        except ssl.SSLError as error:
            raise SettingsError(
                f"TLS with Kafka at {host}:{port} failed ({error.reason or error}): check ETL_KAFKA_CA_FILE"
                " and ETL_KAFKA_SECURITY_PROTOCOL"
            ) from error
        except socket.gaierror:
            reason = f"the name {host} is not known"
        except (OSError, kafka_errors.KafkaError) as error:
            failure = explain(error, "Kafka", settings)
            if isinstance(error, kafka_errors.KafkaError) and isinstance(failure, SettingsError):
                raise failure from error
            reason = str(error) if isinstance(error, OSError) else _name(error)
    raise Unreachable(
        f"Kafka at {settings.bootstrap_servers} cannot be reached ({reason}): is it up, and are"
        " ETL_KAFKA_BOOTSTRAP_SERVERS and ETL_KAFKA_SECURITY_PROTOCOL right?"
    )


def _greet(settings: KafkaSettings, server: str, seconds: float) -> None:
    """Connect and authenticate once; kafka-python has no public way to see why that failed."""
    client = KafkaNetClient(**_options(settings) | {"bootstrap_servers": [server]})
    manager = client._manager

    async def connected() -> None:
        node = manager.cluster.bootstrap_brokers()[0].node_id
        connection = manager.get_connection(
            node, timeout_ms=_milliseconds(seconds), pop_on_close=False, refresh_metadata_on_err=False
        )
        await manager.wait_for(connection.init_future, _milliseconds(seconds))

    try:
        client._net.run(connected)
    finally:
        client.close()


def _tls(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    except OSError as error:
        raise SettingsError(f"ETL_KAFKA_CA_FILE: {settings.ca_file} cannot be used ({error})") from error


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise SettingsError(f"ETL_KAFKA_BOOTSTRAP_SERVERS: {server!r} is not host:port")
    try:
        check_host(host)
    except ValueError as error:
        raise SettingsError(f"ETL_KAFKA_BOOTSTRAP_SERVERS: {error}, but it takes host:port, comma-separated") from None
    return host, int(port)


def _options(settings: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "client_id": "sensor-etl",
        "security_protocol": settings.security_protocol,
        "reconnect_backoff_max_ms": RECONNECT_MILLISECONDS,
    }
    if settings.security_protocol == "SASL_SSL" and settings.password:
        options |= {
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_plain_username": settings.username,
            "sasl_plain_password": settings.password.get_secret_value(),
            "ssl_context": _tls(settings),
        }
    return options


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def read(settings: KafkaSettings, topic: str, spans: Mapping[int, Span]) -> Iterator[Records]:
    """Read the committed records of some offsets, in blocks; each partition in order.

    It ends when the position of each partition is at its end, also where the last offsets hold nothing to deliver
    (transaction markers, compacted records); never because nothing comes.

    Raises:
        Unreachable: no partition moves on for `settings.timeout` seconds.
        DeliveryError: records of the range are gone.
    """
    if settings.client == "librdkafka":
        from etl.kafka import librdkafka

        return librdkafka.read(settings, topic, spans)
    return read_by_python(settings, topic, spans)


def read_by_python(settings: KafkaSettings, topic: str, spans: Mapping[int, Span]) -> Iterator[Records]:
    """See `read`; by kafka-python, whatever the settings say."""
    waiting = {TopicPartition(topic, p): span for p, span in spans.items() if span.begin < span.end}
    reach(settings)
    try:
        consumer = KafkaConsumer(
            **_options(settings),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            fetch_max_bytes=2 * BLOCK_BYTES,
            request_timeout_ms=_milliseconds(settings.timeout),
            bootstrap_timeout_ms=_milliseconds(settings.timeout),
            metrics_enabled=False,
        )
    except kafka_errors.KafkaError as error:
        raise explain(error, "Kafka", settings) from error
    try:
        consumer.assign(list(waiting))
        for tp, span in waiting.items():
            consumer.seek(tp, span.begin)
        at = {tp: span.begin for tp, span in waiting.items()}
        number, moved = FIRST_RECORDS, time.monotonic()
        while waiting:
            polled = consumer.poll(timeout_ms=500, max_records=number)
            block = _block({tp: [r for r in of if r.offset < spans[tp.partition].end] for tp, of in polled.items()})
            if block.offsets:
                yield block
                number = next_number(block)
            before, at = at, {tp: consumer.position(tp, timeout_ms=1000) for tp in waiting}
            if at != before:
                moved = time.monotonic()
            elif time.monotonic() - moved > settings.timeout:
                raise stalled(topic, {tp.partition: offset for tp, offset in at.items()}, settings)
            for tp in [tp for tp, span in waiting.items() if at[tp] >= span.end]:
                consumer.pause(tp)
                del waiting[tp]
    except kafka_errors.KafkaError as error:
        raise explain(error, f"topic {topic}", settings) from error
    finally:
        consumer.close(autocommit=False, timeout_ms=1000)


def _block(polled: Mapping[Any, Sequence[Any]]) -> Records:
    block = Records([], [], [], [], [], [])
    for tp, records in polled.items():
        block.partitions.extend([tp.partition] * len(records))
        block.offsets.extend([record.offset for record in records])
        block.times.extend([record.timestamp for record in records])
        block.keys.extend([record.key for record in records])
        block.values.extend([record.value for record in records])
        block.headers.extend([record.headers for record in records])
    return block


def next_number(block: Records) -> int:
    """How many records of the size just seen make up a block."""
    size = sum(len(value) for value in block.values if value)
    size += sum(len(name) + len(value or b"") for headers in block.headers for name, value in headers)
    return max(1, min(BLOCK_RECORDS, BLOCK_BYTES // (size // len(block.values) + 100)))


def stalled(topic: str, at: Mapping[int, int], settings: KafkaSettings) -> Unreachable:
    """Say which partitions do not move on."""
    where = ", ".join(f"partition {partition} at offset {offset}" for partition, offset in sorted(at.items()))
    return Unreachable(f"topic {topic}: nothing came from Kafka for {settings.timeout:g} s ({where})")


@contextmanager
def open_producer(settings: KafkaSettings) -> Iterator[Producer]:
    """Open a producer; call its `flush` before the end, what has not been acknowledged then is given up."""
    if settings.client == "librdkafka":
        from etl.kafka import librdkafka

        yield librdkafka.RdkafkaProducer(settings)
        return
    timeout = _milliseconds(settings.timeout)
    reach(settings)
    try:
        producer = KafkaProducer(
            **_options(settings),
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            batch_size=BATCH_BYTES,
            linger_ms=5,
            max_request_size=LARGEST_BYTES,
            request_timeout_ms=max(1, timeout // 2),
            delivery_timeout_ms=max(timeout, timeout // 2 + 5 + 1),
            max_block_ms=timeout,
            bootstrap_timeout_ms=timeout,
            metrics_enabled=False,
        )
    except kafka_errors.KafkaError as error:
        raise explain(error, "Kafka", settings) from error
    try:
        yield PythonProducer(settings, producer)
    finally:
        producer.close(timeout=0)


class PythonProducer:
    """`Producer` over kafka-python, which by itself would take any number of records into memory."""

    def __init__(self, settings: KafkaSettings, producer: Any) -> None:
        """Use `open_producer` instead."""
        self._settings = settings
        self._producer = producer
        self._waiting: deque[tuple[Any, str, int]] = deque()
        self._bytes = 0
        self._partitions: dict[tuple[str, bytes], int] = {}

    def send(self, topic: str, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
        """See `Producer`."""
        try:
            partition = None if key is None else self._partition(topic, key)
            future = self._producer.send(topic, value=value, key=key, headers=headers, partition=partition)
        except kafka_errors.KafkaError as error:
            raise explain(error, f"topic {topic}", self._settings) from error
        # A Python record costs its overhead too.
        self._waiting.append((future, topic, len(value or b"") + 500))
        self._bytes += len(value or b"") + 500
        if self._bytes > WAITING_BYTES:
            self._settle(WAITING_BYTES // 2)

    def flush(self) -> None:
        """See `Producer`."""
        try:
            self._producer.flush(timeout=self._settings.timeout)
        except kafka_errors.KafkaError as error:
            unsent = next((f"topic {topic}" for future, topic, _ in self._waiting if not future.succeeded()), "Kafka")
            raise explain(error, unsent, self._settings) from error
        self._settle(0)

    def _partition(self, topic: str, key: bytes) -> int:
        """Choose as Java's default partitioner does; hashing the key of each record took a fifth of the time."""
        partition = self._partitions.get((topic, key))
        if partition is None:
            if len(self._partitions) == MOST_KEYS:
                self._partitions.clear()
            partition = (murmur2(key) & 0x7FFFFFFF) % len(self._producer.partitions_for(topic))
            self._partitions[topic, key] = partition
        return partition

    def _settle(self, most: int) -> None:
        while self._bytes > most:
            future, topic, size = self._waiting.popleft()
            self._bytes -= size
            try:
                if not future.succeeded():
                    future.get(timeout=self._settings.timeout)
            except kafka_errors.KafkaError as error:
                raise explain(error, f"topic {topic}", self._settings) from error


def create_topics(client: Client, schema: SchemaSettings) -> list[str]:
    """Create the topics, or check those that are there; return a line for each.

    The broker stamps what it appends, so that no producer's clock decides which of two readings came later. The
    dead-letter topic keeps everything and takes any record of the other one with its headers.

    Raises:
        SettingsError: a dead-letter topic that is there would lose letters.
    """
    settings = client.settings
    made = client.create_topic(
        settings.topic, schema.partitions, schema.kafka_replication, {"message.timestamp.type": "LogAppendTime"}
    )
    source = client.topic_settings(settings.topic)
    lines = [f"topic {settings.topic}: {'created' if made else 'is there'}"]
    if not made and source["message.timestamp.type"] != "LogAppendTime":
        lines[0] += ", stamped by its producers: the order of two readings with one key depends on their clocks"
    largest = int(source["max.message.bytes"]) + HEADER_BYTES
    wanted = {"retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete"}
    name = settings.dead_letter_topic
    stamped = {"message.timestamp.type": "LogAppendTime", "max.message.bytes": str(largest)}
    made = client.create_topic(name, 1, schema.kafka_replication, wanted | stamped)
    found = client.topic_settings(name)
    wrong = [f"{key}={value}" for key, value in wanted.items() if found[key] != value]
    if int(found["max.message.bytes"]) < largest:
        wrong.append(f"max.message.bytes={largest}")
    if wrong:
        raise SettingsError(f"topic {name} would lose dead letters: set {', '.join(wrong)}")
    lines.append(f"topic {name}: {'created' if made else 'is there'}")
    made = client.create_topic(settings.events_topic, 1, schema.kafka_replication, {})
    return [*lines, f"topic {settings.events_topic}: {'created' if made else 'is there'}"]
