import json

import pytest

from images import install
from tests.e2e.airflow import Airflow
from tests.e2e.conftest import Kubectl
from tests.e2e.runs import running_pod, start
from tests.e2e.scenarios.conftest import Delivered

STAGES = ("consume", "transform")


@pytest.mark.long
def test_all_is_stored_when_pods_are_evicted(airflow: Airflow, kubectl: Kubectl, check_delivery: Delivered) -> None:
    run = start(airflow, "evicted", machines=30, seconds=7200)
    for stage in STAGES:
        evict(kubectl, running_pod(kubectl, run.name, stage))
    assert run.wait() == "success"
    assert [run.task(stage)["try_number"] for stage in STAGES] == [2, 2]
    check_delivery(run)


def evict(kubectl: Kubectl, pod: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{install.NAMESPACE}/pods/{pod}/eviction"
    kubectl("create", f"--raw={path}", "--filename=-", stdin=json.dumps(eviction))
