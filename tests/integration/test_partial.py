"""Parts of readings on the real services: they become one row, in one run as in several."""

import json
from typing import Any

import pytest

from etl.run.dead_letters import Choice, list_letters
from images import local
from tests.integration.plant import MIDNIGHT, Plant, run_behind_topic
from tests.integration.topics import ARROW_HEADERS, in_json, send, stream


@pytest.fixture
def plant(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> Plant:
    monkeypatch.setenv("ETL_TRANSFORM_PARTIAL", "merge")
    return plant


def run(name: str, **reading: Any) -> dict[str, int]:
    """Run the stages behind the topic; return the counts of load that are not 0."""
    return {label: count for label, count in run_behind_topic(name, **reading).items() if count}


def of(seconds: int, **values: Any) -> dict[str, Any]:
    """A part in a JSON record."""
    return in_json(json.dumps({"timestamp": MIDNIGHT + seconds * 1000, **values}).encode())


def table(plant: Plant) -> dict[int, tuple[Any, ...]]:
    """Values and their write times by second."""
    rows = plant.session.execute(
        'SELECT toUnixTimestamp("timestamp"), voltage, mode, quality, WRITETIME(voltage), WRITETIME(mode) '
        "FROM sensor_data"
    )
    return {(row[0] - MIDNIGHT) // 1000: tuple(row[1:]) for row in rows}


def letters(plant: Plant) -> list[tuple[str, int | None, dict[str, Any]]]:
    found = ((each.reason, each.offset, json.loads(each.value or b"")) for each in list_letters(plant.client, Choice()))
    return sorted(found, key=str)


@pytest.mark.parametrize("runs", [1, 2])
def test_parts_are_one_row_when_they_come_in_one_run_or_two(kafka: local.Service, plant: Plant, runs: int) -> None:
    send(kafka, plant.topic, of(0, voltage=230.0), of(1, voltage=231.0), of(2, voltage=232.0), of(3, mode="on"))
    if runs == 2:
        assert run("first")["loaded"] == 4
        before = table(plant)
    batch = {"key": b"m1", "value": stream(240.0, first=MIDNIGHT + 3000), "headers": list(ARROW_HEADERS)}
    send(kafka, plant.topic, of(0, mode="on"), of(1, mode="off"), of(2, mode="on", voltage="bad"), batch)
    counts = run("second")
    assert counts["consumed"] == 8 - 4 * (runs - 1)
    assert counts["loaded"] == 4
    assert counts.get("merged", 0) == (4 if runs == 1 else 0)
    found = table(plant)
    assert {at: row[:3] for at, row in found.items()} == {
        0: (230.0, "on", ""),
        1: (231.0, "off", ""),
        2: (232.0, "on", ""),
        3: (240.0, "on", ""),
    }
    if runs == 2:
        # No part changes the value of another one, or its write time.
        for at, row in before.items():
            assert {value for value in row if value} <= set(found[at])
    # Reading all of it again changes nothing.
    assert run("again", from_offset="0") | {"touched_days": 1} == {"consumed": 8, "duplicate": 8, "touched_days": 1}
    assert table(plant) == found
    assert not letters(plant)


@pytest.mark.parametrize("runs", [1, 2])
def test_only_the_value_that_differs_is_replaced_when_parts_conflict(
    kafka: local.Service, plant: Plant, runs: int
) -> None:
    send(kafka, plant.topic, of(0, voltage=230.0, mode="on"))
    if runs == 2:
        run("first")
    send(kafka, plant.topic, of(0, voltage=231.0), of(0, mode="on"))
    counts = run("second")
    found = table(plant)
    assert found[0][:3] == (231.0, "on", "")
    assert found[0][3] > found[0][4]
    (letter,) = letters(plant)
    if runs == 1:
        assert (counts["loaded"], counts["conflicting"], counts["duplicate"]) == (1, 1, 1)
        assert letter == ("conflicting", 0, {"timestamp": MIDNIGHT, "voltage": 230.0, "mode": "on"})
    else:
        assert (counts["loaded"], counts["superseded"], counts["duplicate"]) == (1, 1, 1)
        assert letter[:2] == ("superseded", 1)
        assert {name: letter[2][name] for name in ("timestamp", "voltage")} == {
            "timestamp": "2026-01-05T00:00:00.000Z",
            "voltage": 230.0,
        }
        assert "mode" not in letter[2]
    again = run("again", from_offset="0")
    assert (again["conflicting"], again["duplicate"]) == (1, 2)
    assert table(plant) == found
    assert [each[2]["voltage"] for each in letters(plant)] == [230.0] * runs
