"""Runs back to back at full speed on local services: `make soak HOURS=2`. Prints a line per minute, then a verdict.

With `--backlog` it fills the topic instead, and catches up in one run: the memory of each stage must stay at that of a
small run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psutil

from etl.cassandra.connection import connect
from etl.settings import CassandraSettings, read_settings
from tests.bench.material import INTERVAL_SECONDS, duration
from tests.bench.place import Place, check_stored, open_place, settings
from tests.bench.whole import watch
from tests.soak.verdict import Verdict, judge

MACHINES = 100
FEWEST_RUNS = 8
READINGS = 200_000
FILL = 1_000_000  # readings of one run that fills the topic
START = datetime.fromisoformat("2026-01-05T06:00:00+00:00")
MIB = 2**20
MINUTE = 60.0
# The stages that read a backlog.
LARGE = ("consume", "transform", "load")


@dataclass
class Samples:
    """Series by name, each with the times of its samples in seconds since the begin."""

    began: float = field(default_factory=time.monotonic)
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, value: float) -> None:
        """Add a sample of a series; the last word of its name is the unit."""
        self.times[name].append(time.monotonic() - self.began)
        self.values[name].append(value)

    def verdicts(self) -> list[Verdict]:
        """Judge each series."""
        return [judge(name, self.times[name], values) for name, values in self.values.items()]


def main() -> int:
    """Run the command line; return 1 if something grows."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0, help="duration; 0.1 is the short form")
    parser.add_argument("--readings", type=int, default=READINGS, help="readings of a run")
    parser.add_argument("--backlog", type=int, default=0, help="readings to catch up with in one run, instead")
    given = parser.parse_args()
    with open_place() as place:
        _etl("schema")
        return catch_up(given.backlog) if given.backlog else soak(place, given.hours * 3600, given.readings)


def _etl(*arguments: str, **variables: object) -> tuple[float, dict[str, int]]:
    """Run a command; return its seconds, and the peak memory of each stage in bytes."""
    began = time.monotonic()
    # A pipe that nobody empties would stop the command.
    with settings(**variables), tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([sys.executable, "-m", "etl", *arguments], stdout=output, stderr=output)
        peaks = watch(process)
        output.seek(0)
        if process.returncode:
            end = output.read()[-2000:]
            raise RuntimeError(f"etl {' '.join(arguments)} ended with {process.returncode}:\n{end}")
    return time.monotonic() - began, peaks


def _generated(done: int, readings: int) -> dict[str, object]:
    """Settings of a run whose readings follow those of the runs before."""
    return {
        "ETL_GENERATE_MACHINES": MACHINES,
        "ETL_GENERATE_INTERVAL": INTERVAL_SECONDS,
        "ETL_GENERATE_START": (START + timedelta(seconds=duration(MACHINES, done))).isoformat(),
        "ETL_GENERATE_DURATION": duration(MACHINES, readings),
    }


def soak(place: Place, seconds: float, readings: int) -> int:
    """Run until the time is over; print a line per minute and a verdict at the end."""
    samples, runs, printed = Samples(), 0, 0.0
    with _page() as (page, address):
        processes = {**place.both, "page": page}
        while time.monotonic() - samples.began < seconds:
            took, peaks = _etl("run", **_generated(runs * readings, readings))
            analysed, _ = _etl("analyze")
            urllib.request.urlopen(address, timeout=60).read()
            runs += 1
            _sample(samples, processes, peaks)
            samples.add("run seconds", took)
            samples.add("analysis seconds", analysed)
            samples.add("workspace files", sum(len(files) for _, _, files in os.walk(place.folder / "workspace")))
            if time.monotonic() - printed >= MINUTE:
                printed = time.monotonic()
                _print_line(samples, runs, runs * readings)
    _check_tables(runs, runs * readings)
    if runs < FEWEST_RUNS:
        print(f"{runs} runs are too few for a verdict: it takes {FEWEST_RUNS}")
        return 1
    return _conclude(samples.verdicts())


