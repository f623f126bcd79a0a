"""The only node is replaced by another pod at another address, while a run loads and the page is open."""

import json
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.e2e.airflow import Airflow
from tests.e2e.conftest import Kubectl, forwarded
from tests.e2e.runs import Run, running_pod, start
from tests.e2e.scenarios.conftest import Delivered
from tests.e2e.scenarios.faults import NODE, wait_for_pod
from tests.e2e.test_insight import fetch

# A page asks for the name again every few seconds; its probe, and this machine, take some too.
BACK_SECONDS = 60


def restarts(kubectl: Kubectl) -> int:
    """How often the page's container was started again; a cluster that is kept has been through more."""
    pages = "--selector=app.kubernetes.io/component=page"
    (page,) = json.loads(kubectl("get", "pods", pages, "--output=json"))["items"]
    return int(page["status"]["containerStatuses"][0]["restartCount"])


class Replaced(NamedTuple):
    """The run that lasted over it, the node's addresses, and what the page answered in turn."""

    run: Run
    state: str
    before: str
    after: str
    answers: list[int]
    restarts: int


def node_address(kubectl: Kubectl) -> str:
    return kubectl("get", "pod", NODE, "--output=jsonpath={.status.podIP}")


@pytest.fixture(scope="module")
def replaced(cluster: str, airflow: Airflow, kubectl: Kubectl) -> Replaced:
    before, restarted = node_address(kubectl), restarts(kubectl)
    with forwarded(cluster, "service/sensor-etl-page", 8050) as port:
        ready = f"http://127.0.0.1:{port}/readyz"
        answers = [fetch(ready)]
        run = start(airflow, "replaced", machines=30, seconds=7200)
        running_pod(kubectl, run.name, "load")
        kubectl("delete", "pod", NODE, "--timeout=120s")
        answers.append(fetch(ready))
        wait_for_pod(kubectl, NODE)
        deadline = time.monotonic() + BACK_SECONDS
        while (answer := fetch(ready)) != 200 and time.monotonic() < deadline:
            time.sleep(1)
        answers.append(answer)
    state = run.wait()
    return Replaced(run, state, before, node_address(kubectl), answers, restarted)


def test_rows_are_all_there_when_the_only_node_is_replaced_while_load_runs(
    replaced: Replaced, check_delivery: Delivered
) -> None:
    assert replaced.before != replaced.after
    assert replaced.state == "success", replaced.run.logs("load")
    check_delivery(replaced.run)


def test_page_comes_back_when_the_only_node_has_another_address(
    replaced: Replaced, cluster: str, kubectl: Kubectl, secret: Callable[[str, str], str]
) -> None:
    assert replaced.answers == [200, 503, 200]
    with forwarded(cluster, "service/sensor-etl-page", 8050) as port:
        assert fetch(f"http://127.0.0.1:{port}", secret("sensor-etl-page", "password")) == 200
    assert restarts(kubectl) == replaced.restarts
