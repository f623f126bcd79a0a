"""Where the lines are measured: services of the benchmark's own, and a fresh topic, group, keyspace or run for each."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from cassandra.cluster import Session
from kafka import KafkaAdminClient

from etl.admin.schema import create_tables
from etl.admin.topics import create_topics
from etl.cassandra import connection as cassandra
from etl.cassandra.retry import gather
from etl.kafka import client as kafka
from etl.model.measurements import read_measurements
from etl.model.tables import pipeline_tables
from etl.settings import CassandraSettings, KafkaSettings, SchemaSettings, read_settings
from images import local
from tests.bench.figures import Processes

KAFKA_HEAP, CASSANDRA_HEAP = "1g", "2g"


@dataclass(frozen=True)
class Place:
    """Running services, and a folder for everything that passes between stages."""

    kafka: local.Service
    cassandra: local.Service
    folder: Path

    @property
    def both(self) -> Processes:
        """The processes whose time counts where both services have a part."""
        return {"kafka": self.kafka.process, "cassandra": self.cassandra.process}

    @property
    def only_kafka(self) -> Processes:
        """The broker alone."""
        return {"kafka": self.kafka.process}

    @property
    def only_cassandra(self) -> Processes:
        """The node alone."""
        return {"cassandra": self.cassandra.process}


@contextmanager
def open_place() -> Iterator[Place]:
    """Start the services on free ports, and let the settings of this process point at them."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sensor-etl-bench-")))
        broker = local.start("kafka", folder / "kafka", heap=KAFKA_HEAP, die_with_parent=True)
        stack.callback(local.stop, broker)
        node = local.start("cassandra", folder / "cassandra", heap=CASSANDRA_HEAP, die_with_parent=True)
        stack.callback(local.stop, node)
        place = Place(broker, node, folder)
        others = {name: value for name, value in os.environ.items() if not name.startswith("ETL_")}
        settings = broker.environment | node.environment | {"ETL_WORKSPACE_URL": str(folder / "workspace")}
        with patch.dict(os.environ, others | settings, clear=True):
            yield place


@contextmanager
def settings(**variables: object) -> Iterator[None]:
    """Set variables of the environment for a while."""
    with patch.dict(os.environ, {name: str(value) for name, value in variables.items()}):
        yield


def new_name(prefix: str) -> str:
    """Make a name that nothing has yet."""
    return f"{prefix}_{secrets.token_hex(4)}"


@contextmanager
def fresh_topics() -> Iterator[str]:
    """Create a topic and its dead-letter topic as `etl schema` does, and remove them in the end."""
    topic = new_name("readings")
    with settings(ETL_KAFKA_TOPIC=topic, ETL_KAFKA_DEAD_LETTER_TOPIC=f"{topic}-dead"):
        with kafka.connect(read_settings(KafkaSettings)) as client:
            create_topics(client, read_settings(SchemaSettings))
        try:
            yield topic
        finally:
            admin = KafkaAdminClient(bootstrap_servers=os.environ["ETL_KAFKA_BOOTSTRAP_SERVERS"])
            admin.delete_topics([topic, f"{topic}-dead"])
            admin.close()


@contextmanager
def fresh_keyspace() -> Iterator[Session]:
    """Create a keyspace with all tables as `etl schema` does, and drop it in the end."""
    keyspace = new_name("sensors")
    with settings(ETL_CASSANDRA_KEYSPACE=keyspace):
        found = read_settings(CassandraSettings)
        with cassandra.connect(found, keyspace=False) as session:
            list(create_tables(session, pipeline_tables(read_measurements(None)), read_settings(SchemaSettings), found))
            session.set_keyspace(keyspace)
            try:
                yield session
            finally:
                session.execute(f'DROP KEYSPACE "{keyspace}"', timeout=60)


def check_stored(session: Session, readings: int) -> None:
    """Count the rows of `sensor_data`: what has not been stored was not fast.

    Raises:
        RuntimeError: there are more or fewer.
    """
    partitions = session.execute("SELECT DISTINCT equipment_id, day FROM sensor_data", timeout=60)
    # Partition by partition, as a count over all of them takes longer than Cassandra waits for anything.
    count = session.prepare("SELECT COUNT(*) FROM sensor_data WHERE equipment_id = ? AND day = ?")
    stored = sum(rows[0][0] for rows in gather(session, map(count.bind, partitions), in_flight=4))
    if stored != readings:
        raise RuntimeError(f"{stored} rows are stored, and {readings} should be")


@contextmanager
def fresh_group() -> Iterator[None]:
    """Read with a group that has committed nothing."""
    with settings(ETL_KAFKA_GROUP=new_name("group")):
        yield


@contextmanager
def run_like(place: Place, template: str | None = None, stages: tuple[str, ...] = ()) -> Iterator[str]:
    """Begin a run, with the output of some stages of another run; remove it in the end."""
    run, workspace = new_name("run"), place.folder / "workspace"
    for stage in stages:
        # Links, since a copy would still be on its way to the disk when the clock starts.
        shutil.copytree(workspace / str(template) / stage, workspace / run / stage, copy_function=os.link)
    try:
        with settings(ETL_RUN_ID=run):
            yield run
    finally:
        shutil.rmtree(workspace / run, ignore_errors=True)
