"""One schedule: a plant, runs of the stages with faults, calm runs at the end, and the state that must follow."""

import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

from etl.errors import DeliveryError, NothingNew, SettingsError
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
from etl.stages.load import stage as load
from etl.stages.transform import stage as transform
from tests.simulation.files import TwinFiles
from tests.simulation.judge import judge, watch
from tests.simulation.judging import Violation
from tests.simulation.plant import DEAD_LETTERS, GROUP, MORE_TOPIC, TOPIC
from tests.simulation.services import (
    KEYSPACE,
    Change,
    Plan,
    Services,
    add_measurement,
    built,
    in_place,
    make_topic_anew,
)
from tests.simulation.world import CALM, Odds, Process, World

CALM_RUNS = 8
# The calls of a load that may change something, from its first dead letter to its manifest.
EFFECTS = 13, 38

KAFKA = KafkaSettings(topic=TOPIC, dead_letter_topic=DEAD_LETTERS, group=GROUP, timeout=30)
CASSANDRA = CassandraSettings(keyspace=KEYSPACE, timeout=30)
RUN = RunSettings(workspace_url="twin://workspace")
CONSUME, TRANSFORM, LOAD = ConsumeSettings(), TransformSettings(), LoadSettings(batch_rows=4, concurrency=4)

CHANGES: dict[Change, Callable[[Services], None]] = {
    "topic made anew": make_topic_anew,
    "measurement added": add_measurement,
}
# Errors that no retry mends, and that a schedule may well bring about.
MAY_COME = (
    "began with another measurement file",
    "were deleted before group",
)


@dataclass(frozen=True)
class Report:
    """A schedule that held: numbers of calls, faults, and rows."""

    calls: int
    faults: int
    rows: int


def planned(chance: random.Random) -> Plan:
    """Draw the setting of a schedule."""
    rough = chance.choice([0.0, 0.003, 0.01, 0.03])
    change: Change | None = chance.choice([None, None, None, None, "topic made anew", "measurement added"])
    anew = change == "topic made anew"
    shards, dags = chance.choice([(1, 1), (1, 1), (1, 2), (1, 1), (2, 1), (2, 2)])
    # Two short schedules find more than one that takes twice the time.
    most_runs = 3 if shards * dags == 1 else 2 if shards * dags == 2 else 1
    # Several runs that were given up, some of which are repeated, show faults in the order of the steps of load.
    give_up = chance.choice([0.0, 0.0, 0.0, 0.6])
    return Plan(
        machines=chance.randint(1, 3),
        partitions=chance.choice([1, 2, 3]),
        shards=shards,
        dags=dags,
        runs=chance.randint(most_runs if give_up else 1, most_runs) if change is None else 1,
        gateways=chance.randint(1, 2),
        # With such clocks, records of the former topic could be later than those of the new one.
        skew=None if anew else chance.choice([None, None, 3, 20_000]),
        # A clock that counts minutes gives many conflicting readings the same time.
        tick=1 if anew else chance.choice([1, 1, 60_000]),
        down=chance.choice([None, 0, 1, 2]),
        lags=chance.random() < 0.2,
        keep_runs=chance.choice([2, 50]),
        tries=chance.choice([1, 3]),
        odds=Odds(
            kill=chance.choice([0.0, 0.005, 0.02, 0.06]),
            terminate=chance.choice([0.0, 0.0, 0.01]),
            fail=rough,
            lose=rough,
            stall=chance.choice([0.0, 0.005]),
            run_on=chance.choice([0.2, 0.8]),
            give_up=give_up,
        ),
        resets=chance.random() < 0.1,
        deletes=chance.random() < 0.1,
        compacts=chance.random() < 0.1,
        clears=chance.random() < (0.5 if give_up else 0.2),
        lateness=chance.choice([None] * 8 + [0, 1_800_000]),
        change=change,
        partial=chance.choice(["conflict", "conflict", "merge"]),
        topics=chance.choice([1, 2]),
    )


def simulate(seed: int, plan: Plan | None = None) -> Report:
    """Run the schedule of a seed, or of that seed with another plan.

    Raises:
        Violation: a guarantee does not hold; the message has the seed and the last calls.
    """
    world = World(seed)
    # The jitter of retries belongs to the schedule too.
    random.seed(seed)
    drawn = planned(world.random)
    plan = plan or drawn
    services = built(world, plan, watch)
    try:
        with in_place(services):
            _act(services, "")
            if plan.change:
                if plan.change == "topic made anew":
                    # Kafka deletes what nobody has read yet.
                    settle(services)
                CHANGES[plan.change](services)
                _act(services, "second-")
            settle(services)
    except Violation as violation:
        calls = "\n  ".join(world.last_calls)
        raise Violation(f"seed {seed}: {violation}\n{plan}\n  {calls}") from None
    return Report(world.calls, world.faults, len(services.table("sensor_data")))


def shrunk(seed: int) -> Plan:
    """Return the simplest plan with which the schedule of a seed still violates a guarantee."""
    plan = planned(World(seed).random)
    for part in fields(Plan):
        simpler = replace(plan, **{part.name: part.default})
        try:
            simulate(seed, simpler)
        except Violation:
            plan = simpler
    return plan


def _act(services: Services, prefix: str) -> None:
    """Let gateways, schedulers and operators do their work, with faults."""
    world, plan, plant = services.world, services.plan, services.plant
    world.odds, TwinFiles.lags = plan.odds, plan.lags
    for number in range(plan.gateways):
        bursts = world.random.randint(1, 4)
        world.start(f"gateway-{number}", lambda bursts=bursts: plant.gateway(bursts), mortal=False)
    for number in range(plan.dags):
        world.start(f"dag-{number}", lambda name=f"{prefix}dag-{number}": _dag(services, name), mortal=False)
    for name, wanted, does in (
        ("resets", plan.resets, _reset),
        ("deletes", plan.deletes, _delete),
        ("compacts", plan.compacts, _compact),
        ("clears", plan.clears, _clear),
    ):
        if wanted:
            world.start(name, lambda does=does: does(services), mortal=False)
    world.run()


