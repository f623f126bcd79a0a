import time

import pytest

from tests.e2e.airflow import ENDED, Airflow
from tests.e2e.conftest import Kubectl
from tests.e2e.runs import new_run, pods_of, running_pod, start
from tests.e2e.scenarios.conftest import Delivered


@pytest.mark.long
def test_no_second_pod_starts_and_no_log_is_lost_when_the_scheduler_is_killed(
    airflow: Airflow, kubectl: Kubectl, check_delivery: Delivered
) -> None:
    run, asleep = start(airflow, "scheduler"), new_run("asleep")
    running_pod(kubectl, run.name, "produce")
    # The same operator, in a task that outlives the scheduler's start and the time until a lost task is noticed.
    airflow.trigger(asleep, dag="e2e_sleep", seconds=120)
    running_pod(kubectl, asleep, "sleep_0")
    scheduler = "app.kubernetes.io/component=airflow-scheduler"
    kubectl("delete", "pod", f"--selector={scheduler}", "--grace-period=0", "--force", "--wait=false")
    seen: set[str] = set()
    deadline = time.monotonic() + 400
    while (state := airflow.tasks(asleep, "e2e_sleep")["sleep_0"]["state"]) not in ENDED:
        seen |= {name for name, _ in pods_of(kubectl, asleep, "sleep_0")}
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    assert state == "success"
    assert airflow.tasks(asleep, "e2e_sleep")["sleep_0"]["try_number"] > 1
    assert len(seen) == 1
    assert run.wait() == "success"
    assert "stage=generate" in airflow.log(run.name, "generate")
    check_delivery(run)
