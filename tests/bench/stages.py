"""Our own stages, each run in this process, so that neither the start of Python nor imports count."""

from importlib import import_module
from pathlib import Path

from etl.run.runner import Stage, run_stage
from etl.settings import RunSettings, read_settings, read_stage_settings
from tests.bench.figures import Figure, Processes, measured, median, total
from tests.bench.place import Place, check_stored, fresh_group, fresh_keyspace, fresh_topics, run_like, settings
from tests.bench.shapes import SHAPES

FROM_TOPIC = ("consume", "transform", "load")


def run(name: str, line: str, rows: int, services: Processes) -> Figure:
    """Run a stage of the run that the settings name, from its input manifest to its own."""
    stage: Stage = getattr(import_module(f"etl.stages.{name}"), name)
    found = read_settings(RunSettings)
    with measured(line, rows, services) as figure:
        run_stage(name, stage, found, *read_stage_settings(name))
    return figure


def generate(place: Place, readings: int) -> Figure:
    """Generate in runs that are thrown away."""

    def once() -> Figure:
        with run_like(place):
            return run("generate", "generate", readings, {})

    return median(once, place.both)


def read_file(place: Place, folder: Path, ending: str, name: str, readings: int) -> Figure:
    """Read a recorded file of two measurements in runs that are thrown away."""

    def once() -> Figure:
        with (
            run_like(place),
            settings(
                ETL_GENERATE_SOURCE="recorded",
                ETL_GENERATE_RECORDED_URL=folder / f"readings.{ending}",
                ETL_GENERATE_MAPPING_FILE=folder / "mapping.yaml",
            ),
        ):
            return run("generate", f"generate from {name}", readings, {})

    return median(once, place.both)


def produce(place: Place, template: str, readings: int, form: str) -> Figure:
    """Produce what another run has generated into topics of their own."""

    def once() -> Figure:
        with fresh_topics(), run_like(place, template, ("generate",)), settings(ETL_PRODUCE_FORMAT=form):
            return run("produce", f"produce {_NAMES[form]}", readings, place.only_kafka)

    return median(once, place.both)


def consume(place: Place, readings: int, form: str, client: str) -> Figure:
    """Consume the topic of the settings, in a new group each time."""

    def once() -> Figure:
        with fresh_group(), run_like(place), settings(ETL_KAFKA_CLIENT=client):
            return run("consume", f"consume {_NAMES[form]}, {client}", readings, place.only_kafka)

    return median(once, place.both)


def transform(place: Place, template: str, readings: int) -> Figure:
    """Transform what another run has consumed, against empty tables."""

    def once() -> Figure:
        with fresh_keyspace(), run_like(place, template, ("consume",)):
            return run("transform", "transform", readings, place.only_cassandra)

    return median(once, place.both)


def load(place: Place, template: str, readings: int) -> Figure:
    """Load what another run has transformed into empty tables; the offsets stay as that run found them: none."""

    def once() -> Figure:
        with fresh_keyspace(), fresh_group(), run_like(place, template, ("consume", "transform")):
            return run("load", "load", readings, place.both)

    return median(once, place.both)


def topic_to_table(place: Place, readings: int, form: str, client: str) -> Figure:
    """Take the topic of the settings into empty tables, offsets committed."""

    def once() -> Figure:
        name = f"topic to table, {_NAMES[form]}, {client}"
        with fresh_keyspace() as session, fresh_group(), run_like(place), settings(ETL_KAFKA_CLIENT=client):
            parts = [run(stage, stage, readings, place.both) for stage in FROM_TOPIC]
            check_stored(session, readings)
        whole = total(name, parts)
        whole.notes.append(", ".join(f"{part.name} {part.seconds:.1f} s" for part in parts))
        return whole

    return median(once, place.both)


_NAMES = {"arrow": "Arrow", "json": "JSON"} | SHAPES
