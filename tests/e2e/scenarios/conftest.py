"""The delivery check with which each scenario ends."""

from collections.abc import Callable
from pathlib import Path

import pytest

from etl.cassandra.connection import connect
from etl.cassandra.store import Store
from etl.run.ledger import read_last_runs
from etl.settings import CassandraSettings
from etl.stages.load.stage import CLASSES
from tests.e2e import runs
from tests.e2e.conftest import Run, open_cassandra

LAG = """
from etl.kafka.client import connect
from etl.kafka.lag import read_lags
from etl.settings import KafkaSettings, read_settings
with connect(read_settings(KafkaSettings)) as client:
    print("lag", sum(each.lag for each in read_lags(client)))
"""
Delivered = Callable[..., None]


@pytest.fixture
def check_delivery(
    cluster: str, secret: Callable[[str, str], str], run: Run, tmp_path_factory: pytest.TempPathFactory
) -> Delivered:
    """Check that runs are in the table as generated and balance in the ledger, and that the lag is 0."""

    def check(*delivered: runs.Run) -> None:
        code, log = run("consume", LAG)
        assert (code, log.splitlines()[-1]) == (0, "lag 0"), log
        with open_cassandra(cluster, secret, tmp_path_factory.mktemp("cassandra")) as cassandra:
            for each in delivered:
                check_run(cassandra, each, tmp_path_factory.mktemp("expected"))

    return check


def check_run(cassandra: CassandraSettings, run: runs.Run, folder: Path) -> None:
    """Check that the table has each reading of a run as it was generated, and that the run balances in the ledger."""
    expected = runs.generated(folder, run.begin, run.seconds, run.machines, run.interval)
    found = runs.stored(cassandra, run.begin, run.end)
    wrong = [key for key, values in expected.items() if found.get(key) != values]
    assert not wrong, f"{len(wrong)} of {len(expected)} rows are missing or wrong, such as {wrong[0]}"
    with connect(cassandra) as session:
        ledger = {each.run: each.stages for each in read_last_runs(Store(session), 50)}
    stages = {each.stage: each.counts for each in ledger[run.name]}
    assert list(stages) == runs.STAGES
    loaded = stages["load"]
    assert stages["generate"]["generated"] == len(expected)
    assert loaded["consumed"] == sum(loaded[name] for name in CLASSES) >= stages["produce"]["produced"]
    # A reading that another run has stored, or that a try of produce has sent before, is a duplicate.
    assert loaded["loaded"] <= len(expected) <= loaded["loaded"] + loaded["duplicate"]
    assert loaded["loaded"] + loaded["duplicate"] == loaded["consumed"]
