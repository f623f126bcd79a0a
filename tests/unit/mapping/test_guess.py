"""A first mapping from sample cells: right where names and cells are clear, and it says where they are not."""

import yaml

from etl.mapping.guess import guess_mapping
from etl.model.measurements import read_measurements

MEASUREMENTS = read_measurements()


def guess(columns, keyed=False, **given):
    return guess_mapping(columns, MEASUREMENTS, given, keyed)


def test_guess_finds_columns_when_their_names_are_usual():
    text = guess(
        {
            "Machine": ["p1", "p2"],
            "Timestamp": ["2026-01-05 06:00:00"] * 2,
            "Voltage [kV]": ["0,23", "0,231"],
            "Temp (°F)": ["50,1", "51"],
            "Sub_meter": ["0.1", "0.2"],
        },
        delimiter=";",
    )
    assert yaml.safe_load(text) == {
        "delimiter": ";",
        "timestamp": {"column": "Timestamp"},
        "equipment": "Machine",
        "decimal": ",",
        "measurements": {
            "voltage": {"column": "Voltage [kV]", "unit": "kV"},
            "temperature": {"column": "Temp (°F)", "unit": "°F"},
        },
    }
    assert "# not mapped: Sub_meter, such as '0.1'" in text


def test_guess_says_so_when_day_and_month_cannot_be_told_apart():
    text = guess({"Date": ["05/01/2026 06:00:00"], "U": ["230"]}, keyed=True)
    assert yaml.safe_load(text)["timestamp"] == {"column": "Date", "format": "%d/%m/%Y %H:%M:%S"}
    assert "# the samples also fit %m/%d/%Y %H:%M:%S: day or month first?" in text


def test_guess_takes_the_only_format_when_a_day_is_above_twelve():
    text = guess({"Date": ["05/01/2026 06:00:00", "13/01/2026 06:00:00"], "U": ["230", "231"]}, keyed=True)
    assert "also fit" not in text


def test_guess_joins_date_and_time_when_they_are_in_two_columns():
    columns = {"Date": ["13/03/2004"], "Time": ["18.00.00"], "T": ["13,6"], "ID": ["a"]}
    found = yaml.safe_load(guess(columns))
    assert found["timestamp"] == {"columns": ["Date", "Time"], "format": "%d/%m/%Y %H.%M.%S"}
    assert found["measurements"] == {"temperature": "T"}


def test_guess_takes_the_key_for_the_machine_when_records_have_one():
    assert "equipment" not in yaml.safe_load(guess({"ts": [1_767_592_800], "voltage": [230]}, keyed=True))


def test_guess_finds_the_long_form_when_rows_have_tag_and_value():
    columns = {"tag": ["U", "I"], "time": ["2026-01-05T06:00:00Z"] * 2, "value": ["1", "2"], "status": ["Good", "Bad"]}
    found = yaml.safe_load(guess(columns, keyed=True))
    assert found == {
        "tag": "tag",
        "value": "value",
        "quality": "status",
        "timestamp": {"column": "time"},
        "measurements": {"voltage": "U", "current": "I"},
    }


def test_guess_says_so_when_nothing_looks_like_a_time_or_a_measurement():
    text = guess({"a": ["x"], "b": ["y"]})
    for line in ("no column looks like a timestamp", "no column looks like a declared measurement"):
        assert line in text
