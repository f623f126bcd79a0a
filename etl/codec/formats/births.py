"""Birth certificates of Sparkplug B: the names and types of metrics that later records name by alias alone.

A record is read with the latest birth before it: by offset if both are in one partition, by record timestamp if not.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

# Brokers' clocks may differ so far; births of other partitions this close to a record count as before and after it.
CLOCKS_MS = 10_000
_MOST_BIRTHS = 8
MOST_METRICS = 500_000
# Group, edge node and device ("" for the node itself).
Device = tuple[str, str, str]


class Position(NamedTuple):
    """The place of a record: its timestamp in milliseconds, partition and offset."""

    time: int
    partition: int
    offset: int


class Birth(NamedTuple):
    """A birth certificate: names by alias, and data types by name."""

    at: Position
    names: dict[int, str]
    types: dict[str, int]


class Births:
    """The births of all devices. Adding one again changes nothing, so a block may be parsed twice."""

    def __init__(self) -> None:
        """Begin without births."""
        self._known: dict[Device, list[Birth]] = {}
        self._metrics = 0

    def add(self, device: Device, birth: Birth) -> None:
        """Add a birth; one that repeats the birth before it is left out.

        Raises:
            ValueError: there are too many metrics.
        """
        births = self._known.get(device, [])
        if any(known.at == birth.at for known in births):
            return
        kept = _changes(sorted([*births, birth], key=lambda known: known.at))[-_MOST_BIRTHS:]
        metrics = self._metrics + _metrics(kept) - _metrics(births)
        if metrics > MOST_METRICS:
            raise ValueError(f"the birth certificates have more than {MOST_METRICS} metrics")
        self._known[device], self._metrics = kept, metrics

    def before(self, device: Device, at: Position) -> Birth | None:
        """Return the latest birth before a record."""
        earlier = [birth for birth in self._known.get(device, ()) if _before(birth.at, at)]
        return earlier[-1] if earlier else None

    def near(self, device: Device, at: Position, replayed: bool) -> list[Birth]:
        """Return the births that may be before or after a record; for a replayed record, these are all."""
        known = self._known.get(device, ())
        if replayed:
            return list(known)
        return [b for b in known if b.at.partition != at.partition and abs(b.at.time - at.time) <= CLOCKS_MS]

    def dump(self) -> bytes:
        """Return the births for `load`."""
        rows = [[*device, *birth.at, list(birth.names.items()), birth.types] for device, birth in self._all()]
        return json.dumps(rows, separators=(",", ":")).encode()

    def _all(self) -> list[tuple[Device, Birth]]:
        return [(device, birth) for device in sorted(self._known) for birth in self._known[device]]


def load(states: Iterable[bytes]) -> Births:
    """Return the births of several dumps together."""
    births = Births()
    for state in states:
        for group, node, device, time, partition, offset, names, types in json.loads(state):
            births.add((group, node, device), Birth(Position(time, partition, offset), dict(names), types))
    return births


def _before(birth: Position, record: Position) -> bool:
    return birth.offset < record.offset if birth.partition == record.partition else birth.time <= record.time


def _metrics(births: list[Birth]) -> int:
    return sum(1 + len(birth.names) + len(birth.types) for birth in births)


def _changes(births: list[Birth]) -> list[Birth]:
    """Return the births that differ from the one before."""
    return [b for at, b in enumerate(births) if not at or births[at - 1][1:] != b[1:]]
