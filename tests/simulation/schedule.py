"""One schedule: a plant, runs of the stages with faults, calm runs at the end, and the state that must follow."""

import json
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from queue import Empty
from typing import Any
from unittest.mock import patch

import orjson
import structlog
from cassandra import cqltypes

from etl.cassandra import connection
from etl.errors import DeliveryError, NothingNew, SettingsError
from etl.kafka import client, kafka_python
from etl.model.measurements import Measurements, read_measurements
from etl.model.tables import RUNS, TOUCHED_DAYS, WATERMARKS, pipeline_tables
from etl.run import runner
from etl.settings import (
    CassandraSettings,
    ConsumeSettings,
    KafkaSettings,
    LoadSettings,
    RunSettings,
    TransformSettings,
)
from etl.stages import consume
from etl.stages.load import sending
from etl.stages.load import stage as load
from etl.stages.transform import stage as transform
from tests.simulation.cassandra import PROTOCOL, Database, Row, Stored, Write, type_of
from tests.simulation.cassandra import Key as CellKey
from tests.simulation.files import TwinFiles, empty_store
from tests.simulation.kafka import Broker, Log
from tests.simulation.plant import DEAD_LETTERS, GROUP, TOPIC, Plant, wanted
from tests.simulation.world import CALM, Odds, Process, Signals, World, clock_of

KEYSPACE = "sensors"
TRIES = 3
CALM_RUNS = 8
HOUR_MS = 3_600_000

KAFKA = KafkaSettings(topic=TOPIC, dead_letter_topic=DEAD_LETTERS, group=GROUP, timeout=30)
CASSANDRA = CassandraSettings(keyspace=KEYSPACE, timeout=30)
RUN = RunSettings(workspace_url="twin://workspace")
CONSUME, TRANSFORM, LOAD = ConsumeSettings(), TransformSettings(), LoadSettings(batch_rows=4, concurrency=4)


class Violation(AssertionError):  # noqa: N818 - says what it is
    """A guarantee of docs/delivery.md does not hold after a schedule."""


@dataclass(frozen=True)
class Plan:
    """The setting of a schedule; by default the simplest one, without a fault."""

    machines: int = 1
    partitions: int = 1
    shards: int = 1
    dags: int = 1
    runs: int = 1
    gateways: int = 1
    # See `Plant`.
    skew: int | None = None
    # One of three replicas that is down all the time.
    down: int | None = None
    # Listings of the workspace lack new files for a while.
    lags: bool = False
    keep_runs: int = 50
    odds: Odds = CALM
    # An operator deletes the offsets of the group.
    resets: bool = False


@dataclass
class Services:
    """The twins, and what was seen of them meanwhile."""

    world: World
    broker: Broker
    database: Database
    plant: Plant
    complaints: list[str] = field(default_factory=list)

    def table(self, name: str) -> dict[CellKey, Row]:
        """All rows of a table."""
        return self.database.tables[name].truth()


@dataclass(frozen=True)
class Report:
    """A schedule that held: numbers of calls, faults, and rows."""

    calls: int
    faults: int
    rows: int


