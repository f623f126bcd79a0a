"""Measure every stage on local services, peers beside it: `make bench`. Nothing asserts."""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import structlog

from etl.measurements import read_measurements
from etl.record import encode_json
from etl.settings import RunSettings, read_settings
from etl.workspace import Source, find_manifest, open_workspace
from tests.bench import clients, drivers, report, stages
from tests.bench.figures import Figure
from tests.bench.maven import CACHE, NotToBeHadError
from tests.bench.place import Place, fresh_group, fresh_keyspace, fresh_topics, open_place, run_like, settings
from tests.bench.stress import stress
from tests.bench.targets import verdicts
from tests.bench.whole import etl_run

INTERVAL_SECONDS = 1


@dataclass
class Bench:
    """So many readings of so many machines, and what the lines need of them, made when first asked for."""

    place: Place
    machines: int
    readings: int
    stack: ExitStack = field(default_factory=ExitStack)

    @cached_property
    def generated(self) -> str:
        """The run that has generated the readings."""
        run = self.stack.enter_context(run_like(self.place))
        with settings(ETL_RUN_ID=run):
            stages.run("generate", "", self.readings, {})
        return run

    @cached_property
    def records(self) -> list[tuple[bytes, bytes]]:
        """Key and JSON of each reading."""
        measurements = read_measurements(None)
        tables = _output(self.generated, "generate").tables("readings")
        return [(key, value) for table in tables for key, value, _, _ in encode_json(table, measurements)]

    def some(self, share: int) -> list[tuple[bytes, bytes]]:
        """The records of the first readings, for what is slow."""
        return self.records[: max(1, self.readings // share)]

    @cached_property
    def arrow_topic(self) -> str:
        """A topic with all readings as micro-batches."""
        topic = self.stack.enter_context(fresh_topics())
        with run_like(self.place, self.generated, ("generate",)), settings(ETL_PRODUCE_FORMAT="arrow"):
            stages.run("produce", "", self.readings, {})
        return topic

    @cached_property
    def json_topic(self) -> str:
        """A topic with all readings as JSON records."""
        topic = self.stack.enter_context(fresh_topics())
        clients.fill(self.place, topic, self.records)
        return topic

    @cached_property
    def consumed(self) -> str:
        """The run that has consumed the Arrow topic, and transformed it."""
        run = self.stack.enter_context(run_like(self.place))
        with reading(self.arrow_topic), fresh_keyspace(), fresh_group(), settings(ETL_RUN_ID=run):
            for stage in ("consume", "transform"):
                stages.run(stage, "", self.readings, {})
        return run

    @cached_property
    def rows(self) -> drivers.Rows:
        """What load writes, as the driver takes it."""
        return [row for table in _output(self.consumed, "transform").tables("rows") for row in drivers.to_rows(table)]


@contextmanager
def reading(topic: str) -> Iterator[None]:
    """Let the stages read a topic."""
    with settings(ETL_KAFKA_TOPIC=topic, ETL_KAFKA_DEAD_LETTER_TOPIC=f"{topic}-dead"):
        yield


def _output(run: str, stage: str) -> Source:
    workspace = open_workspace(read_settings(RunSettings).workspace_url, run)
    manifest = find_manifest(workspace, stage)
    if manifest is None:
        raise RuntimeError(f"run {run} has no {stage}")
    return Source(workspace, manifest)


def _generate(bench: Bench) -> Iterator[Figure]:
    yield stages.generate(bench.place, bench.readings)


def _produce(bench: Bench) -> Iterator[Figure]:
    yield stages.produce(bench.place, bench.generated, bench.readings, "arrow")
    yield stages.produce(bench.place, bench.generated, bench.readings, "json")
    yield clients.kafka_python_produce(bench.place, bench.some(4))
    yield clients.confluent_produce(bench.place, [(key, _loads(value)) for key, value in bench.records])
    yield clients.java_produce(bench.place, bench.records)


def _loads(value: bytes) -> Any:
    import orjson

    return orjson.loads(value)


def _consume(bench: Bench) -> Iterator[Figure]:
    for form, topic in (("arrow", bench.arrow_topic), ("json", bench.json_topic)):
        for client in ("kafka-python", "librdkafka"):
            with reading(topic):
                yield stages.consume(bench.place, bench.readings, form, client)
    yield clients.kafka_python_consume(bench.place, bench.json_topic, bench.readings)
    yield clients.confluent_consume(bench.place, bench.json_topic, bench.readings)


def _transform(bench: Bench) -> Iterator[Figure]:
    yield stages.transform(bench.place, bench.consumed, bench.readings)


def _load(bench: Bench) -> Iterator[Figure]:
    with reading(bench.arrow_topic):
        figure = stages.load(bench.place, bench.consumed, bench.readings)
    # So many rows a second it would be if nothing but Cassandra used the cores.
    most = report.cores() * figure.rows / figure.services["cassandra"]
    figure.notes.append(f"{figure.rate / most:.0%} of the {most:,.0f}/s that Cassandra could take with all cores")
    yield figure
    yield from drivers.batches(bench.place, bench.rows)
    yield drivers.singles(bench.place, bench.rows[: max(1, bench.readings // 10)])
    try:
        yield from stress(bench.place, bench.readings, bench.readings // bench.machines)
    except NotToBeHadError as reason:
        print(f"no cassandra-stress: {reason}", file=sys.stderr)


def _table(bench: Bench) -> Iterator[Figure]:
    for form, client in (("arrow", "kafka-python"), ("json", "kafka-python"), ("json", "librdkafka")):
        with reading(bench.arrow_topic if form == "arrow" else bench.json_topic):
            yield stages.topic_to_table(bench.place, bench.readings, form, client)


def _run(bench: Bench) -> Iterator[Figure]:
    yield etl_run(bench.place, "etl run", bench.readings)


def _long_run(bench: Bench) -> Iterator[Figure]:
    with settings(ETL_GENERATE_DURATION=10 * bench.readings // bench.machines * INTERVAL_SECONDS):
        yield etl_run(bench.place, "etl run, ten times as many", 10 * bench.readings)


PARTS: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "generate": _generate,
    "produce": _produce,
    "consume": _consume,
    "transform": _transform,
    "load": _load,
    "table": _table,
    "run": _run,
    "long-run": _long_run,
}


def main() -> int:
    """Run the command line; return its exit code."""
    arguments = _arguments()
    parts = arguments.only.split(",") if arguments.only else [*PARTS, "machines"]
    unknown = set(parts) - {*PARTS, "machines"}
    if unknown:
        print(f"error: no part {', '.join(unknown)}; there are {', '.join(PARTS)}, machines", file=sys.stderr)
        return 2
    _quiet()
    started = time.monotonic()
    tables: dict[str, list[Figure]] = {}
    with open_place() as place:
        some = [part for part in parts if part != "machines"]
        if some:
            tables[_title(100, arguments.readings)] = _measure(place, 100, arguments.readings, some)
        if "machines" in parts:
            most = max(100, arguments.readings // 100)
            several = [part for part in PARTS if part != "long-run"]
            tables[_title(most, arguments.readings)] = _measure(place, most, arguments.readings, several)
    first = next(iter(tables.values()))
    judged = verdicts({figure.name: figure for figure in first}) if some else {}
    for title, figures in tables.items():
        report.show(title, figures, judged if figures is first else {})
    report.write(arguments.json, tables, judged)
    print(f"{report.machine()}\nin {time.monotonic() - started:.0f} s; also in {arguments.json}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the stages, and peers.")
    parser.add_argument("--readings", type=int, default=1_000_000, help="readings of a line")
    parser.add_argument("--only", help=f"comma-separated: {', '.join(PARTS)}, machines")
    parser.add_argument("--json", type=Path, default=CACHE / "results.json", help="where the figures go as well")
    return parser.parse_args()


def _quiet() -> None:
    """Keep the stages' lines out of the table."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def _title(machines: int, readings: int) -> str:
    return f"{readings:,} readings of {machines:,} machines (CPU in seconds per million rows)"


def _measure(place: Place, machines: int, readings: int, parts: Sequence[str]) -> list[Figure]:
    figures = []
    duration = readings // machines * INTERVAL_SECONDS
    generated = {"MACHINES": machines, "INTERVAL": INTERVAL_SECONDS, "DURATION": duration}
    with settings(**{f"ETL_GENERATE_{name}": value for name, value in generated.items()}), ExitStack() as stack:
        bench = Bench(place, machines, readings, stack)
        _warm_up(bench, parts)
        for part in parts:
            for figure in PARTS[part](bench):
                figures.append(figure)
                print(f"{figure.name}: {figure.rate:,.0f}/s", file=sys.stderr, flush=True)
    return figures


def _warm_up(bench: Bench, parts: Sequence[str]) -> None:
    """Let the services compile what they run all the time, so that the first line is not the slowest."""
    if parts != ["generate"]:
        with reading(bench.arrow_topic):
            for _ in range(2):
                stages.topic_to_table(bench.place, bench.readings, "arrow", "kafka-python")


if __name__ == "__main__":
    sys.exit(main())