def _reset(services: Services) -> None:
    """Delete the offsets of the group."""
    services.world.sleep(services.world.random.random() * 120)
    services.broker.groups.clear()


def _delete(services: Services) -> None:
    """Delete records that the group has committed, as retention does."""
    for _ in range(2):
        services.world.sleep(services.world.random.random() * 90)
        for topic, partition, log in services.logs():
            committed = services.committed(partition, topic) or 0
            log.begin = services.world.random.randint(log.begin, max(log.begin, committed))


def _compact(services: Services) -> None:
    """Remove records that equal later ones, as compaction does."""
    for _ in range(2):
        services.world.sleep(services.world.random.random() * 90)
        for _, _, log in services.logs():
            log.compact()


def _clear(services: Services) -> None:
    """Repeat the stages of runs that were given up."""
    for _ in range(2):
        services.world.sleep(services.world.random.random() * 120)
        if services.given_up:
            number = services.world.random.randrange(len(services.given_up))
            _run(services, *services.given_up.pop(number))


def _dag(services: Services, name: str) -> None:
    """Schedule runs one after the other, each stage with retries; now and then lose sight of an attempt."""
    world = services.world
    for number in range(services.plan.runs):
        world.sleep(world.random.random() * 60)
        tasks = [
            world.start(
                f"{name}.{number}.{shard}",
                lambda number=number, shard=shard: _run(services, f"{name}-{number}", shard),
                mortal=False,
            )
            for shard in range(services.plan.shards)
        ]
        for task in tasks:
            world.wait_for(task)


def _run(services: Services, run: str, shard: int) -> None:
    """Run the stages of a shard of a run, until one of them fails for good."""
    world = services.world
    for stage in ("consume", "transform", "load"):
        given_up = stage == "load" and world.random.random() < world.odds.give_up
        for attempt in range(1 if given_up else services.plan.tries):
            name = f"{run}.{shard} {stage}.{attempt}"
            process = world.start(name, lambda stage=stage: run_stage(services.plan, stage, run, shard))
            if given_up:
                process.dies_at = world.random.randint(*EFFECTS)
            if world.odds.kill and world.random.random() < 0.03:
                # The scheduler takes it for dead, and starts another one.
                world.sleep(world.random.random() * 5)
                continue
            world.wait_for(process)
            if process.error is None:
                break
            if isinstance(process.error, NothingNew | SettingsError | DeliveryError):
                _judge_end(services, process)
                return
            world.sleep(world.random.random() * 30)
        else:
            services.given_up.append((run, shard))
            return


def _judge_end(services: Services, process: Process) -> None:
    """Complain of an error that no retry mends, unless it is one of those that may come."""
    text = str(process.error)
    settings = isinstance(process.error, SettingsError) and not any(part in text for part in MAY_COME)
    files = "differs from its manifest" in text and services.plan.keep_runs > 2
    if settings or files or "balance" in text:
        services.complaints.append(f"{process.name}: {text}")


def run_stage(plan: Plan, name: str, run: str, shard: int = 0) -> None:
    """Run a stage of a run in the process that calls this."""
    own = {"run_id": run, "shard": shard, "shards": plan.shards, "keep_runs": plan.keep_runs}
    settings = RUN.model_copy(update=own)
    transforming = TRANSFORM.model_copy(update={"partial": plan.partial})
    if plan.lateness is not None:
        transforming = transforming.model_copy(update={"allowed_lateness": timedelta(milliseconds=plan.lateness)})
    kafka = KAFKA.model_copy(update={"more_topics": MORE_TOPIC if plan.topics > 1 else ""})
    # Looked up here, so that a mutant may replace one.
    parts: dict[str, tuple[Callable[..., Any], list[Any]]] = {
        "consume": (consume.consume, [CONSUME, kafka]),
        "transform": (transform.transform, [transforming, CASSANDRA]),
        "load": (load.load, [LOAD, CASSANDRA, kafka]),
    }
    stage, given = parts[name]
    runner.run_stage(name, stage, settings, *given)


def settle(services: Services) -> None:
    """Run the pipeline without faults until no lag is left, then judge.

    Raises:
        Violation: some lag always stays, a stage ended as none may, or a guarantee does not hold.
    """
    services.world.odds, TwinFiles.lags = CALM, False
    services.world.start("calm", lambda: _calm(services), mortal=False)
    services.world.run()
    judge(services)


def _move_to_begins(services: Services) -> None:
    """Continue behind deleted records, as consume asks an operator to.

    A load that stalls before its commit can move the group back to records that another one had committed, and that
    were deleted since then.
    """
    for topic, partition, log in services.logs():
        committed = services.committed(partition, topic)
        if committed is not None and committed < log.begin:
            services.broker.groups[GROUP][topic, partition] = log.begin


def _calm(services: Services) -> None:
    for _ in range(CALM_RUNS):
        ends = [(services.committed(partition, topic), log.end(True)) for topic, partition, log in services.logs()]
        if all(end in (committed, 0) for committed, end in ends):
            return
        services.calm_runs += 1
        for shard in range(services.plan.shards):
            _run(services, f"calm-{services.calm_runs}", shard)
        if services.complaints:
            raise Violation(services.complaints[0])
        _move_to_begins(services)
    raise Violation(f"lag is left after {CALM_RUNS} runs without a fault: {services.broker.groups}")
