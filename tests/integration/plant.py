"""Topics, a group and tables of a test's own, and what can be seen in them from outside."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest
from cassandra.cluster import Session

from etl.admin.schema import create_tables
from etl.admin.topics import create_topics
from etl.cassandra.connection import connect
from etl.kafka import client as kafka
from etl.model.measurements import Measurement, Measurements
from etl.model.tables import pipeline_tables
from etl.run.dead_letters import Choice, list_letters
from etl.run.runner import Stage, run_stage
from etl.settings import (
    CassandraSettings,
    KafkaSettings,
    RunSettings,
    SchemaSettings,
    read_settings,
    read_stage_settings,
)
from etl.stages import consume
from etl.stages.load import stage as load
from etl.stages.transform import stage as transform

MEASUREMENTS = Measurements((Measurement("voltage", "double"), Measurement("mode", "text")))
MEASUREMENTS_YAML = "measurements:\n  voltage: {type: double}\n  mode: {type: text}\n"
DAY = date(2026, 1, 5)
MIDNIGHT = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1000)


# The stages behind the topic.
STAGES: dict[str, Stage] = {"consume": consume.consume, "transform": transform.transform, "load": load.load}


def run_behind_topic(name: str, **reading: Any) -> dict[str, int]:
    """Run the stages behind the topic, consume with other settings; return the counts of load."""
    for stage, function in STAGES.items():
        settings = read_settings(RunSettings, run_id=name)
        given = reading if stage == "consume" else {}
        manifest = run_stage(stage, function, settings, *read_stage_settings(stage, **given))
    return manifest.summary.counts


class Reachable(Protocol):
    """A service, and how to reach it."""

    @property
    def environment(self) -> dict[str, str]: ...


@dataclass(frozen=True)
class Plant:
    """Where a test works; the settings in the environment name the same."""

    session: Session
    client: kafka.Client
    topic: str
    workspace: Path


@contextmanager
def made_plant(
    services: Iterable[Reachable], topic: str, keyspace: str, folder: Path, partitions: int = 2
) -> Iterator[Plant]:
    """Make tables, topics and a group; all but the topic of the readings are named after the keyspace."""
    (folder / "measurements.yaml").write_text(MEASUREMENTS_YAML)
    changes = {
        "ETL_CASSANDRA_KEYSPACE": keyspace,
        "ETL_KAFKA_TOPIC": topic,
        "ETL_KAFKA_DEAD_LETTER_TOPIC": f"{keyspace}-dead",
        "ETL_KAFKA_GROUP": keyspace,
        "ETL_MEASUREMENTS_FILE": str(folder / "measurements.yaml"),
        "ETL_WORKSPACE_URL": str(folder / "workspace"),
        "ETL_RUN_ID": "run-1",
    }
    for service in services:
        changes |= service.environment
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setenv(name, value)
        settings = read_settings(CassandraSettings)
        with (
            kafka.connect(read_settings(KafkaSettings)) as client,
            connect(settings, keyspace=False) as session,
        ):
            create_topics(client, SchemaSettings(partitions=partitions))
            list(create_tables(session, pipeline_tables(MEASUREMENTS), SchemaSettings(), settings))
            session.set_keyspace(keyspace)
            yield Plant(session, client, topic, folder / "workspace")


def table(plant: Plant) -> list[Any]:
    return sorted(
        plant.session.execute(
            'SELECT equipment_id, day, "timestamp", voltage, mode, quality, WRITETIME(quality) FROM sensor_data'
        )
    )


def watermarks(plant: Plant) -> dict[str, datetime]:
    return dict(plant.session.execute('SELECT equipment_id, "timestamp" FROM watermarks').all())


def letters(plant: Plant) -> list[tuple[Any, ...]]:
    return sorted(
        (
            (*map(str, letter.identity), letter.reason, letter.value, letter.key, letter.run)
            for letter in list_letters(plant.client, Choice())
        ),
        key=str,
    )


def touched(plant: Plant) -> list[Any]:
    rows = plant.session.execute("SELECT run, equipment_id, day, hours FROM touched_days")
    return sorted((run, machine, str(day), set(hours)) for run, machine, day, hours in rows)


def ledger(plant: Plant) -> dict[str, dict[str, int]]:
    query = "SELECT stage, counts FROM runs WHERE run = 'run-1' ALLOW FILTERING"
    return {stage: dict(counts) for stage, counts in plant.session.execute(query)}


def end_state(plant: Plant) -> dict[str, Any]:
    return {
        "table": table(plant),
        "letters": letters(plant),
        "watermarks": watermarks(plant),
        "touched": touched(plant),
        "ledger": sorted(ledger(plant)),
        "offsets": plant.client.committed(plant.topic),
    }


def losers(plant: Plant) -> list[float]:
    """Return the voltages that lost, as readings or as stored rows: which of both depends on how runs are split."""
    found = (json.loads(entry[-3]) for entry in letters(plant) if entry[-4] in ("conflicting", "superseded"))
    return sorted(value["voltage"] for value in found)
