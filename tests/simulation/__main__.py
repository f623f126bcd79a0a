"""Run schedules: `python -m tests.simulation --seeds 1000`, and continue with `--seeds 1000..2000`."""

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

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


def chosen(text: str) -> range:
    """Read the seeds of an argument: `2000` are the first 2,000, `5000..9000` those from 5,000 up to 8,999."""
    first, dots, end = text.partition("..")
    seeds = range(int(first), int(end)) if dots else range(int(first))
    if not seeds:
        raise ValueError(text)
    return seeds


def chunks(seeds: range) -> Iterator[range]:
    """Split seeds for processes."""
    for first in range(0, len(seeds), CHUNK):
        yield seeds[first : first + CHUNK]


@dataclass
class Total:
    """The outcome of all schedules so far; its text is a line of the log."""

    seeds: range
    violations: int = 0
    done: int = 0
    calls: int = 0
    faults: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, reports: list[Report], wrong: list[str]) -> None:
        """Count schedules."""
        self.done += len(reports) + len(wrong)
        self.calls += sum(report.calls for report in reports)
        self.faults += sum(report.faults for report in reports)
        self.violations += len(wrong)

    def __str__(self) -> str:
        """Name the seeds, so that the next command can continue after them."""
        seconds = time.monotonic() - self.began
        return (
            f"seeds {self.seeds.start}..{self.seeds.start + self.done}: {self.done:,} schedules, {self.calls:,} calls,"
            f" {self.faults:,} faults, {self.violations} violations; {self.done / seconds:.1f} a second"
        )


def main() -> None:
    """Run schedules on all cores, and say how far it is."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=chosen, default=range(2_000), help="their number, or begin..end", metavar="N")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    given = parser.parse_args()
    total, said = Total(given.seeds), time.monotonic()
    with ProcessPoolExecutor(given.jobs) as pool:
        for reports, wrong in pool.map(held, chunks(given.seeds)):
            total.add(reports, wrong)
            for violation in wrong:
                print(violation, flush=True)
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                print(total, file=sys.stderr, flush=True)
    # A worker's time counts once it has ended.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{total}; {1000 * (used.ru_utime + used.ru_stime) / total.done:.0f} ms of a processor for each")
    sys.exit(1 if total.violations else 0)


if __name__ == "__main__":
    main()
