"""Gateways that send readings in parts, and the table and dead letters that must follow with `partial: merge`.

Most parts give the value that the key has for a measurement; the others give a value of their own, which conflicts.
"""

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

Key = tuple[str, int]
Value = tuple[Key, str, float]
NAMES = ("voltage", "current", "frequency")


class Part(NamedTuple):
    """Some measurements of a key, and those whose value is bad."""

    key: Key
    cells: tuple[tuple[str, float], ...]
    bad: tuple[str, ...] = ()

    def value(self) -> bytes:
        """Return its record."""
        return orjson.dumps({"timestamp": self.key[1], **dict(self.cells), **dict.fromkeys(self.bad, "I/O Timeout")})


def made_part(key: Key, number: int, frequency: bool, conflicts: float, chance: random.Random) -> Part:
    """Make a part; `number` is that of no other one, and `conflicts` the share of values that conflict."""
    names = NAMES if frequency else NAMES[:2]
    has = chance.sample(names, chance.choice([1, 1, 1, 2]))
    cells = tuple(
        (name, _value(key, name, number if chance.random() < conflicts else None)) for name in names if name in has
    )
    bad = tuple(name for name in names if name not in has and chance.random() < 0.2)
    return Part(key, cells, bad)


def _value(key: Key, name: str, number: int | None) -> float:
    # The bytes of a record tell which part it is, so no two machines have the same values.
    machine = int(key[0].rpartition("-")[2])
    agreed = 100.0 * (machine + 1) + key[1] // 60_000 % 20 + NAMES.index(name)
    return agreed if number is None else agreed + (number * 37 % 97 + 1) / 100


class Rows(NamedTuple):
    """The table by key, all values that were sent, those that may be lost, and the bad records."""

    table: dict[Key, dict[str, float]]
    quality: dict[Key, str]
    given: set[Value]
    unsure: set[Value]
    bad: set[bytes]


def rows(records: Iterable[Any]) -> Rows:
    """Return the state after all records (`plant.Sent`) were processed, as docs/delivery.md defines it."""
    found = Rows({}, {}, set(), set(), set())
    named: dict[Key, set[str]] = {}
    moments: dict[tuple[Key, str, int], list[float]] = {}
    for time, *_, content in sorted(records, key=lambda record: record[:4]):
        if not isinstance(content, Part):
            found.bad.add(content)
            continue
        named.setdefault(content.key, set()).update(content.bad)
        for name, value in content.cells:
            found.table.setdefault(content.key, {})[name] = value
            found.given.add((content.key, name, value))
            moments.setdefault((content.key, name, time), []).append(value)
    for key, row in found.table.items():
        found.quality[key] = ",".join(name for name in NAMES if name in named[key] and name not in row)
    for (key, name, _), line in moments.items():
        for value in set(line):
            between = line[line.index(value) : len(line) - line[::-1].index(value)]
            found.unsure.update((key, name, other) for other in between if other != value)
    return found
