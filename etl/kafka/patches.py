"""Patches and private parts of kafka-python 3.0.12; importing this module applies the patches.

The tests of this module fail if a new version makes a patch unnecessary.
"""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from kafka.errors import IllegalSaslStateError, KafkaError
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.protocol.sasl import SaslHandshakeRequest
from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint

# The library logs each failed attempt; errors are raised as one line instead. Its debug log shows the password.
logging.getLogger("kafka").setLevel(logging.CRITICAL)


def greet(options: dict[str, Any], server: str, seconds: float) -> None:
    """Connect and authenticate once; kafka-python has no public function that returns the reason of a failure."""
    timeout = max(1, int(seconds * 1000))
    client = KafkaNetClient(**options | {"bootstrap_servers": [server]})
    manager = client._manager

    async def connected() -> None:
        node = manager.cluster.bootstrap_brokers()[0].node_id
        connection = manager.get_connection(node, timeout_ms=timeout, pop_on_close=False, refresh_metadata_on_err=False)
        await manager.wait_for(connection.init_future, timeout)
        if not connection.sasl_enabled:
            await _refuse_sasl(connection, timeout)

    try:
        client._net.run(connected)
    finally:
        client.close()


async def _refuse_sasl(connection: Any, timeout: int) -> None:
    """Raise an error if a port expects a login: it answers about versions, and ends the connection at all else."""
    request = SaslHandshakeRequest(mechanism="none", max_version=1)
    try:
        answer = await connection.send_request(request, request_timeout_ms=timeout)
    except KafkaError:
        return
    if answer.error_code != IllegalSaslStateError.errno:
        raise IllegalSaslStateError("the port expects a login")


def _keep_last_words(receive: Callable[[Any], tuple[bytes, Any]]) -> Callable[[Any], tuple[bytes, Any]]:
    """Let kafka-python 3.0.12 read the answer of a broker before a disconnect: why it refuses a password."""

    @wraps(receive)
    def received(transport: Any) -> tuple[bytes, Any]:
        data, error = receive(transport)
        return (data, None) if data else (data, error)

    return received


def _ask_bootstrap_servers(choose: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let kafka-python 3.0.12 look the brokers up again if it reaches none of the known ones."""

    @wraps(choose)
    def chosen(manager: Any) -> Any:
        node = choose(manager)
        if node is not None:
            return node
        servers = [server.node_id for server in manager.cluster.bootstrap_brokers()]
        return next((server for server in servers if not manager.connection_delay(server)), None)

    return chosen


def _tolerate_header_names(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Read a record with a header whose name is not UTF-8, which Kafka allows; the library treats it as corrupt.

    Such a name is read with U+FFFD for bytes that are not UTF-8.
    """

    @wraps(read)
    def _read_tolerantly(batch: Any) -> Any:
        try:
            return read(batch)
        except UnicodeDecodeError:
            names = _make_ascii(batch._buffer, batch._pos)
            record = read(batch)
            record._headers = [(name, value) for name, (_, value) in zip(names, record._headers, strict=True)]
            return record

    return _read_tolerantly


def _make_ascii(buffer: bytearray, at: int) -> list[str]:
    """Overwrite the header names of the record at a position with ASCII of the same length, and return the originals.

    The format: https://kafka.apache.org/documentation/#record
    """
    for _ in range(4):  # length, attributes, time, offset
        _, at = decode_varint(buffer, at)
    for _ in range(2):  # key, value
        size, at = decode_varint(buffer, at)
        at += max(size, 0)
    count, at = decode_varint(buffer, at)
    names = []
    for _ in range(count):
        size, at = decode_varint(buffer, at)
        names.append(bytes(buffer[at : at + size]).decode(errors="replace"))
        buffer[at : at + size] = b"?" * size
        at += size
        size, at = decode_varint(buffer, at)
        at += max(size, 0)
    return names


KafkaConnectionManager.least_loaded_node = _ask_bootstrap_servers(KafkaConnectionManager.least_loaded_node)
for _transport in (KafkaTCPTransport, KafkaSSLTransport):
    _transport._sock_recv = _keep_last_words(_transport._sock_recv)
DefaultRecordBatch._read_msg = _tolerate_header_names(DefaultRecordBatch._read_msg)
