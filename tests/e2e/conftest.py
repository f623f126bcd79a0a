"""A kind cluster with everything in it: brought up once, left running for the next time (`make down` removes it)."""

import base64
import inspect
import json
import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from etl.settings import CassandraSettings
from images import cluster as kind
from images import install, operators
from images.command import step
from images.tools import tool
from tests.e2e import earlier as earlier_chart
from tests.e2e.airflow import Airflow, log_in
from tests.e2e.runs import Kubectl, new_run

NAME = os.environ.get("ETL_CLUSTER", "sensor-etl-e2e")
HERE = Path(__file__).parent
VALUES = [install.SMALL, HERE / "values.yaml"]
# With the operators instead of one broker and one node of ours: the chart's default modes.
OPERATORS = ["kafka.mode=strimzi", "cassandra.mode=k8ssandra"] if os.environ.get("OPERATORS") else []
Run = Callable[..., tuple[int, str]]
FINISHED_SECONDS = 3600

CQL = """
import sys
from etl.cassandra.connection import connect
from etl.settings import CassandraSettings, read_settings
with connect(read_settings(CassandraSettings)) as session:
    session.execute(sys.argv[1])
"""


# What no upgrade may change.
SECRETS = {
    "sensor-etl-superuser": "password",
    "sensor-etl-cassandra-load": "password",
    "sensor-etl-kafka-produce": "password",
    "sensor-etl-airflow-admin": "password",
    "sensor-etl-fernet-key": "fernet-key",
    "sensor-etl-cassandra-tls": "tls.crt",
}


class Earlier(NamedTuple):
    """Secrets of the release as an earlier chart made them, or why there was no such release."""

    secrets: dict[str, str]
    why_not: str


@pytest.fixture(scope="session")
def earlier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    """A release of an earlier chart, in a cluster that is ready for it, for `cluster` to upgrade.

    It takes minutes, so there is none unless a test names this fixture itself.
    """
    install.prepare(NAME)
    if not any("earlier" in inspect.signature(item.function).parameters for item in request.session.items):
        return Earlier({}, "no test looks at it")
    why_not = "an earlier chart is upgraded without operators" if OPERATORS else earlier_chart.why_not(NAME)
    if why_not:
        return Earlier({}, why_not)
    earlier_chart.install_earlier(NAME, tmp_path_factory.mktemp("earlier"))
    return Earlier({name: read_secret(NAME, name, key) for name, key in SECRETS.items()}, "")


@pytest.fixture(scope="session")
def cluster(earlier: Earlier) -> str:
    with step("the cluster with everything in it"):
        files = [f"--from-file={HERE / 'e2e_sleep.py'}", "--dry-run=client", "--output=json"]
        dag = kind.kubectl(NAME, "--namespace", install.NAMESPACE, "create", "configmap", "e2e-sleep", *files)
        kind.kubectl(NAME, "apply", "--filename=-", stdin=dag)
        if OPERATORS:
            operators.install(NAME)
        install.install(NAME, VALUES, OPERATORS)
    return NAME


@pytest.fixture(scope="session")
def kubectl(cluster: str) -> Kubectl:
    """Run kubectl in the release's namespace."""

    def run(*arguments: str, stdin: str | None = None) -> str:
        return kind.kubectl(cluster, "--namespace", install.NAMESPACE, *arguments, stdin=stdin)

    return run


def read_secret(cluster: str, name: str, key: str) -> str:
    """The value of a key of a Secret."""
    found = kind.kubectl(cluster, "--namespace", install.NAMESPACE, "get", "secret", name, "--output=json")
    return base64.b64decode(json.loads(found)["data"][key]).decode()


@pytest.fixture(scope="session")
def secret(cluster: str) -> Callable[[str, str], str]:
    """The value of a key of a Secret of the release."""
    return partial(read_secret, cluster)


@pytest.fixture(scope="session")
def airflow(cluster: str, secret: Callable[[str, str], str]) -> Airflow:
    password = secret("sensor-etl-airflow-admin", "password")
    return log_in(install.address(cluster), "admin", password)


@pytest.fixture(scope="session")
def finished(airflow: Airflow) -> str:
    """A run of three machines and an hour that has ended well; several tests look at what it left."""
    run = new_run("finished")
    airflow.trigger(run, machines=3, durationSeconds=FINISHED_SECONDS)
    assert airflow.wait(run) == "success"
    return run


# Anew for each test, since it leads to one pod, which tests replace.
@pytest.fixture
def cassandra(
    cluster: str, secret: Callable[[str, str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CassandraSettings]:
    """Cassandra as its superuser, from this machine."""
    with open_cassandra(cluster, secret, tmp_path_factory.mktemp("cassandra")) as settings:
        yield settings


@contextmanager
def open_cassandra(cluster: str, secret: Callable[[str, str], str], folder: Path) -> Iterator[CassandraSettings]:
    """Cassandra as its superuser, from this machine, while its pod is the same; the CA is written into the folder."""
    ca = folder / "ca.crt"
    ca.write_text(secret("sensor-etl-cassandra-ca-cert", "ca.crt"))
    with forwarded(cluster, "service/sensor-etl-dc1-service", 9042) as port:
        yield CassandraSettings(
            contact_points="127.0.0.1",
            port=port,
            local_datacenter="dc1",
            username=secret("sensor-etl-superuser", "username"),
            password=secret("sensor-etl-superuser", "password"),  # type: ignore[arg-type]
            ca_file=ca,
        )


@contextmanager
def forwarded(cluster: str, target: str, port: int) -> Iterator[int]:
    """A port of this machine that leads to one in the cluster."""
    command = [tool("kubectl"), "--kubeconfig", kind.kubeconfig(cluster), "--namespace", install.NAMESPACE]
    with subprocess.Popen(
        [*command, "port-forward", target, f":{port}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout
            said = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", said)
            assert found, f"port-forward to {target} said {said!r}"
            yield int(found[1])
        finally:
            process.terminate()


@pytest.fixture(name="run")
def run_in_pod(kubectl: Kubectl) -> Run:
    """Run Python in the pod of a stage, as the DAG would start it; returns exit code and log."""

    def python(
        stage: str, code: str, *arguments: str, change: Callable[[Any], None] = lambda pod: None
    ) -> tuple[int, str]:
        config = json.loads(kubectl("get", "configmap", "sensor-etl-dag", "--output=json"))["data"]
        pod = yaml.safe_load(config[f"{stage}.yaml"])
        name = f"denied-{uuid.uuid4().hex[:8]}"
        pod["metadata"]["name"] = name
        (base,) = pod["spec"]["containers"]
        base["command"] = ["python", "-c", code, *arguments]
        del base["args"]
        base["env"] = [
            *base["env"],
            {"name": "ETL_KAFKA_TIMEOUT", "value": "15"},
            {"name": "ETL_CASSANDRA_TIMEOUT", "value": "15"},
        ]
        change(pod)
        kubectl("create", "--filename=-", stdin=json.dumps(pod))
        try:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                status = json.loads(kubectl("get", "pod", name, "--output=json"))["status"]
                if status["phase"] in ("Succeeded", "Failed"):
                    code_ = status["containerStatuses"][0]["state"]["terminated"]["exitCode"]
                    return code_, kubectl("logs", name)
                time.sleep(0.5)
            raise TimeoutError(kubectl("describe", "pod", name))
        finally:
            kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")

    return python


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """A folder of what is kept of a run of the tests."""
    folder = Path(__file__).parents[2] / ".cache" / "e2e"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
