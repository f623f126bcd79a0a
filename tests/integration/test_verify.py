"""The pipeline under faults of real services, as `make verify-delivery` does it, in short."""

from pathlib import Path

import pytest

from tests.verify.faults import KINDS, planned
from tests.verify.verification import verify

SEED, FAULTS = 1, 20


# On a busy machine services take a minute to start.
@pytest.mark.timeout(3600)
def test_nothing_is_lost_when_services_and_stages_are_killed_and_connections_cut(tmp_path: Path) -> None:
    report = verify(SEED, iter(planned(SEED, FAULTS, quick=True)), tmp_path, print)
    assert report.faults.total() == FAULTS
    assert report.rows > 0
    assert report.letters > 0


def test_faults_are_the_same_when_a_seed_is_repeated() -> None:
    assert planned(7, 200) == planned(7, 200)
    assert planned(7, 200) != planned(8, 200)
    assert {fault.kind for fault in planned(7, 200)} == set(KINDS)
