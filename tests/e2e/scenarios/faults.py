"""Faults of a cluster, each of them undone at the end."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from images import cluster as kind
from images.command import run
from tests.e2e.conftest import OPERATORS, Kubectl

BROKER = "sensor-etl-kafka-0"
NODE = "sensor-etl-dc1-default-sts-0" if OPERATORS else "sensor-etl-cassandra-0"


def on_machine(cluster: str, *command: str) -> str:
    """Run a command on the machine of the cluster, as root."""
    return run("docker", "exec", kind.container(cluster), *command)


@contextmanager
def paused(cluster: str, kubectl: Kubectl, pod: str) -> Iterator[None]:
    """Stop the processes of a pod's only container for a time, as a machine that hangs does."""
    container = kubectl("get", "pod", pod, "--output=jsonpath={.status.containerStatuses[0].containerID}")
    tasks = ("ctr", "--namespace=k8s.io", "tasks")
    name = container.removeprefix("containerd://")
    on_machine(cluster, *tasks, "pause", name)
    try:
        yield
    finally:
        on_machine(cluster, *tasks, "resume", name)


def roll(kubectl: Kubectl, pod: str) -> None:
    """Let the StatefulSet replace a pod, and wait until its successor is ready."""
    kubectl("delete", "pod", pod, "--timeout=120s")
    wait_for_pod(kubectl, pod)


def wait_for_pod(kubectl: Kubectl, pod: str) -> None:
    """Wait until the StatefulSet has made a pod, and until it is ready."""
    kubectl("wait", "--for=create", f"pod/{pod}", "--timeout=60s")
    kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=300s")


def as_administrator(kubectl: Kubectl, container: str, code: str) -> None:
    """Run Python as a container of the newest schema Job does, with an administrator's rights."""
    jobs = json.loads(kubectl("get", "jobs", "--selector=app.kubernetes.io/component=schema", "--output=json"))["items"]
    job = max(jobs, key=lambda item: int(item["metadata"]["name"].rsplit("-", 1)[1]))
    spec = job["spec"]["template"]["spec"]
    (only,) = [each for each in spec["containers"] if each["name"] == container]
    only["command"] = ["python", "-c", code]
    spec |= {"initContainers": [], "containers": [only]}
    metadata = {"name": "administrator", "labels": job["metadata"]["labels"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    kubectl("create", "--filename=-", stdin=json.dumps(pod))
    try:
        kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/administrator", "--timeout=180s")
    finally:
        print(kubectl("logs", "administrator"))
        kubectl("delete", "pod", "administrator", "--grace-period=0", "--force")
