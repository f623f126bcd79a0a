"""The readings that the lines work on, and what they need of them, made when first asked for."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import csv

from etl.codec.json_records import encode_json
from etl.model.measurements import read_measurements
from etl.run.workspace import Source, find_manifest, open_workspace
from etl.settings import RunSettings, read_settings
from tests.bench import clients, drivers, shapes, stages
from tests.bench.place import Place, fresh_group, fresh_keyspace, fresh_topics, run_like, settings

INTERVAL_SECONDS = 1


@contextmanager
def open_material(place: Place, machines: int, readings: int) -> Iterator["Material"]:
    """Let the settings say how many readings of how many machines; remove in the end what was made of them."""
    generated = {"MACHINES": machines, "INTERVAL": INTERVAL_SECONDS, "DURATION": duration(machines, readings)}
    with settings(**{f"ETL_GENERATE_{name}": value for name, value in generated.items()}), ExitStack() as stack:
        yield Material(place, machines, readings, stack)


def duration(machines: int, readings: int) -> int:
    """Tell how many seconds these machines take for so many readings."""
    return readings // machines * INTERVAL_SECONDS


@dataclass
class Material:
    """So many readings of so many machines, and what the lines need of them, made when first asked for."""

    place: Place
    machines: int
    readings: int
    stack: ExitStack

    @cached_property
    def generated(self) -> str:
        """The run that has generated the readings."""
        run = self.stack.enter_context(run_like(self.place))
        with settings(ETL_RUN_ID=run):
            stages.run("generate", "", self.readings, {})
        return run

    @cached_property
    def records(self) -> list[tuple[bytes, bytes]]:
        """Key and JSON of each reading."""
        measurements = read_measurements(None)
        tables = _output(self.generated, "generate").tables("readings")
        return [(key, value) for table in tables for key, value, _, _ in encode_json(table, measurements)]

    def some(self, share: int) -> list[tuple[bytes, bytes]]:
        """The records of the first readings, for what is slow."""
        return self.records[: max(1, self.readings // share)]

    @cached_property
    def recorded(self) -> Path:
        """A folder with two measurements of all readings, in `readings.csv` and `readings.parquet`, and a mapping."""
        folder = self.place.folder / "recorded"
        folder.mkdir(exist_ok=True)
        tables = _output(self.generated, "generate").tables("readings")
        table = pa.concat_tables(table.select(["equipment_id", "timestamp", "voltage", "current"]) for table in tables)
        pq.write_table(table, folder / "readings.parquet")
        texts = pc.strftime(table["timestamp"], format="%Y-%m-%dT%H:%M:%SZ")
        csv.write_csv(table.set_column(1, "timestamp", texts), folder / "readings.csv")
        (folder / "mapping.yaml").write_text(
            "timestamp: timestamp\nequipment: equipment_id\nmeasurements: {voltage: voltage, current: current}\n"
        )
        return folder

    @cached_property
    def arrow_topic(self) -> str:
        """A topic with all readings as micro-batches."""
        topic = self.stack.enter_context(fresh_topics())
        with run_like(self.place, self.generated, ("generate",)), settings(ETL_PRODUCE_FORMAT="arrow"):
            stages.run("produce", "", self.readings, {})
        return topic

    @cached_property
    def json_topic(self) -> str:
        """A topic with all readings as JSON records."""
        topic = self.stack.enter_context(fresh_topics())
        clients.fill(self.place, topic, self.records)
        return topic

    @contextmanager
    def shaped(self, shape: str) -> Iterator[None]:
        """Let the stages read a topic with all readings in a shape of `shapes.SHAPES`, with its mapping."""
        names = read_measurements(None).names
        folder = self.place.folder / shape
        folder.mkdir(exist_ok=True)
        (folder / "mapping.yaml").write_text(shapes.mapping(shape, names))
        (folder / "reading.avsc").write_text(shapes.schema(names))
        if shape not in self.topics:
            self.topics[shape] = self.stack.enter_context(fresh_topics())
            clients.fill(self.place, self.topics[shape], shapes.encode(shape, self.records, names))
        with reading(self.topics[shape]), settings(ETL_CONSUME_MAPPING_FILE=folder / "mapping.yaml"):
            yield

    @cached_property
    def topics(self) -> dict[str, str]:
        """The topics that are filled already, by shape."""
        return {}

    @cached_property
    def consumed(self) -> str:
        """The run that has consumed the Arrow topic, and transformed it."""
        run = self.stack.enter_context(run_like(self.place))
        with reading(self.arrow_topic), fresh_keyspace(), fresh_group(), settings(ETL_RUN_ID=run):
            for stage in ("consume", "transform"):
                stages.run(stage, "", self.readings, {})
        return run

    @cached_property
    def rows(self) -> drivers.Rows:
        """What load writes, as the driver takes it."""
        return [row for table in _output(self.consumed, "transform").tables("rows") for row in drivers.to_rows(table)]


@contextmanager
def reading(topic: str) -> Iterator[None]:
    """Let the stages read a topic."""
    with settings(ETL_KAFKA_TOPIC=topic, ETL_KAFKA_DEAD_LETTER_TOPIC=f"{topic}-dead"):
        yield


def _output(run: str, stage: str) -> Source:
    workspace = open_workspace(read_settings(RunSettings).workspace_url, run)
    manifest = find_manifest(workspace, stage)
    if manifest is None:
        raise RuntimeError(f"run {run} has no {stage}")
    return Source(workspace, manifest)
