"""What every pod of the chart has to keep to."""

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.charts.conftest import CHART, SMALL, Object, Render, containers, find, pods
from tests.charts.test_modes import EXTERNAL, LAUNCHED

Values = dict[str, object]
PAGE = "Deployment plant-sensor-etl-page"
# Only these talk to the Kubernetes API.
WITH_TOKEN = {"Deployment plant-sensor-etl-airflow-scheduler", "Job plant-sensor-etl-certificates-1"}
MODES = [
    pytest.param({}, None, id="operators"),
    pytest.param({}, SMALL, id="standalone"),
    pytest.param(EXTERNAL, None, id="external"),
]


def policies(objects: list[Object]) -> dict[str, Object]:
    """What each NetworkPolicy says, by its name without the release's."""
    named = {item["metadata"]["name"]: item["spec"] for item in objects if item["kind"] == "NetworkPolicy"}
    return {name.removeprefix("plant-sensor-etl-"): spec for name, spec in named.items()}


def ports(rules: list[Object]) -> set[int]:
    return {port["port"] for rule in rules for port in rule["ports"]}


@pytest.mark.parametrize(("values", "file"), MODES)
def test_pods_meet_the_restricted_standard_in_every_mode(render: Render, values: Values, file: Path | None) -> None:
    found = list(pods(render(values, file=file)))
    assert len(found) > 10
    for name, pod in found:
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"]), name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


@pytest.mark.parametrize(("values", "file"), MODES)
def test_only_those_who_ask_kubernetes_get_a_token(render: Render, values: Values, file: Path | None) -> None:
    tokens = {name for name, pod in pods(render(values, file=file)) if pod["spec"]["automountServiceAccountToken"]}
    assert tokens == WITH_TOKEN


@pytest.mark.parametrize(("values", "file"), MODES)
def test_containers_have_requests_and_limits_of_memory(render: Render, values: Values, file: Path | None) -> None:
    for name, pod in pods(render(values, file=file)):
        for container in containers(pod):
            resources = container["resources"]
            assert {"cpu", "memory"} <= set(resources["requests"]), (name, container["name"])
            assert "memory" in resources["limits"], (name, container["name"])


def test_secrets_reach_stages_and_page_as_files_only(render: Render) -> None:
    for name, pod in pods(render({"insight.webhookSecretName": "hook"}, file=SMALL)):
        if name.startswith(("template", PAGE)):
            for variable in [found for container in containers(pod) for found in container["env"]]:
                assert "valueFrom" not in variable, name
                assert not re.search("PASSWORD|WEBHOOK", variable["name"]), name


@pytest.mark.parametrize(("values", "file"), MODES)
def test_secrets_reach_environments_by_reference_only(render: Render, values: Values, file: Path | None) -> None:
    secret = re.compile("PASSWORD|PASSWD|SECRET(?!S_DIR)|TOKEN|_KEY$|CONN$|WEBHOOK")
    # A path, a number, or a URL with no more than a user.
    harmless = re.compile(r"/.*|\d+|[\w+]+://(\w+@)?[^@?]*")
    references = 0
    for name, pod in pods(render(values, file=file)):
        for variable in [found for container in containers(pod) for found in container.get("env", ())]:
            if secret.search(variable["name"]) and not harmless.fullmatch(variable.get("value", "")):
                references += 1
                assert set(variable.get("valueFrom", ())) == {"secretKeyRef"}, (name, variable)
    assert references


@pytest.mark.parametrize(("values", "file"), MODES)
def test_contents_of_secrets_are_in_no_other_object(render: Render, values: Values, file: Path | None) -> None:
    objects = render(values, file=file)
    contents = {
        text
        for item in objects
        if item["kind"] == "Secret"
        for key, value in item.get("data", {}).items()
        if key != "username" and len(text := base64.b64decode(value).decode()) >= 16
    }
    assert contents
    others = str([item for item in objects if item["kind"] != "Secret"])
    assert not [text for text in contents if text in others or base64.b64encode(text.encode()).decode() in others]


def test_stages_and_page_mount_what_they_only_read_read_only(render: Render) -> None:
    for name, pod in pods(render(file=SMALL)):
        if not name.startswith(("template", PAGE)):
            continue
        writable = {m["mountPath"] for m in pod["spec"]["containers"][0]["volumeMounts"] if not m.get("readOnly")}
        assert writable == ({"/tmp", "/workspace"} if name == "template load.yaml" else {"/tmp"}), name


def test_scheduler_may_start_pods_and_no_more(render: Render) -> None:
    rules = find(render(file=SMALL), "Role", "plant-sensor-etl-launcher")["rules"]
    assert {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]} == {
        *(("pods", verb) for verb in ("create", "get", "list", "watch", "patch", "delete")),
        ("pods/log", "get"),
        ("events", "list"),
        ("jobs", "get"),
    }


def test_certificates_job_reads_only_its_own_secrets(render: Render) -> None:
    create, own = find(render(file=SMALL), "Role", "plant-sensor-etl-certificates")["rules"]
    assert create["verbs"] == ["create"]
    assert own["verbs"] == ["get", "patch"]
    assert own["resourceNames"]
    assert not [name for name in own["resourceNames"] if "superuser" in name or name.endswith("-postgresql")]


def test_each_stage_has_an_account_of_its_own(render: Render) -> None:
    found = {pod["spec"]["serviceAccountName"] for name, pod in pods(render()) if name.startswith("template")}
    assert found == {f"plant-sensor-etl-{stage}" for stage in LAUNCHED}
    page = find(render(), "Deployment", "plant-sensor-etl-page")["spec"]["template"]["spec"]
    assert page["serviceAccountName"] == "plant-sensor-etl-page"


