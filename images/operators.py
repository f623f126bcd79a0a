"""The operators of Kafka and Cassandra in a kind cluster, from their publishers' charts or from a mirror's.

`python -m images.operators [--name NAME]`. For machines that reach neither publisher:

  STRIMZI_CHART     what Helm takes for a chart: a folder, a file, a URL or oci://...; STRIMZI_REGISTRY: of its images
  K8SSANDRA_CHART   the same of the K8ssandra operator; K8SSANDRA_REGISTRY: of its images
"""

import argparse
import os
import sys
from collections.abc import Sequence

from images import cluster
from images.command import reporting, step

NAMESPACE = "operators"
TIMEOUT = "10m"
STRIMZI = ("oci://quay.io/strimzi-helm/strimzi-kafka-operator", "--version=1.2.0")
K8SSANDRA = ("k8ssandra-operator", "--repo=https://helm.k8ssandra.io/stable", "--version=1.32.5")


def install(name: str = cluster.NAME) -> None:
    """Install both, or upgrade them, and wait until they are ready.

    Raises:
        ServiceError: A chart or an image cannot be had, or an operator did not come up.
    """
    strimzi = ["watchAnyNamespace=true", "resources.requests.cpu=50m"]
    if registry := os.environ.get("STRIMZI_REGISTRY"):
        strimzi.append(f"defaultImageRegistry={registry}")
    _install(name, "strimzi", _chart("STRIMZI_CHART", STRIMZI), strimzi)
    # Its webhooks would need cert-manager, and check no more than the API server does.
    k8ssandra = ["global.clusterScoped=true", "cass-operator.admissionWebhooks.enabled=false"]
    k8ssandra += ["cass-operator.disableCertManagerCheck=true"]
    if registry := os.environ.get("K8SSANDRA_REGISTRY"):
        k8ssandra += [f"{image}.registry={registry}" for image in ("image", "client.image", "cass-operator.image")]
    _install(name, "k8ssandra", _chart("K8SSANDRA_CHART", K8SSANDRA), k8ssandra)


def _chart(variable: str, published: Sequence[str]) -> list[str]:
    return [os.environ[variable]] if os.environ.get(variable) else list(published)


def _install(name: str, release: str, chart: list[str], values: list[str]) -> None:
    settings = [f"--set={value}" for value in values]
    wait = ("--create-namespace", "--wait", "--timeout", TIMEOUT)
    with step(f"install operator {release}"):
        cluster.helm(name, NAMESPACE, "upgrade", "--install", release, *chart, *settings, *wait)


@reporting
def main() -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m images.operators", description="Operators in a kind cluster.")
    parser.add_argument("--name", default=cluster.NAME, help=f"of the cluster, {cluster.NAME} by default")
    name: str = parser.parse_args().name
    cluster.up(name)
    install(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
