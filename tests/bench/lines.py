"""The lines of `make bench`, in parts that can be asked for one by one."""

import sys
from collections.abc import Callable, Iterator

import orjson

from tests.bench import clients, drivers, report, stages
from tests.bench.figures import Figure
from tests.bench.material import Material, duration, reading
from tests.bench.maven import NotToBeHadError
from tests.bench.place import settings
from tests.bench.shapes import SHAPES
from tests.bench.stress import stress
from tests.bench.whole import etl_run


def warm_up(material: Material) -> None:
    """Let the services compile what they run all the time, so that the first line is not the slowest."""
    with reading(material.arrow_topic):
        for _ in range(2):
            stages.topic_to_table(material.place, material.readings, "arrow", "kafka-python")


def _generate(material: Material) -> Iterator[Figure]:
    yield stages.generate(material.place, material.readings)


def _files(material: Material) -> Iterator[Figure]:
    yield stages.read_file(material.place, material.recorded, "csv", "CSV", material.readings)
    yield stages.read_file(material.place, material.recorded, "parquet", "Parquet", material.readings)


def _produce(material: Material) -> Iterator[Figure]:
    yield stages.produce(material.place, material.generated, material.readings, "arrow")
    yield stages.produce(material.place, material.generated, material.readings, "json")
    yield clients.kafka_python_produce(material.place, material.some(4))
    yield clients.confluent_produce(material.place, [(key, orjson.loads(value)) for key, value in material.records])
    yield clients.java_produce(material.place, material.records)


def _consume(material: Material) -> Iterator[Figure]:
    for form, topic in (("arrow", material.arrow_topic), ("json", material.json_topic)):
        for client in ("kafka-python", "librdkafka"):
            with reading(topic):
                yield stages.consume(material.place, material.readings, form, client)
    for shape in SHAPES:
        with material.shaped(shape):
            yield stages.consume(material.place, material.readings, shape, "librdkafka")
    yield clients.kafka_python_consume(material.place, material.json_topic, material.readings)
    yield clients.confluent_consume(material.place, material.json_topic, material.readings)


def _transform(material: Material) -> Iterator[Figure]:
    yield stages.transform(material.place, material.consumed, material.readings)


def _load(material: Material) -> Iterator[Figure]:
    with reading(material.arrow_topic):
        figure = stages.load(material.place, material.consumed, material.readings)
    # So many rows a second it would be if nothing but Cassandra used the cores.
    most = report.cores() * figure.rows / figure.services["cassandra"]
    figure.notes.append(f"{figure.rate / most:.0%} of the {most:,.0f}/s that Cassandra could take with all cores")
    yield figure
    yield from drivers.batches(material.place, material.rows)
    yield drivers.singles(material.place, material.rows[: max(1, material.readings // 10)])
    try:
        yield from stress(material.place, material.readings, material.readings // material.machines)
    except NotToBeHadError as reason:
        print(f"no cassandra-stress: {reason}", file=sys.stderr)


def _table(material: Material) -> Iterator[Figure]:
    for form, client in (("arrow", "kafka-python"), ("json", "kafka-python"), ("json", "librdkafka")):
        with reading(material.arrow_topic if form == "arrow" else material.json_topic):
            yield stages.topic_to_table(material.place, material.readings, form, client)
    for shape in SHAPES:
        with material.shaped(shape):
            yield stages.topic_to_table(material.place, material.readings, shape, "librdkafka")


def _run(material: Material) -> Iterator[Figure]:
    yield etl_run(material.place, "etl run", material.readings)


def _long_run(material: Material) -> Iterator[Figure]:
    with settings(ETL_GENERATE_DURATION=duration(material.machines, 10 * material.readings)):
        yield etl_run(material.place, "etl run, ten times as many", 10 * material.readings)


PARTS: dict[str, Callable[[Material], Iterator[Figure]]] = {
    "generate": _generate,
    "files": _files,
    "produce": _produce,
    "consume": _consume,
    "transform": _transform,
    "load": _load,
    "table": _table,
    "run": _run,
    "long-run": _long_run,
}
