"""Each way to install the chart: what is there, and how pods reach it."""

import re
from pathlib import Path

import pytest
import yaml

from etl.admin.access import read_access
from tests.charts.conftest import SMALL, Object, Render, Template, containers, find, pods

EXTERNAL: dict[str, object] = {
    "kafka.mode": "external",
    "kafka.external.bootstrapServers": "kafka.plant:9093",
    "cassandra.mode": "external",
    "cassandra.external.contactPoints": "cassandra.plant",
}
STAGES = ["generate", "produce", "consume", "transform", "load"]
LAUNCHED = [*STAGES, "analyze"]


def kinds(objects: list[Object]) -> set[str]:
    return {item["kind"] for item in objects}


def stage_pod(objects: list[Object], stage: str) -> Object:
    return dict(pods(objects))[f"template {stage}.yaml"]


def page_pod(objects: list[Object]) -> Object:
    return dict(pods(objects))["Deployment plant-sensor-etl-page"]


def environment(container: Object) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in container["env"]}


def test_operators_get_their_resources_when_nothing_is_set(render: Render) -> None:
    objects = render()
    assert {"Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser", "K8ssandraCluster"} <= kinds(objects)
    assert {item["apiVersion"] for item in objects if item["kind"].startswith("Kafka")} == {"kafka.strimzi.io/v1"}
    listener = find(objects, "Kafka", "plant-sensor-etl")["spec"]["kafka"]["listeners"][0]
    assert listener["tls"]
    assert listener["authentication"] == {"type": "scram-sha-512"}
    cassandra = find(objects, "K8ssandraCluster", "plant-sensor-etl")["spec"]
    assert cassandra["auth"]
    assert cassandra["cassandra"]["config"]["cassandraYaml"]["client_encryption_options"] == {
        "enabled": True,
        "optional": False,
    }


def test_nothing_of_the_operators_is_made_when_standalone(render: Render) -> None:
    assert not {"Kafka", "KafkaNodePool", "KafkaTopic", "KafkaUser", "K8ssandraCluster"} & kinds(render(file=SMALL))


def test_no_server_is_made_when_external(render: Render) -> None:
    objects = render({**EXTERNAL, "airflow.enabled": False})
    assert not {"StatefulSet", "Kafka", "K8ssandraCluster"} & kinds(objects)
    assert [i["metadata"]["name"] for i in objects if i["kind"] == "Deployment"] == ["plant-sensor-etl-page"]
    load = environment(stage_pod(objects, "load")["spec"]["containers"][0])
    assert load["ETL_KAFKA_BOOTSTRAP_SERVERS"] == "kafka.plant:9093"
    assert load["ETL_CASSANDRA_CONTACT_POINTS"] == "cassandra.plant"


@pytest.mark.parametrize("service", ["kafka.external.bootstrapServers", "cassandra.external.contactPoints"])
def test_installation_is_refused_when_external_has_no_address(template: Template, service: str) -> None:
    done = template({name: value for name, value in EXTERNAL.items() if name != service})
    assert done.returncode != 0
    assert service in done.stderr


@pytest.mark.parametrize("stage", LAUNCHED)
def test_pods_are_configured_in_one_way_whatever_the_mode(render: Render, stage: str) -> None:
    by_operators, standalone = stage_pod(render(), stage), stage_pod(render(file=SMALL), stage)
    for pod in (by_operators, standalone):
        del pod["spec"]["containers"][0]["resources"]
    assert by_operators == standalone


def test_page_is_configured_in_one_way_whatever_the_mode(render: Render) -> None:
    by_operators, standalone = page_pod(render()), page_pod(render(file=SMALL))
    for pod in (by_operators, standalone):
        for container in containers(pod):
            del container["resources"]
    assert by_operators == standalone


