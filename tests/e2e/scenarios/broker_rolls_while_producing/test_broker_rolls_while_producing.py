from datetime import UTC, datetime

import pytest

from tests.e2e.airflow import Airflow
from tests.e2e.conftest import OPERATORS, Kubectl
from tests.e2e.runs import running_pod, start
from tests.e2e.scenarios.conftest import Delivered
from tests.e2e.scenarios.faults import BROKER, wait_for_pod


@pytest.mark.skipif(bool(OPERATORS), reason="the operator rolls its brokers one by one")
def test_all_is_stored_when_the_broker_rolls_while_produce_writes(
    airflow: Airflow, kubectl: Kubectl, check_delivery: Delivered
) -> None:
    # Produce may have ended before the broker does: then another run is tried.
    for _ in range(3):
        run = start(airflow, "roll", machines=30, seconds=7200)
        running_pod(kubectl, run.name, "produce")
        kubectl("delete", "pod", BROKER, "--timeout=120s")
        gone = datetime.now(UTC)
        wait_for_pod(kubectl, BROKER)
        assert run.wait() == "success"
        check_delivery(run)
        if datetime.fromisoformat(run.task("produce")["end_date"]) > gone:
            return
    pytest.fail("produce ended before the broker in each run")
