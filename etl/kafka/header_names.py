"""Let kafka-python 3.0.12 read a record that has a header whose name is not UTF-8, which Kafka allows.

By itself it gives up the record as corrupt, and with it the topic. Nothing that such a header says is used.
"""

from collections.abc import Callable
from typing import Any

from kafka.record.default_records import DefaultRecordBatch
from kafka.record.util import decode_varint


def tolerate() -> None:
    """Read such names with U+FFFD in place of what is not UTF-8, from now on."""
    if DefaultRecordBatch._read_msg.__name__ != "_read_tolerantly":
        DefaultRecordBatch._read_msg = _tolerant(DefaultRecordBatch._read_msg)


def _tolerant(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
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
    """Overwrite the names of the headers of the record at a position with ASCII as long, and return what they were.

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
