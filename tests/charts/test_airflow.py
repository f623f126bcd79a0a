"""What the chart gives to Airflow: the settings of the DAGs, and the pods that they start."""

import json
from typing import Any

import pytest
import yaml

from tests.charts.conftest import SMALL, Object, Render, Template, find, pods
from tests.dags.config import SETTINGS


def settings(objects: list[Object]) -> dict[str, Any]:
    """The settings of the DAGs."""
    found: dict[str, Any] = yaml.safe_load(find(objects, "ConfigMap", "plant-sensor-etl-dag")["data"]["dag.yaml"])
    return found


def test_settings_have_the_keys_of_the_tests_of_the_dags(render: Render) -> None:
    found = settings(render())
    assert found.keys() - {"namespace"} == SETTINGS.keys()
    assert all(found[key].keys() == SETTINGS[key].keys() for key in ("params", "lineage"))


EXTERNAL = {
    "kafka.mode": "external",
    "kafka.external.bootstrapServers": "kafka-1:9093,kafka-2:9093",
    "cassandra.mode": "external",
}


@pytest.mark.parametrize(
    ("values", "lineage"),
    [
        (
            {},
            {
                "kafka": "kafka://plant-sensor-etl-kafka-bootstrap.lines.svc:9093",
                "cassandra": "cassandra://plant-sensor-etl-dc1-service.lines.svc:9042",
                "workspace": "file://plant-sensor-etl-workspace",
            },
        ),
        (
            EXTERNAL | {"cassandra.external.contactPoints": "node-1, node-2", "workspace.url": "s3://plant/workspace/"},
            {
                "kafka": "kafka://kafka-1:9093",
                "cassandra": "cassandra://node-1:9042",
                "workspace": "s3://plant/workspace",
            },
        ),
        (
            EXTERNAL | {"cassandra.external.bundleSecretName": "bundle"},
            {
                "kafka": "kafka://kafka-1:9093",
                "cassandra": "cassandra://astra",
                "workspace": "file://plant-sensor-etl-workspace",
            },
        ),
    ],
)
def test_lineage_has_the_first_address_of_each_service(
    render: Render, values: dict[str, object], lineage: dict[str, str]
) -> None:
    assert settings(render(values))["lineage"] == lineage


def test_lineage_has_the_topics_in_the_order_in_which_the_dags_read_them(render: Render) -> None:
    topics = settings(render({"pipeline.topic": "readings", "pipeline.moreTopics": ["plc", "meter"]}))["topics"]
    assert topics == ["readings", "sensor-readings-dead-letters", "sensor-events", "plc", "meter"]


RECORDS: dict[str, object] = {"pipeline.startOnRecords": True, "pipeline.params.source": "topic"}


def test_triggerer_runs_only_when_a_dag_needs_it(render: Render) -> None:
    def runs(values: dict[str, object]) -> bool:
        return any(name.endswith("airflow-triggerer") for name, _ in pods(render(values)))

    assert not runs({})
    assert runs(RECORDS)
    assert runs({"pipeline.taskArguments": {"deferrable": True}})
    assert not runs(RECORDS | {"airflow.enabled": False})


def test_watcher_has_its_own_user_and_group_and_commits_nothing(render: Render) -> None:
    objects = render(RECORDS | {"pipeline.moreTopics": ["plc"]})
    pod = dict(pods(objects))["Deployment plant-sensor-etl-airflow-triggerer"]
    (writer,) = [item for item in pod["spec"]["initContainers"] if item["name"] == "connections"]
    config = json.loads(writer["env"][0]["value"])
    assert (config["group.id"], config["enable.auto.commit"]) == ("sensor-etl-watch", False)
    user = find(objects, "KafkaUser", config["sasl.username"])
    assert {(acl["resource"]["name"], *acl["operations"]) for acl in user["spec"]["authorization"]["acls"]} == {
        ("sensor-readings", "Read"),
        ("plc", "Read"),
        ("sensor-etl-watch", "Read"),
    }


def test_start_on_records_is_refused_when_runs_produce_records_themselves(template: Template) -> None:
    done = template({"pipeline.startOnRecords": True})
    assert done.returncode == 1
    assert "set pipeline.params.source=topic" in done.stderr


HOSTS = [{"name": "machines.plant", "tls": {"enabled": True, "secretName": "tls"}}, {"name": "other.plant"}]


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, ""),
        ({"ingress.page.enabled": True, "ingress.page.hosts": HOSTS}, "https://machines.plant"),
        ({"ingress.page.enabled": True, "ingress.page.hosts": HOSTS[1:]}, "http://other.plant"),
        ({"ingress.page.hosts": HOSTS}, ""),
        ({"page.url": "https://portal/machines", "ingress.page.hosts": HOSTS}, "https://portal/machines"),
        ({"page.url": "https://portal/machines", "page.enabled": False}, ""),
    ],
)
def test_tasks_link_to_the_page_when_its_url_is_known(render: Render, values: dict[str, object], url: str) -> None:
    assert settings(render(values))["pageUrl"] == url


def test_pods_of_the_dags_wait_in_a_queue_when_kueue_admits_them(render: Render) -> None:
    labels = {
        name: pod["metadata"]["labels"].get("kueue.x-k8s.io/queue-name")
        for name, pod in pods(render({"pipeline.kueueQueue": "plant"}, file=SMALL))
    }
    assert {name for name, queue in labels.items() if queue == "plant"} == {
        f"template {stage}.yaml" for stage in ("generate", "produce", "consume", "transform", "load", "analyze")
    }
    assert set(labels.values()) == {"plant", None}


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ("taskArguments", {"retries": 3}),
        ("taskArguments", {"priority_weight": "high"}),
        ("onFailure", [{"notifier": "mail", "arguments": {}}]),
        ("onFailure", [{"notifier": "airflow.providers.smtp.notifications.smtp.SmtpNotifier"}]),
    ],
)
def test_values_of_the_tasks_are_refused_when_airflow_would_not_take_them(
    template: Template, value: str, wrong: object
) -> None:
    done = template({f"pipeline.{value}": wrong})
    assert done.returncode == 1
    assert value in done.stderr
