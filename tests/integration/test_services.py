import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from cassandra import ConsistencyLevel, Unauthorized
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster, NoHostAvailable, Session
from cassandra.query import SimpleStatement
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from images import jars, local
from images.errors import PrerequisiteError, ServiceError

ROOT = Path(__file__).parents[2]


def kafka_options(service: local.Service, **changes: object) -> dict[str, object]:
    options: dict[str, object] = {"bootstrap_servers": service.address}
    if service.users:
        username, password = next(iter(service.users.items()))
        options |= {"security_protocol": "SASL_SSL", "ssl_cafile": str(service.ca_file)}
        options |= {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": username, "sasl_plain_password": password}
    return options | changes


def create_topic(service: local.Service, topic: str) -> None:
    admin = KafkaAdminClient(**kafka_options(service))
    admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    admin.close()


def topics(service: local.Service) -> set[str]:
    admin = KafkaAdminClient(**kafka_options(service))
    try:
        return set(admin.list_topics())
    finally:
        admin.close()


def produce(options: dict[str, object], topic: str, value: bytes) -> None:
    producer = KafkaProducer(**options, max_block_ms=3_000)
    try:
        producer.send(topic, value).get(timeout=30)
    finally:
        producer.close(timeout=1)


def values(service: local.Service, topic: str) -> list[bytes]:
    consumer = KafkaConsumer(**kafka_options(service), auto_offset_reset="earliest", isolation_level="read_committed")
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    end = consumer.end_offsets([partition])[partition]
    found: list[bytes] = []
    while consumer.position(partition) < end:
        for records in consumer.poll(timeout_ms=1000).values():
            found.extend(record.value for record in records)
    consumer.close()
    return found


@contextmanager
def session(service: local.Service, user: tuple[str, str] | None = None, tls: bool | None = None) -> Iterator[Session]:
    """Connect as this user, by default the super user; a secure service is spoken to with TLS unless told otherwise."""
    user = user or next(iter(service.users.items()), None)
    tls = bool(service.users) if tls is None else tls
    cluster = Cluster(
        [local.HOST],
        port=service.ports["port"],
        protocol_version=5,
        auth_provider=PlainTextAuthProvider(*user) if user else None,
        ssl_context=ssl.create_default_context(cafile=str(service.ca_file)) if tls else None,
        ssl_options={"server_hostname": local.HOST} if tls else None,
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


def create_table(connected: Session, keyspace: str) -> None:
    replication = "{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}"
    connected.execute(f"CREATE KEYSPACE {keyspace} WITH replication = {replication}")
    connected.execute(f"CREATE TABLE {keyspace}.numbers (number int PRIMARY KEY)")


def insert(connected: Session, keyspace: str, number: int) -> None:
    statement = f"INSERT INTO {keyspace}.numbers (number) VALUES ({number})"
    connected.execute(SimpleStatement(statement, consistency_level=ConsistencyLevel.LOCAL_QUORUM))


def numbers(connected: Session, keyspace: str) -> set[int]:
    query = SimpleStatement(f"SELECT number FROM {keyspace}.numbers", consistency_level=ConsistencyLevel.LOCAL_QUORUM)
    return {row.number for row in connected.execute(query)}


def command(action: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "images", "local", action, "--dir", str(directory)],
        cwd=ROOT,
        env=os.environ | {"KAFKA_JAVA_OPTIONS": local.QUICK_START, "CASSANDRA_JAVA_OPTIONS": local.QUICK_START},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, local.Service]]:
    """A second broker and a second node, each with data, as they are before the command line restarts them."""
    directory = tmp_path_factory.mktemp("pair")
    kafka = local.start("kafka", directory / "kafka", java_options=local.QUICK_START, die_with_parent=True)
    cassandra = local.start("cassandra", directory / "cassandra", java_options=local.QUICK_START, die_with_parent=True)
    create_topic(kafka, "restart")
    produce(kafka_options(kafka), "restart", b"before")
    with session(cassandra) as connected:
        create_table(connected, "restart")
        insert(connected, "restart", 1)
    yield {"kafka": kafka, "cassandra": cassandra}
    command("down", directory)


