"""The image of a kind node: the stock one where its registry answers, else one from Debian packages and Go modules.

`python -m images.node` prints its name, and makes it first if needed. `NODE_IMAGE` names another, such as a mirror's.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from images import base, docker, golang
from images.command import LOCKS, Tell, alone, reporting, run, step
from images.tools import KIND, KUBERNETES, KUBERNETES_VARIABLES

# The default of kind 0.30.0.
STOCK = "docker.io/kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a"
OWN = "sensor-etl/node"
BIN = Path(__file__).parent.parent / ".cache" / "node" / "bin"
REGISTRY = "registry.k8s.io"
# What `kubeadm config images list` of this version names, and what the node's own manifest does.
COMPONENTS = {
    "kube-apiserver": f"kube-apiserver:{KUBERNETES}",
    "kube-controller-manager": f"kube-controller-manager:{KUBERNETES}",
    "kube-scheduler": f"kube-scheduler:{KUBERNETES}",
    "kube-proxy": f"kube-proxy:{KUBERNETES}",
    "etcd": "etcd:3.6.5-0",
    "coredns": "coredns/coredns:v1.12.1",
    "pause": "pause:3.10.1",
    "kube-network-policies": "networking/kube-network-policies:v0.7.0",
}
# kubeadm gives most of them a command; pause and CoreDNS run as they are.
COMPONENT = """
FROM scratch
COPY {program} /bin/{program}
ENV PATH=/bin
ENTRYPOINT ["{program}"]
"""
NODE_PROGRAMS = ("kubeadm", "kubelet", "kubectl")


def image() -> str:
    """Return the node image's name, and see that the daemon has it; the first time this takes up to some minutes.

    Raises:
        PrerequisiteError: Neither a registry answers nor is there what it takes to make one.
        CommandError: It could not be made.
    """
    if chosen := os.environ.get("NODE_IMAGE"):
        return chosen
    own = f"{OWN}:{KUBERNETES}-{_fingerprint()}"
    with alone(LOCKS / "images", "build images"):
        for name in (own, STOCK):
            if docker.has(name):
                return name
        if docker.pull(STOCK):
            return STOCK
        programs = compile_programs()
        from_base = f"BASE={base.image()}"
        with step(f"make {own}") as tell, tempfile.TemporaryDirectory() as context:
            _make(own, programs, Path(context), from_base, tell)
    return own


def is_own(name: str) -> bool:
    """Tell whether an image is made by this project, in whatever registry."""
    return OWN in name


def compile_programs() -> dict[str, Path]:
    """Build all that runs in a node of our own, name to executable; what is built already is left as it is."""
    kubernetes = [*NODE_PROGRAMS, *(name for name, component in COMPONENTS.items() if component.endswith(KUBERNETES))]
    packages = {name: f"k8s.io/kubernetes/cmd/{name}" for name in kubernetes}
    policies = {"kube-network-policies": "sigs.k8s.io/kube-network-policies/cmd"}
    executables = [
        *golang.build(KIND / "pause", {"pause": "."}, BIN),
        *golang.build(KIND / "coredns", {"coredns": "."}, BIN),
        *golang.build(KIND / "etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, BIN),
        *golang.build(KIND / "kube-network-policies", policies, BIN),
        *golang.build(KIND / "kubernetes", packages, BIN, variables=KUBERNETES_VARIABLES),
    ]
    return {executable.name: executable for executable in executables}


def _fingerprint() -> str:
    digest = hashlib.sha256(f"{COMPONENT} {COMPONENTS}".encode())
    for folder in ("coredns", "etcd", "kube-network-policies", "kubernetes", "node", "pause"):
        for file in sorted(path for path in (KIND / folder).rglob("*") if path.is_file()):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _make(name: str, programs: dict[str, Path], context: Path, from_base: str, tell: Tell) -> None:
    for part in ("bin", "images", "components"):
        (context / part).mkdir()
    for program in NODE_PROGRAMS:
        _place(programs[program], context / "bin")
    for program, component in COMPONENTS.items():
        folder = context / "components" / program
        folder.mkdir()
        _place(programs[program], folder)
        _make_component(program, f"{REGISTRY}/{component}", from_base, folder, tell)
    tell("save the images of the control plane")
    archive = context / "images" / "control-plane.tar"
    run("docker", "save", "--output", archive, *(f"{REGISTRY}/{component}" for component in COMPONENTS.values()))
    shutil.copytree(KIND / "node", context / "node")
    arguments = ("--build-arg", from_base, "--build-arg", f"VERSION={KUBERNETES}")
    docker.build(name, *arguments, "--file", context / "node" / "Dockerfile", context, tell=tell)


def _make_component(program: str, name: str, from_base: str, folder: Path, tell: Tell) -> None:
    special = KIND / "node" / f"{program}.Dockerfile"
    dockerfile = special.read_text() if special.exists() else COMPONENT.format(program=program)
    tell(f"image of {program}")
    docker.build(name, "--build-arg", from_base, "--file", "-", folder, tell=tell, stdin=dockerfile)


def _place(program: Path, folder: Path) -> None:
    try:
        (folder / program.name).hardlink_to(program)
    except OSError:
        shutil.copy2(program, folder)


@reporting
def main() -> int:
    """Run the command line; return its exit code."""
    docker.up()
    print(image())
    return 0


if __name__ == "__main__":
    sys.exit(main())
