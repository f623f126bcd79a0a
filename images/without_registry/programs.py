"""Programs built from the Go modules in `go/`: helm, kubectl, kind, those of the node image and of the tests."""

from dataclasses import dataclass, field
from pathlib import Path

from images.without_registry import golang

MODULES = Path(__file__).parent / "go"
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
class Module:
    """Programs of one Go module: its folder in `go/`, import path by program, variables that the linker sets."""

    folder: str
    packages: dict[str, str]
    variables: dict[str, str] = field(default_factory=dict)


TOOLS = {
    "helm": Module("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}, HELM_VARIABLES),
    "kubectl": Module("kubernetes", {"kubectl": "k8s.io/kubernetes/cmd/kubectl"}, KUBERNETES_VARIABLES),
    "kind": Module("kind", {"kind": "sigs.k8s.io/kind"}),
}
CHARTS = Module(
    "charts",
    {
        "kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform",
        "kube-score": "github.com/zegl/kube-score/cmd/kube-score",
    },
)
OF_KUBERNETES = (
    *("kubeadm", "kubelet", "kubectl"),
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
)
NODE = (
    Module("pause", {"pause": "."}),
    Module("coredns", {"coredns": "."}),
    Module("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Module("kube-network-policies", {"kube-network-policies": "sigs.k8s.io/kube-network-policies/cmd"}),
    Module(
        "kubernetes",
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in OF_KUBERNETES},
        KUBERNETES_VARIABLES,
    ),
)


def build_tool(name: str, out: Path) -> Path:
    """Build `helm`, `kubectl` or `kind` into a folder, unless it is built already, and return its path.

    Raises:
        PrerequisiteError: Go is missing.
        CommandError: The build failed.
    """
    (executable,) = _build(TOOLS[name], out)
    return executable


def build_chart_checks(out: Path) -> dict[str, Path]:
    """Build kubeconform and kube-score into a folder, unless they are built already, and return each path by its name.

    Raises:
        PrerequisiteError: Go is missing.
        CommandError: The build failed.
    """
    return {path.name: path for path in _build(CHARTS, out)}


def build_node_programs(out: Path) -> dict[str, Path]:
    """Build all that runs in the node image into a folder, and return each program's path by its name.

    Raises:
        PrerequisiteError: Go is missing.
        CommandError: A build failed.
    """
    return {path.name: path for module in NODE for path in _build(module, out)}


def _build(module: Module, out: Path) -> list[Path]:
    return golang.build(MODULES / module.folder, module.packages, out, variables=module.variables)
