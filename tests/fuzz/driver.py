"""Run a target on many inputs in processes of their own, so that a crash or a hang is found and does not end the rest.

A batch is made from the seed and its number, so it can be repeated. A target checks a whole batch in one call. Inputs
of a failed batch are then checked one by one.
"""

import multiprocessing
import random
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.mutate import mutated
from tests.quiet import quiet

CORPUS = Path(__file__).parent / "corpus"
TARGETS = ("decoder", "formats", "recorded", "mapping", "measurements", "settings", "urls", "webhook")
# Generous, because a shared machine is slow at times: one check takes milliseconds.
HANG_SECONDS = 120
MEMORY_BYTES = 1024**3
PROCESS_INPUTS = 20_000
SAY_SECONDS = 10.0
MOST_FAILURES = 20

_FORK = multiprocessing.get_context("fork")


class Target(NamedTuple):
    """A function that checks inputs, with the corpus and the words from which inputs are made."""

    name: str
    check: Callable[[Sequence[bytes]], None]
    corpus: list[bytes]
    words: Sequence[bytes]
    batch: int


class Failure(NamedTuple):
    """An input, or None for a whole batch, with what went wrong."""

    batch: int
    value: bytes | None
    text: str


@dataclass
class Report:
    """What a run has done so far; `peak` is the most memory that a process took in addition, in bytes."""

    inputs: int = 0
    peak: int = 0
    failures: list[Failure] = field(default_factory=list)


def load(name: str) -> Target:
    """Return a target with its corpus."""
    module = import_module(f"tests.fuzz.{name}")
    corpus = [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]
    return Target(name, module.check, corpus, module.WORDS, module.BATCH)


def inputs(target: Target, seed: int, batch: int) -> list[bytes]:
    """Return the inputs of a batch."""
    rng = random.Random(f"{target.name} {seed} {batch}")
    return [mutated(rng, target.corpus, target.words) for _ in range(target.batch)]


def trouble(target: Target, values: Sequence[bytes]) -> str | None:
    """Check inputs in this process; return the error, if there is one."""
    try:
        target.check(values)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return f"{text} ({Path(last.filename).name}:{last.lineno})"
    return None


def run(target: Target, seed: int, batches: range, jobs: int, say: Callable[[Report], None]) -> Report:
    """Check batches in several processes at a time; call `say` every few seconds."""
    report, said = Report(), time.monotonic()
    size = max(1, PROCESS_INPUTS // target.batch)
    waiting: Iterator[range] = (batches[first : first + size] for first in range(0, len(batches), size))
    running: dict[Connection, _Worker] = {}
    while True:
        enough = len(report.failures) >= MOST_FAILURES
        while not enough and len(running) < jobs and (part := next(waiting, None)) is not None:
            worker = _start(target, seed, part)
            running[worker.messages] = worker
        if not running:
            return report
        for messages in wait(list(running), timeout=1.0):
            again = _receive(running.pop(messages), target, seed, report)  # type: ignore[call-overload]
            if again is not None:
                running[again.messages] = again
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            say(report)


@dataclass
class _Worker:
    process: Any
    messages: Connection
    part: range
    at: int


def _start(target: Target, seed: int, part: range) -> _Worker:
    here, there = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_work, args=(target, seed, part, there))
    process.start()
    there.close()
    return _Worker(process, here, part, part.start)


def _receive(worker: _Worker, target: Target, seed: int, report: Report) -> _Worker | None:
    """Take one message; return the worker that goes on, if any."""
    try:
        batch, peak, failures = worker.messages.recv()
    except EOFError:
        worker.process.join()
        if not worker.process.exitcode:
            return None
        report.failures += _isolated(target, seed, worker.at, _ending(worker.process.exitcode), alone)
        report.inputs += target.batch
        rest = range(worker.at + 1, worker.part.stop)
        return _start(target, seed, rest) if rest else None
    report.peak = max(report.peak, peak)
    worker.at = batch + 1
    report.inputs += target.batch
    report.failures += failures
    return worker


def _ending(code: int) -> str:
    return "it hangs" if code == -signal.SIGALRM else f"the process ended with {code}"


def _work(target: Target, seed: int, part: range, messages: Connection) -> None:
    _begin()
    failures: list[Failure] = []
    before = _peak()
    for batch in part:
        signal.alarm(HANG_SECONDS)
        wrong = trouble(target, inputs(target, seed, batch))
        signal.alarm(0)
        peak = _peak() - before
        new: list[Failure] = []
        if wrong:
            new = _isolated(target, seed, batch, wrong, lambda target, value: trouble(target, [value]))
        elif peak > MEMORY_BYTES:
            new = _isolated(target, seed, batch, f"takes {peak >> 20} MiB of memory", alone)
            before = _peak()
        messages.send((batch, peak, new))
        failures += new
        if len(failures) >= MOST_FAILURES:
            return


def _begin() -> None:
    """Prepare a process that checks inputs."""
    quiet()
    # The default action ends the process, also in the middle of native code; a test may have set another one.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _isolated(
    target: Target, seed: int, batch: int, wrong: str, check: Callable[[Target, bytes], str | None]
) -> list[Failure]:
    """Check the inputs of a failed batch one by one."""
    values = inputs(target, seed, batch)
    found = [Failure(batch, value, text) for value in values if (text := check(target, value))]
    return found or [Failure(batch, None, f"only together: {wrong}")]


def alone(target: Target, value: bytes) -> str | None:
    """Check one input in its own process; return what goes wrong, if anything."""
    here, there = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_check_alone, args=(target, value, there))
    process.start()
    there.close()
    try:
        text: str | None = here.recv()
    except EOFError:
        process.join()
        return _ending(process.exitcode)
    process.join()
    return text


def _check_alone(target: Target, value: bytes, messages: Connection) -> None:
    _begin()
    before = _peak()
    signal.alarm(HANG_SECONDS)
    text = trouble(target, [value])
    taken = _peak() - before
    messages.send(text or (f"takes {taken >> 20} MiB of memory" if taken > MEMORY_BYTES else None))
