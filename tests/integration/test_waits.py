"""Commands wait for what is not there yet, say so, and end with one clear line once their time is up."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread, Timer

import pytest

from etl.cassandra.connection import connect
from etl.cassandra.retry import retrying
from etl.errors import Unreachable
from etl.kafka import client as kafka_port
from etl.settings import CassandraSettings, KafkaSettings
from images import local
from tests.integration import names
from tests.integration.conftest import end
from tests.integration.machine import Machine, part
from tests.integration.test_moved import started, within

NAME = "later.test"
UNKNOWN = "misspelt.test"


@pytest.fixture
def known_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A name that has an address only a second from now, as that of a headless Service whose first pod starts."""
    file = tmp_path / "names"
    file.write_text(f"{NAME}\n")
    monkeypatch.setattr(socket, "getaddrinfo", names.add(file, socket.getaddrinfo))
    timer = Timer(1, lambda: file.write_text(f"{NAME} {local.HOST}\n"))
    timer.start()
    yield file
    timer.join()


def test_cassandra_is_reached_when_its_name_is_known_only_later(known_later: Path, bare: Machine) -> None:
    with connect(bare.cassandra.model_copy(update={"contact_points": NAME}), keyspace=False) as session:
        assert session.execute("SELECT key FROM system.local").one() == ("local",)


@pytest.mark.parametrize("client", ["kafka-python", "librdkafka"])
def test_kafka_is_reached_when_its_name_is_known_only_later(known_later: Path, machine: Machine, client: str) -> None:
    port = machine.kafka.bootstrap_servers.rpartition(":")[2]
    settings = machine.kafka.model_copy(update={"bootstrap_servers": f"{NAME}:{port}", "client": client})
    with kafka_port.connect(settings) as connected:
        assert connected.partitions(settings.topic) == [0, 1, 2, 3]


@pytest.fixture
def astray(machine: Machine, tmp_path: Path) -> Machine:
    """The command where one name leads nowhere, as a lookup tells without delay."""
    (tmp_path / "names").write_text(f"{UNKNOWN}\n")
    machine.module = ("tests.integration.names", str(tmp_path / "names"))
    return machine


@pytest.mark.parametrize(
    ("variable", "command"),
    [
        ("ETL_CASSANDRA_CONTACT_POINTS", "schema"),
        ("ETL_CASSANDRA_CONTACT_POINTS", "analyze"),
        ("ETL_CASSANDRA_CONTACT_POINTS", "page"),
        ("ETL_CASSANDRA_CONTACT_POINTS", "status"),
        ("ETL_CASSANDRA_CONTACT_POINTS", "run"),
        ("ETL_KAFKA_BOOTSTRAP_SERVERS", "consume"),
        ("ETL_KAFKA_BOOTSTRAP_SERVERS", "schema"),
        ("ETL_KAFKA_BOOTSTRAP_SERVERS", "run"),
    ],
)
def test_command_waits_and_ends_with_4_when_a_name_is_unknown(astray: Machine, variable: str, command: str) -> None:
    place = {"ETL_CASSANDRA_CONTACT_POINTS": UNKNOWN, "ETL_KAFKA_BOOTSTRAP_SERVERS": f"{UNKNOWN}:9092"}[variable]
    short = {"ETL_CASSANDRA_TIMEOUT": "3", "ETL_KAFKA_TIMEOUT": "3"}

    done = astray.etl(command, **{variable: place, "ETL_RUN_ID": "astray", **short})

    assert done.returncode == 4, done.stderr
    lines = done.stderr.splitlines()
    assert any(UNKNOWN in line and "trying again" in line for line in lines)
    (last,) = (line for line in lines if "[error" in line)
    assert UNKNOWN in last
    assert "cannot be reached" in last


def test_stage_waits_and_ends_with_4_when_a_name_is_unknown(astray: Machine) -> None:
    for stage in ("generate", "produce", "consume"):
        assert astray.etl(stage, "--run", "waits").returncode == 0
    for stage in ("transform", "load"):
        done = astray.etl(stage, "--run", "waits", ETL_CASSANDRA_CONTACT_POINTS=UNKNOWN, ETL_CASSANDRA_TIMEOUT="1")
        assert done.returncode == 4, done.stderr
        assert f"Cassandra at {UNKNOWN} port" in done.stderr.splitlines()[-1]
        assert astray.etl(stage, "--run", "waits").returncode == 0


def test_doctor_tells_at_once_when_a_name_is_unknown(astray: Machine) -> None:
    done = astray.etl("doctor", ETL_CASSANDRA_CONTACT_POINTS=UNKNOWN)

    assert done.returncode == 4
    assert f"fail  Cassandra: Cassandra at {UNKNOWN} port" in done.stdout
    assert "trying again" not in done.stderr


# --- what an operator makes only after its service lets clients in ---


def ended(process: subprocess.Popen[str], sign: str, act: Callable[[], object]) -> tuple[int, str, str]:
    """Do something once a command has said that it waits; return its exit code and what it printed."""
    assert process.stderr
    seen = ""
    while sign not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    act()
    stdout, stderr = process.communicate(timeout=200)
    return process.returncode, stdout, seen + stderr


