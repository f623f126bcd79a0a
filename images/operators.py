"""The operators of Kafka and Cassandra in a kind cluster, from the charts of their publishers or of a mirror.

Variables of the environment, for machines that do not reach a publisher:

  STRIMZI_CHART, K8SSANDRA_CHART        a chart as Helm takes it: a folder, a file, a URL or oci://...
  STRIMZI_REGISTRY, K8SSANDRA_REGISTRY  registry of the operator's images; K8ssandra's also of Cassandra's image

The chart of the K8ssandra operator needs cert-manager for its webhooks. Here the webhooks are left out instead, and the
certificate that the operator needs to start is made by this module.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from images import cluster
from images.certificates import write_certificates
from images.command import step
from images.names import CLUSTER

NAMESPACE = "operators"
TIMEOUT = "10m"
STRIMZI = ("oci://quay.io/strimzi-helm/strimzi-kafka-operator", "--version=1.2.0")
K8SSANDRA = ("k8ssandra-operator", "--repo=https://helm.k8ssandra.io/stable", "--version=1.32.5")
WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")


def install(name: str = CLUSTER) -> None:
    """Install or upgrade both, and wait until they are ready.

    Raises:
        ServiceError: A chart or an image cannot be fetched, or an operator did not become ready.
    """
    _apply(name, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    strimzi = ["watchAnyNamespace=true", "resources.requests.cpu=50m"]
    if registry := os.environ.get("STRIMZI_REGISTRY"):
        strimzi.append(f"defaultImageRegistry={registry}")
    _install(name, "strimzi", _chart("STRIMZI_CHART", STRIMZI), strimzi)
    k8ssandra = ["global.clusterScoped=true", "cass-operator.admissionWebhooks.enabled=false"]
    if registry := os.environ.get("K8SSANDRA_REGISTRY"):
        # The last one is for the images in Cassandra's pods.
        keys = ("image", "cass-operator.image", "global.imageConfig.defaults")
        k8ssandra += [f"{key}.registry={registry}" for key in keys]
    _install(name, "k8ssandra", _chart("K8SSANDRA_CHART", K8SSANDRA), k8ssandra)


def _chart(variable: str, published: Sequence[str]) -> list[str]:
    return [os.environ[variable]] if os.environ.get(variable) else list(published)


def _install(name: str, release: str, chart: list[str], values: list[str]) -> None:
    """Render a chart and apply it with its resource definitions, which `helm upgrade` would not update."""
    settings = [f"--set={value}" for value in values]
    with step(f"install operator {release}"):
        rendered = cluster.helm(name, NAMESPACE, "template", release, *chart, *settings, "--include-crds", "--no-hooks")
        objects = [item for item in yaml.load_all(rendered, yaml.CSafeLoader) if item]
        for certificate in (item for item in objects if item["kind"] == "Certificate"):
            _make_certificate(name, certificate["spec"]["secretName"])
        _apply(name, *(item for item in objects if not _is_for_webhooks(item)))
        deployments = [f"deployment/{item['metadata']['name']}" for item in objects if item["kind"] == "Deployment"]
        ready = ("--for=condition=Available", f"--timeout={TIMEOUT}")
        cluster.kubectl(name, "--namespace", NAMESPACE, "wait", *deployments, *ready)


def _is_for_webhooks(item: dict[str, Any]) -> bool:
    return item["kind"] in WEBHOOKS or item["apiVersion"].startswith("cert-manager.io/")


def _make_certificate(name: str, secret: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_certificates(Path(folder), secret)
        both = Path(folder) / "keystore.pem"
        files = (f"--cert={both}", f"--key={both}", "--dry-run=client", "--output=yaml")
        made = cluster.kubectl(name, "--namespace", NAMESPACE, "create", "secret", "tls", secret, *files)
    _apply(name, yaml.safe_load(made))


def _apply(name: str, *objects: dict[str, Any]) -> None:
    """Apply objects server-side, since a definition is too large for the annotation of a client-side apply."""
    options = ("--server-side", "--force-conflicts", "--filename=-")
    text = yaml.dump_all(objects, Dumper=yaml.CSafeDumper)
    cluster.kubectl(name, "--namespace", NAMESPACE, "apply", *options, stdin=text)
