"""A topic of gateways on the real services: what is mapped is stored, the rest are dead letters that replay."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from etl.cli import app
from etl.run.dead_letters import Choice, list_letters, replay
from etl.run.workspace import find_manifest, open_workspace
from etl.settings import RunSettings, read_settings
from images import local
from tests.integration.plant import MIDNIGHT, Plant, run_behind_topic
from tests.integration.topics import send

MAPPING = """
readings: values
equipment: {template: "{$header.site}-{$.id}"}
timestamp: {column: ts}
measurements: {voltage: U}
"""


@pytest.fixture
def plant(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    monkeypatch.setenv("ETL_CONSUME_MAPPING_FILE", str(tmp_path / "mapping.yaml"))
    return plant


def record(machine: str, *values: dict[str, Any]) -> dict[str, Any]:
    value = {"id": machine, "values": [{"ts": MIDNIGHT + each["at"] * 1000, **each} for each in values]}
    return {"value": json.dumps(value).encode(), "headers": [("site", b"berlin")]}


def table(plant: Plant) -> dict[tuple[str, int], float]:
    rows = plant.session.execute('SELECT equipment_id, toUnixTimestamp("timestamp"), voltage FROM sensor_data')
    return {(row[0], (row[1] - MIDNIGHT) // 1000): row[2] for row in rows}


def test_topic_of_a_gateway_is_stored_and_its_losers_replay_when_it_has_a_mapping(
    kafka: local.Service, plant: Plant
) -> None:
    send(
        kafka,
        plant.topic,
        record("p1", {"at": 0, "U": 230}, {"at": 1, "U": "231.5"}, {"at": 2, "I": 5}),
        record("p1", {"at": 1, "U": 240}),
        {"value": b"[5]", "headers": [("site", b"berlin")]},
    )
    counts = run_behind_topic("first")
    consumed = find_manifest(open_workspace(read_settings(RunSettings).workspace_url, "first"), "consume")
    assert consumed
    assert consumed.summary.unknown == {"at": 4, "I": 1}
    assert {name: counts[name] for name in ("consumed", "loaded", "conflicting", "rejected")} == {
        "consumed": 5,
        "loaded": 2,
        "conflicting": 1,
        "rejected": 2,
    }
    assert table(plant) == {("berlin-p1", 0): 230.0, ("berlin-p1", 1): 240.0}
    found = {(each.reason, each.index): each for each in list_letters(plant.client, Choice())}
    assert set(found) == {("conflicting", 1), ("no-measurement", 2), ("schema", 0)}
    loser = found["conflicting", 1]
    # The dead letter holds the record with this element alone, and the header that the mapping needs.
    values = [{"ts": MIDNIGHT + 1000, "at": 1, "U": "231.5"}]
    assert json.loads(loser.value or b"") == {"id": "p1", "values": values}
    assert loser.headers == (("site", b"berlin"),)

    assert replay(plant.client, Choice(frozenset(["conflicting"])), force=True).sent == 1
    assert run_behind_topic("second")["loaded"] == 1
    assert table(plant) == {("berlin-p1", 0): 230.0, ("berlin-p1", 1): 231.5}
    # The row that it replaces is a dead letter in the project's own form, and replays without the mapping.
    assert replay(plant.client, Choice(frozenset(["superseded"])), force=True).sent == 1
    assert run_behind_topic("third")["loaded"] == 1
    assert table(plant) == {("berlin-p1", 0): 230.0, ("berlin-p1", 1): 240.0}

    listed = CliRunner().invoke(app, ["status"])
    assert "fields that are not mapped" in listed.output
    assert "at 4, I 1" in listed.output

    shown = CliRunner().invoke(app, ["mapping", "try", "--topic"])
    assert shown.exit_code == 0, shown.output
    assert "berlin-p1" in shown.output
    assert "fields that are not mapped: " in shown.output
