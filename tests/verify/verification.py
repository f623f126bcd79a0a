"""One verification: services, a gateway, a pipeline, faults; calm runs at the end; and the state that must follow."""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from etl.cassandra.connection import connect
from etl.settings import CassandraSettings
from tests.simulation.judging import Violation
from tests.verify.faults import GROUP, Fault, Place, inflict
from tests.verify.gateways import Gateway
from tests.verify.judge import judge, lag
from tests.verify.pipeline import Pipeline
from tests.verify.servers import ADDRESSES, Server

TOPIC, DEAD_LETTERS = "readings", "dead-letters"
PARTITIONS = 3
CALM_RUNS = 8
# Short enough that a stage gives up a service that is away, and comes again.
TIMEOUT, CALM_TIMEOUT = "15", "120"


@dataclass(frozen=True)
class Report:
    """A verification that held."""

    faults: Counter[str]
    codes: Counter[int]
    runs: int
    records: int
    rows: int
    letters: int
    seconds: float


def verify(seed: int, faults: Iterator[Fault], folder: Path, say: Callable[[str], None]) -> Report:
    """Inflict faults, let the pipeline come to rest, and judge; logs and data stay in the folder.

    Raises:
        Violation: a guarantee does not hold.
    """
    began = time.monotonic()
    done: Counter[str] = Counter()
    with built(seed, folder) as place:
        place.gateway.start()
        place.pipeline.start()
        for number, fault in enumerate(faults, 1):
            happened = inflict(place, fault)
            done[fault.kind] += 1
            say(f"{time.monotonic() - began:6.1f} s  {number:3}  {fault.kind}: {happened}")
            _check(place)
        for server in (place.broker, place.node):
            server.wait()
        place.gateway.end()
        place.pipeline.end()
        _check(place)
        say(f"{time.monotonic() - began:6.1f} s  no more faults: runs until no lag is left")
        _calm(place)
        rows, letters = _judge(place)
        return Report(
            faults=done,
            codes=place.pipeline.codes,
            runs=place.pipeline.runs,
            records=len(place.gateway.acknowledged),
            rows=rows,
            letters=letters,
            seconds=time.monotonic() - began,
        )


@contextmanager
def built(seed: int, folder: Path) -> Iterator[Place]:
    """Start both services, and prepare topics, tables, a gateway and a pipeline."""
    with ExitStack() as stack:
        broker, node = Server("kafka", folder), Server("cassandra", folder)
        for server in (broker, node):
            stack.callback(server.close)
        for server in (broker, node):
            server.launch()
        for server in (broker, node):
            server.wait()
        environment = {
            "ETL_KAFKA_BOOTSTRAP_SERVERS": f"{broker.alias}:{broker.port}",
            "ETL_KAFKA_TOPIC": TOPIC,
            "ETL_KAFKA_DEAD_LETTER_TOPIC": DEAD_LETTERS,
            "ETL_KAFKA_GROUP": GROUP,
            "ETL_KAFKA_TIMEOUT": TIMEOUT,
            "ETL_CASSANDRA_CONTACT_POINTS": node.alias,
            "ETL_CASSANDRA_PORT": str(node.port),
            "ETL_CASSANDRA_TIMEOUT": TIMEOUT,
            "ETL_SCHEMA_PARTITIONS": str(PARTITIONS),
            "ETL_WORKSPACE_URL": str(folder / "workspace"),
            "ETL_GENERATE_SOURCE": "none",
            "ETL_GENERATE_MAPPING_FILE": str(folder / "mapping.yaml"),
        }
        servers = ",".join(f"{address}:{broker.port}" for address in ADDRESSES)
        gateway = Gateway(seed, servers, TOPIC)
        pipeline = Pipeline(environment, folder, seed, [broker.names, node.names], gateway)
        stack.callback(pipeline.kill)
        if random.Random(seed).random() < 0.5:
            # Of half of the seeds the clocks of producers decide.
            stamped = NewTopic(TOPIC, PARTITIONS, 1, config={"message.timestamp.type": "CreateTime"})
            admin = AdminClient({"bootstrap.servers": _address(broker), "log_level": 0})
            admin.create_topics([stamped], request_timeout=120)[TOPIC].result()
        command(pipeline, "schema", "--wait", CALM_TIMEOUT)
        yield Place(broker, node, pipeline, gateway)


def command(pipeline: Pipeline, *arguments: str) -> None:
    """Run a command that must succeed."""
    subprocess.run([sys.executable, "-m", "etl", *arguments], env=pipeline.environment, check=True, capture_output=True)


def _address(broker: Server) -> str:
    return f"{broker.host}:{broker.port}"


def _check(place: Place) -> None:
    if place.gateway.failed:
        raise Violation(f"the gateway cannot go on: {place.gateway.failed}")
    if place.pipeline.complaints:
        raise Violation(place.pipeline.complaints[0])


def _calm(place: Place) -> None:
    """Run the pipeline until no lag is left; then the analysis.

    Raises:
        Violation: lag is left, or a run failed although nothing was done to it.
    """
    pipeline = place.pipeline
    pipeline.environment |= {"ETL_KAFKA_TIMEOUT": CALM_TIMEOUT, "ETL_CASSANDRA_TIMEOUT": CALM_TIMEOUT}
    for number in range(CALM_RUNS):
        if number and not lag(_address(place.broker), TOPIC, GROUP):
            break
        code = pipeline.run(f"calm-{number}")
        _check(place)
        if code not in (0, 3):
            raise Violation(f"calm-{number} failed although nothing was done to it: see {pipeline.folder}/logs")
    else:
        raise Violation(f"lag is left after {CALM_RUNS} calm runs")
    command(pipeline, "analyze")


def _judge(place: Place) -> tuple[int, int]:
    settings = CassandraSettings(contact_points=place.node.host, port=place.node.port, timeout=float(CALM_TIMEOUT))
    with connect(settings) as session:
        return judge(
            session, _address(place.broker), TOPIC, DEAD_LETTERS, [value for _, value in place.gateway.acknowledged]
        )
