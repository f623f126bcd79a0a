from collections.abc import Callable
from pathlib import Path

import pytest
from cassandra.cluster import Session

from etl.cassandra.connection import connect
from etl.cassandra.store import Store
from etl.run.ledger import read_last_runs
from etl.settings import CassandraSettings
from tests.e2e.airflow import Airflow
from tests.e2e.conftest import OPERATORS, Kubectl
from tests.e2e.runs import Run, generated, running_pod, start, wait_until
from tests.e2e.scenarios.conftest import Delivered
from tests.e2e.scenarios.faults import BROKER, paused


@pytest.mark.skipif(bool(OPERATORS), reason="the only broker is stopped")
def test_all_is_stored_when_load_is_killed_between_write_and_commit(
    cluster: str,
    airflow: Airflow,
    kubectl: Kubectl,
    cassandra: CassandraSettings,
    check_delivery: Delivered,
    tmp_path: Path,
) -> None:
    # Load may have committed before the broker stops: then another run is tried.
    for attempt in range(3):
        run = start(airflow, "killed", machines=30, seconds=7200)
        kill_between(cluster, kubectl, cassandra, run, tmp_path / str(attempt))
        assert run.wait() == "success"
        check_delivery(run)
        if run.task("load")["try_number"] > 1:
            return
    pytest.fail("load committed before the broker stopped in each run")


def kill_between(cluster: str, kubectl: Kubectl, cassandra: CassandraSettings, run: Run, folder: Path) -> None:
    with connect(cassandra) as session:
        some_row = is_row_there(session, run, folder)
        pod = running_pod(kubectl, run.name, "load")
        wait_until(some_row, "a row of the run is there")
        with paused(cluster, kubectl, BROKER):
            wait_until(lambda: is_in_ledger(session, run), "the ledger has the run", 120)
            kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--ignore-not-found")


def is_row_there(session: Session, run: Run, folder: Path) -> Callable[[], bool]:
    """Whether the table has one of some rows that the run writes, each of another machine."""
    rows = generated(folder, run.begin, run.seconds, run.machines, run.interval)
    first = dict(sorted(rows, reverse=True))
    query = session.prepare("SELECT timestamp FROM sensor_data WHERE equipment_id = ? AND day = ? AND timestamp = ?")
    keys = [(machine, timestamp.date(), timestamp) for machine, timestamp in first.items()]
    return lambda: any(session.execute(query, key).one() for key in keys)


def is_in_ledger(session: Session, run: Run) -> bool:
    return run.name in {each.run for each in read_last_runs(Store(session), 5)}
