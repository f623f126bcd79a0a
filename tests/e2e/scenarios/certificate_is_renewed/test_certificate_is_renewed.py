from collections.abc import Callable

import pytest

from images import install
from tests.e2e.airflow import Airflow
from tests.e2e.conftest import OPERATORS, VALUES, Kubectl
from tests.e2e.runs import running_pod, start
from tests.e2e.scenarios.conftest import Delivered
from tests.e2e.scenarios.faults import BROKER, roll

SECRET = "sensor-etl-kafka-tls"


@pytest.mark.long
@pytest.mark.skipif(bool(OPERATORS), reason="the operator renews the certificates of its brokers")
def test_all_is_stored_when_the_certificate_of_the_broker_is_renewed(
    cluster: str,
    airflow: Airflow,
    kubectl: Kubectl,
    secret: Callable[[str, str], str],
    check_delivery: Delivered,
) -> None:
    before = secret(SECRET, "tls.crt")
    kubectl("delete", "secret", SECRET)
    install.install(cluster, VALUES)
    assert secret(SECRET, "tls.crt") != before
    run = start(airflow, "certificate")
    running_pod(kubectl, run.name, "generate")
    roll(kubectl, BROKER)
    assert run.wait() == "success"
    check_delivery(run)
