import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.admin import doctor
from etl.admin.doctor import Check, check_all, worst
from etl.admin.replicas import brokers, topic_replicas
from etl.admin.schema import create_schema, create_tables
from etl.admin.topics import create_topics
from etl.cassandra import connection as cassandra_port
from etl.kafka import client as kafka_port
from etl.model.measurements import read_measurements
from etl.model.tables import INSIGHT, pipeline_tables
from etl.settings import CassandraSettings, KafkaSettings, SchemaSettings, read_settings
from images import local


@pytest.fixture
def ready(
    kafka: local.Service,
    cassandra: local.Service,
    topic: str,
    keyspace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> pytest.MonkeyPatch:
    """Settings of both services, of a topic and a keyspace of the test's own, and of a workspace."""
    own = {
        "ETL_KAFKA_TOPIC": topic,
        "ETL_KAFKA_DEAD_LETTER_TOPIC": f"{topic}-dead-letters",
        "ETL_KAFKA_EVENTS_TOPIC": f"{topic}-events",
        "ETL_KAFKA_GROUP": topic,
        "ETL_CASSANDRA_KEYSPACE": keyspace,
        "ETL_WORKSPACE_URL": str(tmp_path / "workspace"),
    }
    for name in [name for name in os.environ if name.startswith("ETL_")]:
        monkeypatch.delenv(name)
    for name, value in (kafka.environment | cassandra.environment | own).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def schema(ready: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The same, with topics and tables."""
    parts = read_settings(SchemaSettings), read_settings(CassandraSettings), read_settings(KafkaSettings)
    list(create_schema(read_measurements(), *parts))
    return ready


@pytest.fixture
def client(ready: pytest.MonkeyPatch) -> Iterator[kafka_port.Client]:
    with kafka_port.connect(read_settings(KafkaSettings)) as client:
        yield client


def problems() -> list[Check]:
    return [check for check in check_all() if check.state != "ok"]


def only_problem() -> Check:
    (check,) = problems()
    return check


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_all_is_well_when_the_schema_is_there(schema: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checks = list(check_all())
    assert [check for check in checks if check.state != "ok"] == []
    assert worst(checks) == 0
    assert not list((tmp_path / "workspace").iterdir())


def replicas() -> dict[str, Check]:
    return {check.what: check for check in check_all() if check.what.startswith("replicas")}


def test_replicas_are_fine_when_a_single_node_holds_one(schema: pytest.MonkeyPatch, client: kafka_port.Client) -> None:
    assert {what: check.state for what, check in replicas().items()} == {
        "replicas of the topics": "ok",
        "replicas of the keyspace": "ok",
    }
    assert topic_replicas(client, client.settings.topic) == brokers(client) == 1
    assert topic_replicas(client, f"{client.settings.topic}-that-nobody-made") is None


def test_warning_names_the_keyspace_when_it_wants_more_replicas_than_there_are_nodes(
    ready: pytest.MonkeyPatch, keyspace: str
) -> None:
    wanted = '{"class": "NetworkTopologyStrategy", "datacenter1": 3}'
    cassandra, settings = read_settings(CassandraSettings), SchemaSettings(cassandra_replication=wanted)
    with cassandra_port.connect(cassandra, keyspace=False) as session:
        list(create_tables(session, [*pipeline_tables(read_measurements()), *INSIGHT], settings, cassandra))
    check = replicas()["replicas of the keyspace"]
    assert check.state == "warn"
    assert f"keyspace {keyspace} wants 3 replicas of 1 node(s) of datacenter1" in check.text


def test_everything_missing_is_named_when_there_is_no_schema(ready: pytest.MonkeyPatch) -> None:
    found = problems()
    assert [check.what for check in found] == ["topic", "dead letters", "events", "tables"]
    assert all("etl schema" in check.text for check in found)
    assert worst(found) == 2


def test_warning_names_what_is_missing_when_only_the_stages_were_set_up(
    ready: pytest.MonkeyPatch, client: kafka_port.Client
) -> None:
    cassandra, settings = read_settings(CassandraSettings), SchemaSettings()
    create_topics(client, settings)
    with cassandra_port.connect(cassandra, keyspace=False) as session:
        list(create_tables(session, pipeline_tables(read_measurements()), settings, cassandra))
    # One that nobody made.
    ready.setenv("ETL_KAFKA_EVENTS_TOPIC", f"{client.settings.topic}-other-events")
    found = problems()
    assert [(check.what, check.state) for check in found] == [("events", "warn"), ("tables of the analysis", "warn")]
    assert f"{client.settings.topic}-other-events" in found[0].text
    assert "machine_hours" in found[1].text
    assert all("etl schema" in check.text for check in found)
    assert worst(found) == 0


def test_exit_code_is_4_when_the_broker_is_down(schema: pytest.MonkeyPatch) -> None:
    schema.setenv("ETL_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{closed_port()}")
    schema.setenv("ETL_KAFKA_TIMEOUT", "0.5")
    check = only_problem()
    assert (check.what, check.state, check.exit_code) == ("Kafka", "fail", 4)
    assert "ETL_KAFKA_BOOTSTRAP_SERVERS" in check.text


def test_exit_code_is_4_when_cassandra_is_down(schema: pytest.MonkeyPatch) -> None:
    schema.setenv("ETL_CASSANDRA_PORT", str(closed_port()))
    check = only_problem()
    assert (check.what, check.state, check.exit_code) == ("Cassandra", "fail", 4)


def test_exit_code_is_2_when_a_setting_is_wrong(schema: pytest.MonkeyPatch) -> None:
    schema.setenv("ETL_LOAD_CONCURRENCY", "many")
    check = only_problem()
    assert (check.what, check.exit_code) == ("settings", 2)
    assert "ETL_LOAD_CONCURRENCY" in check.text


def test_each_part_is_reported_when_several_settings_are_wrong(schema: pytest.MonkeyPatch) -> None:
    schema.setenv("ETL_LOAD_CONCURRENCY", "many")
    schema.setenv("ETL_KAFKA_CLIENT", "none")
    texts = " ".join(check.text for check in problems())
    assert "ETL_LOAD_CONCURRENCY" in texts
    assert "ETL_KAFKA_CLIENT" in texts


def test_exit_code_is_2_when_the_measurement_file_is_absent(schema: pytest.MonkeyPatch, tmp_path: Path) -> None:
    schema.setenv("ETL_MEASUREMENTS_FILE", str(tmp_path / "absent.yaml"))
    assert {check.what for check in problems()} == {"measurements", "tables"}
    assert worst(problems()) == 2


def test_workspace_fails_when_it_cannot_be_written(schema: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    schema.setenv("ETL_WORKSPACE_URL", str(tmp_path / "file"))
    check = only_problem()
    assert (check.what, check.exit_code) == ("workspace", 4)


@pytest.mark.parametrize(
    ("header", "rows", "problem"),
    [("t,V", "2026-01-05T06:00:00Z,230\n", ""), ("t,W", "2026-01-05T06:00:00Z,230\n", "V")],
)
def test_column_is_named_when_a_recorded_file_lacks_it(
    schema: pytest.MonkeyPatch, tmp_path: Path, header: str, rows: str, problem: str
) -> None:
    (tmp_path / "readings.csv").write_text(f"{header}\n{rows}")
    (tmp_path / "mapping.yaml").write_text(
        "timestamp: {column: t}\nequipment: {constant: m}\nmeasurements: {voltage: V}\n"
    )
    schema.setenv("ETL_GENERATE_SOURCE", "recorded")
    schema.setenv("ETL_GENERATE_RECORDED_URL", str(tmp_path / "readings.csv"))
    schema.setenv("ETL_GENERATE_MAPPING_FILE", str(tmp_path / "mapping.yaml"))
    found = problems()
    if not problem:
        assert found == []
        return
    assert [(check.what, check.exit_code) for check in found] == [("source", 2)]
    assert problem in found[0].text


def test_column_is_named_when_a_measurement_has_none(schema: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "measurements.yaml").write_text("measurements: {voltage: {}, torque: {unit: Nm}}")
    schema.setenv("ETL_MEASUREMENTS_FILE", str(tmp_path / "measurements.yaml"))
    check = only_problem()
    assert (check.what, check.exit_code) == ("tables", 2)
    assert "torque" in check.text


def test_column_is_named_when_no_measurement_writes_it(schema: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "measurements.yaml").write_text("measurements: {voltage: {}, current: {}}")
    schema.setenv("ETL_MEASUREMENTS_FILE", str(tmp_path / "measurements.yaml"))
    (tables,) = (check for check in check_all() if check.what == "tables")
    assert tables.state == "ok"
    assert "no longer written: frequency, humidity" in tables.text


def test_exit_code_is_5_when_the_group_stands_outside_the_log(
    schema: pytest.MonkeyPatch, client: kafka_port.Client
) -> None:
    client.commit(client.settings.topic, {1: 7})
    check = only_problem()
    assert (check.what, check.exit_code) == ("offsets", 5)
    assert "partition 1" in check.text
    assert "--from-offset 1:0" in check.text
    schema.setenv("ETL_CONSUME_FROM_OFFSET", "1:0")
    assert problems() == []


def test_warning_says_what_to_set_when_topics_were_made_otherwise(
    ready: pytest.MonkeyPatch, client: kafka_port.Client
) -> None:
    client.create_topic(client.settings.topic, 1, 1, {"message.timestamp.type": "CreateTime"})
    client.create_topic(client.settings.dead_letter_topic, 1, 1, {"retention.ms": "1000", "max.message.bytes": "1000"})
    found = {check.what: check for check in problems()}
    assert {found["topic"].state, found["dead letters"].state} == {"warn"}
    assert "message.timestamp.type=LogAppendTime" in found["topic"].text
    assert "retention.ms=-1" in found["dead letters"].text
    assert "max.message.bytes=" in found["dead letters"].text


def test_exit_code_is_2_when_credentials_are_wrong(
    ready: pytest.MonkeyPatch, secure_kafka: local.Service, secure_cassandra: local.Service
) -> None:
    for name, value in (secure_kafka.environment | secure_cassandra.environment).items():
        ready.setenv(name, value)
    ready.setenv("ETL_KAFKA_PASSWORD", "wr0ng")
    ready.setenv("ETL_CASSANDRA_PASSWORD", "wr0ng")
    found = problems()
    assert [(check.what, check.exit_code) for check in found] == [("Kafka", 2), ("Cassandra", 2)]
    assert "ETL_KAFKA_PASSWORD" in found[0].text
    assert "ETL_CASSANDRA_PASSWORD" in found[1].text or "_PASSWORD" in found[1].text
    assert not any("wr0ng" in check.text for check in found)


def test_settings_ask_for_more_than_a_service_that_is_down_when_both_are_wrong() -> None:
    down, wrong, lost = (Check("fail", "x", "y", code) for code in (4, 2, 5))
    assert worst([down]) == 4
    assert worst([down, lost]) == 5
    assert worst([down, lost, wrong]) == 2
    assert worst([Check("warn", "x", "y", 2)]) == 0


def test_keyspace_is_left_alone_when_checked(ready: pytest.MonkeyPatch, keyspace: str) -> None:
    list(check_all())
    with cassandra_port.connect(read_settings(CassandraSettings), keyspace=False) as session:
        assert keyspace not in session.cluster.metadata.keyspaces


@pytest.mark.parametrize(
    ("service", "refused"),
    [
        ("Amazon Keyspaces", ["no write with ONE", "at most 30 rows in a batch: set ETL_LOAD_BATCH_ROWS"]),
        ("Astra", ["no write with ONE"]),
    ],
)
def test_limits_are_told_when_the_service_only_speaks_cassandras_protocol(
    schema: pytest.MonkeyPatch, service: str, refused: list[str]
) -> None:
    schema.setattr(doctor, "managed_service", lambda *_: service)
    schema.setenv("ETL_CASSANDRA_CONSISTENCY", "ONE")
    found = [check for check in check_all() if check.what == service]
    failed = [check for check in found if check.state == "fail"]
    assert [check.exit_code for check in failed] == [2] * len(refused)
    assert all(said in check.text for said, check in zip(refused, failed, strict=True))
    assert any("etl grant" in check.text for check in found if check.state == "warn")