def test_page_asks_for_a_password_that_it_gets_from_a_secret_of_its_own(render: Render) -> None:
    objects = render(file=SMALL)
    secret = find(objects, "Secret", "plant-sensor-etl-page")
    assert len(base64.b64decode(secret["data"]["password"])) == 32
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    spec = find(objects, "Deployment", "plant-sensor-etl-page")["spec"]["template"]["spec"]
    assert {"name": "ETL_PAGE_USERNAME", "value": "viewer"} in spec["containers"][0]["env"]
    (sources,) = [volume["projected"]["sources"] for volume in spec["volumes"] if volume["name"] == "secrets"]
    assert {source["secret"]["name"]: [item["path"] for item in source["secret"]["items"]] for source in sources} == {
        "plant-sensor-etl-cassandra-page": ["etl_cassandra_username", "etl_cassandra_password"],
        "plant-sensor-etl-page": ["etl_page_password"],
    }


def test_page_asks_for_none_when_something_else_does(render: Render) -> None:
    objects = render({"page.auth.enabled": False}, file=SMALL)
    assert not [i for i in objects if (i["kind"], i["metadata"]["name"]) == ("Secret", "plant-sensor-etl-page")]
    page = find(objects, "Deployment", "plant-sensor-etl-page")
    assert not re.search("ETL_PAGE_USERNAME|etl_page_password", str(page))


def test_page_can_be_opened_by_those_who_are_named(render: Render) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
    (anyone,) = policies(render(file=SMALL))["page"]["ingress"]
    (named,) = policies(render({"networkPolicies.pageFrom": [peer]}, file=SMALL))["page"]["ingress"]
    assert anyone == {"ports": [{"port": 8050, "protocol": "TCP"}]}
    assert named == {**anyone, "from": [peer]}


def test_everything_is_denied_then_what_each_needs_allowed(render: Render) -> None:
    objects = render(file=SMALL)
    found = policies(objects)
    assert found["default-deny"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in found["default-deny"]
    assert ports(found["default-deny"]["egress"]) == {53}
    assert {name: ports(found.get(name, {}).get("egress", [])) for name in (*LAUNCHED, "page")} == {
        "generate": set(),
        "produce": {9093},
        "consume": {9093},
        "transform": {9042},
        "load": {9093, 9042},
        "analyze": {9093, 9042},
        "page": {9042},
    }
    for server, clients in (("kafka", {"analyze"}), ("cassandra", {"analyze", "page"})):
        (rule,) = found[server]["ingress"]
        (let_in,) = rule["from"][0]["podSelector"]["matchExpressions"]
        assert {"analyze", "page"} & set(let_in["values"]) == clients
    selected = found["default-deny"]["podSelector"]["matchLabels"]
    for name, pod in pods(objects):
        assert selected.items() <= pod["metadata"]["labels"].items(), name


def test_ports_of_kubernetes_and_of_names_are_the_clusters(render: Render) -> None:
    found = policies(render(file=SMALL))
    assert ports(found["default-deny"]["egress"]) == {53}
    assert ports(found["certificates"]["egress"]) == {443, 6443}
    values: Values = {"networkPolicies.dnsPorts": [5353], "networkPolicies.kubernetesPorts": [16443]}
    found = policies(render(values, file=SMALL))
    assert ports(found["default-deny"]["egress"]) == {5353}
    assert ports(found["certificates"]["egress"]) == {16443}
    assert ports(found["airflow-scheduler"]["egress"]) == {5432, 8080, 16443}


@pytest.mark.parametrize(
    ("value", "those"),
    [
        ("stagesEgress", {"generate", "produce", "consume", "transform", "load", "schema"}),
        ("analyzeEgress", {"analyze"}),
        ("airflowEgress", {"airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-migration"}),
    ],
)
def test_further_egress_is_of_those_it_is_for(render: Render, value: str, those: set[str]) -> None:
    rule = {"to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}], "ports": [{"port": 587}]}
    found = policies(render({f"networkPolicies.{value}": [rule]}, file=SMALL))
    assert {name for name, spec in found.items() if rule in spec.get("egress", [])} == those


@pytest.mark.parametrize("server", ["kafka", "cassandra"])
def test_others_reach_a_server_of_ours_when_named(render: Render, server: str) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}}
    found = policies(render({f"networkPolicies.{server}From": [peer]}, file=SMALL))
    let_in = {
        name for name, spec in found.items() if peer in [p for r in spec.get("ingress", []) for p in r.get("from", [])]
    }
    assert let_in == {server}


def test_there_are_no_network_policies_when_disabled(render: Render) -> None:
    assert not [item for item in render({"networkPolicies.enabled": False}) if item["kind"] == "NetworkPolicy"]


def test_kube_score_gives_the_score_that_the_docs_state_and_explain(render: Render, checks: dict[str, Path]) -> None:
    text = yaml.dump_all(render(file=SMALL), Dumper=yaml.CSafeDumper)
    command = [checks["kube-score"], "score", "--output-format", "json", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    graded = [check for item in json.loads(done.stdout) for check in item["checks"] if not check["skipped"]]
    missed = [check["check"]["id"] for check in graded if check["grade"] < 10]
    section = (CHART.parents[1] / "docs" / "kubernetes.md").read_text().partition("\n### kube-score\n")[2]
    section = section.partition("\n## ")[0]
    assert f"{len(graded) - len(missed)} of the {len(graded)} checks" in section
    assert set(missed) == set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE))