@pytest.fixture(scope="module")
def restarted(pair: dict[str, local.Service]) -> dict[str, object]:
    """What the command line printed while it restarted the pair, and the services that it left running."""
    directory = pair["kafka"].directory.parent
    done = {"before": command("status", directory), "down": command("down", directory)}
    listening = [port for service in pair.values() for port in service.ports.values() if accepts(port)]
    done |= {"between": command("status", directory), "up": command("up", directory), "again": command("up", directory)}
    done |= {"env": command("env", directory)}
    return done | {"listening": listening} | {name: local.find(name, directory / name) for name in pair}


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((local.HOST, port)) == 0


def test_kafka_keeps_a_record_when_it_is_produced(kafka, topic):
    create_topic(kafka, topic)
    produce(kafka_options(kafka), topic, b"reading")
    assert values(kafka, topic) == [b"reading"]


def test_kafka_shows_only_committed_records_when_a_transaction_is_aborted(kafka, topic):
    create_topic(kafka, topic)
    producer = KafkaProducer(**kafka_options(kafka), transactional_id=topic)
    producer.init_transactions()
    for value, finish in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
        producer.begin_transaction()
        producer.send(topic, value).get(timeout=30)
        finish()
    producer.close()
    assert values(kafka, topic) == [b"committed"]


def test_kafka_refuses_a_record_when_nobody_created_the_topic(kafka, topic):
    with pytest.raises(KafkaError):
        produce(kafka_options(kafka), topic, b"reading")
    assert topic not in topics(kafka)


def test_cassandra_answers_at_local_quorum_when_replicated_by_data_centre(cassandra, keyspace):
    with session(cassandra) as connected:
        create_table(connected, keyspace)
        insert(connected, keyspace, 7)
        assert numbers(connected, keyspace) == {7}


def test_services_share_nothing_when_side_by_side(kafka, cassandra, pair):
    assert not set(kafka.ports.values()) & set(pair["kafka"].ports.values())
    assert "restart" not in topics(kafka)
    with session(cassandra) as connected:
        assert not list(connected.execute("SELECT * FROM system_schema.tables WHERE keyspace_name = 'restart'"))


def test_second_start_is_refused_when_one_runs_in_the_folder(pair):
    with pytest.raises(ServiceError, match="running already"):
        local.start("kafka", pair["kafka"].directory)


def test_status_tells_addresses_when_running(pair, restarted):
    assert restarted["before"].returncode == 0
    assert f"kafka: {pair['kafka'].address}, process" in restarted["before"].stdout


def test_process_ends_in_order_when_stopped(pair, restarted):
    assert restarted["down"].returncode == 0
    # 143 is 128 + SIGTERM: Java ran its shutdown hooks, it was not killed.
    assert [service.process.wait(0) for service in pair.values()] == [143, 143]
    assert "shut down completed" in pair["kafka"].log.read_text()


def test_nothing_listens_when_stopped(restarted):
    assert restarted["listening"] == []


def test_status_fails_when_stopped(restarted):
    assert (restarted["between"].returncode, restarted["between"].stdout) == (4, "kafka: stopped\ncassandra: stopped\n")


def test_ports_are_the_same_when_restarted(pair, restarted):
    assert restarted["up"].returncode == 0, restarted["up"].stderr
    assert {name: restarted[name].ports for name in pair} == {name: service.ports for name, service in pair.items()}


def test_up_prints_settings_when_evaluated_by_a_shell(pair, restarted):
    script = f"{restarted['up'].stdout}\n{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    environment = json.loads(subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout)
    expected = pair["kafka"].environment | pair["cassandra"].environment
    assert {key: value for key, value in environment.items() if key in expected} == expected
    assert restarted["env"].stdout == restarted["up"].stdout


