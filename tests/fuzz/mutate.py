"""Change bytes at random: the same random numbers give the same bytes."""

import random
import struct
from collections.abc import Sequence

LARGEST_BYTES = 64 * 1024
_INTEGERS = (0, 1, -1, 7, 8, 127, 128, 255, 256, 65_535, 65_536, 2**31 - 1, -(2**31), 2**31, 2**62, 2**63 - 1, -(2**63))


def mutated(rng: random.Random, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return an input of the corpus with one or several changes."""
    data = bytearray(rng.choice(corpus))
    for _ in range(min(int(rng.expovariate(0.5)) + 1, 12)):
        rng.choice(_CHANGES)(rng, data, corpus, words)
    return bytes(data[:LARGEST_BYTES])


def _place(rng: random.Random, data: bytearray) -> int:
    return rng.randrange(len(data) + 1)


def _span(rng: random.Random, data: Sequence[int]) -> slice:
    begin = rng.randrange(len(data) + 1)
    return slice(begin, begin + min(int(rng.expovariate(0.1)) + 1, 1000))


def _flip(rng: random.Random, data: bytearray, *_: object) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray, *_: object) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _insert(rng: random.Random, data: bytearray, *_: object) -> None:
    at = _place(rng, data)
    data[at:at] = rng.randbytes(rng.randrange(1, 9))


def _delete(rng: random.Random, data: bytearray, *_: object) -> None:
    del data[_span(rng, data)]


def _repeat(rng: random.Random, data: bytearray, *_: object) -> None:
    part = data[_span(rng, data)]
    at = _place(rng, data)
    data[at:at] = part * rng.choice((1, 1, 2, 5, 50))


def _cut(rng: random.Random, data: bytearray, *_: object) -> None:
    del data[_place(rng, data) :]


def _integer(rng: random.Random, data: bytearray, *_: object) -> None:
    """Overwrite a whole number, as lengths and offsets of binary formats are."""
    kind, size = rng.choice((("<i", 4), ("<q", 8), (">i", 4), ("<h", 2)))
    if len(data) >= size:
        at = rng.randrange(len(data) - size + 1)
        value = rng.choice(_INTEGERS) & (256**size - 1)
        data[at : at + size] = struct.pack(kind.upper(), value)


def _word(rng: random.Random, data: bytearray, _corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    """Insert a word of the dictionary, or put it in place of some bytes."""
    span = _span(rng, data)
    data[span if rng.random() < 0.5 else slice(span.start, span.start)] = rng.choice(words)


def _splice(rng: random.Random, data: bytearray, corpus: Sequence[bytes], _words: Sequence[bytes]) -> None:
    """Insert a part of another input."""
    other = rng.choice(corpus)
    part = other[_span(rng, other)] if rng.random() < 0.8 else other[_place(rng, bytearray(other)) :]
    at = _place(rng, data)
    data[at:at] = part


_CHANGES = (_flip, _set, _insert, _delete, _repeat, _cut, _integer, _integer, _word, _word, _word, _splice)
