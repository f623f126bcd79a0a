"""Run schedules: `python -m tests.simulation --seeds 1000`."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from tests.quiet import quiet
from tests.simulation.judging import Violation
from tests.simulation.schedule import Report, shrunk, simulate

CHUNK = 20
SAY_SECONDS = 5.0


def held(seeds: range) -> tuple[list[Report], list[str]]:
    """Run schedules; return the reports of those that held, and the violations of the others."""
    quiet()
    reports, violations = [], []
    for seed in seeds:
        try:
            reports.append(simulate(seed))
        except Violation as violation:
            violations.append(f"{violation}\nthe simplest plan that violates it: simulate({seed}, {shrunk(seed)})")
        except Exception as error:
            violations.append(f"seed {seed}: {type(error).__name__}: {error}")
    return reports, violations


def chunks(begin: int, count: int) -> Iterator[range]:
    """Split seeds for processes."""
    for first in range(begin, begin + count, CHUNK):
        yield range(first, min(first + CHUNK, begin + count))


def main() -> None:
    """Run schedules on all cores, and say how far it is."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="number of schedules")
    parser.add_argument("--begin", type=int, default=0, help="first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    given = parser.parse_args()
    began = said = time.monotonic()
    done = calls = faults = 0
    violations: list[str] = []
    with ProcessPoolExecutor(given.jobs) as pool:
        for reports, wrong in pool.map(held, chunks(given.begin, given.seeds)):
            done += len(reports) + len(wrong)
            calls += sum(report.calls for report in reports)
            faults += sum(report.faults for report in reports)
            violations += wrong
            for violation in wrong:
                print(violation, flush=True)
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                print(f"{done:,} of {given.seeds:,} schedules, {faults:,} faults", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    print(
        f"{done:,} schedules, {calls:,} calls, {faults:,} faults, {len(violations)} violations;"
        f" {1000 * seconds / max(done, 1):.0f} ms for each"
    )
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
