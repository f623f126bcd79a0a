"""What users of charts expect to be able to set."""

import re
import subprocess
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.conftest import CHART, SMALL, Object, Render, Template, containers, find, pods

# All Secrets that the chart would generate passwords for, as one's own.
OWN_SECRETS: dict[str, object] = {
    "airflow.adminSecretName": "admin-of-ours",
    "airflow.fernetKeySecretName": "fernet-of-ours",
    "airflow.apiSecretKeySecretName": "api-of-ours",
    "airflow.jwtSecretName": "jwt-of-ours",
    "airflow.postgresql.auth.existingSecret": "postgresql-of-ours",
    "cassandra.superuserSecretName": "superuser-of-ours",
    "cassandra.roles": {name: f"{name}-role-of-ours" for name in ("transform", "load", "analyze", "page")},
    "kafka.users": {name: f"{name}-user-of-ours" for name in ("produce", "consume", "load", "analyze", "schema")},
    "page.auth.existingSecret": "page-of-ours",
}
OWN_DATABASE = {"airflow.data.metadataSecretName": "database-of-ours", "airflow.postgresql.enabled": False}
CERT_MANAGER = {
    "certificates.certManager.enabled": True,
    "certificates.certManager.issuerRef": {"name": "plant-ca"},
    "certificates.certManager.storesSecretName": "stores-of-ours",
}
OF_STANDALONE = {"kafka.adminSecretName": "kafka-admin-of-ours"}
SECRETS_OF_ALL_KINDS = [
    pytest.param(OWN_SECRETS, None, id="operators"),
    pytest.param({**OWN_SECRETS, **CERT_MANAGER}, None, id="cert-manager"),
    pytest.param({**OWN_SECRETS, **OF_STANDALONE}, SMALL, id="standalone"),
    pytest.param(
        {key: OWN_SECRETS[key] for key in OWN_SECRETS if "postgresql" not in key} | OWN_DATABASE, None, id="database"
    ),
]
PLACEMENT = {
    "nodeSelector": {"line": "three"},
    "tolerations": [{"key": "edge", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
}


@pytest.mark.parametrize("file", [None, SMALL], ids=["operators", "standalone"])
def test_chart_has_nothing_to_complain_of_when_linted(helm: Path, file: Path | None) -> None:
    values = ["--values", str(file)] if file else []
    done = subprocess.run([helm, "lint", "--strict", str(CHART), *values], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_helpers_are_called_with_named_arguments() -> None:
    for file in (path for path in CHART.glob("templates/**/*") if path.is_file()):
        assert not re.search(r"\bindex \. \d|include \S+ \(list [.$] ", file.read_text()), file.name


def test_images_come_from_elsewhere_when_a_registry_is_set(render: Render) -> None:
    objects = render({"image.registry": "registry.plant:5000", "image.tag": "2"}, file=SMALL)
    images = {container["image"] for _, pod in pods(objects) for container in containers(pod)}
    assert len(images) == 11
    assert all(image.startswith("registry.plant:5000/sensor-etl/") and image.endswith(":2") for image in images)


def test_digest_goes_before_tag(render: Render) -> None:
    digest = "sha256:" + "0" * 64
    objects = render({"images.load.digest": digest, "images.load.tag": "7"}, file=SMALL)
    assert dict(pods(objects))["template load.yaml"]["spec"]["containers"][0]["image"] == f"sensor-etl/load@{digest}"


def test_pull_secrets_reach_every_pod(render: Render) -> None:
    for name, pod in pods(render({"imagePullSecrets": [{"name": "plant"}]}, file=SMALL)):
        assert pod["spec"]["imagePullSecrets"] == [{"name": "plant"}], name


@pytest.mark.parametrize("what", PLACEMENT)
def test_placement_reaches_every_pod(render: Render, what: str) -> None:
    for name, pod in pods(render({what: PLACEMENT[what]}, file=SMALL)):
        assert pod["spec"][what] == PLACEMENT[what], name


def test_placement_of_a_component_goes_before_that_of_all(render: Render) -> None:
    objects = render({"nodeSelector": {"line": "three"}, "stages.load.nodeSelector": {"line": "four"}}, file=SMALL)
    found = {name: pod["spec"]["nodeSelector"]["line"] for name, pod in pods(objects)}
    assert [name for name, line in found.items() if line == "four"] == ["template load.yaml"]


def test_common_labels_and_annotations_reach_everything(render: Render) -> None:
    objects = render({"commonLabels": {"plant": "north"}, "commonAnnotations": {"owner": "energy"}}, file=SMALL)
    everything = [item["metadata"] for item in objects] + [pod["metadata"] for _, pod in pods(objects)]
    for metadata in everything:
        assert metadata["labels"]["plant"] == "north"
        assert metadata["annotations"]["owner"] == "energy"


def test_common_labels_are_no_part_of_selectors(render: Render) -> None:
    for item in render({"commonLabels": {"plant": "north"}}, file=SMALL):
        if item["kind"] in ("Deployment", "StatefulSet"):
            assert "plant" not in item["spec"]["selector"]["matchLabels"]


def test_every_object_has_the_labels_that_kubernetes_recommends(render: Render) -> None:
    wanted = {
        f"app.kubernetes.io/{key}" for key in ("name", "instance", "component", "part-of", "version", "managed-by")
    }
    for item in [*render(), *render(file=SMALL)]:
        assert wanted <= set(item["metadata"]["labels"]), item["metadata"]["name"]


def test_extras_reach_the_stages(render: Render) -> None:
    objects = render(
        {
            "stages.env": [{"name": "ETL_LOAD_CONCURRENCY", "value": "8"}],
            "stages.extraEnvFrom": [{"secretRef": {"name": "s3"}}],
            "stages.extraVolumes": [{"name": "recorded", "persistentVolumeClaim": {"claimName": "recorded"}}],
            "stages.extraVolumeMounts": [{"name": "recorded", "mountPath": "/recorded", "readOnly": True}],
            "stages.generate.podLabels": {"team": "lab"},
        }
    )
    spec = dict(pods(objects))["template generate.yaml"]["spec"]
    assert {"name": "ETL_LOAD_CONCURRENCY", "value": "8"} in spec["containers"][0]["env"]
    assert spec["containers"][0]["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert "recorded" in {volume["name"] for volume in spec["volumes"]}
    assert "/recorded" in {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert dict(pods(objects))["template generate.yaml"]["metadata"]["labels"]["team"] == "lab"


class Strict(yaml.SafeLoader):
    """Reads YAML as the API server's strict validation does: a key is there once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


def test_own_entries_go_before_the_charts_and_none_is_there_twice(template: Template) -> None:
    text = template(
        {
            "airflow.config": {"core": {"parallelism": 8}, "api_auth": {"jwt_secret": "ours"}},
            "airflow.env": [{"name": "AIRFLOW__CORE__LOAD_EXAMPLES", "value": "True"}],
            "stages.env": [{"name": "ETL_KEEP_RUNS", "value": "9"}],
            "kafka.strimzi.config": {"auto.create.topics.enable": True, "min.insync.replicas": 0},
            "cassandra.k8ssandra.config": {"num_tokens": 8},
            "commonLabels": {"app.kubernetes.io/part-of": "plant", "line": "three"},
            "airflow.scheduler.podLabels": {"line": "four"},
        }
    ).stdout
    objects: list[Object] = [found for found in yaml.load_all(text, Strict) if found]
    for name, pod in pods(objects):
        for container in containers(pod):
            variables = {item["name"]: item.get("value") for item in container.get("env", [])}
            assert len(variables) == len(container.get("env", [])), (name, container["name"])
            assert variables.get("AIRFLOW__CORE__PARALLELISM", "8") == "8"
            assert variables.get("AIRFLOW__CORE__LOAD_EXAMPLES", "True") == "True"
            assert variables.get("AIRFLOW__API_AUTH__JWT_SECRET", "ours") == "ours"
            if name.startswith("template") and name != "template analyze.yaml":
                assert variables["ETL_KEEP_RUNS"] == "9"
    kafka = find(objects, "Kafka", "plant-sensor-etl")["spec"]["kafka"]["config"]
    assert (kafka["auto.create.topics.enable"], kafka["min.insync.replicas"]) == (True, 0)
    cassandra = find(objects, "K8ssandraCluster", "plant-sensor-etl")["spec"]["cassandra"]["config"]["cassandraYaml"]
    assert cassandra["num_tokens"] == 8
    scheduler = find(objects, "Deployment", "plant-sensor-etl-airflow-scheduler")
    assert scheduler["metadata"]["labels"]["app.kubernetes.io/part-of"] == "plant"
    assert scheduler["metadata"]["labels"]["line"] == "three"
    assert scheduler["spec"]["template"]["metadata"]["labels"]["line"] == "four"


def test_storage_class_reaches_every_volume(render: Render) -> None:
    objects = render({"storageClass": "fast", "workspace.storageClass": "shared"}, file=SMALL)
    claims = {i["metadata"]["name"]: i["spec"] for i in objects if i["kind"] == "PersistentVolumeClaim"}
    claims |= {
        item["metadata"]["name"]: claim["spec"]
        for item in objects
        if item["kind"] == "StatefulSet"
        for claim in item["spec"]["volumeClaimTemplates"]
    }
    assert {name: claim["storageClassName"] for name, claim in claims.items()} == {
        "plant-sensor-etl-workspace": "shared",
        "plant-sensor-etl-airflow-logs": "fast",
        "plant-sensor-etl-kafka": "fast",
        "plant-sensor-etl-cassandra": "fast",
        "plant-sensor-etl-postgresql": "fast",
    }


def test_data_is_kept_unless_told_otherwise(render: Render) -> None:
    def kept(values: dict[str, object]) -> set[str]:
        return {
            item["metadata"]["name"]
            for item in [*render(values), *render(values, file=SMALL)]
            if item["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        }

    assert {"plant-sensor-etl", "plant-sensor-etl-workspace", "plant-sensor-etl-fernet-key"} <= kept({})
    # Without its superuser the operator could not even delete the cluster.
    assert kept({"keepData": False}) == {"plant-sensor-etl-superuser"}


def test_logs_are_lost_with_their_pod_when_not_persistent(render: Render) -> None:
    objects = render({"airflow.logs.persistence.enabled": False}, file=SMALL)
    scheduler = find(objects, "Deployment", "plant-sensor-etl-airflow-scheduler")["spec"]["template"]["spec"]
    assert {"name": "logs", "emptyDir": {}} in scheduler["volumes"]


@pytest.mark.parametrize(("values", "file"), SECRETS_OF_ALL_KINDS)
def test_nothing_is_generated_when_every_secret_is_given(
    template_anew: Template, values: dict[str, object], file: Path | None
) -> None:
    first, second = (template_anew(values, file=file) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    assert "kind: Secret\n" not in first.stdout
    named = [name for value in values.values() for name in (value.values() if isinstance(value, dict) else [value])]
    unused = [name for name in named if str(name).endswith("-of-ours") and str(name) not in first.stdout]
    # The schema Job is the administrator of a standalone Kafka.
    assert unused == (["schema-user-of-ours"] if file else [])


def test_jobs_are_set_apart_by_a_revision_of_ours(render: Render) -> None:
    objects = render({"revision": "f913b6c"}, file=SMALL)
    jobs = {item["metadata"]["name"] for item in objects if item["kind"] == "Job"}
    assert jobs == {f"plant-sensor-etl-{job}-f913b6c" for job in ("schema", "certificates", "airflow-migration")}
    launcher = find(objects, "Role", "plant-sensor-etl-launcher")["rules"][-1]
    assert launcher["resourceNames"] == ["plant-sensor-etl-schema-f913b6c"]
    scheduler = find(objects, "Deployment", "plant-sensor-etl-airflow-scheduler")["spec"]["template"]["spec"]
    assert "plant-sensor-etl-schema-f913b6c" in str(scheduler["initContainers"])


def test_password_of_the_database_is_no_part_of_its_url(render: Render) -> None:
    for name, pod in pods(render({"airflow.postgresql.auth.existingSecret": "ours"}, file=SMALL)):
        for container in containers(pod):
            variables = {item["name"]: item for item in container.get("env", [])}
            if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in variables:
                url = variables["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]["value"]
                assert url == "postgresql+psycopg2://airflow@plant-sensor-etl-postgresql.lines.svc:5432/airflow", name
                reference = variables["PGPASSWORD"]["valueFrom"]["secretKeyRef"]
                assert reference == {"name": "ours", "key": "password"}, name


def test_ingress_leads_to_the_api_server(render: Render) -> None:
    hosts = [{"name": "airflow.plant", "tls": {"enabled": True, "secretName": "airflow-tls"}}]
    ingress = find(
        render({"ingress.apiServer.enabled": True, "ingress.apiServer.hosts": hosts}),
        "Ingress",
        "plant-sensor-etl-airflow-api-server",
    )
    assert ingress["spec"]["tls"] == [{"hosts": ["airflow.plant"], "secretName": "airflow-tls"}]
    assert ingress["spec"]["rules"][0]["host"] == "airflow.plant"


def test_ingress_leads_to_the_page(render: Render) -> None:
    hosts = [{"name": "machines.plant", "tls": {"enabled": True, "secretName": "machines-tls"}}]
    values: dict[str, object] = {
        "ingress.page.enabled": True,
        "ingress.page.ingressClassName": "nginx",
        "ingress.page.annotations": {"cert-manager.io/issuer": "plant"},
        "ingress.page.hosts": hosts,
        "page.service": {"type": "NodePort", "port": 80},
    }
    objects = render(values, file=SMALL)
    ingress = find(objects, "Ingress", "plant-sensor-etl-page")
    assert ingress["metadata"]["annotations"] == {"cert-manager.io/issuer": "plant"}
    assert ingress["spec"]["ingressClassName"] == "nginx"
    assert ingress["spec"]["tls"] == [{"hosts": ["machines.plant"], "secretName": "machines-tls"}]
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    service = find(objects, "Service", path["backend"]["service"]["name"])
    assert service["spec"]["type"] == "NodePort"
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    template = find(objects, "Deployment", "plant-sensor-etl-page")["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()


@pytest.mark.parametrize(("key", "component"), [("apiServer", "airflow-api-server"), ("page", "page")])
def test_route_leads_to_a_port_of_the_service(render: Render, key: str, component: str) -> None:
    gateways, service = [{"name": "plant", "namespace": "gateways"}], f"plant-sensor-etl-{component}"
    values: dict[str, object] = {
        f"httpRoute.{key}.enabled": True,
        f"httpRoute.{key}.parentRefs": gateways,
        f"httpRoute.{key}.hostnames": ["machines.plant"],
        "page.service.port": 80,
        "airflow.apiServer.service.port": 80,
    }
    objects = render(values, file=SMALL)
    route = find(objects, "HTTPRoute", service)["spec"]
    assert (route["parentRefs"], route["hostnames"]) == (gateways, ["machines.plant"])
    assert route["rules"] == [{"backendRefs": [{"name": service, "port": 80}]}]
    assert find(objects, "Service", service)["spec"]["ports"][0]["port"] == 80
    assert [item["metadata"]["name"] for item in objects if item["kind"] == "HTTPRoute"] == [service]


def test_ca_comes_from_a_config_map_when_one_is_named(render: Render) -> None:
    values: dict[str, object] = {"kafka.caConfigMapName": "of-kafka", "cassandra.caConfigMapName": "of-cassandra"}
    expected = {"kafka-ca": "of-kafka", "cassandra-ca": "of-cassandra"}
    seen = set()
    for name, pod in pods(render(values, file=SMALL)):
        for volume in pod["spec"].get("volumes", []):
            if volume["name"] in expected:
                assert volume["configMap"]["name"] == expected[volume["name"]], name
                assert "secret" not in volume
                seen.add(volume["name"])
    assert seen == set(expected)


def test_further_objects_are_there_with_their_templates_filled(render: Render) -> None:
    given = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-ours"}}
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Namespace }}-text}\n"
    objects = render({"extraObjects": [given, text]}, file=SMALL)
    assert find(objects, "ConfigMap", "plant-ours")
    assert find(objects, "ConfigMap", "lines-text")


def test_no_ingress_is_there_unless_enabled(render: Render) -> None:
    assert not [item for item in [*render(), *render(file=SMALL)] if item["kind"] == "Ingress"]


def test_several_pages_go_one_by_one(render: Render) -> None:
    def budgets(values: dict[str, object]) -> list[str]:
        return [i["metadata"]["name"] for i in render(values, file=SMALL) if i["kind"] == "PodDisruptionBudget"]

    assert budgets({}) == []
    assert budgets({"page.replicas": 2}) == ["plant-sensor-etl-page"]
    assert budgets({"page.replicas": 2, "podDisruptionBudgets.enabled": False}) == []
    assert (
        find(render({"page.replicas": 2}, file=SMALL), "Deployment", "plant-sensor-etl-page")["spec"]["replicas"] == 2
    )


def test_extras_reach_analysis_and_page_and_nobody_else(render: Render) -> None:
    variable, source = {"name": "HTTPS_PROXY", "value": "http://proxy:3128"}, {"configMapRef": {"name": "proxy"}}
    of_analysis = {"env": [variable], "extraEnvFrom": [source], "nodeSelector": {"line": "four"}}
    for path, mine in (("insight.analyze", "template analyze.yaml"), ("page", "Deployment plant-sensor-etl-page")):
        objects = render({f"{path}.{key}": value for key, value in of_analysis.items()}, file=SMALL)
        for name, pod in pods(objects):
            container = pod["spec"]["containers"][0]
            assert (variable in container.get("env", [])) == (name == mine), name
            assert (container.get("envFrom") == [source]) == (name == mine), name
            assert (pod["spec"].get("nodeSelector") == {"line": "four"}) == (name == mine), name


def test_own_limits_and_webhook_reach_the_analysis(render: Render) -> None:
    objects = render({"insight.limits": "idle: {}\n", "insight.webhookSecretName": "hook"}, file=SMALL)
    assert find(objects, "ConfigMap", "plant-sensor-etl-config")["data"]["limits.yaml"] == "idle: {}\n"
    for name, pod in pods(objects):
        mine = name == "template analyze.yaml"
        limits = {"name": "ETL_ANALYZE_LIMITS_FILE", "value": "/etc/sensor-etl/config/limits.yaml"}
        assert (limits in pod["spec"]["containers"][0].get("env", [])) == mine, name
        assert ("etl_analyze_webhook" in str(pod["spec"]["volumes"])) == mine, name
    assert "ETL_ANALYZE_LIMITS_FILE" not in str(render(file=SMALL))


def test_registry_and_its_secrets_reach_consume_alone_when_the_values_name_them(render: Render) -> None:
    registry = {"url": "https://registry:8081", "secretName": "login", "caSecretName": "authority"}
    objects = render({f"pipeline.schemaRegistry.{name}": value for name, value in registry.items()}, file=SMALL)
    for name, pod in pods(objects):
        if not name.startswith("template "):
            continue  # the pod of `helm test` runs all stages
        mine = name == "template consume.yaml"
        for variable, value in (
            ("ETL_REGISTRY_URL", "https://registry:8081"),
            ("ETL_REGISTRY_CA_FILE", "/etc/sensor-etl/secrets/registry.crt"),
        ):
            assert ({"name": variable, "value": value} in pod["spec"]["containers"][0].get("env", [])) == mine, name
        for part in ("'login'", "etl_registry_username", "etl_registry_password", "'authority'", "registry.crt"):
            assert (part in str(pod["spec"]["volumes"])) == mine, name
    assert "REGISTRY" not in str(render({"pipeline.schemaRegistry.secretName": "login"}, file=SMALL))


def test_page_is_restarted_when_measurements_change(render: Render) -> None:
    usual, other = (
        find(render(values, file=SMALL), "Deployment", "plant-sensor-etl-page")["spec"]["template"]["metadata"]
        for values in ({}, {"pipeline.measurements": "measurements: []\n"})
    )
    assert usual["annotations"] != other["annotations"]


def test_transform_joins_parts_of_rows_when_told(render: Render) -> None:
    for values, partial in (({}, "conflict"), ({"pipeline.partial": "merge"}, "merge")):
        named = {"name": "ETL_TRANSFORM_PARTIAL", "value": partial}
        found = [name for name, pod in pods(render(values, file=SMALL)) if named in containers(pod)[0].get("env", [])]
        assert found == ["template transform.yaml"]


def test_own_measurements_reach_stages_and_schema(render: Render) -> None:
    objects = render({"pipeline.measurements": "measurements: []\n"}, file=SMALL)
    assert find(objects, "ConfigMap", "plant-sensor-etl-config")["data"]["measurements.yaml"] == "measurements: []\n"
    for name, pod in pods(objects):
        if name.startswith(("template", "Job plant-sensor-etl-schema", "Deployment plant-sensor-etl-page")):
            for container in containers(pod):
                named = {"name": "ETL_MEASUREMENTS_FILE", "value": "/etc/sensor-etl/config/measurements.yaml"}
                assert (named in container["env"]) == (container["name"] not in ("superuser", "grant", "grant-test")), (
                    name
                )


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"airflow.postgresql.enabled": False}, "airflow.data.metadataSecretName"),
        ({"airflow.data.metadataSecretName": "ours"}, "airflow.data.metadataSecretName"),
        ({"pipeline.schema.kafkaReplication": 3}, "kafkaReplication"),
        ({"ingress.apiServer.enabled": True}, "ingress.apiServer.hosts"),
        ({"ingress.page.enabled": True}, "ingress.page.hosts"),
        ({"httpRoute.page.enabled": True}, "httpRoute.page.parentRefs"),
        ({"certificates.certManager.enabled": True}, "issuerRef.name"),
    ],
)
def test_what_does_not_fit_together_is_refused(template: Template, values: dict[str, object], named: str) -> None:
    done = template(values)
    assert done.returncode != 0
    assert named in done.stderr


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("kafka.mode", "zookeeper"),
        ("cassandra.mode", "astra"),
        ("pipeline.shards", 0),
        ("pipeline.partial", "both"),
        ("pipeline.schema.kafkaReplication", 0),
        ("cassandra.offHeap", "512M"),
        ("pipeline.keyspace", "Sensors; DROP"),
        ("pipeline.params.machines", -1),
        ("pipeline.schedule", ""),
        ("image.pullPolicy", "Sometimes"),
        ("images.load.digest", "sha256:short"),
        ("workspace.size", "large"),
        ("workspace.accessModes", []),
        ("workspace.url", "/a/folder"),
        ("airflow.apiServer.replicas", 0),
        ("page.replicas", 0),
        ("page.service.type", "ExternalName"),
        ("page.auth.username", "with:colon"),
        ("page.env", [{"name": "ETL_PAGE_PORT", "value": "9"}]),
        ("pipeline.eventsTopic", "with blank"),
        ("insight.analyse", {}),
        ("airfow.enabled", False),
        ("stages.lod.env", []),
        ("certificates.days", 0),
        ("revision", "far-too-long"),
        ("commonLabels", {"app.kubernetes.io/name": "ours"}),
        ("airflow.apiServer.podLabels", {"app.kubernetes.io/component": "ours"}),
        ("stages.env", [{"name": "ETL_RUN_ID", "value": "ours"}]),
        ("stages.generate.env", [{"name": "ETL_GENERATE_MACHINES", "value": "9"}]),
        ("airflow.config", {"scheduler": {"enable_health_check": False}}),
        ("cassandra.k8ssandra.config", {"client_encryption_options": {"enabled": False}}),
        ("cassandra.datacenter", "far-too-long"),
        ("fullnameOverride", "Plant_X"),
    ],
)
def test_nonsense_is_refused(template: Template, path: str, value: object) -> None:
    done = template({path: value})
    assert done.returncode != 0
    assert "schema" in done.stderr


def test_names_are_the_users_when_overridden(render: Render) -> None:
    objects = render({"fullnameOverride": "north"}, file=SMALL)
    assert all(item["metadata"]["name"].startswith("north") for item in objects)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"ETL_SCHEMA_MADE_UP_MACHINES": "10"}),
        ({"pipeline.params.machines": 100}, {"ETL_SCHEMA_MADE_UP_MACHINES": "100"}),
        ({"pipeline.params.source": "topic"}, {}),
        (
            {"pipeline.catalogue": "machines: [{equipment_id: press-1}]"},
            {"ETL_SCHEMA_CATALOGUE_FILE": "/etc/sensor-etl/config/catalogue.yaml"},
        ),
    ],
)
def test_schema_knows_the_machines_when_they_are_made_up_or_given(
    render: Render, values: dict[str, object], expected: dict[str, str]
) -> None:
    (job,) = [pod for name, pod in pods(render(values, file=SMALL)) if "Job" in name and "schema" in name]
    given = {item["name"]: item.get("value") for container in containers(job) for item in container.get("env", [])}
    assert {
        name: value
        for name, value in given.items()
        if name in ("ETL_SCHEMA_MADE_UP_MACHINES", "ETL_SCHEMA_CATALOGUE_FILE")
    } == expected
