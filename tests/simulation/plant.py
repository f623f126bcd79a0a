"""Gateways that write readings of known identity, and the state in which the pipeline must leave all services.

Each reading has another voltage, so that a voltage tells which reading a row or a dead letter is.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from tests.simulation.kafka import Broker, Log, partition_of
from tests.simulation.partial import Part, made_part
from tests.simulation.world import World

TOPIC = "readings"
MORE_TOPIC = "gateways"  # of every second machine, if there are two topics
DEAD_LETTERS = "dead-letters"
GROUP = "pipeline"
FIRST_MS = 1_767_222_000_000  # 2025-12-31, 23:00 UTC: a day ends among the readings
SPAN_MS = 7_200_000
STEP_MS = 60_000
BAD = (b"no JSON", b"[1]", b'{"voltage": 1}', b'{"timestamp": "yesterday", "voltage": 1}', b"\xff\xfe")

Key = tuple[str, int]


class Reading(NamedTuple):
    """One reading as it was made: its key, and the measurements that the gateway sent."""

    key: Key
    voltage: float
    current: float | None = None
    frequency: float | None = None

    def value(self) -> bytes:
        """Return its record."""
        document = {"timestamp": self.key[1], **self._asdict()}
        del document["key"]
        return orjson.dumps({name: value for name, value in document.items() if value is not None})


def voltage(number: int) -> float:
    """Return the voltage of a reading by its number: unique up to five million, and often lower than the one before.

    Of two values with the same write time Cassandra keeps the larger one, so growing voltages would hide a tie.
    """
    return number * 3_090_169 % 4_999_999 / 100


@dataclass
class Plant:
    """Machines, the gateways' habits, and all that was made so far."""

    world: World
    broker: Broker
    machines: list[str]
    # Milliseconds by which the clocks of gateways are wrong; None: the broker stamps the records.
    skew: int | None = None
    # Milliseconds between two values of these clocks.
    tick: int = 1
    # Whether gateways send the frequency.
    frequency: bool = False
    # Logs of a topic that was deleted and made anew.
    former: list[Log] = field(default_factory=list)
    # Whether they send readings in parts.
    parts: bool = False
    made: dict[bytes, Reading | Part] = field(default_factory=dict)
    bad: int = 0
    _made: int = 0
    _transactions: int = 0

    def gateway(self, bursts: int) -> None:
        """Write bursts of readings: some late, twice, in conflict, or bad; some transactions are aborted."""
        for _ in range(bursts):
            self.world.sleep(self.world.random.random() * 60)
            self._burst()

    def _burst(self) -> None:
        chance = self.world.random
        transaction = None
        if chance.random() < 0.3:
            self._transactions += 1
            transaction = self._transactions
        logs: dict[tuple[str, int], Log] = {}
        for _ in range(chance.randint(1, 8)):
            machine = chance.choice(self.machines)
            value = self._value(machine, chance)
            topic = self._topic(machine)
            partition = partition_of(machine.encode(), len(self.broker.topics[topic]))
            log = logs[topic, partition] = self.broker.topics[topic][partition]
            for _ in range(2 if chance.random() < 0.1 else 1):
                log.append(self._time(), machine.encode(), value, transaction=transaction)
            if chance.random() < 0.3:
                self.world.call("append", lambda: None)
        if transaction is not None:
            self.world.sleep(chance.random() * 20)
            commit = chance.random() < 0.6
            for log in logs.values():
                log.end_transaction(transaction, commit)

    def _topic(self, machine: str) -> str:
        second = MORE_TOPIC in self.broker.topics and self.machines.index(machine) % 2
        return MORE_TOPIC if second else TOPIC

    def _value(self, machine: str, chance: random.Random) -> bytes:
        if chance.random() < 0.06:
            self.bad += 1
            return chance.choice(BAD) + b" " * self.bad
        again = [each for each in self.made.values() if each.key[0] == machine]
        if again and chance.random() < 0.1:
            return chance.choice(again).value()
        key = (machine, FIRST_MS + chance.randrange(SPAN_MS // STEP_MS) * STEP_MS)
        if again and chance.random() < 0.25:
            key = chance.choice(again).key
        self._made += 1
        if self.parts:
            # Of equal values the first one counts, so with wrong clocks another one may win that came between them.
            conflicts = 0.2 if self.skew is None else 0.0
            part = made_part(key, self._made, self.frequency, conflicts, chance)
            self.made[part.value()] = part
            return part.value()
        frequency = chance.choice([None, 50.0]) if self.frequency else None
        reading = Reading(key, voltage(self._made), chance.choice([None, 5.0, 6.5]), frequency)
        self.made[reading.value()] = reading
        return reading.value()

    def _time(self) -> int:
        wrong = 0 if self.skew is None else self.world.random.randint(-self.skew, self.skew)
        time = self.broker.millis() + wrong
        return time - time % self.tick


class Wanted(NamedTuple):
    """The table by key, all readings, the voltages that may be lost, and the bad values.

    `others` are readings of a key that may stand in the table instead.
    """

    table: dict[Key, Reading]
    readings: set[Reading]
    unsure: set[tuple[Key, float]]
    bad: set[bytes]
    others: dict[Key, set[Reading]]


class Sent(NamedTuple):
    """A reading, or the bytes of a record that holds none, in the order in which the later of two wins."""

    time: int
    partition: int
    offset: int
    index: int
    content: Reading | Part | bytes


def sent(plant: Plant) -> Iterator[Sent]:
    """Yield all committed records."""
    topics = plant.broker.topics
    for partition, log in [
        *((-1, log) for log in plant.former),
        *enumerate(topics[TOPIC] + topics.get(MORE_TOPIC, [])),
    ]:
        for record in log.produced():
            value = record.value or b""
            yield Sent(record.timestamp, partition, record.offset, 0, plant.made.get(value, value))


def wanted(records: Iterable[Sent]) -> Wanted:
    """Return the state after all records were processed, as docs/delivery.md defines it."""
    table: dict[Key, Reading] = {}
    readings: set[Reading] = set()
    bad: set[bytes] = set()
    moments: dict[tuple[Key, int], list[float]] = {}
    lines: dict[Key, list[Sent]] = {}
    for record in sorted(records, key=lambda record: record[:4]):
        time, content = record.time, record.content
        if not isinstance(content, Reading):
            assert isinstance(content, bytes), "parts have a model of their own"
            bad.add(content)
            continue
        table[content.key] = content
        readings.add(content)
        lines.setdefault(content.key, []).append(record)
        moments.setdefault((content.key, time), []).append(content.voltage)
    return Wanted(table, readings, _unsure(moments), bad, {key: _others(line) for key, line in lines.items()})


def _others(line: Sequence[Sent]) -> set[Reading]:
    """Return the readings between two equal ones, of which the second is the last of its key.

    It is a limit of docs/delivery.md. It applies only if record timestamps are out of order.
    """
    offsets = [(each.partition, each.offset) for each in line]
    contents = [each.content for each in line if isinstance(each.content, Reading)]
    if offsets == sorted(offsets):
        return set()
    return set(contents[contents.index(contents[-1]) :]) - {contents[-1]}


def _unsure(moments: dict[tuple[Key, int], list[float]]) -> set[tuple[Key, float]]:
    """Return readings between two equal ones of their key and millisecond: a limit of docs/delivery.md."""
    found = set()
    for (key, _), line in moments.items():
        for voltage in set(line):
            first, last = line.index(voltage), len(line) - line[::-1].index(voltage)
            found |= {(key, other) for other in line[first:last] if other != voltage}
    return found
