"""The DAG as it runs, on a real broker and a real node; each pod's container is a process of this machine instead."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowSkipException

from tests.dags.config import SETTINGS
from tests.dags.conftest import Load, variables

STAGES = ["generate", "produce", "consume", "transform", "load"]
ROOT = Path(__file__).parents[2]
# The environment of the stages, not that of Airflow.
PYTHON = ROOT / ".venv" / "bin" / "python"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings that reach both, with topics and tables."""
    folder = tmp_path_factory.mktemp("services")
    local = [PYTHON, "-m", "images.local"]
    printed = subprocess.run([*local, "up", "--dir", folder], check=True, capture_output=True, text=True, cwd=ROOT)
    settings = dict(line.removeprefix("export ").split("=", 1) for line in printed.stdout.splitlines())
    try:
        subprocess.run([PYTHON, "-m", "etl", "schema"], check=True, capture_output=True, env=os.environ | settings)
        yield settings
    finally:
        subprocess.run([*local, "down", "--dir", folder], check=True, capture_output=True, cwd=ROOT)


@pytest.fixture
def started(services: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets tasks run processes, and lists the stages that were started."""
    stages: list[str] = []

    def execute(self: Any, context: Any) -> None:
        stages.append(self.task_id)
        manifest = self.build_pod_request_obj(context, dry_run=True)
        environment = os.environ | services | variables(manifest) | {"ETL_WORKSPACE_URL": str(tmp_path / "workspace")}
        del environment["ETL_SECRETS_DIR"]
        done = subprocess.run([PYTHON, "-m", "etl", self.task_id], env=environment, check=False, stderr=sys.stderr)
        if done.returncode in self.skip_on_exit_code:
            raise AirflowSkipException
        assert done.returncode == 0

    monkeypatch.setattr(KubernetesPodOperator, "execute", execute)
    return stages


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    """Airflow's tables."""
    from airflow.utils.db import initdb

    initdb()


def states(run: Any) -> dict[str, list[str]]:
    """How the tasks of a run ended, by task; several where they are mapped."""
    found: dict[str, list[str]] = {}
    for task in run.get_task_instances():
        found.setdefault(task.task_id, []).append(str(task.state))
    return found


def loaded(services: dict[str, str]) -> int:
    """How many rows are in the table; runs that follow closely cover some of the same time."""
    script = (
        "from etl.cassandra import connect; from etl.settings import CassandraSettings\n"
        "with connect(CassandraSettings()) as session:\n"
        "    print(session.execute('SELECT count(*) FROM sensor_data').one()[0])"
    )
    done = subprocess.run(
        [PYTHON, "-c", script], check=True, capture_output=True, text=True, env=os.environ | services, cwd=ROOT
    )
    return int(done.stdout)


def test_run_loads_what_it_generates_then_nothing_new_skips_the_rest(
    load_dag: Load, started: list[str], services: dict[str, str]
) -> None:
    before = loaded(services)
    dag = load_dag()
    run = dag.test(run_conf={"machines": 2, "intervalSeconds": 1, "durationSeconds": 50})
    assert states(run) == {stage: ["success"] for stage in STAGES}
    assert loaded(services) - before == 100

    started.clear()
    run = dag.test(run_conf={"source": "topic"})
    assert states(run) == dict(zip(STAGES, [["success"], ["success"], *[["skipped"]] * 3], strict=True))
    assert started == STAGES[:3]


def test_analysis_of_a_load_succeeds_then_is_skipped_when_nothing_is_new(load_dags: Load, started: list[str]) -> None:
    dags = load_dags()
    run = dags["sensor_etl"].test(run_conf={"machines": 2, "intervalSeconds": 1, "durationSeconds": 30})
    assert states(run) == {stage: ["success"] for stage in STAGES}
    assert states(dags["equipment_insight"].test()) == {"analyze": ["success"]}
    assert states(dags["equipment_insight"].test()) == {"analyze": ["skipped"]}
    assert started == [*STAGES, "analyze", "analyze"]


def test_run_loads_all_when_stages_are_sharded(load_dag: Load, started: list[str], services: dict[str, str]) -> None:
    before = loaded(services)
    # Of these 320 rows, those of the run before can be there already.
    run = load_dag(shards=2, params=SETTINGS["params"] | {"machines": 4, "intervalSeconds": 1, "durationSeconds": 80})
    assert states(run.test()) == {stage: ["success", "success"] for stage in STAGES}
    assert 320 - before <= loaded(services) - before <= 320
