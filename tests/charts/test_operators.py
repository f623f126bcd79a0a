"""What the operators are told of the pods that they make."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.charts.conftest import SMALL, Object, Render, find
from tests.charts.test_values import PLACEMENT

NAME = "plant-sensor-etl"
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
SELECTED = {"key": "line", "operator": "In", "values": ["three"]}


def strimzi_templates(objects: list[Object]) -> Iterator[Object]:
    kafka = find(objects, "Kafka", NAME)["spec"]
    yield kafka["kafka"]["template"]
    yield kafka["entityOperator"]["template"]


def strimzi_pods(objects: list[Object]) -> list[Object]:
    return [template["pod"] for template in strimzi_templates(objects)]


def cassandra(objects: list[Object]) -> Object:
    found: Object = find(objects, "K8ssandraCluster", NAME)["spec"]["cassandra"]
    return found


def required(affinity: Object) -> list[Object]:
    terms: list[Object] = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    return terms


def test_strimzi_makes_restricted_containers(render: Render) -> None:
    containers = {
        name: container["securityContext"]
        for template in strimzi_templates(render())
        for name, container in template.items()
    }
    assert containers == dict.fromkeys(
        ("kafkaContainer", "topicOperatorContainer", "userOperatorContainer"), RESTRICTED
    )


def test_cassandra_containers_are_restricted_unless_told_otherwise(render: Render) -> None:
    def containers(values: dict[str, object]) -> dict[str, Object]:
        spec = cassandra(render(values))
        return {item["name"]: item.get("securityContext", {}) for item in spec["initContainers"] + spec["containers"]}

    assert cassandra(render())["podSecurityContext"]["runAsNonRoot"]
    assert set(containers({})) == {
        "server-config-init-base",
        "server-config-init",
        "cassandra",
        "server-system-logger",
    }
    for security in containers({}).values():
        assert security == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert not any(containers({"cassandra.k8ssandra.restricted": False}).values())


def test_cassandra_pods_have_no_token(render: Render) -> None:
    objects = render({"cassandra.k8ssandra.namespace": "databases"})
    account = find(objects, "ServiceAccount", cassandra(objects)["serviceAccount"])
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["namespace"] == "databases"
    # It has to be there as long as the cluster is.
    assert account["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_pull_secrets_reach_pods_of_the_operators(render: Render) -> None:
    secrets = [{"name": "plant"}]
    objects = render({"imagePullSecrets": secrets})
    assert [pod["imagePullSecrets"] for pod in strimzi_pods(objects)] == [secrets, secrets]
    assert find(objects, "ServiceAccount", cassandra(objects)["serviceAccount"])["imagePullSecrets"] == secrets


def test_common_labels_and_annotations_reach_pods_of_the_operators(render: Render) -> None:
    labels, annotations = {"plant": "north"}, {"owner": "energy"}
    objects = render({"commonLabels": labels, "commonAnnotations": annotations})
    for pod in strimzi_pods(objects):
        assert pod["metadata"] == {"labels": labels, "annotations": annotations}
    assert cassandra(objects)["metadata"] == {"commonLabels": labels, "commonAnnotations": annotations}


@pytest.mark.parametrize(
    ("kafka", "database"),
    [("", ""), ("kafka.strimzi.", "cassandra.k8ssandra.")],
    ids=["all", "component"],
)
def test_placement_reaches_pods_of_the_operators(render: Render, kafka: str, database: str) -> None:
    values = {f"{prefix}{what}": value for prefix in (kafka, database) for what, value in PLACEMENT.items()}
    # K8ssandra's resource has no constraints.
    values.pop("cassandra.k8ssandra.topologySpreadConstraints", None)
    objects = render(values)
    affinity = {
        "nodeAffinity": {
            **PLACEMENT["affinity"]["nodeAffinity"],  # type: ignore[index]
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [SELECTED]}]},
        }
    }
    for pod in strimzi_pods(objects):
        assert pod["tolerations"] == PLACEMENT["tolerations"]
        assert pod["topologySpreadConstraints"] == PLACEMENT["topologySpreadConstraints"]
        assert pod["affinity"] == affinity
    assert cassandra(objects)["tolerations"] == PLACEMENT["tolerations"]
    assert cassandra(objects)["racks"] == [{"name": "default", "affinity": affinity}]


def test_node_selector_holds_beside_every_term_of_an_affinity(render: Render) -> None:
    zones = [{"key": "zone", "operator": "In", "values": [zone]} for zone in ("a", "b")]
    terms = [{"matchExpressions": [zone]} for zone in zones]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    objects = render({"nodeSelector": {"line": "three"}, "affinity": affinity})
    both = [{"matchExpressions": [zone, SELECTED]} for zone in zones]
    assert [required(pod["affinity"]) for pod in strimzi_pods(objects)] == [both, both]
    assert required(cassandra(objects)["racks"][0]["affinity"]) == both


def test_nothing_is_said_of_placement_when_nothing_is_set(render: Render) -> None:
    objects = render()
    assert not any("pod" in template for template in strimzi_templates(objects))
    assert not {"racks", "tolerations"} & set(cassandra(objects))


MEMORY = {
    "memtable": {"configurations": {"default": {"class_name": "TrieMemtable"}}},
    "memtable_allocation_type": "offheap_objects",
    "memtable_offheap_space": "512MiB",
    "key_cache_size": "0MiB",
    "row_cache_size": "0MiB",
    "counter_cache_size": "0MiB",
}
RUN = Path(__file__).parents[2] / "images" / "cassandra" / "run.sh"


def memory(objects: list[Object]) -> Object:
    settings = cassandra(objects)["config"]["cassandraYaml"]
    return {key: value for key, value in settings.items() if key in MEMORY}


def test_nodes_have_the_settings_that_our_own_node_has(render: Render) -> None:
    assert memory(render()) == MEMORY
    text = RUN.read_text().split("<<EOF\n")[1].split("\nEOF\n")[0]
    own = yaml.safe_load(text.replace("$off_heap", "512MiB"))
    assert {key: own[key] for key in MEMORY} == MEMORY


def test_memory_of_nodes_is_the_users(render: Render) -> None:
    own = {"key_cache_size": "64MiB", "memtable_allocation_type": "heap_buffers"}
    objects = render({"cassandra.offHeap": "1GiB", "cassandra.k8ssandra.config": own})
    assert memory(objects) == MEMORY | {"memtable_offheap_space": "1GiB"} | own
    standalone = find(render({"cassandra.offHeap": "1GiB"}, file=SMALL), "StatefulSet", f"{NAME}-cassandra")
    (container,) = standalone["spec"]["template"]["spec"]["containers"]
    assert {"name": "CASSANDRA_OFF_HEAP", "value": "1GiB"} in container["env"]


def test_older_nodes_are_told_nothing_that_they_do_not_know(render: Render) -> None:
    assert memory(render({"cassandra.version": "4.1.10"})) == {}
