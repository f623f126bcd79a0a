"""Installation of the chart in a kind cluster, in a namespace that enforces the Pod Security Standard `restricted`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from images import build, cluster, docker
from images.command import run, step
from images.errors import ServiceError
from images.names import NAMES
from images.paths import ROOT

CHART = ROOT / "charts" / "sensor-etl"
SMALL = CHART / "values-small.yaml"
RELEASE = NAMESPACE = "sensor-etl"
TIMEOUT = "15m"


def prepare(name: str) -> None:
    """Build the images, bring the cluster up, load the images into it and create the namespace.

    Raises:
        ServiceError: Something could not be built or did not come up.
    """
    docker.up()
    build.build_all(NAMES)
    cluster.up(name)
    cluster.load([build.tag(image) for image in NAMES], name)
    make_namespace(name)


def install(name: str, values: Sequence[Path] = (SMALL,), settings: Sequence[str] = ()) -> None:
    """Install or upgrade the chart, and wait until everything is ready.

    Args:
        name: Name of the cluster.
        values: Files of values; a later one overrides an earlier one.
        settings: Single values, as `path=value`.

    Raises:
        ServiceError: Something did not become ready; the message has the pods and the latest events.
    """
    options = [f"--values={file}" for file in values] + [f"--set={setting}" for setting in settings]
    wait = ("--wait", "--wait-for-jobs", "--timeout", TIMEOUT)
    with cluster.lock(name), step(f"install release {RELEASE}", lambda: _progress(name)):
        _forget_interrupted(name)
        try:
            helm(name, "upgrade", "--install", RELEASE, str(CHART), *wait, *options)
        except ServiceError as error:
            raise ServiceError(f"{error}\n{pods(name)}") from None


def _forget_interrupted(name: str) -> None:
    """Remove Helm's record of an installation or upgrade that was cut off, which makes it refuse the next one.

    The cluster's lock is held, so no other one runs. Its objects stay, and the next one adopts them.
    """
    pending = "owner=helm,status in (pending-install,pending-upgrade,pending-rollback),name=" + RELEASE
    cluster.kubectl(name, "-n", NAMESPACE, "delete", "secret", "--selector", pending)


def _progress(name: str) -> str:
    listed = json.loads(cluster.kubectl(name, "-n", NAMESPACE, "get", "pods", "--output=json"))["items"]
    waiting = [pod["metadata"]["name"] for pod in listed if not _is_ready(pod["status"])]
    return f"{len(listed) - len(waiting)} of {len(listed)} pods ready" + (f", not {', '.join(waiting)}" * bool(waiting))


def _is_ready(status: dict[str, Any]) -> bool:
    ready = {"type": "Ready", "status": "True"}
    return status["phase"] == "Succeeded" or any(
        ready.items() <= condition.items() for condition in status.get("conditions", [])
    )


def make_namespace(name: str, namespace: str = NAMESPACE) -> None:
    """Create a namespace for a release, which admits only pods of the Pod Security Standard `restricted`."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    wanted = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    cluster.kubectl(name, "apply", "--filename=-", stdin=json.dumps(wanted))


def helm(name: str, *arguments: str) -> str:
    """Run Helm against the cluster, in the release's namespace, and return its output."""
    return cluster.helm(name, NAMESPACE, *arguments)


def pods(name: str) -> str:
    """Return the pods of the release and the latest events, as text for a message."""
    listed = cluster.kubectl(name, "-n", NAMESPACE, "get", "pods", "--output=wide")
    events = cluster.kubectl(name, "-n", NAMESPACE, "get", "events", "--sort-by=.lastTimestamp").splitlines()
    return "\n".join([listed, *events[-15:]])


def address(name: str, part: str = "airflow-api-server") -> str:
    """Return the URL of Airflow's web interface, or of another part, on the node's own network."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    host = run("docker", "container", "inspect", "--format", template, cluster.container(name))
    service = f"service/{RELEASE}-{part}"
    port = cluster.kubectl(name, "-n", NAMESPACE, "get", service, "--output=jsonpath={.spec.ports[0].nodePort}")
    return f"http://{host}:{port}"


def bring_up(name: str, values: Sequence[Path] | None = None) -> None:
    """Prepare the cluster and install the chart, with Airflow and the page reachable from this machine.

    Raises:
        ServiceError: Something could not be built or did not come up.
    """
    settings = ["airflow.apiServer.service.type=NodePort", "page.service.type=NodePort"]
    with cluster.lock(name):
        prepare(name)
        install(name, values or [SMALL], settings)


def describe_access(name: str) -> str:
    """Return addresses, users and how to read the passwords of Airflow and the page, and the kubeconfig."""
    lines = []
    for part, user, secret, what in (
        ("airflow-api-server", "admin", "airflow-admin", "Airflow"),
        ("page", "viewer", "page", "The machines, after the first load"),
    ):
        lines += [
            f"{what}: {address(name, part)}, user {user}, password:",
            f"  kubectl -n {NAMESPACE} get secret/{RELEASE}-{secret} -o jsonpath='{{.data.password}}' | base64 -d",
        ]
    return "\n".join([*lines, f"export KUBECONFIG={cluster.kubeconfig(name)}"])
