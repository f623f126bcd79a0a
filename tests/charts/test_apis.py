"""Resources of operators: refused with a clear message where the cluster does not know them."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.charts.conftest import CHART, SMALL, deep

# Every cluster serves this one.
CLUSTER = "apiregistration.k8s.io/v1"
GATEWAY = {"httpRoute.page.enabled": True, "httpRoute.page.parentRefs": [{"name": "plant"}]}
ISSUER = {"certificates.certManager.enabled": True, "certificates.certManager.issuerRef": {"name": "plant-ca"}}
CASSANDRA = {"cassandra.mode": "k8ssandra", "storageClass": "fast"}
NEEDED = {
    "kafka.strimzi.io/v1/Kafka": ({"kafka.mode": "strimzi"}, "kafka.mode=strimzi"),
    "k8ssandra.io/v1alpha1/K8ssandraCluster": (CASSANDRA, "cassandra.mode=k8ssandra"),
    "cert-manager.io/v1/Certificate": (ISSUER, "certificates.certManager.enabled"),
    "gateway.networking.k8s.io/v1/HTTPRoute": (GATEWAY, "httpRoute.page.enabled"),
    "monitoring.coreos.com/v1/PodMonitor": ({"metrics.podMonitor.enabled": True}, "metrics.podMonitor.enabled"),
    "monitoring.coreos.com/v1/PrometheusRule": (
        {"metrics.prometheusRule.enabled": True},
        "metrics.prometheusRule.enabled",
    ),
    "monitoring.coreos.com/v1/ServiceMonitor": (
        {"metrics.serviceMonitor.enabled": True},
        "metrics.serviceMonitor.enabled",
    ),
}


def render(helm: Path, values: dict[str, object], *apis: str) -> subprocess.CompletedProcess[str]:
    known = [f"--api-versions={api}" for api in apis]
    command = [helm, "template", "plant", str(CHART), "--values", str(SMALL), "--values", "-", *known]
    return subprocess.run(command, input=json.dumps(deep(values)), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("api", NEEDED)
def test_resource_is_refused_when_the_cluster_does_not_know_it(helm: Path, api: str) -> None:
    values, named = NEEDED[api]
    done = render(helm, values, CLUSTER)
    assert done.returncode != 0
    assert f"{named}: the cluster does not know {api}" in done.stderr


@pytest.mark.parametrize("api", NEEDED)
def test_resource_is_there_when_the_cluster_knows_it(helm: Path, api: str) -> None:
    done = render(helm, NEEDED[api][0], CLUSTER, api)
    assert done.returncode == 0, done.stderr
    assert f"kind: {api.rpartition('/')[2]}\n" in done.stdout


def test_chart_needs_no_operator_when_everything_is_standalone(helm: Path) -> None:
    done = render(helm, {}, CLUSTER)
    assert done.returncode == 0, done.stderr