def quiet() -> None:
    """Let the stages log nothing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@cache
def measurements() -> Measurements:
    """Two of the default measurements: each one costs time in every stage."""
    return Measurements(tuple(each for each in read_measurements().declared if each.name in ("voltage", "current")))


def planned(chance: random.Random) -> Plan:
    """Draw the setting of a schedule."""
    shards = chance.choice([1, 1, 1, 2])
    rough = chance.choice([0.0, 0.003, 0.01, 0.03])
    return Plan(
        machines=chance.randint(1, 3),
        partitions=chance.choice([1, 2, 3]),
        shards=shards,
        dags=chance.choice([1, 1, 2]),
        runs=chance.randint(1, 3),
        gateways=chance.randint(1, 2),
        skew=chance.choice([None, None, 3, 20_000]),
        down=chance.choice([None, 0, 1, 2]),
        lags=chance.random() < 0.2,
        keep_runs=chance.choice([2, 50]),
        odds=Odds(
            kill=chance.choice([0.0, 0.005, 0.02, 0.06]),
            terminate=chance.choice([0.0, 0.0, 0.01]),
            fail=rough,
            lose=rough,
            stall=chance.choice([0.0, 0.005]),
            run_on=chance.choice([0.2, 0.8]),
        ),
        resets=chance.random() < 0.1,
    )


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
    """Let the stages meet the twins where they would meet drivers, clock and signals."""
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
            (runner, "read_measurements", lambda _: measurements()),
        ):
            stack.enter_context(patch.object(target, name, twin))
        stack.enter_context(clock_of(world))
        yield


def built(world: World, plan: Plan) -> Services:
    """Build the twins of a plan."""
    broker = Broker(world)
    broker.topics = {TOPIC: [Log() for _ in range(plan.partitions)], DEAD_LETTERS: [Log()]}
    database = Database(
        world, KEYSPACE, {table.name: Stored(table) for table in pipeline_tables(measurements())}, plan.down
    )
    plant = Plant(world, broker, [f"machine-{number}" for number in range(plan.machines)], plan.skew)
    services = Services(world, broker, database, plant)
    database.watch = lambda write: _watch(services, write)
    empty_store(world, lags=plan.lags)
    return services


def simulate(seed: int) -> Report:
    """Run the schedule of a seed.

    Raises:
        Violation: a guarantee does not hold; the message has the seed and the last calls.
    """
    world = World(seed)
    # The jitter of retries belongs to the schedule too.
    random.seed(seed)
    plan = planned(world.random)
    services = built(world, plan)
    try:
        with in_place(services):
            for number in range(plan.gateways):
                bursts = world.random.randint(1, 4)
                world.start(f"gateway-{number}", lambda bursts=bursts: services.plant.gateway(bursts), mortal=False)
            for number in range(plan.dags):
                world.start(f"dag-{number}", lambda name=f"dag-{number}": _dag(services, plan, name), mortal=False)
            if plan.resets:
                world.start("operator", lambda: _reset(services), mortal=False)
            world.odds = plan.odds
            world.run()
            world.odds = CALM
            TwinFiles.lags = False
            run_until_nothing_is_new(services, plan)
            judge(services)
    except Violation as violation:
        calls = "\n  ".join(world.last_calls)
        raise Violation(f"seed {seed}: {violation}\n{plan}\n  {calls}") from None
    return Report(world.calls, world.faults, len(services.table("sensor_data")))


def _reset(services: Services) -> None:
    """An operator deletes the offsets of the group."""
    services.world.sleep(services.world.random.random() * 120)
    services.broker.groups.clear()


def _dag(services: Services, plan: Plan, name: str) -> None:
    """A scheduler: runs one after the other, each stage with retries, and now and then an attempt that it loses."""
    world = services.world
    for number in range(plan.runs):
        world.sleep(world.random.random() * 60)
        tasks = [
            world.start(
                f"{name}.{number}.{shard}",
                lambda number=number, shard=shard: _run(services, plan, f"{name}-{number}", shard),
                mortal=False,
            )
            for shard in range(plan.shards)
        ]
        for task in tasks:
            world.wait_for(task)


def _run(services: Services, plan: Plan, run: str, shard: int) -> None:
    """The stages of a shard of a run, until one of them fails for good."""
    world = services.world
    for stage in ("consume", "transform", "load"):
        for attempt in range(TRIES):
            name = f"{run}.{shard} {stage}.{attempt}"
            process = world.start(name, lambda stage=stage: run_stage(plan, stage, run, shard))
            if world.odds.kill and world.random.random() < 0.03:
                # The scheduler takes it for dead, and starts another one.
                world.sleep(world.random.random() * 5)
                continue
            world.wait_for(process)
            if process.error is None:
                break
            if isinstance(process.error, NothingNew | SettingsError | DeliveryError):
                _judge_end(services, plan, process)
                return
            world.sleep(world.random.random() * 30)
        else:
            return


def _judge_end(services: Services, plan: Plan, process: Process) -> None:
    """Complain of an error that no retry mends, unless it is one of those that may come."""
    text = str(process.error)
    settings = isinstance(process.error, SettingsError) and "the previous stage has not finished" not in text
    files = "differs from its manifest" in text and plan.keep_runs > 2
    if settings or files or "balance" in text:
        services.complaints.append(f"{process.name}: {text}")


def run_stage(plan: Plan, name: str, run: str, shard: int = 0) -> None:
    """Run a stage of a run in the process that calls this."""
    own = {"run_id": run, "shard": shard, "shards": plan.shards, "keep_runs": plan.keep_runs}
    settings = RUN.model_copy(update=own)
    # Looked up here, so that a mutant may replace one.
    parts: dict[str, tuple[Callable[..., Any], list[Any]]] = {
        "consume": (consume.consume, [CONSUME, KAFKA]),
        "transform": (transform.transform, [TRANSFORM, CASSANDRA]),
        "load": (load.load, [LOAD, CASSANDRA, KAFKA]),
    }
    stage, given = parts[name]
    runner.run_stage(name, stage, settings, *given)


def run_until_nothing_is_new(services: Services, plan: Plan) -> None:
    """Run the pipeline until no lag is left.

    Raises:
        Violation: some lag always stays, or a stage ended as none may.
    """
    services.world.start("calm", lambda: _calm(services, plan), mortal=False)
    services.world.run()


def _calm(services: Services, plan: Plan) -> None:
    for number in range(CALM_RUNS):
        if all(_committed(services, p) == log.end(True) for p, log in enumerate(services.broker.topics[TOPIC])):
            return
        for shard in range(plan.shards):
            _run(services, plan, f"calm-{number}", shard)
        if services.complaints:
            raise Violation(services.complaints[0])
    raise Violation(f"lag is left after {CALM_RUNS} runs without a fault: {services.broker.groups}")


def _committed(services: Services, partition: int) -> int:
    log = services.broker.topics[TOPIC][partition]
    return services.broker.groups.get(GROUP, {}).get((TOPIC, partition), 0 if log.end(True) == 0 else -1)


def _watch(services: Services, write: Write) -> None:
    """See that no watermark is ahead of the table, and none moves back."""
    if write.stored.table is not WATERMARKS:
        return
    machine = write.key[0]
    (cell,) = [cell for name, cell in write.cells.items() if name == "timestamp"]
    if not any(key[0] == machine and key[2] == cell.value for key in services.table("sensor_data")):
        services.complaints.append(f"the watermark of {machine!r} is ahead of the table")
    before = services.table(WATERMARKS.name).get(write.key)
    if before and before["timestamp"].time > cell.time and before["timestamp"].value < (cell.value or b""):
        services.complaints.append(f"the watermark of {machine!r} stays behind a newer one")


def judge(services: Services) -> None:
    """Compare table, dead letters, watermarks, ledger and touched days with what must be there.

    Raises:
        Violation: they differ; the message names the first difference.
    """
    if services.complaints:
        raise Violation(services.complaints[0])
    expected = wanted(services.plant)
    rows = {_key(key): row for key, row in services.table("sensor_data").items()}
    if extra := sorted(set(rows) - set(expected.table)):
        raise Violation(f"row {extra[0]} of the table was never produced")
    for key, reading in expected.table.items():
        if key not in rows:
            raise Violation(f"row {key} is missing, {reading}")
        found = tuple(_double(rows[key].get(name)) for name in ("voltage", "current"))
        if found != (reading.voltage, reading.current):
            raise Violation(f"row {key} holds {found}, not {reading}")
    _judge_letters(services, expected.lost, expected.bad)
    _judge_watermarks(services, set(rows))
    _judge_ledger(services)
    _judge_touched(services, set(rows))


def _key(key: tuple[bytes, ...]) -> tuple[str, int]:
    return key[0].decode(), int.from_bytes(key[2], "big", signed=True)


def _double(cell: Any) -> float | None:
    return None if cell is None or cell.value is None else float(cqltypes.DoubleType.deserialize(cell.value, PROTOCOL))


def _judge_letters(services: Services, lost: set[tuple[tuple[str, int], float]], bad: set[bytes]) -> None:
    readings: set[tuple[tuple[str, int], float]] = set()
    raw: set[bytes] = set()
    for record in services.broker.topics[DEAD_LETTERS][0].records():
        raw.add(record.value or b"")
        if dict(record.headers)["etl-reason"] in (b"conflicting", b"superseded"):
            document = orjson.loads(record.value or b"")
            stamp = document["timestamp"]
            milliseconds = stamp if isinstance(stamp, int) else _milliseconds(stamp)
            readings.add((((record.key or b"").decode(), milliseconds), document["voltage"]))
    if missing := sorted(lost - readings):
        raise Violation(f"the losing reading {missing[0]} is in no dead letter")
    if gone := sorted(bad - raw):
        raise Violation(f"the bad record {gone[0]!r} is in no dead letter")


def _milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _judge_watermarks(services: Services, rows: set[tuple[str, int]]) -> None:
    newest: dict[str, int] = {}
    for machine, stamp in rows:
        newest[machine] = max(stamp, newest.get(machine, stamp))
    found = {
        key[0].decode(): int.from_bytes(row["timestamp"].value or b"", "big", signed=True)
        for key, row in services.table(WATERMARKS.name).items()
    }
    if found != newest:
        raise Violation(f"watermarks are {found}, the newest rows {newest}")


def _judge_ledger(services: Services) -> None:
    for key, row in services.table(RUNS.name).items():
        run, stage = key[1].decode(), key[2].decode()
        if stage != "load":
            continue
        counts = type_of(RUNS.columns["counts"]).deserialize(row["counts"].value, PROTOCOL)
        if counts["consumed"] != sum(counts[name] for name in load.CLASSES):
            raise Violation(f"run {run} does not balance: {dict(counts)}")
        offsets = json.loads((row["offsets"].value or b"").decode())
        if any(part["begin"] > part["end"] for part in offsets):
            raise Violation(f"run {run} ends before it begins: {offsets}")


def _judge_touched(services: Services, rows: set[tuple[str, int]]) -> None:
    touched = set()
    for key, row in services.table(TOUCHED_DAYS.name).items():
        day = int.from_bytes(key[2], "big") - 2**31
        touched |= {(key[1].decode(), day * 24 + name[1]) for name in row if isinstance(name, tuple)}
    if missing := sorted({(machine, stamp // HOUR_MS) for machine, stamp in rows} - touched):
        raise Violation(f"no run told the analysis of hour {missing[0]}")
