"""Several topics in one run, each with a mapping of its own, on the real services."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from etl.admin.doctor import check_all
from etl.admin.schema import create_tables
from etl.cassandra.store import Store, as_dicts, select
from etl.cli import app
from etl.errors import NothingNew, SettingsError
from etl.insight.analyze import write_health
from etl.kafka.client import Client
from etl.model.schemas import TIMESTAMP
from etl.model.tables import PIPELINE_HEALTH
from etl.results.sums import lags_of
from etl.run.dead_letters import Choice, list_letters, replay
from etl.settings import CassandraSettings, SchemaSettings, read_settings
from images import local
from tests.integration.plant import MIDNIGHT, Plant, run_behind_topic
from tests.integration.topics import send

MAPPING = """
topics:
  {plc}: {{equipment: {{column: id}}, timestamp: {{column: ts}}, measurements: {{voltage: values.U}}}}
  {lines}:
    record: {{format: csv, names: [id, time, V]}}
    equipment: {{column: id}}
    timestamp: {{column: time}}
    measurements: {{voltage: V}}
"""


@pytest.fixture
def gateways(topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Set two further topics and their mappings, before the plant connects."""
    plc, lines = f"{topic}-plc", f"{topic}-lines"
    (tmp_path / "mapping.yaml").write_text(MAPPING.format(plc=plc, lines=lines))
    monkeypatch.setenv("ETL_CONSUME_MAPPING_FILE", str(tmp_path / "mapping.yaml"))
    monkeypatch.setenv("ETL_KAFKA_MORE_TOPICS", f"{plc},{lines}")
    return plc, lines


@pytest.fixture
def plant(gateways: tuple[str, str], plant: Plant, kafka: local.Service) -> Plant:
    plc, lines = gateways
    for name, partitions in ((plc, 1), (lines, 2)):
        plant.client.create_topic(name, partitions, 1, {"message.timestamp.type": "CreateTime", "retention.ms": "-1"})
    send(kafka, plant.topic, {"key": b"press-1", "value": b'{"timestamp": "2026-01-05T00:00:00Z", "voltage": 1}'})
    send(kafka, plc, nested("p1", 230), {"value": b"{}"})
    send(kafka, lines, line("p1,2026-01-05T00:00:00Z,231"), line("p1,2026-01-05T00:00:01Z,232"))
    send(kafka, lines, *(line(text, 1) for text in ("p3,2026-01-05T00:00:01Z,5", "x", "p3,noon,5")))
    return plant


def nested(machine: str, voltage: float) -> dict[str, Any]:
    """A record of a PLC, with the same record timestamp as each line."""
    value = {"id": machine, "ts": MIDNIGHT, "values": {"U": voltage}}
    return {"value": json.dumps(value).encode(), "timestamp_ms": MIDNIGHT}


def line(text: str, partition: int = 0) -> dict[str, Any]:
    return {"value": text.encode(), "timestamp_ms": MIDNIGHT, "partition": partition}


