"""`etl mapping try` and `guess` on a file: what an engineer sees, and the exit code."""

import json
import re
import zipfile

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from etl.cli import app
from etl.errors import SettingsError
from tests.unit.stages.generate.test_sheets import workbook

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


def test_try_shows_the_record_when_a_value_is_not_stored(tmp_path):
    (tmp_path / "plant.csv").write_text('t,U,I\n2026-01-05T06:00:00Z,"230,5",1\n2026-01-05T06:00:01Z,"231,5",\n')
    (tmp_path / "mapping.yaml").write_text(
        "timestamp: t\nequipment: {constant: p}\nmeasurements: {voltage: U, current: I}\n"
    )
    arguments = ["mapping", "try", str(tmp_path / "plant.csv"), "--mapping", str(tmp_path / "mapping.yaml")]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    assert re.search(r"not stored, or uncertain: voltage of 1 readings, such as \{.*230,5.*\} \(`decimal`", shown)
    assert re.search(r"no usable measurement: \{.*231,5.*\}", shown)


READING = {"t": "2026-01-05T06:00:00Z", "U": 230.5}
SEMICOLONS = "Zeit;ID;Spannung;Strom\n"


@pytest.mark.parametrize(
    ("name", "data", "wanted"),
    [
        ("a.json", json.dumps([READING] * 2, indent=2), ["timestamp: {column: t}", "  voltage: U"]),
        ("a.json", json.dumps({"device": "p", "data": [READING]}), ["readings: data", "equipment: $.device"]),
        (
            "a.json",
            json.dumps({"site": "s", "devices": [{"id": "p", "data": [READING]}]}),
            ["readings: devices.data", "equipment: $parent.id"],
        ),
        ("a.txt", "ID,t,U\np,2026-01-05T06:00:00Z,230\n" * 2, ["format: csv", "equipment: ID"]),
        (
            "a.csv",
            SEMICOLONS + "05.01.2026 08:00:00,5;p;1.230,5;1,5\n13.01.2026 08:00:00,5;p;230,5;1,5\n",
            ["delimiter: ;", "timestamp: {column: Zeit, format: '%d.%m.%Y %H:%M:%S,%f'}", 'thousands: "."'],
        ),
        (
            "a.csv",
            SEMICOLONS + "46027,3333;p;230,5;1,5\n46027,5;p;230,5;1,5\n",
            ["timestamp: {column: Zeit, format: excel}", 'decimal: ","'],
        ),
        (
            "a.csv",
            "Plant,,\nt,ID,U\n,,kV\n2026-01-05T06:00:00Z,p,0.23\n2026-01-05T06:00:01Z,p,Bad\n2026-01-05T06:00:02Z,p,1\n",
            ["  voltage: {column: U, unit: kV}", "# no numbers: 'Bad'; list them in `missing` or `bad`"],
        ),
        (
            "a.csv",
            "#group,false,true\n#default,,\n,_time,U\n" + ",2026-01-05T06:00:00Z,230.5\n" * 3,
            ["comment: '#'", "timestamp: {column: _time}"],
        ),
        (
            "a.csv",
            "# rig 7\n# t, U\n" + "2026-01-05T06:00:00Z,230.5\n" * 3,
            ["comment: '#'", "header: [t, U]", "timestamp: {column: t}"],
        ),
        ("a.csv", "2026-01-05T06:00:00Z,230.5,12\n" * 3, ["header: [column 1, column 2, column 3]"]),
        (
            "a.csv",
            "Datetime,Bearing 1\n2004.02.12.10.32.39,0.058\n",
            ["timestamp: {column: Datetime, format: '%Y.%m.%d.%H.%M.%S'}"],
        ),
    ],
)
def test_guess_prints_the_entries_that_a_file_needs(tmp_path, name, data, wanted):
    (tmp_path / name).write_text(data)
    shown = CliRunner().invoke(app, ["mapping", "guess", str(tmp_path / name)], catch_exceptions=False).output
    lines = [line.partition("  #")[0] for line in shown.splitlines()]
    assert [line for line in wanted if line not in lines] == [], shown


