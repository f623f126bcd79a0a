"""`etl mapping try` and `guess` on a file: what an engineer sees, and the exit code."""

import re

import pytest
from typer.testing import CliRunner

from etl.cli import app
from etl.errors import SettingsError

LINES = "Machine;Time;Voltage [kV]\np1;2026-01-05T06:00:00Z;0,2304\np2;yesterday;0,231\np1;2026-01-05T06:00:01Z;Bad\n"


@pytest.fixture
def plant(tmp_path):
    (tmp_path / "plant.csv").write_text(LINES)
    return tmp_path / "plant.csv"


def test_guessed_mapping_shows_rows_and_letters_when_tried(plant, tmp_path):
    guessed = CliRunner().invoke(app, ["mapping", "guess", str(plant)])
    assert guessed.exit_code == 0, guessed.output
    (tmp_path / "mapping.yaml").write_text(guessed.output.replace("timestamp: ?", "timestamp: Time #"))
    shown = CliRunner().invoke(app, ["mapping", "try", str(plant), "--mapping", str(tmp_path / "mapping.yaml")])
    assert shown.exit_code == 0, shown.output
    assert re.search(r"p1 +2026-01-05T06:00:00.000Z +230.4", shown.output)
    assert re.search(r"plant.csv:3 +timestamp +no timestamp: Time is 'yesterday'", shown.output)
    assert "1 readings and 2 dead letters in the sample" in shown.output


def test_guess_finds_the_names_when_a_file_is_utf_16_and_has_a_title(tmp_path):
    path = tmp_path / "export.csv"
    path.write_bytes(
        "Report of hall 1\nID;Time;U\np1;2026-01-05 06:00:00;230\np1;2026-01-05 06:00:01;231\n".encode("utf-16")
    )
    guessed = CliRunner().invoke(app, ["mapping", "guess", str(path)]).output
    (tmp_path / "mapping.yaml").write_text(guessed)
    shown = CliRunner().invoke(app, ["mapping", "try", str(path), "--mapping", str(tmp_path / "mapping.yaml")])
    assert "2 readings and 0 dead letters in the sample" in shown.output


def test_try_ends_with_the_entry_to_change_when_nothing_fits(plant, tmp_path):
    (tmp_path / "mapping.yaml").write_text(
        "delimiter: ';'\ntimestamp: {column: Time, format: '%d'}\n".replace("'%d'", "'%d.%m.%Y'")
        + "equipment: Machine\nmeasurements: {voltage: 'Voltage [kV]'}\n"
    )
    with pytest.raises(SettingsError, match="`timestamp` of the mapping may need another `format`"):
        CliRunner().invoke(
            app, ["mapping", "try", str(plant), "--mapping", str(tmp_path / "mapping.yaml")], catch_exceptions=False
        )


@pytest.mark.parametrize("arguments", [["try"], ["guess"], ["guess", "x.csv", "--topic"]])
def test_mapping_asks_for_a_source_when_it_has_none_or_two(arguments):
    with pytest.raises(SettingsError, match="either a file or --topic"):
        CliRunner().invoke(app, ["mapping", *arguments], catch_exceptions=False)