def voltages(plant: Plant) -> dict[tuple[str, int], float]:
    rows = plant.session.execute('SELECT equipment_id, toUnixTimestamp("timestamp"), voltage FROM sensor_data')
    return {(row[0], (row[1] - MIDNIGHT) // 1000): row[2] for row in rows}


def committed(plant: Plant) -> dict[str, dict[int, int | None]]:
    return {name.removeprefix(plant.topic): plant.client.committed(name) for name in plant.client.settings.topics}


STORED = {("press-1", 0): 1.0, ("p1", 0): 231.0, ("p1", 1): 232.0, ("p3", 1): 5.0}
ENDS = {"": {0: 1}, "-plc": {0: 2}, "-lines": {0: 2, 1: 3}}


def test_each_topic_is_read_by_its_mapping_when_there_are_several(kafka: local.Service, plant: Plant) -> None:
    counts = run_behind_topic("first")
    assert {name: counts[name] for name in ("consumed", "loaded", "conflicting", "rejected")} == {
        "consumed": 8,
        "loaded": 4,
        "conflicting": 1,
        "rejected": 3,
    }
    # Of two readings with the same record timestamp, that of the topic which is named later wins.
    assert voltages(plant) == STORED
    assert committed(plant) == ENDS
    letters = list(list_letters(plant.client, Choice()))
    assert sorted(
        ((each.topic or "").removeprefix(plant.topic), each.partition, each.offset, each.value) for each in letters
    ) == [
        ("-lines", 1, 1, b"x"),
        ("-lines", 1, 2, b"p3,noon,5"),
        ("-plc", 0, 0, nested("p1", 230)["value"]),
        ("-plc", 0, 1, b"{}"),
    ]

    with pytest.raises(NothingNew, match=rf"topics {plant.topic}, {plant.topic}-plc, .* hold nothing new"):
        run_behind_topic("again")
    assert replay(plant.client, Choice(frozenset(["conflicting"])), force=True).sent == 1
    send(kafka, f"{plant.topic}-lines", line("p3,2026-01-05T00:00:02Z,6", 1))
    assert run_behind_topic("second")["loaded"] == 2
    assert voltages(plant) == STORED | {("p1", 0): 230.0, ("p3", 2): 6.0}
    assert committed(plant) == {"": {0: 1}, "-plc": {0: 3}, "-lines": {0: 2, 1: 4}}

    # Old records of one topic alone are read again.
    again = run_behind_topic("third", from_offset=f"{plant.topic}-lines/1:0")
    assert (again["consumed"], again["duplicate"], again["rejected"]) == (4, 2, 2)
    with pytest.raises(SettingsError, match="use TOPIC/OFFSET"):
        run_behind_topic("fourth", from_offset="0")

    shown = CliRunner().invoke(app, ["status"])
    assert shown.exit_code == 0, shown.output
    for name in plant.client.settings.topics:
        assert f"topic {name}, group" in shown.output
    assert "fields that are not mapped" not in shown.output
    tried = CliRunner().invoke(app, ["mapping", "try", "--topic"])
    assert tried.exit_code == 0, tried.output
    assert "press-1" in tried.output
    assert f"{plant.topic}-lines 1:1" in tried.output


def test_all_topics_are_committed_when_load_died_between_two_of_them(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Client.commit

    def die(self: Client, topic: str, offsets: dict[int, int]) -> None:
        if topic != plant.topic:
            raise KeyboardInterrupt
        commit(self, topic, offsets)

    with monkeypatch.context() as patch:
        patch.setattr(Client, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            run_behind_topic("first")
    assert committed(plant) == {"": {0: 1}, "-plc": {0: None}, "-lines": {0: None, 1: None}}
    assert run_behind_topic("first")["loaded"] == 4
    assert committed(plant) == ENDS
    assert voltages(plant) == STORED
    assert len(list(list_letters(plant.client, Choice()))) == 4


def test_topics_share_the_cap_when_a_run_has_one(plant: Plant) -> None:
    # One of 3, then half of the other 2, then the rest.
    assert run_behind_topic("first", max_readings=3)["consumed"] == 3
    assert committed(plant) == {"": {0: 1}, "-plc": {0: 1}, "-lines": {0: 1, 1: 0}}
    assert run_behind_topic("second", max_readings=100)["consumed"] == 5
    assert committed(plant) == ENDS
    assert voltages(plant) == STORED


def test_topic_is_named_when_it_is_missing(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_KAFKA_MORE_TOPICS", f"{plant.topic}-plc,{plant.topic}-lines,{plant.topic}-absent")
    with pytest.raises(SettingsError, match=f"topic {plant.topic}-absent"):
        run_behind_topic("first")
    assert committed(plant) == {name: dict.fromkeys(ends) for name, ends in ENDS.items()}
    checks = [check for check in check_all() if plant.topic in check.text and check.what in ("topic", "offsets")]
    assert [check.what for check in checks if check.state == "ok"].count("offsets") == 3
    (absent,) = (check for check in checks if check.state == "fail")
    assert (absent.what, absent.exit_code) == ("topic", 2)
    assert f"topic {plant.topic}-absent" in absent.text


def test_page_has_the_lag_of_each_topic_when_there_are_several(plant: Plant) -> None:
    list(create_tables(plant.session, [PIPELINE_HEALTH], SchemaSettings(), read_settings(CassandraSettings)))
    store = Store(plant.session)
    now = datetime.now(UTC)
    write_health(store, plant.client, pa.chunked_array([[None]], TIMESTAMP), now)
    found = store.ask(select(PIPELINE_HEALTH, given=["day"]), [(now.date(),)])
    (row,) = as_dicts(list(PIPELINE_HEALTH.columns), found)
    assert lags_of(row) == {"0": 1, f"{plant.topic}-lines/0": 2, f"{plant.topic}-lines/1": 3, f"{plant.topic}-plc/0": 2}
