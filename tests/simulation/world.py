"""Processes that take turns, the clock that they share, and the fate of each call.

A process is a greenlet: it runs alone until its next call to a service, where the world decides who goes on.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import greenlet

from etl.errors import EtlError

BEGIN = 1_767_225_600.0  # 2026-01-01, 00:00 UTC
LAST_CALLS = 40
Result = TypeVar("Result")
_sleep = time.sleep


class Killed(BaseException):
    """The process was killed, as by SIGKILL: nothing that it does from now on has an effect."""


@dataclass(frozen=True)
class Odds:
    """Chances for each call: to end its process, to fail before or after its effect, or to take long."""

    kill: float = 0.0
    terminate: float = 0.0
    fail: float = 0.0
    lose: float = 0.0
    stall: float = 0.0
    # The process goes on without letting others go first.
    run_on: float = 0.5
    # Chance for each load: it is killed at some call, and its run is given up.
    give_up: float = 0.0

    @cached_property
    def any(self) -> float:
        """Chance that anything befalls a call."""
        return self.kill + self.terminate + self.stall + self.fail + self.lose


CALM = Odds()


# How a process that something befalls may end.
EXPECTED = (Killed, SystemExit, EtlError)


class Process:
    """One process: what it does, and how it ended."""

    def __init__(self, name: str, do: Callable[[], Any], mortal: bool) -> None:
        """Name a process; a mortal one may be killed, and its calls may fail."""
        self.name, self.mortal = name, mortal
        self.wakes = 0.0
        self.awaits: Process | None = None
        self.calls = 0
        # It is killed before its call of this number, from 1.
        self.dies_at: int | None = None
        self.killed = self.done = False
        self.error: BaseException | None = None
        # What SIGTERM does to it.
        self.on_term: Any = None
        self._do = do
        self.greenlet = greenlet.greenlet(self._run)

    def ready(self, now: float) -> bool:
        """Whether it neither sleeps nor waits for another one."""
        return self.wakes <= now and (self.awaits is None or self.awaits.done)

    def _run(self) -> None:
        try:
            self._do()
        except BaseException as error:
            # The world judges all errors, those that end a process included.
            self.error = error
        self.done = True


class World:
    """All processes, the clock, and the source of chance."""

    def __init__(self, seed: int, odds: Odds = CALM) -> None:
        """Begin at a fixed time."""
        self.random = random.Random(seed)
        self.odds = odds
        self.now = BEGIN
        self.calls = self.faults = 0
        self.last_calls: deque[str] = deque(maxlen=LAST_CALLS)
        self._processes: list[Process] = []
        self._by_greenlet: dict[Any, Process] = {}
        self._hub: Any = None

    def start(self, name: str, do: Callable[[], Any], *, mortal: bool = True) -> Process:
        """Add a process; it begins when the world gives it a turn."""
        process = Process(name, do, mortal)
        self._processes.append(process)
        self._by_greenlet[process.greenlet] = process
        return process

    def run(self) -> None:
        """Give turns until all processes have ended."""
        self._hub = greenlet.getcurrent()
        while self._processes:
            ready = [process for process in self._processes if process.ready(self.now)]
            if not ready:
                self.now = min(process.wakes for process in self._processes if process.wakes > self.now)
                continue
            process = self.random.choice(ready)
            process.greenlet.parent = self._hub
            process.greenlet.switch()
            if process.done:
                self._processes.remove(process)
                del self._by_greenlet[process.greenlet]
                if process.error and not (process.mortal and isinstance(process.error, EXPECTED)):
                    raise process.error

    @property
    def process(self) -> Process | None:
        """The process that runs, None for the judge of a schedule."""
        return self._by_greenlet.get(greenlet.getcurrent())

    def sleep(self, seconds: float) -> None:
        """Let a process sleep."""
        process = self.process
        if process is None:
            self.now += seconds
            return
        process.wakes = self.now + seconds
        self._hub.switch()

    def wait_for(self, other: Process) -> None:
        """Let a process wait for the end of another one."""
        process = self.process
        assert process
        process.awaits = other
        self._hub.switch()

    def call(
        self,
        what: str,
        effect: Callable[[], Result],
        errors: Sequence[Callable[[], Exception]] = (),
        partly: Callable[[], Any] | None = None,
    ) -> Result:
        """Make a call to a service: others may go first, and it may fail or be the last one of its process.

        Args:
            what: name of the call.
            effect: does it.
            errors: errors with which the service may fail, before the effect or after it.
            partly: does a part of it, before the process is killed.
        """
        process = self.process
        if process is None:
            return effect()
        if process.killed:
            raise Killed
        process.calls += 1
        if process.calls == process.dies_at:
            self.faults += 1
            self._kill(process)
        if self.random.random() >= self.odds.run_on:
            self._hub.switch()
        self.calls += 1
        self.now += self.random.random() * 0.004
        fate = self._fate(process, bool(errors))
        self.last_calls.append(f"{process.name} {what}{f' ({fate})' if fate else ''}")
        self.faults += bool(fate)
        if fate == "terminated" and callable(process.on_term):
            process.on_term(15, None)
        if fate == "stalls":
            self.sleep(self.random.choice([0.5, 5, 45, 90]))
        if fate == "killed before":
            if partly:
                partly()
            self._kill(process)
        if fate == "fails":
            raise self.random.choice(errors)()
        found = effect()
        if fate == "killed after":
            self._kill(process)
        if fate == "answer lost":
            raise self.random.choice(errors)()
        return found

    def _fate(self, process: Process, may_fail: bool) -> str:
        if not process.mortal:
            return ""
        odds, chance = self.odds, self.random.random()
        if chance >= odds.any:
            return ""
        for name, share in (
            ("killed before", odds.kill / 2),
            ("killed after", odds.kill / 2),
            ("terminated", odds.terminate),
            ("stalls", odds.stall),
            ("fails", odds.fail * may_fail),
            ("answer lost", odds.lose * may_fail),
        ):
            chance -= share
            if chance < 0:
                return name
        return ""

    def _kill(self, process: Process) -> None:
        process.killed = True
        raise Killed


class Signals:
    """`signal`, for each process its own."""

    def __init__(self, world: World) -> None:
        """Serve a world."""
        self._world = world
        self.SIGTERM, self.SIG_IGN = 15, "ignored"

    def signal(self, _number: int, handler: Any) -> Any:
        """Set what a process does when it is terminated."""
        process = self._world.process
        if process is None:
            return None
        before, process.on_term = process.on_term, handler
        return before


@contextmanager
def clock_of(world: World) -> Iterator[None]:
    """Let all processes see the world's clock; other threads sleep as before."""
    kept = time.time, time.monotonic, time.sleep
    time.time = lambda: world.now
    time.monotonic = lambda: world.now
    time.sleep = lambda seconds: world.sleep(seconds) if world.process else _sleep(seconds)
    try:
        yield
    finally:
        time.time, time.monotonic, time.sleep = kept