def test_schema_goes_on_when_the_superuser_is_made_only_later(bare: Machine, secure_cassandra: local.Service) -> None:
    name = bare.cassandra.keyspace
    late = {"ETL_CASSANDRA_USERNAME": name, "ETL_CASSANDRA_PASSWORD": "l4te"}

    def make() -> None:
        with connect(admin(secure_cassandra), keyspace=False) as session:
            session.execute(f"CREATE ROLE {name} WITH PASSWORD = 'l4te' AND LOGIN = true AND SUPERUSER = true")

    process = bare.start("schema", "--wait", "120", **{**secure_cassandra.environment, **late})
    code, stdout, stderr = ended(process, "refuses the credentials", make)

    assert code == 0, stderr
    assert f"keyspace {name}: created" in stdout
    assert "l4te" not in stderr


def test_schema_goes_on_when_kafkas_user_is_made_only_later(
    bare: Machine, secure_kafka: local.Service, topic: str, tmp_path: Path
) -> None:
    for name, text in (("username", topic), ("password", "l4te")):
        (tmp_path / "users" / "schema").mkdir(parents=True, exist_ok=True)
        (tmp_path / "users" / "schema" / name).write_text(text)
    made = []

    def make() -> None:
        made.append(bare.etl("grant", **secure_kafka.environment, ETL_GRANT_KAFKA_DIR=str(tmp_path / "users")))

    late = {"ETL_KAFKA_USERNAME": topic, "ETL_KAFKA_PASSWORD": "l4te"}
    process = bare.start("schema", "--wait", "120", **{**secure_kafka.environment, **late})
    code, stdout, stderr = ended(process, f"Kafka refused user {topic}", make)

    assert made[0].returncode == 0, made[0].stderr
    assert code == 0, stderr
    assert f"topic {topic}: created" in stdout


def test_schema_ends_with_one_line_when_the_credentials_stay_wrong(
    bare: Machine, secure_cassandra: local.Service
) -> None:
    wrong = {**secure_cassandra.environment, "ETL_CASSANDRA_PASSWORD": "wr0ng"}

    done = bare.etl("schema", "--wait", "2", **wrong)

    assert done.returncode == 2
    # A slow machine uses up the wait at the first try.
    *earlier, last = done.stderr.splitlines()
    assert all("trying again" in line for line in earlier)
    assert "refuses the credentials: check ETL_CASSANDRA_USERNAME" in last
    assert "trying again" not in last
    # Nothing but `schema` expects a user that is still to be made.
    assert bare.etl("status", **wrong).stderr.count("refuses the credentials") == 1


def test_schema_goes_on_when_the_replicas_come_only_later(bare: Machine, cassandra: local.Service) -> None:
    keyspace = bare.cassandra.keyspace
    three = "{'class': 'NetworkTopologyStrategy', 'datacenter1': 3}"

    def make() -> None:
        with connect(bare.cassandra, keyspace=False) as session:
            session.execute(f"ALTER KEYSPACE {keyspace} WITH replication = {three.replace('3', '1')}")

    process = bare.start(
        "schema",
        "--wait",
        "120",
        ETL_SCHEMA_CASSANDRA_REPLICATION=three,
        ETL_SCHEMA_MADE_UP_MACHINES="3",
        ETL_CASSANDRA_TIMEOUT="1",
    )
    code, stdout, stderr = ended(process, "trying again", make)

    assert code == 0, stderr
    assert "table equipment: 3 machines written" in stdout


@pytest.fixture
def own_secure_node(tmp_path: Path, users: dict[str, str]) -> Iterator[local.Service]:
    service = started("cassandra", tmp_path / "node", users={"admin": users["admin"]})
    yield service
    end(service)


def test_refusal_is_passing_when_the_replicas_of_the_roles_are_away(own_secure_node: local.Service) -> None:
    settings = admin(own_secure_node).model_copy(update={"timeout": 1.0})
    with connect(settings, keyspace=False) as session:
        session.execute(
            "ALTER KEYSPACE system_auth WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 3}"
        )

        # A node remembers roles for a while.
        assert within(60, lambda: not lets_in(settings))

        with pytest.raises(Unreachable, match="cannot read its roles, are their replicas up"):
            retrying(lambda: session.execute("LIST ROLES"), 1.0)


def lets_in(settings: CassandraSettings) -> bool:
    try:
        with connect(settings, keyspace=False):
            return True
    except Unreachable as error:
        return "cannot read its roles" not in str(error)


def admin(service: local.Service) -> CassandraSettings:
    return CassandraSettings(**part(service.environment, "ETL_CASSANDRA_"))


@pytest.fixture
def hanging_up() -> Iterator[int]:
    """The port of a server that ends each connection amid the TLS handshake, as one does that goes down."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(1)

        Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def test_server_counts_as_away_when_it_hangs_up_amid_the_handshake(hanging_up: int) -> None:
    cassandra = CassandraSettings(contact_points="127.0.0.1", port=hanging_up, tls=True, timeout=1)
    with pytest.raises(Unreachable), connect(cassandra):
        pass
    kafka = KafkaSettings(
        bootstrap_servers=f"127.0.0.1:{hanging_up}",
        security_protocol="SASL_SSL",
        username="somebody",
        password="wrong",
        timeout=1,
    )
    with pytest.raises(Unreachable), kafka_port.connect(kafka):
        pass


def test_tables_are_waited_for_until_schema_has_made_them(bare: Machine) -> None:
    with bare.start("wait") as waiting:
        assert waiting.stderr
        assert "run `etl schema`" in waiting.stderr.readline()
        assert bare.etl("schema").returncode == 0
        stdout, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    assert "tables are there" in stdout
