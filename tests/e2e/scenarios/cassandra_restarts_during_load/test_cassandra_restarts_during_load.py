"""The only node of Cassandra is replaced by another pod at another address, while a run loads and the page is open."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from etl.settings import CassandraSettings
from tests.e2e.airflow import Airflow
from tests.e2e.conftest import OPERATORS, Kubectl, forwarded
from tests.e2e.test_insight import fetch
from tests.e2e.test_pipeline import generated, new_run, range_of, running_pod, stored

NODE = "sensor-etl-dc1-default-sts-0" if OPERATORS else "sensor-etl-cassandra-0"
# A run of a minute and a half on two busy cores.
MACHINES, SECONDS = 30, 7200
# A page asks for the name again every few seconds; its probe, and this machine, take some too.
BACK_SECONDS = 60


def restarts(kubectl: Kubectl) -> int:
    """How often the page's container was started again; a cluster that is kept has been through more."""
    pages = "--selector=app.kubernetes.io/component=page"
    (page,) = json.loads(kubectl("get", "pods", pages, "--output=json"))["items"]
    return int(page["status"]["containerStatuses"][0]["restartCount"])


class Replaced(NamedTuple):
    """The run that lasted over it, the node's addresses, and what the page answered in turn."""

    run: str
    state: str
    before: str
    after: str
    answers: list[int]
    restarts: int


def node_address(kubectl: Kubectl) -> str:
    return kubectl("get", "pod", NODE, "--output=jsonpath={.status.podIP}")


@pytest.fixture(scope="module")
def replaced(cluster: str, airflow: Airflow, kubectl: Kubectl) -> Replaced:
    before, run, restarted = node_address(kubectl), new_run("replaced"), restarts(kubectl)
    with forwarded(cluster, "service/sensor-etl-page", 8050) as port:
        ready = f"http://127.0.0.1:{port}/readyz"
        answers = [fetch(ready)]
        airflow.trigger(run, machines=MACHINES, durationSeconds=SECONDS)
        running_pod(kubectl, run, "load")
        kubectl("delete", "pod", NODE, "--timeout=120s")
        answers.append(fetch(ready))
        # Its StatefulSet takes a moment to make it anew.
        kubectl("wait", "--for=create", f"pod/{NODE}", "--timeout=60s")
        kubectl("wait", "--for=condition=Ready", f"pod/{NODE}", "--timeout=300s")
        deadline = time.monotonic() + BACK_SECONDS
        while (answer := fetch(ready)) != 200 and time.monotonic() < deadline:
            time.sleep(1)
        answers.append(answer)
    state = airflow.wait(run, 900)
    return Replaced(run, state, before, node_address(kubectl), answers, restarted)


def test_rows_are_all_there_when_the_only_node_is_replaced_while_load_runs(
    replaced: Replaced, airflow: Airflow, cassandra: CassandraSettings, tmp_path: Path
) -> None:
    assert replaced.before != replaced.after
    assert replaced.state == "success", airflow.tasks(replaced.run)
    begin = range_of(airflow, replaced.run, SECONDS)
    expected = generated(tmp_path, begin, SECONDS, MACHINES)
    found = stored(cassandra, begin, begin + timedelta(seconds=SECONDS))
    assert {key: found.get(key) for key in expected} == expected


def test_page_comes_back_when_the_only_node_has_another_address(
    replaced: Replaced, cluster: str, kubectl: Kubectl, secret: Callable[[str, str], str]
) -> None:
    assert replaced.answers == [200, 503, 200]
    with forwarded(cluster, "service/sensor-etl-page", 8050) as port:
        assert fetch(f"http://127.0.0.1:{port}", secret("sensor-etl-page", "password")) == 200
    assert restarts(kubectl) == replaced.restarts


def test_task_is_not_tried_again_when_its_settings_are_wrong(airflow: Airflow) -> None:
    run = new_run("wrong")
    airflow.trigger(run, source="recorded", recordedUrl="/nowhere/readings.csv")
    assert airflow.wait(run) == "failed"
    generate = airflow.tasks(run)["generate"]
    assert (generate["state"], generate["try_number"]) == ("failed", 1)
    assert generate["max_tries"] > 1
