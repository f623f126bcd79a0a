import json
import uuid

import pytest

from images import install
from tests.e2e.airflow import Airflow
from tests.e2e.conftest import OPERATORS, VALUES, Kubectl
from tests.e2e.runs import start
from tests.e2e.scenarios.conftest import Delivered

ROTATED = ("sensor-etl-kafka-consume", "sensor-etl-cassandra-transform")


@pytest.mark.long
@pytest.mark.skipif(bool(OPERATORS), reason="the passwords of Kafka's users belong to the operator")
def test_all_is_stored_when_passwords_are_rotated_between_two_runs(
    cluster: str, airflow: Airflow, kubectl: Kubectl, check_delivery: Delivered
) -> None:
    before = start(airflow, "before")
    assert before.wait() == "success"
    for secret in ROTATED:
        patch = {"stringData": {"password": uuid.uuid4().hex}}
        kubectl("patch", "secret", secret, f"--patch={json.dumps(patch)}")
    install.install(cluster, VALUES)
    after = start(airflow, "after")
    assert after.wait() == "success"
    assert after.task("transform")["try_number"] == 1
    check_delivery(before, after)
