"""A kind cluster on this machine, with the resource definitions of the operators.

Clusters of several names run side by side, each with its own kubeconfig, `.cache/clusters/NAME/kubeconfig`. The
kubeconfig of the user is never touched.
"""

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml

from images import crds, docker, node
from images.command import LOCKS, exclusive, follow, run, step
from images.errors import CommandError, ServiceError
from images.names import CLUSTER
from images.paths import CACHE
from images.tools import tool

CLUSTERS = CACHE / "clusters"
READY_SECONDS = 180
# An address that is reserved for documentation, where nothing answers.
NO_NAMESERVER = "192.0.2.1"
# What this module has put into the cluster. The file is in the node, so that it disappears with the node.
NOTES = "/kind/notes.json"


def up(name: str = CLUSTER) -> Path:
    """Create or start the cluster unless it runs, and return its kubeconfig.

    Raises:
        ServiceError: A prerequisite is missing, or the cluster did not become ready.
    """
    docker.up()
    with lock(name):
        if state(name) == "absent":
            create(name)
        elif state(name) == "stopped":
            with step(f"start cluster {name}"):
                run("docker", "start", container(name))
                _wait_until_ready(name)
        run(tool("kind"), "export", "kubeconfig", "--name", name, "--kubeconfig", kubeconfig(name))
        recycle_volumes(name)
    return kubeconfig(name)


def lock(name: str) -> AbstractContextManager[None]:
    """Hold the lock of bringing this cluster up or installing into it; see `images.command.exclusive`."""
    return exclusive(LOCKS / f"cluster-{name}", f"work on cluster {name}")


def create(name: str) -> None:
    """Create a cluster that does not exist. If that fails, its logs stay in its folder."""
    kind, image = tool("kind"), node.image()
    kubeconfig(name).parent.mkdir(parents=True, exist_ok=True)
    with step(f"create cluster {name} from {image}") as report:
        try:
            follow(
                *(kind, "create", "cluster", "--name", name, "--image", image, "--config", "-"),
                *("--kubeconfig", kubeconfig(name), "--wait", f"{READY_SECONDS}s", "--retain"),
                report=report,
                stdin=json.dumps(_config(name, image)),
            )
        except CommandError as error:
            logs = kubeconfig(name).parent / "logs"
            shutil.rmtree(logs, ignore_errors=True)
            subprocess.run([kind, "export", "logs", logs, "--name", name], capture_output=True, check=False)
            run(kind, "delete", "cluster", "--name", name)
            raise ServiceError(f"{error}\nmore in {logs}") from None
        # A second replica on the only node costs processor time and adds no safety.
        kubectl(name, "scale", "deployment/coredns", "--namespace=kube-system", "--replicas=1")


def down(name: str = CLUSTER) -> None:
    """Delete the cluster with everything in it. Idempotent."""
    if docker.is_up() and state(name) != "absent":
        with step(f"delete cluster {name}"):
            run(tool("kind"), "delete", "cluster", "--name", name, "--kubeconfig", kubeconfig(name))
    shutil.rmtree(kubeconfig(name).parent, ignore_errors=True)


def state(name: str = CLUSTER) -> str:
    """Return `running`, `stopped` or `absent`."""
    try:
        running = run("docker", "container", "inspect", "--format", "{{.State.Running}}", container(name))
    except CommandError:
        return "absent"
    return "running" if running == "true" else "stopped"


def load(images: Iterable[str], name: str = CLUSTER) -> None:
    """Copy images from the Docker daemon into the cluster, only those that are missing or have changed.

    Raises:
        ServiceError: The daemon has no such image, or the node could not import it.
    """
    wanted = {image: docker.image_id(image) for image in images}
    if unknown := [image for image, known in wanted.items() if known is None]:
        raise ServiceError(f"no such image: {', '.join(unknown)}")
    notes = _notes(name)
    changed = [image for image, known in wanted.items() if notes.get(image) != known]
    if not changed:
        return
    with step(f"load {', '.join(changed)}"):
        _import(changed, name)
    _write_notes(name, {**notes, **wanted})