def test_every_secret_is_made_by_someone_when_standalone(render: Render) -> None:
    objects = render(file=SMALL)
    made = {item["metadata"]["name"] for item in objects if item["kind"] == "Secret"}
    wanted = yaml.safe_load(
        environment(containers(find(objects, "Job", "plant-sensor-etl-certificates-1")["spec"]["template"])[0])[
            "CERTIFICATES"
        ]
    )
    made |= {item[key] for item in wanted for key in ("secret", "caSecret")}
    used = set(
        re.findall(r"secret(?:KeyRef|Name)?['\"]?: \{?['\"]?(?:name['\"]?: ['\"]?)?(plant-[\w-]+)", str(objects))
    )
    for _, pod in pods(objects):
        for volume in pod["spec"].get("volumes", []):
            sources = [volume, *volume.get("projected", {}).get("sources", [])]
            used |= {s["secret"].get("secretName", s["secret"].get("name")) for s in sources if "secret" in s}
    assert used - made == set()


def test_operators_secrets_are_used_by_their_names(render: Render) -> None:
    objects = render()
    volumes = str(stage_pod(objects, "load")["spec"]["volumes"])
    assert "plant-sensor-etl-cluster-ca-cert" in volumes
    users = {item["metadata"]["name"] for item in objects if item["kind"] == "KafkaUser"}
    assert users == {f"plant-sensor-etl-kafka-{stage}" for stage in ("produce", "consume", "load", "analyze", "schema")}
    assert "plant-sensor-etl-kafka-load" in volumes


def test_kafka_users_have_what_the_access_table_says(render: Render) -> None:
    acls = {
        item["metadata"]["name"]: {
            (acl["resource"]["type"], acl["resource"].get("name"), operation)
            for acl in item["spec"]["authorization"]["acls"]
            for operation in acl["operations"]
        }
        for item in render({"tests.enabled": False})
        if item["kind"] == "KafkaUser"
    }
    assert acls["plant-sensor-etl-kafka-produce"] == {
        ("topic", "sensor-readings", "Write"),
        ("topic", "sensor-readings-dead-letters", "Write"),
    }
    assert acls["plant-sensor-etl-kafka-consume"] == {
        ("topic", "sensor-readings", "Read"),
        ("topic", "sensor-readings", "Describe"),
        ("group", "sensor-etl", "Describe"),
    }
    assert acls["plant-sensor-etl-kafka-analyze"] == {
        ("topic", "sensor-readings", "Describe"),
        ("topic", "sensor-readings-dead-letters", "Describe"),
        ("topic", "sensor-events", "Write"),
        ("group", "sensor-etl", "Describe"),
    }


def test_topics_are_those_of_the_pipeline_and_of_its_test(render: Render) -> None:
    names = ("readings", "readings-dead-letters", "events")
    topics = [i["spec"]["topicName"] for i in render({"pipeline.eventsTopic": "events"}) if i["kind"] == "KafkaTopic"]
    assert sorted(topics) == sorted(
        f"{'' if name == 'events' else 'sensor-'}{name}{suffix}" for name in names for suffix in ("", "-test")
    )


def test_events_of_the_test_go_to_a_topic_of_their_own(render: Render) -> None:
    objects = render(file=SMALL)
    found = {
        container["name"]: environment(container)["ETL_KAFKA_EVENTS_TOPIC"]
        for name in ("Job plant-sensor-etl-schema-1", "Pod plant-sensor-etl-test")
        for container in containers(dict(pods(objects))[name])
        if "ETL_KAFKA_TOPIC" in environment(container)
    }
    assert found == {
        "schema": "sensor-events",
        "grant": "sensor-events",
        **dict.fromkeys(("schema-test", "grant-test", "produce", "consume", "load"), "sensor-events-test"),
    }


def test_stages_that_use_a_service_are_those_of_the_access_table(render: Render) -> None:
    objects = render()
    for stage in (*LAUNCHED, "page"):
        pod = page_pod(objects) if stage == "page" else stage_pod(objects, stage)
        used = " ".join(environment(pod["spec"]["containers"][0]))
        rights = read_access()[stage]
        assert ("ETL_KAFKA_" in used, "ETL_CASSANDRA_" in used) == ("kafka" in rights, "cassandra" in rights), stage


