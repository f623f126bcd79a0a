"""Steps of schedules that are written by hand."""

from etl.errors import DeliveryError
from tests.simulation.judge import watch
from tests.simulation.kafka import Log
from tests.simulation.plant import TOPIC, Reading
from tests.simulation.schedule import run_stage
from tests.simulation.services import Plan, Services, built
from tests.simulation.world import Killed, World

STAGES = ("consume", "transform", "load")


SIMPLE = Plan()


def simple(seed: int = 0, plan: Plan = SIMPLE) -> Services:
    """Build the twins of a plan, by default one without faults, with one machine and one partition."""
    return built(World(seed), plan, watch)


def log_of(services: Services) -> Log:
    """Return the log of the topic's only partition."""
    return services.broker.topics[TOPIC][0]


def appended(services: Services, *readings: Reading, transaction: int | None = None) -> None:
    """Append the records of readings, one millisecond after the other."""
    for reading in readings:
        services.plant.made[reading.value()] = reading
        append_raw(services, reading.key[0].encode(), reading.value(), transaction)


def append_raw(services: Services, key: bytes | None, value: bytes, transaction: int | None = None) -> None:
    """Append a record a millisecond later."""
    services.world.now += 0.001
    log_of(services).append(services.broker.millis(), key, value, transaction=transaction)


def ran(services: Services, name: str, run: str, dies_at: int | None = None) -> bool:
    """Run a stage; return whether it was killed, before its call of that number."""
    process = services.world.start(f"{run} {name}", lambda: run_stage(Plan(), name, run))
    process.dies_at = dies_at
    services.world.run()
    # A run whose records another one has committed meanwhile may only say so.
    if process.error and not isinstance(process.error, Killed | DeliveryError):
        raise process.error
    return process.killed


def ran_whole(services: Services, run: str) -> None:
    """Run all stages of a run."""
    for name in STAGES:
        ran(services, name, run)
