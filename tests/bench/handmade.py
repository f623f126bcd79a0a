"""What one would write by hand: confluent-kafka, orjson, and the driver's batches."""

from collections import defaultdict
from datetime import datetime
from typing import Any

import orjson
from cassandra.query import UNSET_VALUE
from cassandra.util import Date

from etl.kafka.records import BLOCK_RECORDS
from etl.model.measurements import read_measurements
from etl.model.schemas import DAY_MS
from tests.bench.clients import confluent_consumer
from tests.bench.drivers import BatchWriter
from tests.bench.figures import Figure, measured, median
from tests.bench.place import Place, check_stored, fresh_keyspace

Key = tuple[bytes, int]


def topic_to_table(place: Place, topic: str, readings: int, size: int) -> Figure:
    """Read JSON, collect the rows of each equipment and day, write them in batches, commit the offsets.

    There is no check but that of the timestamp; the write time is the record's, as ours is.
    """

    def once() -> Figure:
        name = f"confluent-kafka, orjson, driver's batches of {size}"
        with fresh_keyspace() as session:
            with measured(name, readings, place.both) as figure:
                consumer = confluent_consumer(place.kafka.address, topic)
                with BatchWriter(session) as writer:
                    _move(consumer, writer, readings, size)
                consumer.commit(asynchronous=False)
            consumer.close()
            check_stored(session, readings)
        return figure

    return median(once, place.both)


def _move(consumer: Any, writer: BatchWriter, readings: int, size: int) -> None:
    names = read_measurements(None).names
    waiting: dict[Key, list[tuple[Any, ...]]] = defaultdict(list)
    days: dict[int, Date] = {}
    while readings > 0:
        messages = consumer.consume(BLOCK_RECORDS, timeout=1)
        readings -= len(messages)
        for message in messages:
            reading, equipment = orjson.loads(message.value()), message.key()
            stamp = round(datetime.fromisoformat(reading["timestamp"]).timestamp() * 1000)
            number = stamp // DAY_MS
            day = days.setdefault(number, Date(number))
            values = [reading.get(name, UNSET_VALUE) for name in names]
            rows = waiting[equipment, number]
            rows.append((equipment.decode(), day, stamp, *values, "", message.timestamp()[1] * 1000))
            if len(rows) == size:
                writer.send(rows)
                del waiting[equipment, number]
    for rows in waiting.values():
        writer.send(rows)
