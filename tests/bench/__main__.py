"""Measure every stage on local services, peers beside it: `make bench`. Nothing asserts."""

import argparse
import logging
import sys
import time
from pathlib import Path

import structlog

from tests.bench import report
from tests.bench.figures import Figure
from tests.bench.lines import PARTS, warm_up
from tests.bench.material import open_material
from tests.bench.maven import CACHE
from tests.bench.place import Place, open_place
from tests.bench.targets import verdicts

MACHINES = 100
# The part that measures all the others with many machines of few readings each.
MANY = "machines"


def main() -> int:
    """Run the command line; return its exit code."""
    arguments = _arguments()
    asked = arguments.only.split(",") if arguments.only else [*PARTS, MANY]
    if unknown := sorted(set(asked) - {*PARTS, MANY}):
        print(f"error: no part {', '.join(unknown)}; there are {', '.join(PARTS)}, {MANY}", file=sys.stderr)
        return 2
    # The stages' own lines would hide the table.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    started = time.monotonic()
    with open_place() as place:
        few = _measure(place, MACHINES, arguments.readings, [part for part in asked if part != MANY])
        wanted = [part for part in PARTS if part != "long-run"] if MANY in asked else []
        most = max(MACHINES, arguments.readings // 100)
        many = _measure(place, most, arguments.readings, wanted)
    judged = verdicts({figure.name: figure for figure in few})
    tables = {_title(MACHINES, arguments.readings): few, _title(most, arguments.readings): many}
    for title, figures in tables.items():
        if figures:
            report.show(title, figures, judged if figures is few else {})
    report.write(arguments.json, tables, judged)
    print(f"{report.machine()}\nin {time.monotonic() - started:.0f} s; also in {arguments.json}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the stages, and peers.")
    parser.add_argument("--readings", type=int, default=1_000_000, help="readings of a line")
    parser.add_argument("--only", help=f"comma-separated: {', '.join(PARTS)}, {MANY}")
    parser.add_argument("--json", type=Path, default=CACHE / "results.json", help="where the figures go as well")
    return parser.parse_args()


def _title(machines: int, readings: int) -> str:
    return f"{readings:,} readings of {machines:,} machines (CPU in seconds per million rows)"


def _measure(place: Place, machines: int, readings: int, parts: list[str]) -> list[Figure]:
    figures: list[Figure] = []
    with open_material(place, machines, readings) as material:
        if set(parts) - {"generate"}:
            warm_up(material)
        for part in parts:
            for figure in PARTS[part](material):
                figures.append(figure)
                print(f"{figure.name}: {figure.rate:,.0f}/s", file=sys.stderr, flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main())
