"""The node image of a kind cluster, made from Debian packages and Go modules."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from images import base, docker
from images.command import Report, run, step
from images.paths import CACHE
from images.without_registry.programs import KUBERNETES, MODULES, build_node_programs

REPOSITORY = "sensor-etl/node"
FOLDER = Path(__file__).parent / "node"
BIN = CACHE / "node" / "bin"
REGISTRY = "registry.k8s.io"
# The images that `kubeadm config images list` of this version and the node's own manifest name.
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
# kubeadm passes most of them a command; pause and CoreDNS run as they are.
COMPONENT = """
FROM scratch
COPY {program} /bin/{program}
ENV PATH=/bin
ENTRYPOINT ["{program}"]
"""
# They run on the node itself rather than in containers.
NODE_PROGRAMS = ("kubeadm", "kubelet", "kubectl")


def tag() -> str:
    """Return the name and tag of the image; the tag changes with the version of Kubernetes and with what is inside."""
    digest = hashlib.sha256(f"{COMPONENT} {COMPONENTS}".encode())
    modules = [MODULES / name for name in ("coredns", "etcd", "kube-network-policies", "kubernetes")]
    for folder in (*modules, FOLDER, MODULES / "pause"):
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(file.read_bytes())
    return f"{REPOSITORY}:{KUBERNETES}-{digest.hexdigest()[:12]}"


def make() -> None:
    """Make the image, which takes some minutes the first time.

    Raises:
        PrerequisiteError: Go is missing, or what the base image takes.
        CommandError: A program or an image could not be built.
    """
    programs = build_node_programs(BIN)
    from_base = f"BASE={base.image()}"
    with step(f"make {tag()}") as report, tempfile.TemporaryDirectory() as context:
        _make(programs, Path(context), from_base, report)


def _make(programs: dict[str, Path], context: Path, from_base: str, report: Report) -> None:
    for part in ("bin", "images", "components"):
        (context / part).mkdir()
    for program in NODE_PROGRAMS:
        _link_or_copy(programs[program], context / "bin")
    for program, component in COMPONENTS.items():
        folder = context / "components" / program
        folder.mkdir()
        _link_or_copy(programs[program], folder)
        _make_component(program, f"{REGISTRY}/{component}", from_base, folder, report)
    report("save the images of the control plane")
    archive = context / "images" / "control-plane.tar"
    run("docker", "save", "--output", archive, *(f"{REGISTRY}/{component}" for component in COMPONENTS.values()))
    shutil.copytree(FOLDER, context / "node")
    arguments = ("--build-arg", from_base, "--build-arg", f"VERSION={KUBERNETES}")
    docker.build(tag(), *arguments, "--file", context / "node" / "Dockerfile", context, report=report)


def _make_component(program: str, name: str, from_base: str, folder: Path, report: Report) -> None:
    special = FOLDER / f"{program}.Dockerfile"
    dockerfile = special.read_text() if special.exists() else COMPONENT.format(program=program)
    report(f"image of {program}")
    docker.build(name, "--build-arg", from_base, "--file", "-", folder, report=report, stdin=dockerfile)


def _link_or_copy(program: Path, folder: Path) -> None:
    try:
        (folder / program.name).hardlink_to(program)
    except OSError:
        shutil.copy2(program, folder)