def test_up_starts_nothing_when_all_is_running(restarted):
    assert restarted["again"].returncode == 0
    assert restarted["again"].stdout == restarted["up"].stdout
    assert local.is_running(restarted["kafka"])


def test_topic_keeps_its_records_when_kafka_is_restarted(restarted):
    assert values(restarted["kafka"], "restart") == [b"before"]


def test_table_keeps_its_rows_when_cassandra_is_restarted(restarted):
    with session(restarted["cassandra"]) as connected:
        assert numbers(connected, "restart") == {1}


def test_table_keeps_each_row_when_cassandra_is_killed(restarted):
    service = restarted["cassandra"]
    with session(service) as connected:
        create_table(connected, "killed")
        for number in range(300):
            insert(connected, "killed", number)
        service.process.kill()
    service.process.wait(local.STOP_SECONDS)
    again = local.start("cassandra", service.directory, heap="1g", java_options=local.QUICK_START, die_with_parent=True)
    with session(again) as connected:
        assert numbers(connected, "killed") == set(range(300))


def test_kafka_takes_records_when_the_password_is_right(secure_kafka, topic):
    create_topic(secure_kafka, topic)
    produce(kafka_options(secure_kafka), topic, b"reading")
    assert values(secure_kafka, topic) == [b"reading"]


def test_kafka_commits_a_transaction_when_secure(secure_kafka, topic):
    create_topic(secure_kafka, topic)
    producer = KafkaProducer(**kafka_options(secure_kafka), transactional_id=topic)
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"committed").get(timeout=30)
    producer.commit_transaction()
    producer.close()
    assert values(secure_kafka, topic) == [b"committed"]


def test_kafka_refuses_when_the_password_is_wrong(secure_kafka):
    refusal = "invalid credentials with SASL mechanism SCRAM-SHA-512"
    refused = secure_kafka.log.read_text().count(refusal)
    # The client tries again until its time is over, and does not say why, but the broker does.
    with pytest.raises(KafkaError):
        KafkaAdminClient(**kafka_options(secure_kafka, sasl_plain_password="wrong"), bootstrap_timeout_ms=2000)
    assert secure_kafka.log.read_text().count(refusal) > refused


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT"])
def test_kafka_refuses_when_the_protocol_is_weaker(secure_kafka, protocol):
    with pytest.raises(KafkaError):
        KafkaAdminClient(**kafka_options(secure_kafka, security_protocol=protocol), bootstrap_timeout_ms=2000)


def test_kafka_is_not_trusted_when_another_authority_signed_it(secure_kafka, secure_cassandra):
    with pytest.raises(KafkaError):
        KafkaAdminClient(
            **kafka_options(secure_kafka, ssl_cafile=str(secure_cassandra.ca_file)), bootstrap_timeout_ms=2000
        )


@pytest.mark.parametrize("port", ["internal_port", "controller_port"])
def test_kafka_refuses_its_own_ports_when_a_client_has_no_certificate(secure_kafka, port):
    context = ssl.create_default_context(cafile=str(secure_kafka.ca_file))
    address = (local.HOST, secure_kafka.ports[port])
    # In TLS 1.3 a client learns only from the first answer that its certificate was asked for.
    with (
        socket.create_connection(address, timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=local.HOST) as encrypted,
        pytest.raises(ssl.SSLError, match=r"(?i)certificate.required|bad.certificate"),
    ):
        encrypted.recv(1)


def test_kafka_refuses_a_record_when_no_acl_allows_it(secure_kafka, topic):
    create_topic(secure_kafka, topic)
    stranger = {"sasl_plain_username": "stranger", "sasl_plain_password": secure_kafka.users["stranger"]}
    with pytest.raises(TopicAuthorizationFailedError):
        produce(kafka_options(secure_kafka, **stranger), topic, b"reading")
    assert values(secure_kafka, topic) == []


