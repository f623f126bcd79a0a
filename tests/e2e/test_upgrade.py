"""What stays as it was in an upgrade, and what changes.

It comes last, so that nobody has to take the upgrade back; the next installation does.
"""

import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from etl.settings import CassandraSettings
from images import cluster as kind
from images import install
from images.tools import tool
from tests.e2e.airflow import Airflow, log_in
from tests.e2e.conftest import OPERATORS, SECRETS, VALUES, Kubectl
from tests.e2e.runs import STAGES, generated, new_run, range_of, stored

# What an earlier chart has not made.
NEW_SECRETS = {"sensor-etl-page": "password", "sensor-etl-cassandra-page": "password"}


class Before(NamedTuple):
    """What there was before an upgrade."""

    revision: int
    secrets: dict[str, str]


def status(cluster: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(install.helm(cluster, "status", install.RELEASE, "--output=json"))
    return found


def cut_off_upgrade(cluster: str) -> None:
    """Kill Helm within an upgrade, as a user who presses Ctrl+C twice does."""
    command = [tool("helm"), "--kubeconfig", kind.kubeconfig(cluster), "--namespace", install.NAMESPACE, "upgrade"]
    values = ["--reuse-values", "--wait", "--set=pipeline.shards=2"]
    with subprocess.Popen([*command, install.RELEASE, install.CHART, *values], stdout=subprocess.DEVNULL) as helm:
        while helm.poll() is None and status(cluster)["info"]["status"] != "pending-upgrade":
            pass
        helm.kill()
    assert status(cluster)["info"]["status"] == "pending-upgrade"


@pytest.fixture(scope="module")
def upgraded(cluster: str, secret: Callable[[str, str], str]) -> Before:
    """An upgrade that cuts the stages into two shards, after one that was cut off."""
    revision = int(status(cluster)["version"])
    before = Before(revision, {name: secret(name, key) for name, key in (SECRETS | NEW_SECRETS).items()})
    cut_off_upgrade(cluster)
    install.install(cluster, VALUES, [*OPERATORS, "pipeline.shards=2"])
    return before


@pytest.fixture(scope="module")
def airflow(upgraded: Before, cluster: str, secret: Callable[[str, str], str]) -> Airflow:
    """A new login: since the release was uninstalled, the port may be another one."""
    return log_in(install.address(cluster), "admin", secret("sensor-etl-airflow-admin", "password"))


def test_passwords_and_certificates_survive_an_upgrade(upgraded: Before, secret: Callable[[str, str], str]) -> None:
    assert {name: secret(name, key) for name, key in (SECRETS | NEW_SECRETS).items()} == upgraded.secrets


def test_schema_job_runs_at_each_upgrade(upgraded: Before, kubectl: Kubectl) -> None:
    job = json.loads(kubectl("get", "job", f"sensor-etl-schema-{upgraded.revision + 1}", "--output=json"))
    assert job["status"]["succeeded"] == 1


@pytest.mark.usefixtures("upgraded")
def test_rows_equal_what_was_generated_when_each_stage_is_two_pods(
    airflow: Airflow, cassandra: CassandraSettings, tmp_path: Path
) -> None:
    run = new_run("shards")
    airflow.trigger(run, machines=6, durationSeconds=60)
    assert airflow.wait(run) == "success"
    instances = airflow.call("GET", f"/dags/sensor_etl/dagRuns/{run}/taskInstances")["task_instances"]
    assert {(item["task_id"], item["map_index"]) for item in instances} == {(s, n) for s in STAGES for n in (0, 1)}
    begin = range_of(airflow, run, 60)
    expected = generated(tmp_path, begin, 60, 6)
    found = stored(cassandra, begin, begin + timedelta(seconds=60))
    assert {key: found.get(key) for key in expected} == expected
