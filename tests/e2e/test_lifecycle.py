"""Installed, tested, upgraded, uninstalled: what stays and what goes."""

import json
from collections.abc import Callable

from images import install
from tests.e2e.conftest import OPERATORS, VALUES, Kubectl

SECRETS = ["sensor-etl-superuser", "sensor-etl-cassandra-load", "sensor-etl-kafka-produce", "sensor-etl-airflow-admin"]


def test_helm_test_runs_a_small_pipeline(cluster: str) -> None:
    install.helm(cluster, "test", install.RELEASE, "--timeout", "5m")


def test_namespace_refuses_what_is_not_restricted(kubectl: Kubectl) -> None:
    labels = json.loads(kubectl("get", "namespace", install.NAMESPACE, "--output=json"))["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_passwords_and_certificates_survive_an_upgrade(
    cluster: str, kubectl: Kubectl, secret: Callable[[str, str], str]
) -> None:
    before = {name: secret(name, "password") for name in SECRETS} | {
        "tls": secret("sensor-etl-cassandra-tls", "tls.crt")
    }
    revision = int(json.loads(install.helm(cluster, "status", install.RELEASE, "--output=json"))["version"])
    install.install(cluster, VALUES, [*OPERATORS, "commonAnnotations.upgraded=yes"])
    after = {name: secret(name, "password") for name in SECRETS} | {
        "tls": secret("sensor-etl-cassandra-tls", "tls.crt")
    }
    assert after == before
    job = json.loads(kubectl("get", "job", f"sensor-etl-schema-{revision + 1}", "--output=json"))
    assert job["status"]["succeeded"] == 1
