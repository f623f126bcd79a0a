"""The mapping file."""

import pytest

from etl.errors import SettingsError
from etl.mapping import read_mapping
from etl.measurements import read_measurements

GOOD = "timestamp: t\nequipment: {constant: one}\nmeasurements: {voltage: U}\n"


def test_columns_are_read_once_when_mapped_twice(tmp_path):
    path = tmp_path / "mapping.yaml"
    path.write_text("timestamp: t\nequipment: m\nmeasurements: {voltage: U, current: {column: U, scale: 2}}\n")
    assert read_mapping(path, read_measurements()).columns == ["t", "m", "U"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "Input should be a valid dictionary"),
        ("[", "cannot be read"),
        (GOOD.replace("timestamp: t\n", ""), "timestamp: Field required"),
        (GOOD.replace("{constant: one}", "{}"), "equipment: give either a column or a constant"),
        (
            GOOD.replace("{constant: one}", "{constant: one, column: m}"),
            "equipment: give either a column or a constant",
        ),
        (GOOD.replace("{constant: one}", "{constant: ''}"), "equipment.constant: must have 1 to 255 bytes"),
        (GOOD.replace("{voltage: U}", "{}"), "measurements:"),
        (GOOD.replace("voltage", "volts"), "measurement 'volts' is not declared"),
        (GOOD.replace("U}", "{column: U, scale: big}}"), "measurements.voltage.scale: Input should be a valid number"),
        (
            GOOD.replace(": t", ": {column: t, zone: Europe/Nowhere}"),
            "timestamp.zone: 'Europe/Nowhere' is no time zone",
        ),
        (GOOD.replace(": t", ": {column: t, zone: ../etc}"), "timestamp.zone: '../etc' is no time zone"),
        (GOOD + "delimiter: ';;'", "delimiter:"),
        (GOOD + "delimiter: '§'", "delimiter:"),
        (GOOD + "decimal: x", "decimal:"),
        (GOOD + "encoding: utf-16", "encoding: 'utf-16' is no encoding that can be read"),
        (GOOD + "encoding: nosuch", "encoding: 'nosuch' is no encoding that can be read"),
        (GOOD + "format: xls", "format: Input should be 'csv', 'parquet' or 'jsonl'"),
        (GOOD + "header: 3", "header: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_mapping_is_one_clear_line_when_read(tmp_path, text, expected):
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_mapping(path, read_measurements())
    assert f"mapping file {path}" in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_has_no_scale_when_mapped(tmp_path):
    (tmp_path / "measurements.yaml").write_text("measurements: {state: {type: text}}")
    path = tmp_path / "mapping.yaml"
    path.write_text("timestamp: t\nequipment: m\nmeasurements: {state: {column: S, scale: 2}}\n")
    with pytest.raises(SettingsError, match="'state' is a text: no scale"):
        read_mapping(path, read_measurements(tmp_path / "measurements.yaml"))
