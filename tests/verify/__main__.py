"""Verify the delivery under real faults: `python -m tests.verify --faults 200 --seed 7`."""

import argparse
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.simulation.judging import Violation
from tests.verify.faults import Fault, planned
from tests.verify.verification import Report, verify

# More faults than an hour has room for.
ENDLESS = 100_000


def within(hours: float, faults: list[Fault]) -> Iterator[Fault]:
    """Yield faults until the time is over."""
    end = time.monotonic() + hours * 3600
    for fault in faults:
        if time.monotonic() > end:
            return
        yield fault


def _say(line: str) -> None:
    print(line, flush=True)


def show(report: Report) -> None:
    """Print the figures of a verification."""
    for kind, number in sorted(report.faults.items(), key=lambda each: -each[1]):
        _say(f"{number:5}  {kind}")
    codes = ", ".join(f"{code}: {number}" for code, number in sorted(report.codes.items()))
    _say(f"exit codes of {report.codes.total()} commands: {codes}")
    _say(
        f"held: {report.faults.total()} faults, {report.runs} runs, {report.records:,} records of the gateway,"
        f" {report.rows:,} rows, {report.letters:,} dead letters, {report.seconds:.0f} s"
    )


def main() -> None:
    """Run verifications, one seed after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.verify", description=__doc__)
    parser.add_argument("--faults", type=int, default=200, help="number of faults")
    parser.add_argument("--hours", type=float, help="as many faults as fit into this time")
    parser.add_argument("--seed", type=int, default=None, help="of the sequence of faults; by default a new one")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, one after the other")
    given = parser.parse_args()
    first = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    for seed in range(first, first + given.seeds):
        _say(f"seed {seed}")
        folder = Path(tempfile.mkdtemp(prefix=f"verify-{seed}-"))
        faults = planned(seed, ENDLESS if given.hours else given.faults)
        try:
            show(verify(seed, within(given.hours, faults) if given.hours else iter(faults), folder, _say))
        except Violation as violation:
            _say(f"seed {seed}: {violation}; logs and data are in {folder}")
            sys.exit(1)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
