"""A foreign program that writes readings of known identity: JSON and Arrow by librdkafka."""

import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import confluent_kafka
import orjson
import pyarrow as pa

from etl.codec.arrow_records import stream
from etl.codec.columns import ARROW
from tests.simulation.plant import BAD, FIRST_MS, Key, Reading, voltage

MACHINES = tuple(f"machine-{number}" for number in range(4))
HEADERS = [("content-type", ARROW.encode())]
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@dataclass
class Gateway:
    """Writes bursts in a thread of its own until it is stopped; each voltage is that of one reading."""

    seed: int
    servers: str
    topic: str
    # Records that the broker has acknowledged.
    acknowledged: list[tuple[bytes, bytes]] = field(default_factory=list)
    # Milliseconds by which its clock is wrong.
    skew: int = 0
    failed: str = ""

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._bad = 0
        self._latest: dict[str, int] = {}
        self._made: list[Reading] = []
        # The last reading of each key of this burst.
        self._burst: dict[Key, Reading] = {}
        self._thread = threading.Thread(target=self._write, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Stop after the burst that is on its way: it ends when all of it is acknowledged."""
        self.stop.set()
        self._thread.join()

    def reading(self, fresh: bool = False) -> Reading:
        """Make a reading: the next one of a machine, a late one, one in conflict with another, or one that was sent."""
        with self._lock:
            machine = self.chance.choice(MACHINES)
            kind = 0.5 if fresh else self.chance.random()
            if kind < 0.12 and self._made:
                again = self.chance.choice(self._made)
                # One that was replaced within this millisecond does not come back: see the limits in docs/delivery.md.
                return self._burst.get(again.key, again)
            if kind < 0.3 and self._made:
                key = self.chance.choice(self._made).key
            elif kind < 0.45 and self._latest.get(machine, 0) > 1:
                key = machine, FIRST_MS + self.chance.randrange(1, self._latest[machine], 2) * 30_000
            else:
                self._latest[machine] = self._latest.get(machine, 0) + 2
                key = machine, FIRST_MS + self._latest[machine] * 30_000
            made = Reading(key, voltage(len(self._made) + 1), self.chance.choice([None, 5.0, 6.5]))
            self._made.append(made)
            self._burst[key] = made
            return made

    def _write(self) -> None:
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": self.servers,
                "enable.idempotence": True,
                "compression.type": self.chance.choice(CODECS),
                "message.timeout.ms": 0,
                "reconnect.backoff.max.ms": 1000,
                "log_level": 0,
            }
        )
        while not self.stop.wait(self.chance.random()):
            self._burst.clear()
            for key, value, headers in list(self._records()):
                producer.produce(
                    self.topic,
                    value,
                    key,
                    headers=headers,
                    timestamp=int(time.time() * 1000) + self.skew,
                    on_delivery=self._delivered,
                )
            # The next burst comes in a later millisecond.
            while producer.flush(1) and not self.failed:
                pass
            time.sleep(0.005)

    def _records(self) -> Iterator[tuple[bytes, bytes, list[tuple[str, bytes]]]]:
        for _ in range(self.chance.randint(1, 8)):
            if self.chance.random() < 0.08:
                self._bad += 1
                value = self.chance.choice(BAD) + b" " * self._bad
                yield self.chance.choice(MACHINES).encode(), value, self.chance.choice([[], HEADERS])
                continue
            reading = self.reading()
            if self.chance.random() < 0.4:
                others = [self.reading() for _ in range(self.chance.randint(0, 20))]
                batch = [reading, *(each for each in others if each.key[0] == reading.key[0])]
                yield reading.key[0].encode(), in_arrow(batch), HEADERS
                # Those of other machines come one by one.
                rest = [each for each in others if each.key[0] != reading.key[0]]
            else:
                rest = [reading]
            for each in rest:
                yield each.key[0].encode(), each.value(), []

    def _delivered(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        if error:
            self.failed = str(error)
        else:
            self.acknowledged.append((message.key(), message.value()))


def in_arrow(readings: list[Reading]) -> bytes:
    """Encode readings of one machine as a micro-batch."""
    stamps = pa.array([each.key[1] for each in readings], pa.timestamp("ms", "UTC"))
    columns = {"timestamp": stamps, "voltage": [each.voltage for each in readings]}
    currents = pa.array([each.current for each in readings], pa.float64())
    (batch,) = pa.table({**columns, "current": currents}).to_batches()
    return stream(batch)


def write_csv(file: Path, readings: list[Reading]) -> None:
    """Write readings into a file that `generate` reads."""
    lines = ["machine,time,U,I"]
    lines += [f"{key[0]},{_iso(key[1])},{volts},{'' if amps is None else amps}" for key, volts, amps, _ in readings]
    part = file.with_suffix(".part")
    part.write_text("\n".join(lines) + "\n")
    os.replace(part, file)


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()


MAPPING = "timestamp: time\nequipment: {column: machine}\nmeasurements: {voltage: U, current: I}\n"


def decoded(key: bytes, value: bytes, content_type: bytes) -> list[Reading] | None:
    """Read a record without the project's code; None if it holds no reading."""
    machine = key.decode()
    try:
        if b"arrow" in content_type:
            rows = pa.ipc.open_stream(value).read_all().to_pylist()
        else:
            document = orjson.loads(value)
            rows = [{**document, "timestamp": datetime.fromtimestamp(document["timestamp"] / 1000, UTC)}]
        return [
            Reading((machine, round(row["timestamp"].timestamp() * 1000)), row["voltage"], row.get("current"))
            for row in rows
        ]
    except (pa.ArrowInvalid, ValueError, KeyError, TypeError):
        return None
