"""Seeded schedules, and seeded faults of the pipeline that they find."""

import pytest

from tests.simulation.__main__ import Total, chosen
from tests.simulation.mutants import MUTANTS, found
from tests.simulation.schedule import Report, shrunk, simulate
from tests.simulation.services import Plan

AT_ONCE = 40
# Those that the first few schedules find.
QUICK = (
    "watermarks are written before the rows",
    "touched days are not written",
    "bad records are dropped",
    "aborted transactions are read",
    "a part replaces its row",
    "a part deletes the values that it lacks",
    "partitions of two topics have the same number",
)


@pytest.mark.parametrize("begin", range(0, 50 * AT_ONCE, AT_ONCE))
def test_guarantees_hold_when_services_and_stages_fail_at_random(begin: int) -> None:
    for seed in range(begin, begin + AT_ONCE):
        simulate(seed)


def test_guarantees_hold_when_a_stalled_load_moves_the_group_back_to_deleted_records() -> None:
    simulate(1_001_292)


def test_guarantees_hold_when_a_value_comes_again_with_an_older_clock() -> None:
    simulate(1_004_910)


def test_schedule_is_the_same_when_its_seed_is_repeated() -> None:
    assert [simulate(seed) for seed in (3, 9)] == [simulate(seed) for seed in (3, 9)]


@pytest.mark.parametrize("name", QUICK)
def test_simulation_finds_a_fault_of_the_pipeline_when_there_is_one(name: str) -> None:
    assert name in MUTANTS
    assert found(name, most=40)


def test_plan_of_a_violation_is_simplified_when_its_faults_do_not_matter() -> None:
    with MUTANTS["touched days are not written"]():
        assert shrunk(0) == Plan()


def test_line_says_where_to_continue_when_schedules_were_interrupted() -> None:
    total = Total(chosen("300..600"))
    total.add([Report(10, 2, 5), Report(12, 0, 5)], ["seed 302: a row is missing"])
    assert str(total).startswith("seeds 300..303: 3 schedules, 22 calls, 2 faults, 1 violations; ")


def test_seeds_are_the_first_ones_when_their_number_is_given() -> None:
    assert chosen("300") == range(300)
    with pytest.raises(ValueError, match=r"7\.\.3"):
        chosen("7..3")
