"""The faults of a verification: what is done to the stages, the services and the connections, and what happened."""

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import confluent_kafka
import psutil
from confluent_kafka.admin import AdminClient

from images import local
from images.probes import execute, is_ready
from tests.verify.gateways import Gateway
from tests.verify.pipeline import Attempt, Pipeline
from tests.verify.servers import Server

GROUP = "verified"
# Until a stage runs or a load ends, or a command has an answer, on a very busy machine.
PATIENCE_SECONDS = 1800.0
# How long to wait for `etl run`, as not each run is one, and how long a command may take that was never seen to end.
RUN_SECONDS, FIRST_SECONDS = 5.0, 3.0


@dataclass
class Place:
    """All that may be harmed."""

    broker: Server
    node: Server
    pipeline: Pipeline
    gateway: Gateway


class Fault(NamedTuple):
    """A fault of a plan: seconds before it, its kind, a share of its longest time, and a number to choose with."""

    pause: float
    kind: str
    share: float
    number: int
    # Factor of the time for which it lasts.
    haste: float = 1.0

    def lasts(self, longest: float) -> float:
        """Return for how long it lasts (seconds)."""
        return self.share * longest * self.haste


Harm = Callable[[Place, Fault], str]


def planned(seed: int, faults: int, quick: bool = False) -> list[Fault]:
    """Draw the faults of a seed; each kind once before any comes again."""
    chance = random.Random(seed)
    kinds = {name: weight for name, (_, weight, slow) in KINDS.items() if not (quick and slow)}
    first = list(kinds)
    chance.shuffle(first)
    drawn = [*first, *chance.choices(list(kinds), list(kinds.values()), k=faults)][:faults]
    longest, haste = (0.2, 0.4) if quick else (0.8, 1.0)
    return [Fault(chance.random() * longest, kind, chance.random(), chance.randrange(1000), haste) for kind in drawn]


def inflict(place: Place, fault: Fault) -> str:
    """Do a fault; return what happened."""
    time.sleep(fault.pause)
    return KINDS[fault.kind][0](place, fault)


def _running(place: Place, fault: Fault, *, whole: bool = False) -> Attempt:
    """Wait for an attempt, if possible one of `etl run`, and then for some moment of it."""
    began = time.monotonic()
    while (waited := time.monotonic() - began) < PATIENCE_SECONDS:
        attempts = place.pipeline.attempts()
        wanted = [each for each in attempts if each.command == "run"] if whole and waited < RUN_SECONDS else attempts
        if wanted:
            attempt = wanted[fault.number % len(wanted)]
            moment = attempt.began + fault.share * place.pipeline.seconds.get(attempt.command, FIRST_SECONDS)
            time.sleep(max(0.0, moment - time.monotonic()))
            if attempt.process.poll() is None:
                return attempt
        time.sleep(0.01)
    raise RuntimeError("no stage was started")


def _signal(attempt: Attempt, number: signal.Signals) -> None:
    for process in attempt.processes():
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _kill_stage(place: Place, fault: Fault) -> str:
    attempt = _running(place, fault)
    # Of `etl run`, its stage alone.
    for process in attempt.processes()[-1:]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return attempt.name


def _kill_run(place: Place, fault: Fault) -> str:
    attempt = _running(place, fault, whole=True)
    _signal(attempt, signal.SIGKILL)
    return attempt.name


def _orphan_stage(place: Place, fault: Fault) -> str:
    attempt = _running(place, fault, whole=True)
    attempt.process.kill()
    return f"{attempt.name}, its stage may go on"


def _terminate(place: Place, fault: Fault) -> str:
    attempt = _running(place, fault)
    attempt.process.terminate()
    return attempt.name


def _stop_stage(place: Place, fault: Fault) -> str:
    attempt = _running(place, fault)
    _signal(attempt, signal.SIGSTOP)
    time.sleep(fault.lasts(3))
    _signal(attempt, signal.SIGCONT)
    return f"{attempt.name} for {fault.lasts(3):.1f} s"


def _lose(place: Place, fault: Fault) -> str:
    attempt = _running(place, fault)
    attempt.lost = True
    return f"{attempt.name} goes on beside its retry"


def _abandon(place: Place, fault: Fault) -> str:
    attempt = _running(place, fault)
    attempt.abandoned = True
    _signal(attempt, signal.SIGKILL)
    return f"{attempt.name}, nobody goes on with it"


def _second_run(place: Place, _: Fault) -> str:
    return f"{place.pipeline.start_run()} beside the others"


def _cut(place: Place, _: Fault) -> str:
    return f"{place.broker.proxy.cut()} of the broker, {place.node.proxy.cut()} of the node"


def _cut_off(place: Place, fault: Fault) -> str:
    server, seconds = _either(place, fault), fault.lasts(4)
    give_up = time.monotonic() + seconds
    number = 0
    while time.monotonic() < give_up:
        number += server.proxy.cut()
        time.sleep(0.02)
    return f"{number} of {server.name} within {seconds:.1f} s"