def test_analysis_has_no_workspace(render: Render) -> None:
    spec = stage_pod(render(), "analyze")["spec"]
    assert {volume["name"] for volume in spec["volumes"]} == {"tmp", "config", "secrets", "kafka-ca", "cassandra-ca"}
    assert "ETL_WORKSPACE_URL" not in environment(spec["containers"][0])


def test_page_is_ready_when_cassandra_answers_and_started_again_only_when_it_hangs_itself(render: Render) -> None:
    (page,) = page_pod(render())["spec"]["containers"]
    paths = {kind: page[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
    assert environment(page)["ETL_PAGE_PORT"] == str(page["ports"][0]["containerPort"])


def test_grant_is_given_the_account_of_everybody_who_has_rights(render: Render) -> None:
    values = {"pipeline.startOnRecords": True, "pipeline.params.source": "topic"}
    (volumes,) = [
        i["spec"]["template"]["spec"]["volumes"] for i in render(values, file=SMALL) if "-schema-" in str(i["metadata"])
    ]
    for volume, service in (("roles", "cassandra"), ("users", "kafka")):
        (sources,) = [found["projected"]["sources"] for found in volumes if found["name"] == volume]
        mounted = {item["path"] for source in sources for item in next(iter(source.values()))["items"]}
        users = {name for name, rights in read_access().items() if service in rights and name != "schema"}
        assert mounted == {f"{user}/{file}" for user in users for file in ("username", "password")}


@pytest.mark.parametrize("file", [None, SMALL], ids=["operators", "standalone"])
def test_nothing_is_left_of_insight_when_disabled(render: Render, file: Path | None) -> None:
    objects = render({"insight.enabled": False}, file=file)
    assert not [i for i in objects if re.search("analyze|page", i["metadata"]["name"])]
    assert "analyze.yaml" not in find(objects, "ConfigMap", "plant-sensor-etl-dag")["data"]
    assert not re.search(r"analyze|cassandra-page|sensor-etl/page", str(objects))


def test_there_is_insight_without_a_page_when_that_is_disabled(render: Render) -> None:
    objects = render({"page.enabled": False}, file=SMALL)
    assert not [i["metadata"]["name"] for i in objects if i["metadata"]["name"].endswith("page")]
    assert stage_pod(objects, "analyze")


def test_airflow_is_the_users_when_disabled(render: Render) -> None:
    scheduler = {"kind": "ServiceAccount", "name": "airflow-scheduler", "namespace": "airflow"}
    objects = render(
        {"airflow.enabled": False, "userAirflow.namespace": "airflow", "userAirflow.subjects": [scheduler]}, file=SMALL
    )
    assert not [item for item in objects if "airflow" in item["metadata"]["name"]]
    assert find(objects, "ConfigMap", "plant-sensor-etl-dag")["metadata"]["namespace"] == "airflow"
    assert find(objects, "RoleBinding", "plant-sensor-etl-launcher")["subjects"] == [scheduler]


def test_certificates_come_from_cert_manager_when_enabled(render: Render) -> None:
    values: dict[str, object] = {
        "certificates.certManager.enabled": True,
        "certificates.certManager.issuerRef": {"name": "plant-ca", "kind": "Issuer"},
    }
    objects = render(values, file=SMALL)
    assert {item["spec"]["secretName"] for item in objects if item["kind"] == "Certificate"} == {
        "plant-sensor-etl-kafka-tls",
        "plant-sensor-etl-cassandra-tls",
        "plant-sensor-etl-postgresql-tls",
    }
    assert not [item for item in objects if item["metadata"]["name"].startswith("plant-sensor-etl-certificates")]


def test_workspace_has_no_volume_when_it_is_an_object_store(render: Render) -> None:
    objects = render({"workspace.url": "s3://plant/workspace"}, file=SMALL)
    assert not [i for i in objects if i["kind"] == "PersistentVolumeClaim" and "workspace" in i["metadata"]["name"]]
    assert (
        yaml.safe_load(find(objects, "ConfigMap", "plant-sensor-etl-dag")["data"]["dag.yaml"])["workspaceVolume"]
        is False
    )
    assert "workspace" not in {volume["name"] for volume in stage_pod(objects, "load")["spec"]["volumes"]}


def test_cassandra_lives_elsewhere_when_it_has_a_namespace_of_its_own(render: Render) -> None:
    objects = render({"cassandra.k8ssandra.namespace": "databases"})
    assert find(objects, "K8ssandraCluster", "plant-sensor-etl")["metadata"]["namespace"] == "databases"
    superusers = [i["data"] for i in objects if i["kind"] == "Secret" and i["metadata"]["name"].endswith("-superuser")]
    assert len(superusers) == 2
    assert superusers[0] == superusers[1]
    load = environment(stage_pod(objects, "load")["spec"]["containers"][0])
    assert load["ETL_CASSANDRA_CONTACT_POINTS"] == "plant-sensor-etl-dc1-service.databases.svc"


def test_names_fit_what_the_operators_make_of_them(render: Render) -> None:
    objects = render({"fullnameOverride": "n" * 60})
    cluster = next(item for item in objects if item["kind"] == "Kafka")["metadata"]["name"]
    pool = next(item for item in objects if item["kind"] == "KafkaNodePool")["metadata"]["name"]
    assert len(f"{cluster}-{pool}-99") <= 63
    assert len(f"{cluster}-dc1-additional-seed-service") <= 63


@pytest.mark.parametrize("keep_data", [True, False])
def test_brokers_are_not_restarted_by_a_new_version_of_the_chart(render: Render, keep_data: bool) -> None:
    for item in render({"keepData": keep_data}):
        if item["kind"] in ("Kafka", "KafkaNodePool"):
            assert "helm.sh/chart" not in item["metadata"]["labels"]


def test_stages_reach_what_they_are_told_to_use(render: Render) -> None:
    objects = render({"workspace.url": "s3://plant/workspace", "metrics.otlpEndpoint": "http://collector:4318"})
    policies = {item["metadata"]["name"]: item["spec"] for item in objects if item["kind"] == "NetworkPolicy"}
    ports = {port["port"] for rule in policies["plant-sensor-etl-generate"]["egress"] for port in rule["ports"]}
    assert ports == {443, 4318}


def schema_job(objects: list[Object]) -> Object:
    (job,) = [item for item in objects if item["kind"] == "Job" and "-schema-" in item["metadata"]["name"]]
    found: Object = job["spec"]
    return found


def schema_environment(objects: list[Object]) -> dict[str, str]:
    (schema,) = [item for item in containers(schema_job(objects)["template"]) if item["name"] == "schema"]
    return environment(schema)


@pytest.mark.parametrize(
    ("brokers", "wanted", "replicas", "insync"),
    [(1, None, 1, 1), (2, None, 2, 1), (3, None, 3, 2), (5, None, 3, 2), (3, 1, 1, 1)],
)
def test_topics_have_as_many_replicas_as_brokers_can_hold(
    render: Render, brokers: int, wanted: int | None, replicas: int, insync: int
) -> None:
    objects = render({"kafka.strimzi.replicas": brokers, "pipeline.schema.kafkaReplication": wanted})
    topics = [item["spec"] for item in objects if item["kind"] == "KafkaTopic"]
    assert len(topics) == 6
    # With more in-sync replicas asked for than there are replicas, nothing could be written.
    assert {(topic["replicas"], topic["config"]["min.insync.replicas"]) for topic in topics} == {(replicas, insync)}
    assert schema_environment(objects)["ETL_SCHEMA_KAFKA_REPLICATION"] == str(replicas)


@pytest.mark.parametrize(("nodes", "replicas"), [(1, 1), (2, 2), (3, 3), (7, 3)])
def test_keyspace_has_as_many_replicas_as_nodes_can_hold(render: Render, nodes: int, replicas: int) -> None:
    objects = render({"cassandra.k8ssandra.size": nodes, "cassandra.datacenter": "north"})
    replication = yaml.safe_load(schema_environment(objects)["ETL_SCHEMA_CASSANDRA_REPLICATION"])
    assert replication == {"class": "NetworkTopologyStrategy", "north": replicas}
    own = "{'class': 'SimpleStrategy', 'replication_factor': 2}"
    given = render({"cassandra.k8ssandra.size": nodes, "pipeline.schema.cassandraReplication": own})
    assert schema_environment(given)["ETL_SCHEMA_CASSANDRA_REPLICATION"] == own


@pytest.mark.parametrize(("values", "file"), [({}, SMALL), (EXTERNAL, None)], ids=["standalone", "external"])
def test_schema_asks_the_servers_how_many_replicas_they_can_hold_when_the_chart_cannot_know(
    render: Render, values: dict[str, object], file: Path | None
) -> None:
    assert not [name for name in schema_environment(render(values, file=file)) if "REPLICATION" in name]


@pytest.mark.parametrize("tests", [True, False])
@pytest.mark.parametrize("file", [None, SMALL], ids=["operators", "standalone"])
def test_schema_job_waits_in_each_try_and_ends_when_settings_stay_wrong(
    render: Render, file: Path | None, tests: bool
) -> None:
    job = schema_job(render({"tests.enabled": tests}, file=file))
    names = {container["name"] for container in containers(job["template"])}
    assert all(container["args"][1:] == ["--wait", "900"] for container in containers(job["template"]))
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    ignored, *failed = job["podFailurePolicy"]["rules"]
    assert ignored["action"] == "Ignore"
    # A person has to change something; not so after 4, nor while a new node has no role yet.
    assert {rule["action"] for rule in failed} == {"FailJob"}
    assert {rule["onExitCodes"]["containerName"] for rule in failed} == names - {"superuser"}
    assert all(rule["onExitCodes"]["values"] == [2] for rule in failed)


def test_pods_of_the_dags_end_by_themselves_later_than_airflow_would_end_them(render: Render) -> None:
    for values, seconds in (({}, 22_200), ({"pipeline.executionTimeoutSeconds": 100}, 700)):
        objects = render(dict(values))
        found = {name: pod["spec"].get("activeDeadlineSeconds") for name, pod in pods(objects) if "template" in name}
        assert found == {f"template {name}.yaml": seconds for name in LAUNCHED}


def test_retries_outlive_the_restart_of_a_node(render: Render) -> None:
    settings = yaml.safe_load(find(render(), "ConfigMap", "plant-sensor-etl-dag")["data"]["dag.yaml"])
    # Airflow waits at least so long before a try.
    waits = [
        min(settings["retryDelaySeconds"] * 2**number, settings["maxRetryDelaySeconds"])
        for number in range(settings["retries"])
    ]
    assert sum(waits) >= 600
    # Once the node is back, nobody waits for long.
    assert max(waits) <= 120


def test_further_topics_are_read_and_not_made_when_others_own_them(render: Render) -> None:
    values = {"pipeline.moreTopics": ["plc", "meter"], "pipeline.topicMapping": "topics: {plc: {}}"}
    objects = render(values)
    assert not {"plc", "meter"} & {i["spec"]["topicName"] for i in objects if i["kind"] == "KafkaTopic"}
    acls = {
        (item["metadata"]["labels"]["app.kubernetes.io/component"], acl["resource"]["name"]): acl["operations"]
        for item in objects
        if item["kind"] == "KafkaUser"
        for acl in item["spec"]["authorization"]["acls"]
        if acl["resource"].get("name") in ("plc", "plc-test")
    }
    assert acls == {
        ("consume", "plc"): ["Read", "Describe"],
        ("load", "plc"): ["Read"],
        ("analyze", "plc"): ["Describe"],
    }
    test = next(item for item in objects if item["metadata"]["name"].endswith("-test") and item["kind"] == "Pod")
    names = {each["name"] for each in test["spec"]["initContainers"][2]["env"]}
    assert not {"ETL_KAFKA_MORE_TOPICS", "ETL_CONSUME_MAPPING_FILE"} & names
    templates = [item["data"] for item in objects if item["kind"] == "ConfigMap"]
    assert "ETL_KAFKA_MORE_TOPICS" in str(templates)
    assert "plc,meter" in str(templates)
