"""Schedules written by hand: one stage is killed at each of its calls in turn."""

from collections.abc import Callable, Iterator

import pytest

from etl.errors import DeliveryError
from tests.simulation.plant import FIRST_MS, TOPIC, Reading
from tests.simulation.schedule import Plan, Services, built, in_place, judge, run_stage, run_until_nothing_is_new
from tests.simulation.world import Killed, World

# More than any stage has.
MOST_CALLS = 100


def appended(services: Services, reading: Reading) -> None:
    services.plant.made[reading.value()] = reading
    services.world.now += 1
    log = services.broker.topics[TOPIC][0]
    log.append(services.broker.millis(), reading.key[0].encode(), reading.value())


def ran(services: Services, name: str, run: str, dies_at: int | None = None) -> bool:
    """Run a stage; return whether it was killed."""
    process = services.world.start(f"{run} {name}", lambda: run_stage(Plan(), name, run))
    process.dies_at = dies_at
    services.world.run()
    # A run whose records another one has committed meanwhile may only say so.
    if process.error and not isinstance(process.error, Killed | DeliveryError):
        raise process.error
    return process.killed


def killed_at_each_call(scenario: Callable[[Services, int], bool]) -> Iterator[int]:
    """Play a scenario that kills a stage before its first call, its second one, and so on, until none is left."""
    for call in range(1, MOST_CALLS):
        services = built(World(call), Plan())
        with in_place(services):
            killed = scenario(services, call)
            run_until_nothing_is_new(services, Plan())
            judge(services)
        if not killed:
            return
        yield call
    raise AssertionError("it has more calls")


def test_no_reading_disappears_when_a_longer_run_is_given_up_and_an_older_one_ends() -> None:
    key = ("machine-0", FIRST_MS)

    def scenario(services: Services, call: int) -> bool:
        appended(services, Reading(key, 1.0, None))
        for name in ("consume", "transform"):
            ran(services, name, "older")
        appended(services, Reading(key, 2.0, None))
        for name in ("consume", "transform"):
            ran(services, name, "longer")
        killed = ran(services, "load", "longer", dies_at=call)
        if killed:
            ran(services, "load", "older")
        return killed

    assert len(list(killed_at_each_call(scenario))) > 10


@pytest.mark.parametrize("stage", ["consume", "transform", "load"])
def test_run_ends_the_same_when_a_stage_is_killed_at_any_call_and_repeated(stage: str) -> None:
    def scenario(services: Services, call: int) -> bool:
        for second, voltage in ((0, 1.0), (60_000, 2.0), (0, 3.0)):
            appended(services, Reading(("machine-0", FIRST_MS + second), voltage, None))
        killed = False
        for name in ("consume", "transform", "load"):
            if name == stage:
                killed = ran(services, name, "run", dies_at=call)
            if name != stage or killed:
                ran(services, name, "run")
        return killed

    assert len(list(killed_at_each_call(scenario))) > 10
