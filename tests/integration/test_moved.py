"""A node or a broker that comes back at another address behind the same name, as a pod that was replaced does."""

import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pyarrow as pa
import pytest
from cassandra import DriverException
from cassandra.cluster import NoHostAvailable, Session

from etl.cassandra.connection import connect
from etl.kafka import ports
from etl.kafka.ports import open_producer
from etl.kafka.records import Span
from etl.run.runner import run_stage
from etl.settings import CassandraSettings, RunSettings, read_settings, read_stage_settings
from etl.stages.load import columnar
from etl.stages.load import stage as load
from images import local
from tests.integration import names
from tests.integration.conftest import HEAPS, end
from tests.integration.plant import made_plant, table
from tests.integration.served import commanded, filled
from tests.integration.stages.load.test_stage import transformed
from tests.integration.topics import made_topics

# What a process may take to find a node again, once it is back.
SECONDS = 30


@dataclass
class Moving:
    """A service of its own behind a name, at one loopback address after the other."""

    service: local.Service
    names: Path

    @property
    def name(self) -> str:
        return f"moving-{self.service.ports['port']}.test"

    @property
    def environment(self) -> dict[str, str]:
        if self.service.name == "kafka":
            own = {"ETL_KAFKA_BOOTSTRAP_SERVERS": f"{self.name}:{self.service.ports['port']}"}
        else:
            own = {"ETL_CASSANDRA_CONTACT_POINTS": self.name}
        return self.service.environment | own

    def stop(self) -> None:
        """Stop it; until it is back, nobody knows the name."""
        self.names.write_text(f"{self.name}\n")
        local.stop(self.service)

    def move(self) -> None:
        """Stop it, and start it at the next address."""
        self.stop()
        before = self.service
        host = f"127.0.0.{int(before.host.rpartition('.')[2]) + 1}"
        self.service = started(before.name, before.directory, host=host, users=before.users or None)
        # What answers for names may go on giving the old address for a while.
        self.names.write_text(f"{self.name} {before.host} {host}\n")


def started(name: str, folder: Path, **options: Any) -> local.Service:
    return local.start(name, folder, heap=HEAPS[name], java_options=local.QUICK_START, die_with_parent=True, **options)


@pytest.fixture(scope="module")
def cassandra_behind_a_name(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moving]:
    yield from moving(started("cassandra", tmp_path_factory.mktemp("moving")))


@pytest.fixture(scope="module")
def kafka_behind_a_name(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moving]:
    yield from moving(started("kafka", tmp_path_factory.mktemp("moving")))


@pytest.fixture
def secure_cassandra_behind_a_name(tmp_path: Path, users: dict[str, str]) -> Iterator[Moving]:
    yield from moving(started("cassandra", tmp_path / "node", users={"admin": users["admin"]}))


def moving(service: local.Service) -> Iterator[Moving]:
    found = Moving(service, service.directory / "names")
    found.names.write_text(f"{found.name} {service.host}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", names.add(found.names, socket.getaddrinfo))
        yield found
    end(found.service)


def settings_of(place: Moving, **changes: str) -> CassandraSettings:
    given = {key.removeprefix("ETL_CASSANDRA_").lower(): value for key, value in place.environment.items()}
    return CassandraSettings(**given | changes)


def within(seconds: float, done: Callable[[], bool]) -> bool:
    give_up = time.monotonic() + seconds
    while not done():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.1)
    return True


def answers(session: Session, statement: Any) -> bool:
    try:
        session.execute(statement, timeout=5)
    except (DriverException, NoHostAvailable):
        return False
    return True


def hears(session: Session) -> bool:
    try:
        session.cluster.refresh_nodes()
    except DriverException:
        return False
    return True