def test_cassandra_takes_rows_when_the_password_is_right(secure_cassandra, keyspace):
    with session(secure_cassandra) as connected:
        create_table(connected, keyspace)
        insert(connected, keyspace, 7)
        assert numbers(connected, keyspace) == {7}


@pytest.mark.parametrize("user", [("admin", "wrong"), ("cassandra", "cassandra")])
def test_cassandra_refuses_when_the_password_is_wrong(secure_cassandra, user):
    with pytest.raises(NoHostAvailable, match="AuthenticationFailed"), session(secure_cassandra, user):
        pass


def test_cassandra_refuses_when_there_is_no_tls(secure_cassandra):
    with pytest.raises(NoHostAvailable), session(secure_cassandra, tls=False):
        pass


def test_cassandra_refuses_a_row_when_nothing_is_granted(secure_cassandra, keyspace):
    with session(secure_cassandra) as connected:
        create_table(connected, keyspace)
    stranger = ("stranger", secure_cassandra.users["stranger"])
    with session(secure_cassandra, stranger) as connected, pytest.raises(Unauthorized):
        insert(connected, keyspace, 7)


def test_passwords_are_in_no_log_or_argument_when_secure(secure_kafka, secure_cassandra):
    for service in (secure_kafka, secure_cassandra):
        shown = service.log.read_text() + " ".join(service.process.cmdline())
        assert not [user for user, password in service.users.items() if password in shown]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel to end a child with its parent")
def test_service_is_killed_when_its_parent_dies(tmp_path):
    script = (
        "import pathlib, time; from images import local;"
        f"service = local.launch('kafka', pathlib.Path({str(tmp_path)!r}), die_with_parent=True);"
        "print(service.process.pid, flush=True); time.sleep(100)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout
    with parent, parent.stdout as printed:
        service = psutil.Process(int(printed.readline()))
        parent.send_signal(signal.SIGKILL)
    assert parent.returncode == -signal.SIGKILL
    service.wait(10)


@pytest.mark.parametrize("name", ["kafka", "cassandra"])
def test_start_shows_the_end_of_the_log_when_the_process_dies(tmp_path, name):
    with pytest.raises(ServiceError, match=f"{name} ended while starting") as raised:
        local.start(name, tmp_path, heap="1k")
    assert f"{tmp_path}/{name}.log" in str(raised.value)
    assert "heap" in str(raised.value)


def test_start_names_java_when_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PrerequisiteError, match=r"Java 17 is needed, but there is no .*/bin/java"):
        local.start("kafka", tmp_path / "kafka")


@pytest.mark.parametrize("version", ["1.8.0_401", "11.0.2", "25"])
def test_start_names_java_when_it_is_another_version(tmp_path, monkeypatch, version):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2024-01-16' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PrerequisiteError, match=f"Java 17 is needed, but .* is {version.split('.')[0]}:"):
        local.start("kafka", tmp_path / "kafka")


def test_start_names_maven_when_it_is_missing(tmp_path, monkeypatch):
    (tmp_path / "java").symlink_to(str(shutil.which("java")))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(jars, "FOLDER", tmp_path / "cache")
    with pytest.raises(PrerequisiteError, match="Maven is needed to fetch kafka"):
        local.start("kafka", tmp_path / "kafka")


def test_start_shows_what_maven_says_when_it_cannot_fetch(tmp_path, monkeypatch):
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho '[ERROR] no route to host'\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(jars, "FOLDER", tmp_path / "cache")
    with pytest.raises(PrerequisiteError, match=r"(?s)Maven could not fetch kafka.*no route to host"):
        jars.resolve("kafka")
    assert not list((tmp_path / "cache").glob("kafka-*[0-9a-f]"))


def test_command_prints_one_line_when_java_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    done = command("up", tmp_path / "local")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Java 17 is needed")
    assert done.stderr.count("\n") == 1
