"""The setting of a schedule: a plan, and the twins of all services in the place of drivers, clock and signals."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from queue import Empty
from typing import Any, Literal
from unittest.mock import patch

import pyarrow as pa

from etl.cassandra import connection
from etl.kafka import client, kafka_python
from etl.model.measurements import Measurements, read_measurements
from etl.model.tables import pipeline_tables, sensor_data
from etl.run import runner, workspace
from etl.stages.load import columnar, messages, sending
from etl.stages.load.messages import Encoding, Target
from tests.simulation.cassandra import Database, Row, Stored, Write
from tests.simulation.cassandra import Key as CellKey
from tests.simulation.files import ARROW_FILES, empty_store, url_to_fs
from tests.simulation.kafka import Broker, Log
from tests.simulation.plant import DEAD_LETTERS, GROUP, MORE_TOPIC, TOPIC, Plant
from tests.simulation.world import CALM, Odds, Signals, World, clock_of

KEYSPACE = "sensors"

# A machine, and hours since 1970.
Hour = tuple[str, int]
# The second act of a schedule begins with one of these.
Change = Literal["topic made anew", "measurement added"]


@dataclass(frozen=True)
class Plan:
    """The setting of a schedule; by default the simplest one, without a fault."""

    machines: int = 1
    partitions: int = 1
    # 1 or 2
    topics: int = 1
    shards: int = 1
    dags: int = 1
    runs: int = 1
    gateways: int = 1
    # See `Plant`.
    skew: int | None = None
    tick: int = 1
    # One of three replicas that is down all the time.
    down: int | None = None
    # Listings of the workspace lack new files for a while.
    lags: bool = False
    keep_runs: int = 50
    # Attempts of a stage; then the run is given up.
    tries: int = 3
    odds: Odds = CALM
    # An operator deletes the offsets of the group.
    resets: bool = False
    # It deletes records of the topic that the group has committed.
    deletes: bool = False
    # It compacts the topic.
    compacts: bool = False
    # It repeats runs that were given up.
    clears: bool = False
    # Milliseconds that a reading may be behind its watermark.
    lateness: int | None = None
    # Readings come in parts (merge) or as a whole.
    partial: Literal["conflict", "merge"] = "conflict"
    change: Change | None = None


@dataclass
class Services:
    """The twins, and all that was seen of them so far."""

    plan: Plan
    world: World
    broker: Broker
    database: Database
    plant: Plant
    measurements: Measurements
    complaints: list[str] = field(default_factory=list)
    calm_runs: int = 0
    # Runs that were given up, with the shard.
    given_up: list[tuple[str, int]] = field(default_factory=list)
    # The last call that changed a row of each hour, and the last one that told the analysis of it.
    changed: dict[Hour, int] = field(default_factory=dict)
    told: dict[Hour, int] = field(default_factory=dict)

    def table(self, name: str) -> dict[CellKey, Row]:
        """Return all rows of a table."""
        return self.database.tables[name].truth()

    def committed(self, partition: int, topic: str = TOPIC) -> int | None:
        """Return the offset that the group has committed."""
        return self.broker.groups.get(GROUP, {}).get((topic, partition))

    def logs(self) -> list[tuple[str, int, Log]]:
        """Return topic, partition and log of all partitions with readings."""
        topics = [topic for topic in (TOPIC, MORE_TOPIC) if topic in self.broker.topics]
        return [(topic, partition, log) for topic in topics for partition, log in enumerate(self.broker.topics[topic])]


@cache
def measured(*names: str) -> Measurements:
    """Return some of the default measurements: each one costs time in every stage."""
    return Measurements(tuple(each for each in read_measurements().declared if each.name in names))


_encodings: dict[Any, Encoding] = {}


def _encoding(table: Target, rows: pa.RecordBatch, protocol_version: int) -> Encoding:
    """Compare the encoding of each kind of rows with the driver's once for all schedules, which costs time."""
    key = table.name, *table.columns, *table.cql_types, rows.schema
    if key not in _encodings:
        _encodings[key] = messages.encoding(table, rows, protocol_version)
    return _encodings[key]


class _Answers:
    """`SimpleQueue`, whose wait is one of the world's clock."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get(self, timeout: float | None = None) -> Any:
        if not self._items:
            assert timeout is not None, "nothing will ever come"
            self._world.sleep(timeout)
            raise Empty
        return self._items.popleft()


@contextmanager
def in_place(services: Services) -> Iterator[None]:
    """Replace drivers, clock and signals by the twins."""
    world, broker = services.world, services.broker
    with ExitStack() as stack:
        for target, name, twin in (
            (client, "KafkaAdminClient", broker.admin),
            (client, "reach", lambda _: None),
            (kafka_python, "KafkaConsumer", broker.consumer),
            (kafka_python, "KafkaProducer", broker.producer),
            (kafka_python, "reach", lambda _: None),
            (connection, "NamedCluster", services.database.cluster),
            (sending, "SimpleQueue", lambda: _Answers(world)),
            (runner, "signal", Signals(world)),
            (runner, "read_measurements", lambda _: services.measurements),
            (workspace.fsspec.core, "url_to_fs", url_to_fs),
            (workspace, "pq", ARROW_FILES),
            (columnar, "encoding", _encoding),
        ):
            stack.enter_context(patch.object(target, name, twin))
        stack.enter_context(clock_of(world))
        yield


def built(world: World, plan: Plan, watch: Callable[[Services, Write], None]) -> Services:
    """Build the twins of a plan; `watch` sees each write to the database before its effect."""
    measurements = measured("voltage", "current")
    broker = Broker(world)
    broker.topics = {TOPIC: [Log() for _ in range(plan.partitions)], DEAD_LETTERS: [Log()]}
    if plan.topics > 1:
        broker.topics[MORE_TOPIC] = [Log() for _ in range(plan.partitions)]
    tables = {table.name: Stored(table) for table in pipeline_tables(measurements)}
    database = Database(world, KEYSPACE, tables, plan.down)
    plant = Plant(world, broker, [f"machine-{number}" for number in range(plan.machines)], plan.skew, plan.tick)
    plant.parts = plan.partial == "merge"
    services = Services(plan, world, broker, database, plant, measurements)
    database.watch = lambda write: watch(services, write)
    empty_store(world, lags=plan.lags)
    return services


def make_topic_anew(services: Services) -> None:
    """Delete the topic, and with it the offsets of all groups, and create it again."""
    services.plant.former += services.broker.topics[TOPIC]
    services.broker.topics[TOPIC] = [Log() for _ in range(services.plan.partitions)]
    services.broker.recreated[TOPIC] += 1
    services.broker.groups.clear()
    # A reading of the former topic may lose to a stored one without a dead letter: a limit of docs/delivery.md.
    services.given_up.clear()


def add_measurement(services: Services) -> None:
    """Declare the frequency, as `etl schema` does, and let gateways send it."""
    services.measurements = measured("voltage", "current", "frequency")
    services.database.tables["sensor_data"].table = sensor_data(services.measurements)
    services.plant.frequency = True
