"""One measured line, and how it is taken: wall clock, and processor time of the client and of each service."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psutil

MILLION = 1_000_000
# A short line is measured again, so that one hiccup of the machine does not decide; the median counts.
MOST_TIMES = 3
ENOUGH_SECONDS = 15.0
# A service that takes less than this share of a core has nothing left to do.
IDLE_SHARE = 0.1
SETTLE_SECONDS = 60.0


@dataclass
class Figure:
    """What a line did: `rows` readings or rows in `seconds`, start of processes and connections apart.

    `cpu` is the processor time of the client in seconds; `services` the same of `kafka` and `cassandra`.
    """

    name: str
    rows: int
    seconds: float = 0.0
    cpu: float = 0.0
    services: dict[str, float] = field(default_factory=dict)
    peak_mib: float | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def cpu_per_million(self) -> float:
        """Processor seconds of the client per million rows."""
        return self.cpu * MILLION / self.rows

    def service_per_million(self, service: str) -> float | None:
        """Processor seconds of a service per million rows, None where it has nothing to do with it."""
        return self.services[service] * MILLION / self.rows if service in self.services else None

    def named(self, name: str) -> "Figure":
        """The same under another name."""
        return replace(self, name=name)


Processes = Mapping[str, psutil.Process]


@contextmanager
def measured(name: str, rows: int, services: Processes, note: str = "") -> Iterator[Figure]:
    """Measure a block of this process; the client's time includes its threads and the children that have ended."""
    figure = Figure(name, rows, notes=[note] if note else [])
    before = {service: processor_seconds(process) for service, process in services.items()}
    cpu, started = _own_cpu(), time.perf_counter()
    yield figure
    figure.seconds = time.perf_counter() - started
    figure.cpu = _own_cpu() - cpu
    figure.services = {service: processor_seconds(process) - before[service] for service, process in services.items()}


def processor_seconds(process: psutil.Process) -> float:
    """User and system time that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _own_cpu() -> float:
    return sum(psutil.Process().cpu_times()[:4])


def settle(services: Processes) -> None:
    """Wait until the disk and the services are done with what the line before left: writing back, compacting."""
    os.sync()
    deadline = time.monotonic() + SETTLE_SECONDS
    busy = True
    while busy and time.monotonic() < deadline:
        before = sum(map(processor_seconds, services.values()))
        time.sleep(1)
        busy = sum(map(processor_seconds, services.values())) - before > IDLE_SHARE * len(services)


def median(measure: Callable[[], Figure], services: Processes) -> Figure:
    """Take a figure up to `MOST_TIMES`, while it is cheap; return the one with the median rate, the lower of two."""
    taken: list[Figure] = []
    while not taken or (len(taken) < MOST_TIMES and sum(figure.seconds for figure in taken) < ENOUGH_SECONDS):
        settle(services)
        taken.append(measure())
    return sorted(taken, key=lambda figure: figure.rate)[(len(taken) - 1) // 2]


def total(name: str, parts: list[Figure]) -> Figure:
    """Add up lines that came one after the other over the same rows."""
    services: dict[str, float] = {}
    for part in parts:
        for service, seconds in part.services.items():
            services[service] = services.get(service, 0.0) + seconds
    seconds, cpu = sum(part.seconds for part in parts), sum(part.cpu for part in parts)
    return Figure(name, parts[0].rows, seconds, cpu, services)
