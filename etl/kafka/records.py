"""Records and offsets, independent of client, broker and format."""

from collections.abc import Sequence
from typing import Any, NamedTuple

# Raw bytes and records in one block of a reader.
BLOCK_BYTES = 4 * 1024 * 1024
BLOCK_RECORDS = 10_000
# The number of records in the first block: their size is not known yet, and each may be large once decompressed.
FIRST_RECORDS = 1

Headers = Sequence[tuple[str, bytes | None]]


class Span(NamedTuple):
    """Offsets [begin, end) of one partition."""

    begin: int
    end: int


class Records(NamedTuple):
    """Raw records in the order of reading, as parallel lists; `times` are Kafka's, in milliseconds."""

    partitions: list[int]
    offsets: list[int]
    times: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers]

    def at(self, positions: Sequence[int]) -> "Records":
        """Return the records at these positions."""
        columns: list[Any] = [[column[position] for position in positions] for column in self]
        return Records(*columns)

    def part(self, begin: int, end: int) -> "Records":
        """Return the records at positions [begin, end)."""
        columns: list[Any] = [column[begin:end] for column in self]
        return Records(*columns)


def next_number(block: Records) -> int:
    """Return how many records of the size of this block make up the next one."""
    size = sum(map(len, filter(None, block.values)))
    if any(block.headers):
        size += sum(len(name) + len(value or b"") for headers in block.headers for name, value in headers)
    return max(1, min(BLOCK_RECORDS, BLOCK_BYTES // (size // len(block.values) + 100)))
