"""The same topic into the same table, by us and by what one would use instead: `make bench-peers`. Nothing asserts."""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from tests.bench import handmade, report, spark, stages
from tests.bench.drivers import BATCH_ROWS
from tests.bench.figures import Figure
from tests.bench.lines import warm_up
from tests.bench.material import Material, open_material, reading
from tests.bench.maven import CACHE, NotToBeHadError
from tests.bench.place import open_place
from tests.bench.shapes import SHAPES
from tests.bench.stress import stress
from tests.bench.targets import verdicts

MACHINES = 100


def _ours(material: Material) -> Iterator[Figure]:
    for form, client in (("json", "kafka-python"), ("json", "librdkafka"), ("arrow", "kafka-python")):
        with reading(material.arrow_topic if form == "arrow" else material.json_topic):
            yield stages.topic_to_table(material.place, material.readings, form, client)
    for shape in SHAPES:
        with material.shaped(shape):
            yield stages.topic_to_table(material.place, material.readings, shape, "librdkafka")


def _handmade(material: Material) -> Iterator[Figure]:
    for size in BATCH_ROWS:
        yield handmade.topic_to_table(material.place, material.json_topic, material.readings, size)


def _spark(material: Material) -> Iterator[Figure]:
    yield from spark.topic_to_table(material.place, material.json_topic, material.readings)


def _stress(material: Material) -> Iterator[Figure]:
    yield from stress(material.place, material.readings, material.readings // material.machines)


PEERS: dict[str, Callable[[Material], Iterator[Figure]]] = {
    "ours": _ours,
    "handmade": _handmade,
    "spark": _spark,
    "stress": _stress,
}


def main() -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description="Measure us and our peers.")
    parser.add_argument("--readings", type=int, default=1_000_000, help="readings in the topic")
    parser.add_argument("--only", help=f"comma-separated: {', '.join(PEERS)}")
    parser.add_argument("--json", type=Path, default=CACHE / "peers.json", help="where the figures go as well")
    arguments = parser.parse_args()
    asked = arguments.only.split(",") if arguments.only else [*PEERS]
    if unknown := sorted(set(asked) - set(PEERS)):
        print(f"error: no peer {', '.join(unknown)}; there are {', '.join(PEERS)}", file=sys.stderr)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    started = time.monotonic()
    figures: list[Figure] = []
    with open_place() as place, open_material(place, MACHINES, arguments.readings) as material:
        warm_up(material)
        for peer in asked:
            try:
                for figure in PEERS[peer](material):
                    figures.append(figure)
                    print(f"{figure.name}: {figure.rate:,.0f}/s", file=sys.stderr, flush=True)
            except NotToBeHadError as reason:
                print(f"no {peer}: {reason}", file=sys.stderr)
    title = f"{arguments.readings:,} readings of {MACHINES} machines from the topic into the table (CPU s per million)"
    judged = verdicts({figure.name: figure for figure in figures})
    report.show(title, figures, judged)
    report.write(arguments.json, {title: figures}, judged)
    print(f"{report.machine()}\nin {time.monotonic() - started:.0f} s; also in {arguments.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
