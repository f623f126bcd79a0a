import pytest

from tests.e2e.airflow import Airflow
from tests.e2e.conftest import Kubectl
from tests.e2e.runs import start
from tests.e2e.scenarios.conftest import Delivered
from tests.e2e.scenarios.faults import as_administrator

ADD_PARTITION = """
from etl.kafka.client import connect
from etl.settings import KafkaSettings, read_settings
with connect(read_settings(KafkaSettings)) as client:
    topic = client.settings.topic
    before = len(client.partitions(topic))
    client.administer("topic", lambda admin: admin.create_partitions({topic: before + 1}))
    while len(client.partitions(topic)) == before:
        pass
"""


@pytest.mark.long
def test_all_is_stored_when_the_topic_gains_partitions_between_two_runs(
    airflow: Airflow, kubectl: Kubectl, check_delivery: Delivered
) -> None:
    few = start(airflow, "few")
    assert few.wait() == "success"
    as_administrator(kubectl, "grant", ADD_PARTITION)
    more = start(airflow, "more")
    assert more.wait() == "success"
    check_delivery(few, more)