def test_guess_takes_the_first_file_when_a_folder_or_a_zip_has_several(tmp_path, plant):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("README.txt", "hello")
        archive.writestr("a.csv", LINES)
    alone = CliRunner().invoke(app, ["mapping", "guess", str(plant)]).output
    assert "voltage" in alone
    for path in (tmp_path / "all.zip", tmp_path):
        with_name = CliRunner().invoke(app, ["mapping", "guess", str(path)]).output
        assert with_name.partition("\n")[2] == alone


def guessed_and_tried(url, tmp_path):
    """Return the mapping that is guessed of files, and what a trial of them shows with it."""
    # The log is on standard error only once the command has set it up.
    with capture_logs():
        guessed = CliRunner().invoke(app, ["mapping", "guess", str(url)])
    assert guessed.exit_code == 0, guessed.output
    (tmp_path / "mapping.yaml").write_text(guessed.stdout)
    shown = CliRunner().invoke(app, ["mapping", "try", str(url), "--mapping", str(tmp_path / "mapping.yaml")])
    return guessed.stdout, shown.stdout


@pytest.mark.parametrize("pattern", ["", "/**/*.csv", "/deep/b.*"])
def test_guess_reads_the_first_file_with_rows_when_there_are_many(tmp_path, pattern):
    folder = tmp_path / "files"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.csv").write_text("")
    (folder / "deep" / "README.txt").write_text("exported by the historian\n")
    (folder / "deep" / "b.csv").write_text("Machine;Time;U\np1;2026-01-05T06:00:00Z;230\np1;2026-01-05T06:00:01Z;231\n")
    mapping, shown = guessed_and_tried(f"{folder}{pattern}", tmp_path)
    assert mapping.startswith(f"# of {folder}/deep/b.csv\n")
    assert "2 readings and 0 dead letters" in shown


@pytest.mark.parametrize("above", [[], [["Report of hall 1"], [None], ["from", "2026"]]])
def test_guess_reads_the_first_sheet_when_the_file_is_a_workbook(tmp_path, above):
    rows = [*above, ["Machine", "Time", "Note", "U"], ["p1", (46027.25,), None, 230.5], ["p2", (46027.5,), None, 231]]
    (tmp_path / "book.xlsx").write_bytes(workbook(January=rows))
    _, shown = guessed_and_tried(tmp_path / "book.xlsx", tmp_path)
    assert re.search(r"p1 +2026-01-05T06:00:00.000Z +230.5", shown)
    assert "2 readings and 0 dead letters" in shown


@pytest.mark.parametrize(
    "text",
    [
        '[{"id": "p1", "ts": 1767592800, "U": 230}, {"id": "p1", "ts": 1767592801, "U": 231}]',
        '[\n  {"id": "p1", "ts": 1767592800,\n   "U": 230},\n  {"id": "p1", "ts": 1767592801, "U": 231}\n]\n',
        '{"id": "p1", "ts": 1767592800, "U": 230}\n{"id": "p1", "ts": 1767592801, "U": 231}\n',
    ],
)
def test_guess_reads_the_objects_when_the_file_is_json(tmp_path, text):
    name = "all.json" if text.startswith("[") else "all.jsonl"
    (tmp_path / name).write_text(text)
    _, shown = guessed_and_tried(tmp_path / name, tmp_path)
    assert "2 readings and 0 dead letters" in shown


@pytest.mark.parametrize(("files", "said"), [({}, "there is no file"), ({"a.csv": ""}, "has no rows")])
def test_guess_says_so_when_there_is_nothing_to_read(tmp_path, files, said):
    (tmp_path / "files").mkdir()
    for name, text in files.items():
        (tmp_path / "files" / name).write_text(text)
    with pytest.raises(SettingsError, match=said):
        CliRunner().invoke(app, ["mapping", "guess", str(tmp_path / "files")], catch_exceptions=False)


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
