"""The DAG as it runs, on a real broker and a real node; each pod's container is a process of this machine instead."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from kubernetes.client import (
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStatus,
    V1Pod,
    V1PodStatus,
)

from tests.dags.config import SETTINGS
from tests.dags.conftest import LINEAGE, PYTHON, ROOT, Load, variables

pytestmark = pytest.mark.usefixtures("database")

STAGES = ["generate", "produce", "consume", "transform", "load"]
SIDES = ("inputs", "outputs")


@pytest.fixture
def troubles() -> dict[str, dict[str, str]]:
    """Variables for the first try of a task, by task."""
    return {}


@pytest.fixture
def started(
    services: dict[str, str], troubles: dict[str, dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Lets tasks run processes, and lists the stages that were started."""
    stages: list[str] = []

    def execute(self: Any, context: Any) -> None:
        stages.append(self.task_id)
        manifest = self.build_pod_request_obj(context, dry_run=True)
        environment = os.environ | services | variables(manifest) | {"ETL_WORKSPACE_URL": str(tmp_path / "workspace")}
        del environment["ETL_SECRETS_DIR"]
        environment |= troubles.pop(self.task_id, {})
        done = subprocess.run([PYTHON, "-m", "etl", self.task_id], env=environment, check=False, stderr=sys.stderr)
        self.cleanup(manifest, ended_pod(manifest, done.returncode), context=context)

    monkeypatch.setattr(KubernetesPodOperator, "execute", execute)
    # There is no pod to be looked at, labelled or deleted.
    for action in ("is_istio_enabled", "patch_already_checked", "process_pod_deletion"):
        monkeypatch.setattr(KubernetesPodOperator, action, lambda self, pod, **_: None)
    return stages


def ended_pod(manifest: V1Pod, exit_code: int) -> V1Pod:
    """What Kubernetes says of a pod whose container has ended."""
    terminated = V1ContainerState(terminated=V1ContainerStateTerminated(exit_code=exit_code))
    image = {"image": "sensor-etl", "image_id": "sensor-etl"}
    base = V1ContainerStatus(name="base", ready=False, restart_count=0, state=terminated, **image)
    phase = "Failed" if exit_code else "Succeeded"
    return V1Pod(metadata=manifest.metadata, status=V1PodStatus(phase=phase, container_statuses=[base]))


def states(run: Any) -> dict[str, list[str]]:
    """How the tasks of a run ended, by task; several where they are mapped."""
    found: dict[str, list[str]] = {}
    for task in run.get_task_instances():
        found.setdefault(task.task_id, []).append(str(task.state))
    return found


