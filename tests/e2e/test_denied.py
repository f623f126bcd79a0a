"""What nobody may do: each stage, in its own pod and with its own secrets, beyond its rights."""

import json
from typing import Any

import pytest

from images.errors import ServiceError
from tests.e2e.conftest import CQL, Kubectl, Run

READ_TOPIC = """
from etl.kafka.client import connect
from etl.settings import KafkaSettings, read_settings
with connect(read_settings(KafkaSettings)) as client:
    print(client.log_spans(client.settings.topic))
    print(client.committed(client.settings.topic))
"""
WRITE_TOPIC = """
from etl.kafka.client import connect
from etl.kafka.ports import open_producer
from etl.settings import KafkaSettings, read_settings
with connect(read_settings(KafkaSettings)) as client, open_producer(client.settings) as producer:
    producer.send(client.settings.topic, b"key", b"value", [])
    producer.flush()
"""

TRY_ALL = """
import sys
from cassandra import Unauthorized
from etl.cassandra.connection import connect
from etl.settings import CassandraSettings, read_settings
with connect(read_settings(CassandraSettings)) as session:
    for statement in sys.argv[1:]:
        try:
            session.execute(statement)
        except Unauthorized as error:
            print("refused:", error)
"""
BEYOND_LOAD = (
    "CREATE TABLE sensors.own (id int PRIMARY KEY)",
    "ALTER TABLE sensors.sensor_data ADD own int",
    "DROP TABLE sensors.sensor_data",
    "CREATE ROLE own",
    "SELECT * FROM sensors.sensor_data LIMIT 1",
)


def test_consumer_reads_what_the_producer_may_not(run: Run) -> None:
    allowed, log = run("consume", READ_TOPIC)
    assert allowed == 0, log
    denied, log = run("produce", READ_TOPIC)
    assert denied != 0, log
    assert "may not" in log or "Authorization" in log


def test_producer_writes_what_the_consumer_may_not(run: Run) -> None:
    denied, log = run("consume", WRITE_TOPIC)
    assert denied != 0, log
    assert "may not" in log or "Authorization" in log


def test_load_may_only_modify(run: Run) -> None:
    # One pod for all of them, since a pod takes seconds to start.
    denied, log = run("load", TRY_ALL, *BEYOND_LOAD)
    assert denied == 0, log
    refusals = [line for line in log.splitlines() if line.startswith("refused: ")]
    assert len(refusals) == len(BEYOND_LOAD), log


def test_transform_may_only_read(run: Run) -> None:
    allowed, log = run("transform", CQL, "SELECT * FROM sensors.sensor_data LIMIT 1")
    assert allowed == 0, log
    denied, log = run(
        "transform", CQL, "DELETE FROM sensors.sensor_data WHERE equipment_id = 'none' AND day = '2026-01-01'"
    )
    assert denied != 0, log


@pytest.mark.parametrize(("stage", "code"), [("consume", READ_TOPIC), ("transform", CQL)])
def test_wrong_password_is_refused(run: Run, stage: str, code: str) -> None:
    def forget(pod: Any) -> None:
        base = pod["spec"]["containers"][0]
        base["volumeMounts"] = [mount for mount in base["volumeMounts"] if mount["name"] != "secrets"]
        base["env"] = [variable for variable in base["env"] if variable["name"] != "ETL_SECRETS_DIR"]
        base["env"] += [
            {"name": f"ETL_{service}_{key}", "value": "wrong"}
            for service in ("KAFKA", "CASSANDRA")
            for key in ("USERNAME", "PASSWORD")
        ]

    denied, log = run(stage, code, "SELECT * FROM sensors.sensor_data LIMIT 1", change=forget)
    assert denied != 0, log


@pytest.mark.parametrize(("stage", "code"), [("consume", READ_TOPIC), ("transform", CQL)])
def test_connection_without_tls_is_refused(run: Run, stage: str, code: str) -> None:
    def undress(pod: Any) -> None:
        base = pod["spec"]["containers"][0]
        base["env"] = [
            v for v in base["env"] if v["name"] not in ("ETL_CASSANDRA_CA_FILE", "ETL_KAFKA_SECURITY_PROTOCOL")
        ]

    denied, log = run(stage, code, "SELECT * FROM sensors.sensor_data LIMIT 1", change=undress)
    assert denied != 0, log


def test_privileged_pod_is_refused(kubectl: Kubectl) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "privileged"},
        "spec": {"containers": [{"name": "base", "image": "any", "securityContext": {"privileged": True}}]},
    }
    with pytest.raises(ServiceError, match="PodSecurity"):
        kubectl("create", "--filename=-", stdin=json.dumps(pod))
