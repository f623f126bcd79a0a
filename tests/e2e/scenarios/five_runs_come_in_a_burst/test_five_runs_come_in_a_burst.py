import json
from collections.abc import Callable

import pytest

from etl.cassandra.connection import connect
from tests.e2e.airflow import INSIGHT, Airflow
from tests.e2e.conftest import Kubectl, open_cassandra
from tests.e2e.runs import start, wait_until
from tests.e2e.scenarios.conftest import Delivered
from tests.e2e.scenarios.faults import paused


@pytest.mark.long
def test_all_loads_are_analysed_when_two_end_while_the_analysis_runs(
    cluster: str,
    airflow: Airflow,
    kubectl: Kubectl,
    secret: Callable[[str, str], str],
    check_delivery: Delivered,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    wait_until(lambda: not active(airflow, INSIGHT), "earlier loads are analysed", 600, pause=1)
    runs = [start(airflow, f"burst-{number}", seconds=600) for number in range(5)]
    assert runs[0].wait() == "success"
    with paused(cluster, kubectl, analysis(kubectl)):
        assert [run.wait() for run in runs[1:3]] == ["success", "success"]
        assert len(active(airflow, INSIGHT)) >= 1
    assert [run.wait() for run in runs[3:]] == ["success", "success"]
    wait_until(lambda: not active(airflow, INSIGHT), "all loads are analysed", 600, pause=1)
    with (
        open_cassandra(cluster, secret, tmp_path_factory.mktemp("cassandra")) as cassandra,
        connect(cassandra) as session,
    ):
        analysed = {row[0] for row in session.execute("SELECT run FROM analyzed_runs")}
    assert {run.name for run in runs} <= analysed
    check_delivery(*runs)


def active(airflow: Airflow, dag: str) -> list[str]:
    """The runs of a DAG that have not ended."""
    found = airflow.call("GET", f"/dags/{dag}/dagRuns?state=running&state=queued")["dag_runs"]
    return [each["dag_run_id"] for each in found]


def analysis(kubectl: Kubectl) -> str:
    """The pod of the analysis, once it runs."""
    found: list[str] = []

    def runs() -> bool:
        listed = json.loads(kubectl("get", "pods", "--selector=task_id=analyze", "--output=json"))["items"]
        found.extend(pod["metadata"]["name"] for pod in listed if pod["status"].get("phase") == "Running")
        return bool(found)

    wait_until(runs, "the analysis runs")
    return found[0]
