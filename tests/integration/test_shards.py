"""A run in several shards on the real services: together they do what a run in one does."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from etl.errors import DeliveryError, NothingNew
from etl.kafka.ports import open_producer
from etl.run.runner import run_stage
from etl.run.workspace import Manifest
from etl.settings import KafkaSettings, RunSettings, read_settings, read_stage_settings
from etl.stages import produce
from etl.stages.load.stage import CLASSES
from images import local
from tests.integration import topics
from tests.integration.plant import MIDNIGHT, STAGES, Plant, end_state, made_plant, table, watermarks

MACHINES = [f"press-{number}" for number in range(12)]
PARTITIONS = 4


def reading(second: int, voltage: object, **more: object) -> bytes:
    return json.dumps({"timestamp": MIDNIGHT + second * 1000, "voltage": voltage, **more}).encode()


# What each machine sends: new readings first; then duplicates, a late one, conflicts, and what is no reading.
FIRST = [reading(second, 230 + second) for second in (0, 1, 2, 4, 5)]
SECOND = [
    reading(4, 234),
    reading(3, 233, mode="late"),
    reading(5, 1.5),
    reading(6, 1.75),
    reading(6, 236),
    reading(7, 237),
    b"no JSON",
    b'{"timestamp": "soon", "voltage": 1}',
]


def send(values: Sequence[bytes]) -> None:
    """Send these of each machine."""
    settings = read_settings(KafkaSettings)
    with open_producer(settings) as producer:
        for value in values:
            for machine in MACHINES:
                producer.send(settings.topic, machine.encode(), value, [])
        producer.flush()


def run_shards(name: str, run: str, shards: int, order: Sequence[int] = ()) -> list[Manifest]:
    return [
        run_stage(
            name,
            STAGES[name],
            read_settings(RunSettings, run_id=run, shard=shard, shards=shards),
            *read_stage_settings(name),
        )
        for shard in order or range(shards)
    ]


def run_before_load(run: str, shards: int) -> None:
    for name in ("consume", "transform"):
        run_shards(name, run, shards)


def classes(manifests: list[Manifest]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for manifest in manifests:
        total.update({name: manifest.summary.counts[name] for name in (*CLASSES, "late", "superseded")})
    return dict(total)


# Of six shards the last two have no partition.
@pytest.mark.parametrize("shards", [3, 6])
def test_shards_end_like_one_when_records_are_keyed_by_equipment(
    services: list[local.Service], topic: str, tmp_path: Path, shards: int
) -> None:
    for run, values in (("run-1", FIRST), ("run-2", SECOND)):
        ends: list[dict[str, Any]] = []
        for count in (1, shards):
            folder = tmp_path / str(count)
            folder.mkdir(exist_ok=True)
            with made_plant(services, topic, f"{topic.replace('-', '_')}_{count}", folder, PARTITIONS) as plant:
                if count == 1:
                    send(values)
                run_before_load(run, count)
                loaded = run_shards("load", run, count)
                ends.append({**end_state(plant), "classes": classes(loaded)})
                shard = plant.session.execute(f"SELECT shard, shards FROM runs WHERE run = '{run}' ALLOW FILTERING")
                assert sorted(shard) == sorted([(index, count) for index in range(count)] * len(STAGES))
        busy = [manifest.summary.counts["consumed"] for manifest in loaded]
        assert [bool(number) for number in busy] == [index < PARTITIONS for index in range(shards)]
        assert ends[0] == ends[1]
    assert ends[1]["classes"] == {
        "loaded": 4 * 12,
        "merged": 0,
        "duplicate": 12,
        "late_rejected": 0,
        "conflicting": 12,
        "rejected": 2 * 12,
        "late": 12,
        "superseded": 12,
    }


@pytest.fixture
def plant(services: list[local.Service], topic: str, keyspace: str, tmp_path: Path) -> Any:
    with made_plant(services, topic, keyspace, tmp_path, PARTITIONS) as plant:
        yield plant


def test_shards_end_well_when_they_load_at_once(plant: Plant) -> None:
    for run, values in (("run-0", FIRST), ("run-1", SECOND)):
        send(values)
        run_before_load(run, 3)
        variables = {**os.environ, "ETL_RUN_ID": run, "ETL_SHARDS": "3", "ETL_KEEP_RUNS": "1"}
        loads = [
            subprocess.Popen([sys.executable, "-m", "etl", "load"], env={**variables, "ETL_SHARD": str(shard)})
            for shard in range(3)
        ]
        assert [process.wait(timeout=120) for process in loads] == [0, 0, 0]
    assert len(table(plant)) == 8 * 12
    spans = plant.client.log_spans(plant.topic)
    assert plant.client.committed(plant.topic) == {partition: span.end for partition, span in spans.items()}
    assert [path.name for path in plant.workspace.iterdir()] == ["run-1"]


def test_shard_commits_its_own_partitions_when_the_others_have_not_loaded(plant: Plant) -> None:
    send(FIRST)
    ends = {partition: span.end for partition, span in plant.client.log_spans(plant.topic).items()}
    run_before_load("run-1", 3)
    run_shards("load", "run-1", 3, [1])
    assert plant.client.committed(plant.topic) == {0: None, 1: ends[1], 2: None, 3: None}
    run_shards("load", "run-1", 3, [0])
    assert plant.client.committed(plant.topic) == {0: ends[0], 1: ends[1], 2: None, 3: ends[3]}


def test_shard_fails_when_another_run_has_committed_its_partitions_and_only_then(plant: Plant) -> None:
    send(FIRST)
    run_before_load("run-1", 3)
    plant.client.commit(plant.topic, {1: 1})
    run_shards("load", "run-1", 3, [0, 2])
    with pytest.raises(DeliveryError, match=r"another run has interfered.*partition 1"):
        run_shards("load", "run-1", 3, [1])


def test_shards_end_well_when_nothing_is_new(plant: Plant) -> None:
    send(FIRST)
    run_before_load("run-1", 3)
    run_shards("load", "run-1", 3)
    before = end_state(plant)
    run_before_load("run-2", 3)
    assert [manifest.summary.counts["consumed"] for manifest in run_shards("load", "run-2", 3)] == [0, 0, 0]
    assert end_state(plant) == before
    with pytest.raises(NothingNew):
        run_shards("consume", "run-3", 1)


def test_shard_reads_its_own_partitions_when_told_where_to_begin(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    send(FIRST)
    ends = {partition: span.end for partition, span in plant.client.log_spans(plant.topic).items()}
    plant.client.commit(plant.topic, ends)
    monkeypatch.setenv("ETL_CONSUME_FROM_OFFSET", "1:0")
    consumed = [manifest.summary.counts["consumed"] for manifest in run_shards("consume", "run-1", 3)]
    assert consumed == [0, ends[1], 0]


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_later_record_wins_when_a_machine_is_in_two_shards(
    kafka: local.Service, plant: Plant, order: list[int]
) -> None:
    for partition, values in enumerate(([reading(0, 1), reading(5, 235)], [reading(0, 2), reading(3, 233)])):
        topics.send(kafka, plant.topic, *(topics.in_json(value, b"press-1", partition) for value in values))
        # The broker stamps records by the millisecond.
        time.sleep(0.01)
    run_before_load("run-1", 2)
    run_shards("load", "run-1", 2, order)
    assert [entry[3] for entry in table(plant)] == [2, 233, 235]
    assert watermarks(plant) == {"press-1": datetime(2026, 1, 5, 0, 0, 5)}


def test_produce_sends_its_own_readings_when_it_is_a_shard(
    kafka: local.Service, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with topics.made_topics(kafka, topic, tmp_path) as client:
        for shard in range(3):
            rows = [{"equipment_id": f"m{shard}", "timestamp": MIDNIGHT, "voltage": 1.0}] if shard < 2 else []
            topics.generate("run-1", rows, shard=shard, shards=3)
            settings = RunSettings(run_id="run-1", shard=shard, shards=3)
            if not rows:
                monkeypatch.setenv("ETL_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
            manifest = run_stage("produce", produce.produce, settings, *read_stage_settings("produce"))
            assert manifest.summary.counts["produced"] == len(rows)
        assert sum(span.end for span in client.log_spans(topic).values()) == 2
