"""Check targets against many inputs: `python -m tests.fuzz --target decoder --inputs 1000000`."""

import argparse
import hashlib
import os
import sys
import time
from pathlib import Path

from tests.fuzz.driver import TARGETS, Report, alone, load, run

FAILED = Path(".cache/fuzz")


def main() -> None:
    """Run the chosen targets, or replay one input of a file."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one; may be repeated")
    parser.add_argument("--inputs", type=int, default=100_000, help="number of inputs of each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other inputs")
    parser.add_argument("--begin", type=int, default=0, help="number of the first batch")
    parser.add_argument("--replay", type=Path, help="check this one file, with one --target")
    given = parser.parse_args()
    if given.replay:
        text = alone(load(given.target[0]), given.replay.read_bytes())
        print(text or "nothing goes wrong")
        sys.exit(1 if text else 0)
    failures = [fuzz(name, given.inputs, given.jobs, given.seed, given.begin) for name in given.target or TARGETS]
    sys.exit(1 if any(failures) else 0)


def fuzz(name: str, number: int, jobs: int, seed: int, begin: int) -> int:
    """Run one target; print progress and result; return the number of failures."""
    target, started, shown = load(name), time.monotonic(), 0

    def say(report: Report) -> None:
        nonlocal shown
        for failure in report.failures[shown:]:
            where = f"batch {failure.batch} of seed {seed}"
            if failure.value is not None:
                where = str(_kept(name, failure.value))
            print(f"{name}: {failure.text} ({where})", flush=True)
        shown = len(report.failures)
        seconds = time.monotonic() - started
        print(
            f"{name}: {report.inputs:,} of {number:,} inputs, {shown} failures,"
            f" {report.inputs / seconds:,.0f} a second, {report.peak >> 20} MiB of memory",
            flush=True,
        )

    batches = range(begin, begin + -(-number // target.batch))
    report = run(target, seed, batches, jobs, say)
    say(report)
    return len(report.failures)


def _kept(name: str, value: bytes) -> Path:
    """Write a failing input to a file."""
    FAILED.mkdir(parents=True, exist_ok=True)
    file = FAILED / f"{name}-{hashlib.sha256(value).hexdigest()[:12]}"
    file.write_bytes(value)
    return file


if __name__ == "__main__":
    main()
