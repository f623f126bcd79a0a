"""The size of an Arrow stream in memory, without decompressing it.

The format: https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format
"""

from struct import unpack_from

import pyarrow as pa

_DICTIONARY, _RECORDS = 2, 3  # types of messages with a body
_STORED = -1  # the length of a buffer that is not compressed


def decompressed_bytes(value: bytes) -> int:
    """Return the bytes that the compressed buffers of a stream declare for themselves, 0 if none is compressed.

    A buffer that holds more than it declares is an error for pyarrow.

    Raises:
        Exception: it is no Arrow stream.
    """
    return sum(_decompressed(message) for message in pa.ipc.MessageReader.open_stream(value))


def _decompressed(message: pa.ipc.Message) -> int:
    if message.body is None or not message.body.size:
        return 0
    data, body = memoryview(message.metadata), memoryview(message.body)
    root = _target(data, 0)
    kind, header = _field(data, root, 1), _field(data, root, 2)
    if kind is None or header is None or data[kind] not in (_DICTIONARY, _RECORDS):
        return 0
    batch: int | None = _target(data, header)
    if data[kind] == _DICTIONARY:
        nested = _field(data, _target(data, header), 1)
        batch = None if nested is None else _target(data, nested)
    if batch is None or _field(data, batch, 3) is None:
        return 0
    buffers = _field(data, batch, 2)
    return 0 if buffers is None else _declared(data, _target(data, buffers), body)


def _declared(data: memoryview, vector: int, body: memoryview) -> int:
    """Sum the lengths at the beginning of the buffers; a vector has a count, then offset and length of each."""
    total = 0
    for at in range(vector + 4, vector + 4 + 16 * unpack_from("<I", data, vector)[0], 16):
        offset, length = unpack_from("<qq", data, at)
        if length:
            declared = unpack_from("<q", body, offset)[0]
            total += length if declared == _STORED else max(declared, 0)
    return total


def _target(data: memoryview, at: int) -> int:
    """Return the position to which a flatbuffer refers."""
    return int(at + unpack_from("<I", data, at)[0])


def _field(data: memoryview, table: int, number: int) -> int | None:
    """Return the position of a field of a flatbuffer's table, None if it is not set."""
    fields = table - unpack_from("<i", data, table)[0]
    slot = 4 + 2 * number
    if slot >= unpack_from("<H", data, fields)[0]:
        return None
    offset = unpack_from("<H", data, fields + slot)[0]
    return table + offset if offset else None
