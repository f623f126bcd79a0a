"""Recorded files through all five stages, as a user would run them."""

import os
from collections import Counter
from pathlib import Path

import pytest

from etl.cassandra.connection import connect
from etl.kafka.client import connect as connect_kafka
from etl.run.dead_letters import Choice, Letter, list_letters
from tests.integration.machine import Machine

ROOT = Path(__file__).parents[4]


def recorded(
    machine: Machine, url: Path, mapping: Path, measurements: Path | None = None, catalogue: Path | None = None
) -> None:
    """Run a recorded file."""
    variables = {
        "ETL_GENERATE_SOURCE": "recorded",
        "ETL_GENERATE_RECORDED_URL": str(url),
        "ETL_GENERATE_MAPPING_FILE": str(mapping),
    }
    if measurements:
        variables["ETL_MEASUREMENTS_FILE"] = str(measurements)
        names = {"ETL_SCHEMA_CATALOGUE_FILE": str(catalogue)} if catalogue else {}
        done = machine.etl("schema", **variables, **names)
        assert done.returncode == 0, done.stderr
    done = machine.etl("run", "--run", "recorded", **variables)
    assert done.returncode == 0, done.stderr


def letters(machine: Machine) -> list[Letter]:
    with connect_kafka(machine.kafka) as client:
        return list(list_letters(client, Choice()))


def test_recorded_file_is_stored_when_it_has_bad_lines(machine: Machine) -> None:
    plant = ROOT / "tests" / "data"
    recorded(machine, plant / "plant.csv", plant / "plant.yaml")
    lines = (plant / "plant.csv").read_bytes().splitlines()
    found = letters(machine)
    assert found
    # Each letter holds the line that its origin names, byte by byte.
    for letter in found:
        if letter.file:
            assert letter.line
            assert letter.value == lines[letter.line - 1]
    counts = machine.counts("recorded", "load")
    from_topic = [letter for letter in found if letter.file is None]
    assert counts["rejected"] + counts["conflicting"] == len(from_topic)
    assert machine.rows() == counts["loaded"]
    # Apart from the header one line is empty, and one reading stands on two lines.
    assert counts["loaded"] + counts["duplicate"] + len(found) == len(lines) - 3
    with connect(machine.cassandra) as session:
        row = session.execute(
            "SELECT voltage, current, frequency, quality FROM sensor_data WHERE equipment_id = 'pump-0001'"
            " AND day = '2026-01-05' AND timestamp = '2026-01-05T08:00:00Z'"
        ).one()
    assert tuple(row) == (393.23, 8.477, 50.028, "")


def test_run_ends_with_an_exit_code_when_all_lines_of_its_file_were_rejected(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file.csv").write_text("time,machine,U\n2026-01-05T08:00:00Z,p,230,x\n2026-01-05T08:01:00Z,p,231,x\n")
    (tmp_path / "mapping.yaml").write_text("timestamp: time\nequipment: machine\nmeasurements: {voltage: U}\n")
    variables = {
        "ETL_GENERATE_SOURCE": "recorded",
        "ETL_GENERATE_RECORDED_URL": str(tmp_path / "file.csv"),
        "ETL_GENERATE_MAPPING_FILE": str(tmp_path / "mapping.yaml"),
    }
    done = machine.etl("run", "--run", "rejected", **variables)
    assert done.returncode == 2, done.stderr
    assert "all 2 lines of the recorded file were rejected" in done.stderr
    assert "the line of column names may lack a name" in done.stderr
    assert [letter.line for letter in letters(machine)] == [2, 3]
    # The rest of the run is not held up: it came to consume, which found nothing new.
    assert "the topic holds nothing new" in done.stderr


def test_recorded_file_of_a_household_is_stored_when_its_measurements_are_declared(machine: Machine) -> None:
    shared = Path(os.environ.get("ETL_SHARED", ROOT.parent / "shared"))
    if "ETL_SHARED" not in os.environ and not shared.is_dir():
        pytest.skip("the recorded file is not part of the repository; its folder is named by ETL_SHARED")
    examples = ROOT / "docs" / "examples"
    file = shared / "data" / "household_power.csv"
    names = ("power", "measurements", "catalogue")
    mapping, measurements, catalogue = (examples / f"household_{name}.yaml" for name in names)
    recorded(machine, file, mapping, measurements, catalogue)
    assert machine.rows() == 19_444
    found = letters(machine)
    assert Counter(letter.reason for letter in found) == {"no-measurement": 2, "recorded": 1}
    assert {letter.value for letter in found} == {
        b"21/12/2006 11:23:00,,,,,,,",
        b"21/12/2006 11:24:00,,,,,,,",
        b"30/1",
    }
    with connect(machine.cassandra) as session:
        row = session.execute(
            "SELECT voltage, current, active_power, heating FROM sensor_data WHERE equipment_id = 'household-1'"
            " AND day = '2006-12-16' AND timestamp = '2006-12-16T16:24:00Z'"
        ).one()
    assert tuple(row) == (234.84, 18.4, 4216.0, 17.0)

    done = machine.etl("analyze", ETL_MEASUREMENTS_FILE=str(measurements))
    assert done.returncode == 0, done.stderr
    with connect(machine.cassandra) as session:
        days = {
            str(day): (received, expected)
            for day, received, expected in session.execute("SELECT day, received, expected FROM machine_days")
        }
        events = list(session.execute("SELECT kind, severity FROM machine_events"))
    # In UTC the first and the last day are in part; on one day two rows have no measurement.
    parts = {"2006-12-16": (456, 456), "2006-12-21": (1438, 1440), "2006-12-30": (270, 270)}
    assert {day: counts for day, counts in days.items() if counts != (1440, 1440)} == parts
    assert len(days) == 15
    # Its load is not known, so appliances that it has not seen for long are unusual.
    assert {kind for kind, _ in events} == {"unusual"}
    assert len(events) <= 14
    assert sum(severity == "severe" for _, severity in events) <= 1
