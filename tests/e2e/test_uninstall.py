"""What is left when the release is gone, and found again when it comes back. It comes late: others need it."""

from collections.abc import Callable

import pytest

from etl.cassandra.connection import connect
from etl.settings import CassandraSettings
from images import cluster as kind
from images import install
from tests.e2e.conftest import OPERATORS, VALUES, Kubectl, forwarded


def rows(settings: CassandraSettings) -> int:
    with connect(settings) as session:
        return int(session.execute("SELECT count(*) FROM runs").one()[0])


@pytest.mark.long
def test_data_and_passwords_are_kept_when_the_release_is_uninstalled(
    cluster: str, kubectl: Kubectl, secret: Callable[[str, str], str], cassandra: CassandraSettings
) -> None:
    before, password = rows(cassandra), secret("sensor-etl-superuser", "password")
    assert before > 0
    install.helm(cluster, "uninstall", install.RELEASE, "--wait", "--timeout", "5m")
    # The pod of `helm test` stays, so that its log can be read.
    servers = "--selector=app.kubernetes.io/name=sensor-etl,app.kubernetes.io/component in (kafka, cassandra)"
    kubectl("wait", "--for=delete", "pod", servers, "--timeout=180s")
    claims = kubectl("get", "persistentvolumeclaims", "--output=name")
    volumes = () if OPERATORS else ("data-sensor-etl-kafka-0", "data-sensor-etl-cassandra-0")
    for name in (*volumes, "sensor-etl-workspace", "sensor-etl-airflow-logs"):
        assert f"persistentvolumeclaim/{name}" in claims
    assert secret("sensor-etl-superuser", "password") == password
    install.install(cluster, VALUES, OPERATORS)
    assert kind.state(cluster) == "running"
    with forwarded(cluster, "service/sensor-etl-dc1-service", 9042) as port:
        assert rows(cassandra.model_copy(update={"port": port})) == before