@contextmanager
def _page() -> Iterator[tuple[psutil.Process, str]]:
    """Serve the page meanwhile, as the one process of ours that lives long."""
    port = 20_000 + os.getpid() % 10_000
    with settings(ETL_PAGE_PORT=port):
        process = subprocess.Popen(
            [sys.executable, "-m", "etl", "page"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    address, deadline = f"http://127.0.0.1:{port}/", time.monotonic() + 120
    try:
        while True:
            with suppress(OSError):
                urllib.request.urlopen(address, timeout=60).read()
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the page did not start")
            time.sleep(0.5)
        yield psutil.Process(process.pid), address
    finally:
        process.terminate()
        process.wait(60)


def _sample(samples: Samples, processes: dict[str, psutil.Process], peaks: dict[str, int]) -> None:
    for name, process in processes.items():
        samples.add(f"{name} MiB", process.memory_info().rss / MIB)
        samples.add(f"{name} handles", process.num_fds())
        samples.add(f"{name} threads", process.num_threads())
        samples.add(f"{name} sockets", len(process.net_connections()))
    for stage, peak in peaks.items():
        samples.add(f"{stage} MiB", peak / MIB)


def _print_line(samples: Samples, runs: int, readings: int) -> None:
    newest = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in samples.values.items())
    minutes = (time.monotonic() - samples.began) / 60
    print(f"{minutes:5.1f} min, {runs} runs, {readings:,} readings: {newest}", flush=True)


def _check_tables(runs: int, readings: int) -> None:
    """Count the rows of the tables: one per reading, machine, and stage of a run.

    Raises:
        RuntimeError: there are more or fewer.
    """
    with connect(read_settings(CassandraSettings)) as session:
        check_stored(session, readings)
        for table, expected in {"watermarks": MACHINES, "runs": 5 * runs}.items():
            stored = session.execute(f"SELECT count(*) FROM {table}").one()[0]
            if stored != expected:
                raise RuntimeError(f"{table} has {stored} rows, and {expected} should be")
    print(f"tables: {readings:,} readings, {MACHINES} watermarks, {5 * runs} rows of runs, as they should be")


def _conclude(verdicts: list[Verdict]) -> int:
    for verdict in verdicts:
        state = "flat" if verdict.flat else "GROWS"
        print(
            f"{state:5}  {verdict.name}: mean {verdict.mean:,.1f} in the second half, rise {verdict.rise:+,.1f},"
            f" allowed {verdict.allowed:,.1f}"
        )
    growing = [verdict.name for verdict in verdicts if not verdict.flat]
    print(f"grows: {', '.join(growing)}" if growing else "all flat")
    return 1 if growing else 0


def catch_up(backlog: int) -> int:
    """Fill the topic, then read all of it in one run; compare the memory of the stages with that of a small run."""
    _, small = _etl("run", **_generated(0, FILL))
    for done in range(FILL, FILL + backlog, FILL):
        run = f"fill-{done}"
        filling = _generated(done, min(FILL, FILL + backlog - done))
        for stage in ("generate", "produce"):
            _etl(stage, ETL_RUN_ID=run, **filling)
        print(
            f"{done - FILL + int(str(filling['ETL_GENERATE_DURATION'])) * MACHINES:,} of {backlog:,} produced",
            flush=True,
        )
    seconds, peaks = _etl("run", ETL_GENERATE_SOURCE="none")
    with connect(read_settings(CassandraSettings)) as session:
        check_stored(session, FILL + backlog)
    print(f"{backlog:,} readings caught up in {seconds:,.0f} s, {backlog / seconds:,.0f} readings/s")
    return _conclude([_compare(stage, small[stage] / MIB, peaks[stage] / MIB) for stage in LARGE])


def _compare(stage: str, small: float, large: float) -> Verdict:
    """Judge the growth of a peak in MiB, from a run of a million readings to the whole backlog."""
    return Verdict(f"{stage} peak MiB", large, large - small, max(0.5 * small, 64.0))


if __name__ == "__main__":
    sys.exit(main())
