"""Split a block of JSON values into pieces that msgspec parses in one go; what does not fit is left to an exact parser.

Each value becomes one line, and msgspec reads one line after the other as objects of a fixed type. It checks the same
grammar as orjson and rounds numbers in the same way. It refuses a field of another type, so that such a value goes to
the exact parser together with a few neighbours.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

# The values that are parsed together: their objects fit into the cache of a processor.
PIECE_VALUES = 512
# The values that are left to the exact parser if one of them does not fit.
SMALLEST_VALUES = 64
_LINE_BREAK = ord("\n")

Decode = Callable[[bytes], list[Any]]


def pieces(
    positions: Sequence[int], values: Sequence[bytes], decode: Decode, rest: dict[int, bytes], brackets: bytes = b"{}"
) -> Iterator[tuple[Sequence[int], list[Any]]]:
    """Yield positions and items of the values that `decode` reads; add the others to `rest`, with some neighbours.

    Args:
        positions: the position of each value.
        values: the values.
        decode: msgspec's `decode_lines`; items that do not fit its type are errors.
        rest: receives the values by position that are to be parsed in another way.
        brackets: the first and the last character of each value.
    """
    for begin in range(0, len(values), PIECE_VALUES):
        end = begin + PIECE_VALUES
        items = _items(values[begin:end], decode, brackets)
        if items is not None:
            yield positions[begin:end], items
            continue
        for first in range(begin, min(end, len(values)), SMALLEST_VALUES):
            some, few = positions[first : first + SMALLEST_VALUES], values[first : first + SMALLEST_VALUES]
            items = _items(few, decode, brackets)
            if items is not None:
                yield some, items
            else:
                rest.update(zip(some, few, strict=True))


def _items(values: Sequence[bytes], decode: Decode, brackets: bytes) -> list[Any] | None:
    """Return one item for each value; None if a value does not fit."""
    lines = _lines(values, brackets)
    if lines is None:
        return None
    try:
        if not lines.isascii():
            lines.decode()  # msgspec does not look into texts that it skips
        items = decode(lines)
    except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
        return None
    return items if len(items) == len(values) else None


def _lines(values: Sequence[bytes], brackets: bytes) -> bytes | None:
    """Return one line for each value; None if neighbours may form other values than each alone.

    A line break is white space in JSON, and no text contains one. Between the brackets that end and begin two values
    there is no comma, so they are the ends of whole items. As no other line break exists, each line has at least one
    item, and the number of all items shows that it has no more.
    """
    joined = _joined(values, brackets)
    if joined is None:
        # A carriage return has the same meaning in JSON, also where it is an error.
        values = [value.replace(b"\n", b"\r").strip(b"\r\t ") for value in values]
        joined = _joined(values, brackets)
    return joined


def _joined(values: Sequence[bytes], brackets: bytes) -> bytes | None:
    """Return one line for each value; None if one contains a line break, or has other ends than these brackets."""
    lines = b"\n".join([*values, b""])
    text = np.frombuffer(lines, np.uint8)
    if np.count_nonzero(text == _LINE_BREAK) != len(values):
        return None
    after = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)) + 1)
    first, last = text[np.append(0, after[:-1])], text[after - 2]
    return lines if np.all(first == brackets[0]) and np.all(last == brackets[1]) else None