@pytest.mark.parametrize("kind", ["cassandra_behind_a_name", "secure_cassandra_behind_a_name"])
def test_session_works_again_when_the_node_comes_back_at_another_address(
    request: pytest.FixtureRequest, kind: str, keyspace: str
) -> None:
    place: Moving = request.getfixturevalue(kind)
    # One of the names is known to nobody, as that of a rack that is not there yet.
    with connect(settings_of(place, contact_points=f"unknown.invalid, {place.name}"), keyspace=False) as session:
        replication = "{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}"
        session.execute(f"CREATE KEYSPACE {keyspace} WITH replication = {replication}")
        session.execute(f"CREATE TABLE {keyspace}.numbers (number int PRIMARY KEY)")
        session.set_keyspace(keyspace)
        insert = session.prepare("INSERT INTO numbers (number) VALUES (?)")
        session.execute(insert, (1,))
        for number in (2, 3):
            place.move()

            assert within(SECONDS, lambda number=number: answers(session, insert.bind((number,))))

            # Its old address is forgotten, also by the part of the driver that hears of changes.
            assert [host.address for host in session.cluster.metadata.all_hosts()] == [place.service.host]
            assert within(SECONDS, lambda: hears(session))
        assert {row[0] for row in session.execute("SELECT number FROM numbers")} == {1, 2, 3}
        changed = session.execute(f"ALTER TABLE {keyspace}.numbers ADD text text")
        assert changed.response_future.is_schema_agreed
        assert "text" in session.cluster.metadata.keyspaces[keyspace].tables["numbers"].columns


def status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_page_is_ready_again_when_the_node_comes_back_at_another_address(
    cassandra_behind_a_name: Moving, keyspace: str
) -> None:
    place = cassandra_behind_a_name
    environment = {**place.environment, "ETL_CASSANDRA_KEYSPACE": keyspace}
    with filled(environment, machines=3, days=2):
        pass
    with commanded(environment, "tests.integration.names", str(place.names)) as (url, _):
        assert within(SECONDS, lambda: status(f"{url}/readyz") == 200)
        place.stop()
        assert status(f"{url}/readyz") == 503
        assert status(f"{url}/healthz") == 200
        place.move()

        assert within(SECONDS, lambda: status(f"{url}/readyz") == 200)
        assert status(f"{url}/download/fleet.csv") == 200


def test_load_stores_everything_when_the_node_comes_back_at_another_address(
    cassandra_behind_a_name: Moving,
    kafka: local.Service,
    topic: str,
    keyspace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place, write = cassandra_behind_a_name, columnar.write

    def moved_within(session: Session, statement: Any, tables: Iterator[pa.Table], **options: Any) -> columnar.Written:
        def moved() -> Iterator[pa.Table]:
            yield next(tables)
            place.move()
            yield from tables

        monkeypatch.setattr(columnar, "write", write)
        return write(session, statement, moved(), **options)

    with made_plant([kafka, place], topic, keyspace, tmp_path) as plant:
        transformed(plant)
        monkeypatch.setattr(columnar, "write", moved_within)

        manifest = run_stage(
            "load", load.load, read_settings(RunSettings, run_id="run-1"), *read_stage_settings("load")
        )

        assert manifest.summary.counts["loaded"] == 21
        assert within(SECONDS, lambda: answers(plant.session, "SELECT key FROM system.local"))
        assert len(table(plant)) == 21
        assert plant.client.committed(plant.topic) == {0: 20, 1: 6}


@pytest.mark.parametrize("client", ["kafka-python", "librdkafka"])
def test_offsets_and_records_go_on_when_the_broker_comes_back_at_another_address(
    kafka_behind_a_name: Moving, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    place = kafka_behind_a_name
    host, port = place.service.host, place.service.ports["port"]
    if client == "librdkafka":
        # It looks names up by itself, where a test has no say: so it is given both addresses instead.
        after = f"127.0.0.{int(host.rpartition('.')[2]) + 1}"
        monkeypatch.setattr(Moving, "environment", {"ETL_KAFKA_BOOTSTRAP_SERVERS": f"{host}:{port},{after}:{port}"})
    with made_topics(place, topic, tmp_path, client, partitions=1) as connected:
        settings = connected.settings
        with open_producer(settings) as producer:
            for number in range(50):
                producer.send(topic, b"m1", b"%d" % number * 100_000, [])
            producer.flush()
            blocks = ports.read(settings, topic, {0: Span(0, 50)})
            read = len(next(blocks).offsets)
            place.move()
            began = time.monotonic()

            assert read + sum(len(block.offsets) for block in blocks) == 50
            producer.send(topic, b"m1", b"after", [])
            producer.flush()
            connected.commit(topic, {0: 50})

        assert connected.committed(topic) == {0: 50}
        assert connected.log_spans(topic) == {0: Span(0, 51)}
        assert time.monotonic() - began < SECONDS
