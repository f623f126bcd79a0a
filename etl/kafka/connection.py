"""Connect to the brokers: addresses, TLS, credentials, and errors that state the remedy."""

import socket
import ssl
import time
from collections.abc import Mapping
from typing import Any

from kafka import errors as kafka_errors

from etl.errors import CredentialsError, DeliveryError, EtlError, SettingsError, Unreachable
from etl.kafka.identity import LOGIN_ERRORS, named, python_options, refusal, tls
from etl.kafka.patches import greet
from etl.kafka.tokens import current_token
from etl.patience import patiently
from etl.settings import KafkaSettings, check_host
from etl.tls import is_about_client

# The longest pause between two attempts to reach a broker; kafka-python's default is half a minute.
RECONNECT_MILLISECONDS = 5_000
# The most bytes that a producer holds before it waits for the broker.
WAITING_BYTES = 16 * 1024 * 1024
# A batch must stay below the broker's message.max.bytes, 1 MiB by default. A larger record is sent alone.
BATCH_BYTES = 900_000
LARGEST_BYTES = 64 * 1024 * 1024
# A request for the versions of Kafka's protocol, which a broker answers before a login: length, key 18, version 0,
# number 0, no client ID. See https://kafka.apache.org/protocol
_ASK_VERSIONS = bytes([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF])
# The packages with which kafka-python reads compressed records; it reads gzip without any.
_CODECS = {"snappy": "python-snappy", "lz4": "lz4", "zstd": "zstandard"}

# Errors that a new attempt may solve: it has another producer ID, and more brokers may be available.
_PASSING = (
    kafka_errors.UnknownError,
    kafka_errors.OutOfOrderSequenceNumberError,
    kafka_errors.UnknownProducerIdError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidReplicationFactorError,
)


def explain(error: Exception, subject: str, settings: KafkaSettings) -> EtlError:
    """Return the error that states the remedy for an error of a client.

    Both clients use the same names: kafka-python for classes, librdkafka for codes.
    """
    if isinstance(error, LOGIN_ERRORS):
        return refusal(error, settings)
    # kafka-python reports a denied idempotent producer in the text of an error without a class.
    if isinstance(error, kafka_errors.AuthorizationError) or "AuthorizationFailed" in str(error):
        # As with users, an operator may not have created the ACL yet.
        return CredentialsError(f"{subject}: Kafka does not allow this to {named(settings)}: grant it with an ACL")
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
        return SettingsError(f"{subject} does not exist: create it with `etl schema`")
    if isinstance(error, kafka_errors.InvalidTopicError):
        return SettingsError(f"{subject}: Kafka does not allow this name")
    if isinstance(error, kafka_errors.MessageSizeTooLargeError | kafka_errors.RecordListTooLargeError):
        return SettingsError(f"{subject} does not accept a record of this size: raise its max.message.bytes")
    if isinstance(error, kafka_errors.UnknownMemberIdError | kafka_errors.RebalanceInProgressError):
        return SettingsError(f"{subject} has members, another program reads with it: choose another ETL_KAFKA_GROUP")
    if isinstance(error, kafka_errors.InvalidReceiveError):
        return SettingsError(f"{subject}: the answer is not Kafka's: check ETL_KAFKA_SECURITY_PROTOCOL and the port")
    if isinstance(error, kafka_errors.UnsupportedCodecError):
        # kafka-python names the codec only in a sentence.
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
    """Wait until one broker accepts a connection and the credentials.

    The clients themselves also retry permanent errors until their timeout.

    Raises:
        CredentialsError: a broker refuses the login, or the token server refuses the client.
        SettingsError: an address cannot be used, or TLS is wrong.
        Unreachable: no broker or no token server answers within the time, or no name resolves.
    """
    servers = [_address(server.strip()) for server in settings.bootstrap_servers.split(",")]
    context = tls(settings)
    deadline = time.monotonic() + settings.timeout
    patiently(settings.timeout, lambda: _reach_one(settings, servers, context, deadline))


def _reach_one(
    settings: KafkaSettings, servers: list[tuple[str, int]], context: ssl.SSLContext | None, deadline: float
) -> None:
    if settings.uses_tokens:
        current_token(settings)
    reason = ""
    for host, port in servers:
        seconds = max(0.1, min(10, deadline - time.monotonic()))
        try:
            socket.getaddrinfo(host, port)
            if context:
                _shake_hands(context, host, port, seconds)
            greet(options(settings), f"{host}:{port}", seconds)
            return
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            # A broker that shuts down, a proxy without a broker and a port without TLS end a connection in this way.
            reason = "TLS was cut off"
        except ssl.SSLError as error:
            check = "ETL_KAFKA_CA_FILE and ETL_KAFKA_SECURITY_PROTOCOL"
            if is_about_client(error):
                check = "ETL_KAFKA_CERTIFICATE_FILE: Kafka needs a client certificate of a CA that it trusts"
            # Of the broker's certificate it says more: another name, an unknown authority, or expired.
            reason = getattr(error, "verify_message", "") or error.reason or str(error)
            raise SettingsError(f"TLS with Kafka at {host}:{port} failed ({reason}): check {check}") from error
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


def _shake_hands(context: ssl.SSLContext, host: str, port: int, seconds: float) -> None:
    """Try TLS, and wait for an answer: in TLS 1.3 a broker refuses a client certificate after the handshake only."""
    with (
        socket.create_connection((host, port), timeout=seconds) as plain,
        context.wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        encrypted.sendall(_ASK_VERSIONS)
        encrypted.recv(1)


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


def options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the common options of all kafka-python clients.

    Raises:
        SettingsError: a file of certificates or keys cannot be used.
    """
    return {
        "bootstrap_servers": settings.bootstrap_servers.split(","),
        "client_id": "sensor-etl",
        "reconnect_backoff_max_ms": RECONNECT_MILLISECONDS,
    } | python_options(settings)


def milliseconds(seconds: float) -> int:
    """Return a time in whole milliseconds for kafka-python, at least one."""
    return max(1, int(seconds * 1000))


def stalled(topic: str, at: Mapping[int, int], settings: KafkaSettings) -> Unreachable:
    """Return an error that names the partitions without progress."""
    where = ", ".join(f"partition {partition} at offset {offset}" for partition, offset in sorted(at.items()))
    return Unreachable(f"topic {topic}: nothing came from Kafka for {settings.timeout:g} s ({where})")