def apply_crds(name: str = CLUSTER) -> None:
    """Install the operators' resource definitions unless they exist, and wait until the API server serves them.

    Definitions that an operator was installed with stay: it uses some fields in ways that these are too strict for.
    """
    files = [*crds.strimzi(), *crds.k8ssandra()]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    notes = _notes(name)
    if notes.get("crds") == digest:
        return
    if "crds" not in notes:
        there = kubectl(name, "get", "customresourcedefinitions", "--output=name").split()
        files = [
            file for file in files if f"customresourcedefinition.apiextensions.k8s.io/{_definition(file)}" not in there
        ]
    if not files:
        return
    arguments = [f"--filename={file}" for file in files]
    with step("install resource definitions"):
        # Server-side, since a definition is too large for the annotation of a client-side apply.
        kubectl(name, "apply", "--server-side", "--force-conflicts", *arguments)
        kubectl(name, "wait", "--for=condition=Established", "--timeout=60s", *arguments)
    _write_notes(name, {**notes, "crds": digest})


def _definition(file: Path) -> str:
    name: str = yaml.load(file.read_text(), yaml.CSafeLoader)["metadata"]["name"]
    return name


def recycle_volumes(name: str = CLUSTER) -> None:
    """Empty volumes whose claims were deleted, and make them available again.

    The node image of `without_registry` has a fixed set of volumes and no provisioner.
    """
    volumes = json.loads(kubectl(name, "get", "persistentvolumes", "--output=json"))["items"]
    for volume in volumes:
        if volume["status"]["phase"] == "Released" and "local" in volume["spec"]:
            path = volume["spec"]["local"]["path"]
            run("docker", "exec", container(name), "find", path, "-mindepth", "1", "-delete")
            patch = json.dumps({"spec": {"claimRef": None}})
            kubectl(name, "patch", "persistentvolume", volume["metadata"]["name"], "--patch", patch)


def kubectl(name: str, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl against a cluster, and return its output."""
    return run(tool("kubectl"), "--kubeconfig", kubeconfig(name), *arguments, stdin=stdin)


def helm(name: str, namespace: str, *arguments: str) -> str:
    """Run Helm against a cluster, in a namespace, and return its output."""
    return run(tool("helm"), "--kubeconfig", kubeconfig(name), "--namespace", namespace, *arguments)


def kubeconfig(name: str = CLUSTER) -> Path:
    """Return the path of the cluster's kubeconfig."""
    return CLUSTERS / name / "kubeconfig"


def container(name: str = CLUSTER) -> str:
    """Return the name of the container that is the cluster's only node."""
    return f"{name}-control-plane"


def _config(name: str, image: str) -> dict[str, Any]:
    """Return kind's configuration of the cluster; the node image of `without_registry` needs name servers for pods."""
    control_plane: dict[str, Any] = {"role": "control-plane"}
    config: dict[str, Any] = {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [control_plane]}
    if node.is_own(image):
        mount = {"hostPath": str(_write_nameservers(name)), "containerPath": "/kind/resolv.conf", "readOnly": True}
        control_plane["extraMounts"] = [mount]
    return config


def _write_nameservers(name: str) -> Path:
    """Write a `resolv.conf` that is valid in pods, which do not reach this machine's loopback addresses."""
    lines = Path("/etc/resolv.conf").read_text().splitlines()
    servers = [line for line in lines if line.startswith("nameserver") and not line.split()[1].startswith("127.")]
    file = kubeconfig(name).parent / "resolv.conf"
    file.write_text("\n".join(servers or [f"nameserver {NO_NAMESERVER}"]) + "\n")
    return file


def _wait_until_ready(name: str) -> None:
    """Wait for a node that was started again: at first nothing answers, then the API server refuses every user."""
    run(tool("kind"), "export", "kubeconfig", "--name", name, "--kubeconfig", kubeconfig(name))
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            kubectl(name, "wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={READY_SECONDS}s")
        except CommandError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


def _notes(name: str) -> dict[str, str | None]:
    try:
        notes: dict[str, str | None] = json.loads(run("docker", "exec", container(name), "cat", NOTES))
    except CommandError:
        return {}
    return notes


def _write_notes(name: str, notes: dict[str, str | None]) -> None:
    run("docker", "exec", "-i", container(name), "tee", NOTES, stdin=json.dumps(notes))


def _import(images: list[str], name: str) -> None:
    """Copy images from the daemon to the node's containerd; shared layers are copied once."""
    take = ["docker", "exec", "-i", container(name), "ctr", "--namespace=k8s.io", "images", "import", "-"]
    with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as save:
        done = subprocess.run(take, stdin=save.stdout, capture_output=True, text=True, check=False)
    if save.returncode or done.returncode:
        raise ServiceError(f"could not load {', '.join(images)}:\n{done.stderr.strip()}")
