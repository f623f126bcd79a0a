"""The real services that integration tests run on: each one is started when a test first asks for it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etl.admin.schema import create_tables
from etl.admin.topics import create_topics
from etl.cassandra.connection import connect
from etl.kafka import client as port
from etl.kafka.client import connect as connect_kafka
from etl.model.measurements import read_measurements
from etl.model.tables import pipeline_tables
from etl.settings import SchemaSettings
from images import local
from tests.integration.machine import Machine
from tests.integration.plant import Plant, made_plant
from tests.integration.topics import CLIENTS, made_topics

# Accounts of the secure services: the first may do everything, the others what a test grants them.
USERS = (
    "admin",
    "generate",
    "produce",
    "consume",
    "transform",
    "load",
    "analyze",
    "watch",
    "page",
    "schema",
    "stranger",
)
HEAPS = {"kafka": "512m", "cassandra": "1g"}
JAVA_OPTIONS = {
    "kafka": local.QUICK_START,
    # No test restarts these nodes, so they need not flush the schema, which takes half the time of each new table.
    "cassandra": f"{local.QUICK_START} -Dcassandra.test.flush_local_schema_changes=false",
}


@contextmanager
def running(name: str, folders: pytest.TempPathFactory, users: dict[str, str] | None = None) -> Iterator[local.Service]:
    """A service in a folder of its own, with these accounts if any."""
    service = local.start(
        name,
        folders.mktemp(name),
        heap=HEAPS[name],
        java_options=JAVA_OPTIONS[name],
        users=users,
        die_with_parent=True,
    )
    yield service
    end(service)


def end(service: local.Service) -> None:
    """End a service of which nothing is needed any more: in order it would take seconds, to write what nobody reads."""
    service.process.kill()
    service.process.wait(local.STOP_SECONDS)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Service]:
    """Broker without passwords, shared by the session."""
    with running("kafka", tmp_path_factory) as service:
        yield service


@pytest.fixture(scope="session")
def cassandra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Service]:
    """Cassandra node without passwords, shared by the session."""
    with running("cassandra", tmp_path_factory) as service:
        yield service


@pytest.fixture(scope="session")
def services(kafka: local.Service, cassandra: local.Service) -> list[local.Service]:
    """Both services without passwords."""
    return [kafka, cassandra]


@pytest.fixture(scope="session")
def users() -> dict[str, str]:
    """Accounts of both secure services, name to password; the first is the super user."""
    return {user: secrets.token_urlsafe(16) for user in USERS}


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory, users: dict[str, str]) -> Iterator[local.Service]:
    """Broker with TLS, SCRAM-SHA-512 and ACLs, shared by the session."""
    with running("kafka", tmp_path_factory, users) as service:
        yield service


@pytest.fixture(scope="session")
def secure_cassandra(tmp_path_factory: pytest.TempPathFactory, users: dict[str, str]) -> Iterator[local.Service]:
    """Cassandra node with TLS, passwords and permissions, shared by the session."""
    with running("cassandra", tmp_path_factory, users) as service:
        yield service


@pytest.fixture
def topic() -> str:
    """Name of a topic that no other test uses; the test creates it."""
    return f"readings-{secrets.token_hex(4)}"


@pytest.fixture
def keyspace() -> str:
    """Name of a keyspace that no other test uses; the test creates it."""
    return f"sensors_{secrets.token_hex(4)}"


@pytest.fixture
def bare(kafka: local.Service, cassandra: local.Service, topic: str, keyspace: str, tmp_path: Path) -> Machine:
    """Without topics and tables."""
    own = {
        "ETL_KAFKA_TOPIC": topic,
        "ETL_KAFKA_DEAD_LETTER_TOPIC": f"{topic}-dead-letters",
        "ETL_KAFKA_GROUP": topic,
        "ETL_CASSANDRA_KEYSPACE": keyspace,
        "ETL_WORKSPACE_URL": str(tmp_path / "workspace"),
        "ETL_GENERATE_MACHINES": "3",
        "ETL_GENERATE_INTERVAL": "1",
        "ETL_GENERATE_DURATION": "100",
    }
    return Machine(kafka.environment | cassandra.environment | own)


@pytest.fixture
def machine(bare: Machine) -> Machine:
    """With topics, and the tables of the stages."""
    measurements, settings = read_measurements(), SchemaSettings()
    with connect_kafka(bare.kafka) as client, connect(bare.cassandra, keyspace=False) as session:
        create_topics(client, settings)
        list(create_tables(session, pipeline_tables(measurements), settings, bare.cassandra))
    return bare


@pytest.fixture(params=CLIENTS)
def client(kafka: local.Service, topic: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[port.Client]:
    """A connection to the topics of the test, by each client library."""
    with made_topics(kafka, topic, tmp_path, request.param) as connected:
        yield connected


@pytest.fixture
def python(kafka: local.Service, topic: str, tmp_path: Path) -> Iterator[port.Client]:
    """Where the client library makes no difference."""
    with made_topics(kafka, topic, tmp_path) as connected:
        yield connected


@pytest.fixture
def plant(services: list[local.Service], topic: str, keyspace: str, tmp_path: Path) -> Iterator[Plant]:
    """Tables, topics of one partition and a group of the test's own."""
    with made_plant(services, topic, keyspace, tmp_path, partitions=1) as made:
        yield made
