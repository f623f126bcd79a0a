"""A second release in a namespace of its own, with Kafka, Cassandra and Airflow of the first one."""

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import yaml

from etl.cassandra.connection import connect
from etl.settings import CassandraSettings
from images import cluster as kind
from images import install
from tests.e2e.conftest import HERE, OPERATORS, Kubectl

RELEASE = NAMESPACE = "beside"
# By the first release's name and by that which the values of the second give.
SECRETS = {
    "kafka-ca": "sensor-etl-cluster-ca-cert",
    "kafka-produce": "sensor-etl-kafka-produce",
    "kafka-consume": "sensor-etl-kafka-consume",
    "kafka-load": "sensor-etl-kafka-load",
    "kafka-schema": "sensor-etl-kafka-admin",
    "cassandra-ca": "sensor-etl-cassandra-ca-cert",
    "cassandra-admin": "sensor-etl-superuser",
    "cassandra-transform": "sensor-etl-cassandra-transform",
    "cassandra-load": "sensor-etl-cassandra-load",
}
SCHEDULER = "--as=system:serviceaccount:sensor-etl:sensor-etl-airflow-scheduler"
# Without validation, for which kubectl would read resource definitions.
CREATE = ("create", "--filename=-", "--validate=false", SCHEDULER)
MISSING = "pods wait for these Secrets"

pytestmark = pytest.mark.skipif(bool(OPERATORS), reason="Strimzi gives no other rights than those of its KafkaUsers")


class Beside(NamedTuple):
    """What Helm said of the release, before its Secrets were there and after."""

    notes_without_secrets: str
    notes: str


@pytest.fixture(scope="module")
def beside(cluster: str, kubectl: Kubectl) -> Iterator[Beside]:
    """The second release; its namespace is removed at the end."""
    install.make_namespace(cluster, NAMESPACE)
    values = [f"--values={file}" for file in (install.SMALL, HERE / "beside.yaml")]
    wait = ("--wait", "--wait-for-jobs", "--timeout=5m")
    command = (RELEASE, str(install.CHART), *values)
    try:
        before = kind.helm(cluster, NAMESPACE, "install", *command, "--dry-run=server")
        for name, source in SECRETS.items():
            copy_secret(cluster, source, name)
        grant(kubectl)
        yield Beside(before, kind.helm(cluster, NAMESPACE, "install", *command, *wait))
    finally:
        kind.helm(cluster, NAMESPACE, "uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout=5m")
        kind.kubectl(cluster, "delete", "namespace", NAMESPACE)


def copy_secret(cluster: str, source: str, name: str) -> None:
    """Copy a Secret of the first release."""
    found = json.loads(kind.kubectl(cluster, "-n", install.NAMESPACE, "get", "secret", source, "--output=json"))
    copy = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": found["data"]}
    kind.kubectl(cluster, "-n", NAMESPACE, "create", "--filename=-", stdin=json.dumps(copy))


def grant(kubectl: Kubectl) -> None:
    """Let the first release's Kafka users use the second one's topics too, as `etl grant` of an administrator does."""
    jobs = kubectl("get", "jobs", "--selector=app.kubernetes.io/component=schema", "--output=json")
    job = max(json.loads(jobs)["items"], key=lambda item: int(item["metadata"]["name"].rsplit("-", 1)[1]))
    spec, labels = job["spec"]["template"]["spec"], job["metadata"]["labels"]
    (container,) = spec["containers"]
    spec["initContainers"] = []
    # `helm test` has a topic of its own.
    for suffix in ("", "-test"):
        names = {
            "ETL_KAFKA_TOPIC": f"beside{suffix}",
            "ETL_KAFKA_DEAD_LETTER_TOPIC": f"beside-dead-letters{suffix}",
            "ETL_KAFKA_GROUP": f"beside{suffix}",
        }
        kept = [item for item in container["env"] if item["name"] not in {*names, "ETL_GRANT_CASSANDRA_DIR"}]
        variables = [*kept, *({"name": name, "value": value} for name, value in names.items())]
        spec["initContainers"].append({**container, "name": f"grant{suffix}", "env": variables})
    spec["containers"] = [spec["initContainers"].pop()]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "grant-beside", "labels": labels}, "spec": spec}
    kubectl("create", "--filename=-", stdin=json.dumps(pod))
    try:
        kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/grant-beside", "--timeout=180s")
    finally:
        print(kubectl("logs", "grant-beside", "--all-containers"))
        kubectl("delete", "pod", "grant-beside", "--grace-period=0", "--force")


def test_notes_name_each_secret_that_is_missing(beside: Beside) -> None:
    missing = beside.notes_without_secrets.split(MISSING)[1].split("\n\n")[1].split()
    assert sorted(missing) == sorted(f"{NAMESPACE}/{name}" for name in SECRETS)
    assert MISSING not in beside.notes
    assert "WARNING" not in beside.notes


@pytest.mark.usefixtures("beside")
def test_rows_are_there_when_the_small_pipeline_has_run_on_external_services(
    cluster: str, cassandra: CassandraSettings
) -> None:
    with connect(cassandra.model_copy(update={"keyspace": "beside_test"})) as session:
        # It makes the same readings each time, and those of another run of these tests may be there.
        session.execute("TRUNCATE sensor_data", timeout=60)
        kind.helm(cluster, NAMESPACE, "test", RELEASE, "--timeout=5m")
        assert session.execute("SELECT count(*) FROM sensor_data").one()[0] > 0


@pytest.mark.usefixtures("beside")
def test_scheduler_of_another_namespace_may_launch_pods_and_no_more(cluster: str) -> None:
    assert kind.kubectl(cluster, "-n", NAMESPACE, "auth", "can-i", "create", "pods", SCHEDULER) == "yes"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": NAMESPACE},
    }
    answer = kind.kubectl(cluster, *CREATE, "--output=json", stdin=json.dumps(review))
    # Everybody may ask what they may do.
    allowed = {
        (resource, verb)
        for rule in json.loads(answer)["status"]["resourceRules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if not rule["apiGroups"][0].endswith(".k8s.io")
    }
    assert allowed == {
        *(("pods", verb) for verb in ("create", "get", "list", "watch", "patch", "delete")),
        ("pods/log", "get"),
        ("events", "list"),
    }


@pytest.mark.usefixtures("beside")
def test_pods_of_the_dag_are_let_in_when_another_namespace_launches_them(cluster: str, kubectl: Kubectl) -> None:
    config = json.loads(kubectl("get", "configmap", "beside-sensor-etl-dag", "--output=json"))["data"]
    for stage in ("generate", "produce", "consume", "transform", "load"):
        pod = yaml.safe_load(config[f"{stage}.yaml"])
        pod["metadata"]["name"] = stage
        assert pod["metadata"]["namespace"] == NAMESPACE
        kind.kubectl(cluster, *CREATE, "--dry-run=server", stdin=json.dumps(pod))