def _delay(place: Place, fault: Fault) -> str:
    server, seconds = _either(place, fault), 0.1 + fault.share
    server.proxy.delay = seconds
    time.sleep(1 + fault.lasts(2))
    server.proxy.delay = 0.0
    return f"{server.name} answers {2 * seconds:.1f} s later, for {1 + fault.lasts(2):.1f} s"


def _either(place: Place, fault: Fault) -> Server:
    return (place.broker, place.node)[fault.number % 2]


def _kill_server(server: Server, fault: Fault) -> str:
    server.kill()
    time.sleep(fault.lasts(4))
    server.launch()
    return f"started again after {fault.lasts(4):.1f} s"


def _end_server(server: Server, fault: Fault) -> str:
    server.terminate()
    time.sleep(fault.lasts(4))
    server.launch()
    return f"started again after {fault.lasts(4):.1f} s"


def _stop_server(server: Server, fault: Fault) -> str:
    with server.stopped():
        time.sleep(fault.lasts(5))
    return f"for {fault.lasts(5):.1f} s"


def _fill_server(server: Server, fault: Fault) -> str:
    assert server.service
    with server.full_disk():
        if server.name == "cassandra":
            # It writes little to disk by itself, but it does write a change of its tables.
            execute(server.service, None, [f"CREATE TABLE sensors.trial_{time.time_ns()} (a int PRIMARY KEY)"])
        time.sleep(1 + fault.lasts(3))
    if local.is_running(server.service) and is_ready(server.service):
        return "it goes on"
    server.kill()
    server.launch()
    return "it gave up, and is started again"


def _move(server: Server, _: Fault) -> str:
    return f"started again at {server.move()}"


def _both_there(place: Place) -> None:
    for server in (place.broker, place.node):
        server.wait()


def _on(name: str, harm: Callable[[Server, Fault], str]) -> Harm:
    """Harm a service once both are there: a pipeline without them does nothing that could go wrong."""

    def harmed(place: Place, fault: Fault) -> str:
        _both_there(place)
        return harm(getattr(place, name), fault)

    return harmed


def _kill_after_load(place: Place, _: Fault) -> str:
    """Kill the node at the moment at which a load ends: it must have all that it has acknowledged."""
    _both_there(place)
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_SECONDS:
        for attempt in place.pipeline.attempts():
            if attempt.command == "load" and attempt.ends() == 0:
                place.node.kill()
                place.node.launch()
                return f"after {attempt.name}"
        time.sleep(0.005)
    raise RuntimeError("no load came to its end")


def _fill_workspace(place: Place, fault: Fault) -> str:
    place.pipeline.fill(True)
    time.sleep(1 + fault.lasts(4))
    place.pipeline.fill(False)
    return f"for {1 + fault.lasts(4):.1f} s"


def _delete_offsets(place: Place, _: Fault) -> str:
    admin = AdminClient({"bootstrap.servers": f"{place.broker.host}:{place.broker.port}", "log_level": 0})
    try:
        admin.delete_consumer_groups([GROUP], request_timeout=60)[GROUP].result(PATIENCE_SECONDS)
    except confluent_kafka.KafkaException as error:
        return f"not done: {error.args[0].str()}"
    return "done"


def _move_clock(place: Place, fault: Fault) -> str:
    place.gateway.skew = round((fault.share - 0.5) * 120_000)
    return f"by {place.gateway.skew} ms"


# The harm, how often it comes in relation to the others, and whether it is left out where there is little time.
KINDS: dict[str, tuple[Harm, int, bool]] = {
    "SIGKILL of a stage": (_kill_stage, 40, False),
    "SIGKILL of a run": (_kill_run, 16, False),
    "SIGKILL of etl run alone": (_orphan_stage, 10, False),
    "SIGTERM of a stage": (_terminate, 16, False),
    "SIGSTOP of a stage": (_stop_stage, 14, False),
    "attempt lost by the scheduler": (_lose, 14, False),
    "run abandoned": (_abandon, 14, False),
    "two runs at once": (_second_run, 12, False),
    "connections cut": (_cut, 16, False),
    "connections cut again and again": (_cut_off, 8, False),
    "connections delayed": (_delay, 8, False),
    "workspace full": (_fill_workspace, 10, False),
    "offsets of the group deleted": (_delete_offsets, 6, False),
    "clock of the producer moved": (_move_clock, 6, False),
    "SIGSTOP of the broker": (_on("broker", _stop_server), 5, False),
    "SIGSTOP of the node": (_on("node", _stop_server), 5, False),
    "SIGKILL of the broker": (_on("broker", _kill_server), 4, False),
    "SIGTERM of the broker": (_on("broker", _end_server), 2, True),
    "broker at a new address": (_on("broker", _move), 2, False),
    "broker's disk full": (_on("broker", _fill_server), 2, False),
    "SIGKILL of the node as a load ends": (_kill_after_load, 3, False),
    "SIGKILL of the node": (_on("node", _kill_server), 2, True),
    "SIGTERM of the node": (_on("node", _end_server), 1, True),
    "node at a new address": (_on("node", _move), 2, True),
    "node's disk full": (_on("node", _fill_server), 2, True),
}
