import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yaml

from tests.e2e.airflow import Airflow
from tests.e2e.conftest import Kubectl
from tests.e2e.runs import start, wait_until
from tests.e2e.scenarios.conftest import Delivered

LIMIT = "64Mi"
TEMPLATES = ("configmap", "sensor-etl-dag")


@pytest.mark.long
def test_all_is_stored_and_the_log_names_the_limit_when_transform_runs_out_of_memory(
    airflow: Airflow, kubectl: Kubectl, check_delivery: Delivered
) -> None:
    with limited(kubectl):
        run = start(airflow, "memory")
        wait_until(lambda: run.task("transform")["try_number"] > 1, "transform is tried again", 600, pause=1)
    assert run.wait() == "success"
    log = airflow.log(run.name, "transform", 1)
    assert "OOMKilled" in log, log
    assert "resources.limits.memory" in log, log
    check_delivery(run)


@contextmanager
def limited(kubectl: Kubectl) -> Iterator[None]:
    """Lower the limit in the pod template that the scheduler reads, and wait until its volume has it."""
    before = json.loads(kubectl("get", *TEMPLATES, "--output=json"))["data"]["transform.yaml"]
    pod = yaml.safe_load(before)
    pod["spec"]["containers"][0]["resources"] = {"limits": {"memory": LIMIT}, "requests": {"memory": LIMIT}}
    write(kubectl, yaml.safe_dump(pod))
    try:
        wait_until(lambda: f"memory: {LIMIT}" in read(kubectl), "the scheduler has the limit", 180, pause=1)
        yield
    finally:
        write(kubectl, before)
        wait_until(lambda: f"memory: {LIMIT}" not in read(kubectl), "the scheduler has the old limit", 180, pause=1)


def write(kubectl: Kubectl, template: str) -> None:
    kubectl("patch", *TEMPLATES, "--type=merge", f"--patch={json.dumps({'data': {'transform.yaml': template}})}")


def read(kubectl: Kubectl) -> str:
    scheduler = ("deployment/sensor-etl-airflow-scheduler", "--container=scheduler")
    return kubectl("exec", *scheduler, "--", "cat", "/opt/sensor-etl/transform.yaml")