def loaded(services: dict[str, str]) -> int:
    """How many rows are in the table; runs that follow closely cover some of the same time."""
    script = (
        "from etl.cassandra.connection import connect; from etl.settings import CassandraSettings\n"
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


def test_task_is_tried_again_when_a_service_does_not_answer(
    load_dag: Load, started: list[str], troubles: dict[str, dict[str, str]]
) -> None:
    # Nobody listens on this port.
    troubles["load"] = {"ETL_CASSANDRA_PORT": "1", "ETL_CASSANDRA_TIMEOUT": "1"}
    dag = load_dag(retryDelaySeconds=1, maxRetryDelaySeconds=1)
    run = dag.test(run_conf={"machines": 1, "intervalSeconds": 1, "durationSeconds": 5})
    assert states(run) == {stage: ["success"] for stage in STAGES}
    assert started == [*STAGES, "load"]


@pytest.mark.parametrize("shards", [1, 2])
def test_task_fails_at_once_when_its_settings_are_wrong(
    load_dag: Load, started: list[str], troubles: dict[str, dict[str, str]], shards: int
) -> None:
    # A second try would find nothing wrong.
    troubles["generate"] = {"ETL_GENERATE_INTERVAL": "often"}
    dag = load_dag(retryDelaySeconds=1, maxRetryDelaySeconds=1, shards=shards)
    run = dag.test(run_conf={"machines": 2, "durationSeconds": 5})
    assert sorted(states(run)["generate"]) == ["failed", "success"][:shards]
    assert states(run)["load"] == ["upstream_failed"] * len(states(run)["load"])
    assert started == ["generate"] * shards


def test_analysis_fails_at_once_when_its_settings_are_wrong(
    load_dags: Load, started: list[str], troubles: dict[str, dict[str, str]]
) -> None:
    troubles["analyze"] = {"ETL_ANALYZE_LIMITS_FILE": "/nowhere/limits.yaml"}
    run = load_dags(retryDelaySeconds=1, maxRetryDelaySeconds=1)["equipment_insight"].test()
    assert states(run) == {"analyze": ["failed"]}
    assert started == ["analyze"]


def edges(dag: str) -> dict[str, tuple[list[str], list[str]]]:
    """What the tasks of a DAG read and write, by the events of their ends that OpenLineage's provider has emitted."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for event in map(json.loads, LINEAGE.read_text().splitlines()):
        job, _, task = event["job"]["name"].partition(".")
        if job == dag and task and event["eventType"] == "COMPLETE":
            reads, writes = ([f"{item['namespace']}/{item['name']}" for item in event[side]] for side in SIDES)
            found[task] = reads, writes
    return found


def test_lineage_leads_from_the_topic_to_the_table_when_a_run_ends(load_dags: Load, started: list[str]) -> None:
    LINEAGE.unlink(missing_ok=True)
    dags = load_dags()
    dags["sensor_etl"].test(run_conf={"machines": 1, "intervalSeconds": 1, "durationSeconds": 5})
    dags["equipment_insight"].test()
    files, table = "s3://plant/workspace", "cassandra://node:9042/sensors"
    readings, dead, events, meters = [f"kafka://broker:9093/{topic}" for topic in SETTINGS["topics"]]
    assert edges("sensor_etl") == {
        "generate": ([], [f"{files}/generate"]),
        "produce": ([f"{files}/generate"], [readings]),
        "consume": ([readings, meters], [f"{files}/consume"]),
        "transform": ([f"{files}/consume", f"{table}.sensor_data"], [f"{files}/transform"]),
        "load": ([f"{files}/transform"], [f"{table}.sensor_data", dead]),
    }
    reads, writes = edges("equipment_insight")["analyze"]
    assert reads == [f"{table}.sensor_data"]
    assert events in writes


class Mailbox(Message):  # type: ignore[misc]
    """Keeps the mails that a server receives."""

    def __init__(self) -> None:
        super().__init__()
        self.subjects: list[str] = []

    def handle_message(self, message: Any) -> None:
        self.subjects.append(message["Subject"])


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """What a real SMTP server receives; the connection `mail` leads to it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(Mailbox(), hostname="127.0.0.1", port=port)
    controller.start()
    try:
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.com"}
        mail = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MAIL", json.dumps(mail))
        yield controller.handler
    finally:
        controller.stop()


def test_mail_is_sent_once_when_a_task_has_failed_in_its_last_try(
    load_dag: Load, started: list[str], troubles: dict[str, dict[str, str]], mailbox: Mailbox
) -> None:
    troubles["generate"] = {"ETL_GENERATE_INTERVAL": "often"}
    mail = {"to": "plant@example.com", "smtp_conn_id": "mail", "subject": "{{ ti.task_id }} failed"}
    notifier = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
    load_dag(onFailure=[{"notifier": notifier, "arguments": mail}]).test(run_conf={"durationSeconds": 5})
    assert mailbox.subjects == ["generate failed"]


def test_task_links_to_the_page_when_its_url_is_known(load_dags: Load, started: list[str]) -> None:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    dags = load_dags(pageUrl="https://machines.example.com")
    run = dags["sensor_etl"].test(run_conf={"machines": 1, "intervalSeconds": 1, "durationSeconds": 5})
    analysis = dags["equipment_insight"].test()
    with create_session() as session:
        found = [
            (item.task_id, XComModel.deserialize_value(item))
            for item in session.query(XComModel).filter(
                XComModel.key == "_link_PageLink", XComModel.run_id.in_((run.run_id, analysis.run_id))
            )
        ]
    pipeline = [(stage, "https://machines.example.com/pipeline") for stage in STAGES]
    assert sorted(found) == sorted([*pipeline, ("analyze", "https://machines.example.com/")])
