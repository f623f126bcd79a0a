"""Each patch of kafka-python is still needed; where one of these tests fails, remove the patch."""

from importlib.metadata import version

import pytest
from kafka.net.manager import KafkaConnectionManager
from kafka.net.transport import KafkaSSLTransport, KafkaTCPTransport
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from etl.kafka import connection

PATCHED = [
    (KafkaConnectionManager, "least_loaded_node"),
    (KafkaTCPTransport, "_sock_recv"),
    (KafkaSSLTransport, "_sock_recv"),
    (DefaultRecordBatch, "_read_msg"),
]


def batch(name: bytes) -> DefaultRecordBatch:
    """A batch of one record that has a header of this name."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1_000_000)
    builder.append(0, 1_700_000_000_000, b"key", b"value", [("?" * len(name), b"1")])
    return DefaultRecordBatch(bytes(builder.build()).replace(b"?" * len(name), name))


def test_patches_are_looked_at_when_kafka_python_has_another_version() -> None:
    assert version("kafka-python") == "3.0.12"


@pytest.mark.parametrize(("owner", "name"), PATCHED)
def test_patch_is_applied_once_when_connections_can_be_made(owner: type, name: str) -> None:
    assert connection.greet
    original = getattr(owner, name).__wrapped__
    assert not hasattr(original, "__wrapped__")


def test_library_gives_up_a_record_when_the_name_of_a_header_is_not_utf8() -> None:
    with pytest.raises(UnicodeDecodeError):
        DefaultRecordBatch._read_msg.__wrapped__(batch(b"\xff\xfe"))


def test_record_is_read_when_the_name_of_a_header_is_not_utf8() -> None:
    (record,) = batch(b"\xff\xfe")
    assert (record.key, record.value, record.headers) == (b"key", b"value", [("\ufffd\ufffd", b"1")])
