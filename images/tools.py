"""kubectl, helm and kind of the versions that this project is tried with.

`python -m images.tools [NAME ...]` prints where each is. A fitting one on the PATH is taken, else one is built from its
Go module; either way `.cache/tools/bin` holds it.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from images import golang
from images.command import reporting, run
from images.errors import CommandError

KIND = Path(__file__).parent / "kind"
BIN = Path(__file__).parent.parent / ".cache" / "tools" / "bin"
KUBERNETES = "v1.34.2"
KUBERNETES_VARIABLES = {
    f"{package}.{name}": value
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for name, value in {
        "gitVersion": KUBERNETES,
        "gitMajor": "1",
        "gitMinor": "34",
        "gitTreeState": "clean",
    }.items()
}
# As Helm's own build sets them: the Kubernetes of its client-go, which charts are judged for without a cluster.
HELM_VARIABLES = {"helm.sh/helm/v3/internal/version.version": "v3.22.0"} | {
    f"helm.sh/helm/v3/pkg/{package}.k8sVersion{name}": value
    for package in ("chartutil", "lint/rules")
    for name, value in {"Major": "1", "Minor": "37"}.items()
}


@dataclass(frozen=True)
class Tool:
    """A program to be found or built.

    `version` are the arguments that make it print its version; `fits` judges major and minor number.
    """

    module: str
    package: str
    version: tuple[str, ...]
    fits: Callable[[int, int], bool]
    variables: dict[str, str] = field(default_factory=dict)


# In this order when all are wanted: the first is of use to chart tests while the others are built.
TOOLS = {
    "helm": Tool(
        "helm",
        "helm.sh/helm/v3/cmd/helm",
        ("version", "--short"),
        lambda major, minor: (major, minor) >= (3, 14),
        HELM_VARIABLES,
    ),
    "kubectl": Tool(
        "kubernetes",
        "k8s.io/kubernetes/cmd/kubectl",
        ("version", "--client"),
        lambda major, minor: major == 1 and abs(minor - 34) <= 1,
        KUBERNETES_VARIABLES,
    ),
    "kind": Tool("kind", "sigs.k8s.io/kind", ("version",), lambda major, minor: (major, minor) == (0, 30)),
}


def tool(name: str) -> Path:
    """Return the path of `helm`, `kubectl` or `kind`; the first time this takes up to some minutes.

    Raises:
        PrerequisiteError: None on the PATH fits, and Go, which could build one, is missing.
        CommandError: It could not be built.
    """
    wanted = TOOLS[name]
    found = shutil.which(name)
    if found and Path(found).parent != BIN and _fits(Path(found), wanted):
        return _link(Path(found), BIN / name)
    (executable,) = golang.build(KIND / wanted.module, {name: wanted.package}, BIN, variables=wanted.variables)
    return executable


def _fits(path: Path, wanted: Tool) -> bool:
    try:
        version = re.search(r"v(\d+)\.(\d+)\.", run(path, *wanted.version))
    except CommandError:
        return False
    return version is not None and wanted.fits(int(version[1]), int(version[2]))


def _link(found: Path, link: Path) -> Path:
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink() or link.readlink() != found:
        link.unlink(missing_ok=True)
        link.symlink_to(found)
    return link


@reporting
def main() -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m images.tools", description="Tools for the cluster.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TOOLS)}; all by default")
    names = parser.parse_args().names or list(TOOLS)
    if unknown := set(names) - set(TOOLS):
        parser.error(f"no such tool: {', '.join(sorted(unknown))}")
    for name in names:
        print(tool(name), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
