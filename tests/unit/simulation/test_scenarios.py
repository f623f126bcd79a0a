"""Schedules written by hand: one stage is killed at each of its calls in turn."""

from collections.abc import Callable, Iterator

import pytest

from tests.simulation.by_hand import STAGES, appended, ran, ran_whole, simple
from tests.simulation.judging import Violation
from tests.simulation.mutants import MUTANTS
from tests.simulation.plant import FIRST_MS, Reading
from tests.simulation.schedule import settle
from tests.simulation.services import Services, in_place, make_topic_anew

# More than any stage has.
MOST_CALLS = 100


def killed_at_each_call(scenario: Callable[[Services, int], bool]) -> Iterator[int]:
    """Play a scenario that kills a stage before its first call, its second one, and so on, until none is left."""
    for call in range(1, MOST_CALLS):
        services = simple(call)
        with in_place(services):
            killed = scenario(services, call)
            settle(services)
        if not killed:
            return
        yield call
    raise AssertionError("it has more calls")


def test_no_reading_disappears_when_a_longer_run_is_given_up_and_an_older_one_ends() -> None:
    key = ("machine-0", FIRST_MS)

    def scenario(services: Services, call: int) -> bool:
        appended(services, Reading(key, 1.0))
        for name in ("consume", "transform"):
            ran(services, name, "older")
        appended(services, Reading(key, 2.0))
        for name in ("consume", "transform"):
            ran(services, name, "longer")
        killed = ran(services, "load", "longer", dies_at=call)
        if killed:
            ran(services, "load", "older")
        return killed

    assert len(list(killed_at_each_call(scenario))) > 10


@pytest.mark.parametrize("stage", STAGES)
def test_run_ends_the_same_when_a_stage_is_killed_at_any_call_and_repeated(stage: str) -> None:
    def scenario(services: Services, call: int) -> bool:
        for second, voltage in ((0, 1.0), (60_000, 2.0), (0, 3.0)):
            appended(services, Reading(("machine-0", FIRST_MS + second), voltage))
        killed = False
        for name in STAGES:
            if name == stage:
                killed = ran(services, name, "run", dies_at=call)
            if name != stage or killed:
                ran(services, name, "run")
        return killed

    assert len(list(killed_at_each_call(scenario))) > 10


@pytest.mark.parametrize("committed", [False, True])
def test_both_topics_are_stored_when_a_topic_is_recreated_before_a_load_ends(committed: bool) -> None:
    services = simple()
    with in_place(services):
        if committed:
            appended(services, Reading(("machine-0", FIRST_MS), 1.0))
            ran_whole(services, "first")
        appended(services, Reading(("machine-0", FIRST_MS + 60_000), 2.0))
        for name in ("consume", "transform"):
            ran(services, name, "older")
        make_topic_anew(services)
        appended(services, *(Reading(("machine-0", FIRST_MS + 60_000 * minute), minute) for minute in range(3, 9)))
        ran(services, "load", "older")
        settle(services)
    assert len(services.table("sensor_data")) == 7 + committed


def given_up(services: Services, call: int, older_ends: bool) -> bool:
    """Kill a load that replaces a row and adds a late one; if wanted, let an older run of some of its records end."""
    pump, minute = "machine-0", 60_000
    appended(services, Reading((pump, FIRST_MS), 1.0), Reading((pump, FIRST_MS + 90 * minute), 2.0))
    ran_whole(services, "first")
    appended(services, Reading((pump, FIRST_MS), 3.0), Reading((pump, FIRST_MS + 100 * minute), 4.0))
    runs = ["older", "longer"] if older_ends else ["longer"]
    for run in runs:
        for name in ("consume", "transform"):
            ran(services, name, run)
        appended(services, Reading((pump, FIRST_MS + 80 * minute), 5.0), Reading((pump, FIRST_MS + 110 * minute), 6.0))
    killed = ran(services, "load", "longer", dies_at=call)
    if older_ends:
        ran(services, "load", "older")
    return killed


@pytest.mark.parametrize("older_ends", [False, True])
def test_guarantees_hold_when_a_load_is_given_up_at_any_call(older_ends: bool) -> None:
    assert len(list(killed_at_each_call(lambda *given: given_up(*given, older_ends)))) > 10


@pytest.mark.parametrize(
    ("name", "older_ends", "violation"),
    [
        ("dead letters are published after the rows", False, "is in no dead letter"),
        ("the analysis does not hear of rows that were there already", False, "told the analysis"),
        ("a watermark has the time of the write as write time", True, "moves back"),
        ("offsets are not compared", True, "moves back"),
    ],
)
def test_fault_of_the_pipeline_is_found_when_a_load_is_given_up(name: str, older_ends: bool, violation: str) -> None:
    with MUTANTS[name](), pytest.raises(Violation, match=violation):
        list(killed_at_each_call(lambda *given: given_up(*given, older_ends)))
