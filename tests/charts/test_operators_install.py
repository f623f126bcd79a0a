"""How the operators are installed: by what their charts render, less what would need cert-manager."""

from pathlib import Path

import pytest
import yaml

from images import cluster, operators
from images.command import run
from images.tools import tool
from tests.charts.conftest import Object, find

CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
"""
TEMPLATES = """
apiVersion: v1
kind: ConfigMap
metadata: {name: values}
data: {values: {{ toJson .Values | quote }}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: operator}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: serving}
spec: {secretName: webhook-certificate}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: self-signed}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: things}
---
apiVersion: batch/v1
kind: Job
metadata: {name: upgrade, annotations: {helm.sh/hook: pre-upgrade}}
"""


class Cluster:
    """What a cluster is told."""

    def __init__(self) -> None:
        self.applied: list[Object] = []
        self.awaited: list[str] = []

    def helm(self, name: str, namespace: str, *arguments: str) -> str:
        return run(tool("helm"), "--namespace", namespace, *arguments)

    def kubectl(self, name: str, *arguments: str, stdin: str | None = None) -> str:
        if "apply" in arguments:
            self.applied += yaml.safe_load_all(stdin or "")
        elif "wait" in arguments:
            self.awaited += [word for word in arguments if word.startswith("deployment/")]
        else:
            return run(tool("kubectl"), *arguments)
        return ""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    for folder in ("templates", "crds"):
        (tmp_path / folder).mkdir()
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: operator, version: 1.0.0}")
    (tmp_path / "templates" / "all.yaml").write_text(TEMPLATES)
    (tmp_path / "crds" / "things.yaml").write_text(CRD)
    for operator in ("STRIMZI", "K8SSANDRA"):
        monkeypatch.setenv(f"{operator}_CHART", str(tmp_path))
        monkeypatch.setenv(f"{operator}_REGISTRY", f"{operator.lower()}.plant")
    told = Cluster()
    monkeypatch.setattr(cluster, "helm", told.helm)
    monkeypatch.setattr(cluster, "kubectl", told.kubectl)
    operators.install("any")
    return told


def test_operators_are_applied_without_what_needs_cert_manager(installed: Cluster) -> None:
    both = ["Secret", "CustomResourceDefinition", "ConfigMap", "Deployment"]
    assert [item["kind"] for item in installed.applied] == ["Namespace", *both, *both]
    assert installed.awaited == ["deployment/operator", "deployment/operator"]


def test_certificate_of_the_webhooks_is_made(installed: Cluster) -> None:
    secret = find(installed.applied[:3], "Secret", "webhook-certificate")
    assert secret["type"] == "kubernetes.io/tls"
    assert set(secret["data"]) == {"tls.crt", "tls.key"}


def test_all_images_come_from_the_mirror(installed: Cluster) -> None:
    strimzi, k8ssandra = (
        yaml.safe_load(item["data"]["values"]) for item in installed.applied if item["kind"] == "ConfigMap"
    )
    assert strimzi["defaultImageRegistry"] == "strimzi.plant"
    mirror = {"registry": "k8ssandra.plant"}
    assert k8ssandra["image"] == k8ssandra["cass-operator"]["image"] == mirror
    assert k8ssandra["global"]["imageConfig"]["defaults"] == mirror
