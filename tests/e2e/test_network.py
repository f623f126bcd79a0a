"""The chart's NetworkPolicies, tried where the cluster enforces them: who reaches what, and nothing else."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from images import cluster as kind
from images.command import run
from images.install import NAMESPACE
from images.tools import tool
from tests.e2e.conftest import OPERATORS, Kubectl

ELSEWHERE = "e2e-network"
MADE_HERE = "e2e=network"
KAFKA = f"sensor-etl-kafka-bootstrap.{NAMESPACE}.svc:9093"
CASSANDRA = f"sensor-etl-dc1-service.{NAMESPACE}.svc:9042"
DATABASE = f"sensor-etl-postgresql.{NAMESPACE}.svc:5432"
WEB = f"sensor-etl-airflow-api-server.{NAMESPACE}.svc:8080"
KUBERNETES = "kubernetes.default.svc:443"

# Prints which of its arguments take a connection. A name that is not known is an error, and no refusal.
PROBE = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor

def answers(target):
    host, port = target.split(":")
    address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4]
    try:
        socket.create_connection(address, timeout=10).close()
    except OSError:
        return False
    return True

with ThreadPoolExecutor(len(sys.argv)) as pool:
    print(*(target for target, answer in zip(sys.argv[1:], pool.map(answers, sys.argv[1:])) if answer))
"""

# What a namespace of one's own may have: names are looked up, nothing else is let out.
DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny", "namespace": ELSEWHERE},
    "spec": {
        "podSelector": {"matchLabels": {"denied": "yes"}},
        "policyTypes": ["Egress"],
        "egress": [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}],
    },
}

# What each pod needs to reach.
NEEDS: dict[str, set[str]] = {
    "network-generate": set(),
    "network-produce": {KAFKA},
    "network-consume": {KAFKA},
    "network-transform": {CASSANDRA},
    "network-load": {KAFKA, CASSANDRA},
    "network-analyze": {KAFKA, CASSANDRA},
    "deployment/sensor-etl-page": {CASSANDRA},
    "network-schema": {KAFKA, CASSANDRA},
    "deployment/sensor-etl-airflow-dag-processor": {DATABASE},
    "deployment/sensor-etl-airflow-scheduler": {DATABASE, WEB, KUBERNETES},
}
FOREIGNER, DENIED = ("network-foreigner", ELSEWHERE), ("network-denied", ELSEWHERE)
STRANGERS = (("network-stranger", NAMESPACE), FOREIGNER)

Probe = Callable[..., set[str]]


@pytest.fixture(scope="module")
def outside(cluster: str) -> Iterator[str]:
    """A server outside the cluster: on this machine, at its address in the network of the node."""
    template = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}"
    gateway = run("docker", "container", "inspect", "--format", template, kind.container(cluster))
    with socketserver.ThreadingTCPServer(("", 0), socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{gateway}:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def pods(cluster: str, kubectl: Kubectl) -> Iterator[None]:
    """Pods that only wait: one labelled as each stage and the schema Job, strangers here and elsewhere."""
    config = json.loads(kubectl("get", "configmap", "sensor-etl-dag", "--output=json"))["data"]
    templates = {file.removesuffix(".yaml"): yaml.safe_load(text) for file, text in config.items()}
    stages = {name: template for name, template in templates.items() if template.get("kind") == "Pod"}
    produce = stages["produce"]["metadata"]["labels"]
    made = [waiting(template, stage, template["metadata"]["labels"]) for stage, template in stages.items()]
    for name, namespace, labels in (
        ("schema", NAMESPACE, produce | {"app.kubernetes.io/component": "schema"}),
        ("stranger", NAMESPACE, {}),
        ("foreigner", ELSEWHERE, produce),
        ("denied", ELSEWHERE, {"denied": "yes"}),
    ):
        made.append(waiting(stages["produce"], name, labels, namespace))
    every = ("pods", f"--selector={MADE_HERE}", "--all-namespaces")
    remove(cluster, every)
    items = {"apiVersion": "v1", "kind": "List", "items": [DENY, *made]}
    kind.kubectl(cluster, "create", "namespace", ELSEWHERE)
    kind.kubectl(cluster, "create", "--filename=-", stdin=json.dumps(items))
    kind.kubectl(cluster, "wait", "--for=condition=Ready", "--timeout=300s", *every)
    yield
    remove(cluster, every)


def waiting(template: Any, name: str, labels: dict[str, str], namespace: str = NAMESPACE) -> Any:
    """A pod as the template's, as far as that shows in the network."""
    (base,) = template["spec"]["containers"]
    container = {key: base[key] for key in ("name", "image", "imagePullPolicy", "securityContext")}
    key, value = MADE_HERE.split("=")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"network-{name}", "namespace": namespace, "labels": {**labels, key: value}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": template["spec"]["securityContext"],
            "containers": [{**container, "command": ["sleep", "infinity"]}],
        },
    }


def remove(cluster: str, pods: tuple[str, ...]) -> None:
    kind.kubectl(cluster, "delete", "--grace-period=0", "--force", *pods)
    kind.kubectl(cluster, "delete", "namespace", ELSEWHERE, "--ignore-not-found")


@pytest.fixture(scope="module")
def probe(cluster: str, pods: None, outside: str) -> Probe:
    """Which servers take a connection from a pod, named as for `kubectl exec`."""

    # The tool is looked up here, because that takes a lock of this process.
    kubectl = (tool("kubectl"), "--kubeconfig", kind.kubeconfig(cluster))

    def reached(pod: str, namespace: str) -> set[str]:
        command = ("python", "-c", PROBE, KAFKA, CASSANDRA, DATABASE, WEB, KUBERNETES, outside)
        return set(run(*kubectl, "--namespace", namespace, "exec", pod, "--", *command).split())

    # A connection that a policy drops takes ten seconds, so several pods try at once.
    everyone = [*((pod, NAMESPACE) for pod in NEEDS), *STRANGERS, DENIED]
    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(everyone, pool.map(lambda each: reached(*each), everyone), strict=True))
    return lambda pod, namespace=NAMESPACE: found[pod, namespace]


@pytest.fixture(scope="module")
def guarded(probe: Probe) -> set[str]:
    """What a policy keeps pods from: what it does not lie outside where the cluster does not enforce it.

    Policies need not hold for what runs on the pod's own node, as Kubernetes' API does where there is one node only.
    """
    found = probe(*FOREIGNER) - probe(*DENIED)
    if not found:
        pytest.skip("this cluster does not enforce NetworkPolicies")
    return found | {KAFKA, CASSANDRA, DATABASE}


@pytest.mark.parametrize(("pod", "needs"), NEEDS.items())
def test_pod_reaches_what_it_needs_and_nothing_else(probe: Probe, guarded: set[str], pod: str, needs: set[str]) -> None:
    assert probe(pod) & guarded == needs & guarded


@pytest.mark.skipif(bool(OPERATORS), reason="pods that the operators make are theirs to guard")
@pytest.mark.parametrize(("pod", "namespace"), STRANGERS)
def test_stranger_reaches_no_server_when_it_has_not_the_labels_or_not_the_namespace(
    probe: Probe, guarded: set[str], pod: str, namespace: str
) -> None:
    reached = probe(pod, namespace)
    assert WEB in reached
    assert not reached & {KAFKA, CASSANDRA, DATABASE}
