"""The mapping file."""

import pytest

from etl.errors import SettingsError
from etl.mapping.language import read_mapping
from etl.model.measurements import read_measurements

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
        (GOOD.replace("{constant: one}", "{}"), "equipment: give either a column, a template or a constant"),
        (
            GOOD.replace("{constant: one}", "{constant: one, column: m}"),
            "equipment: give either a column, a template or a constant",
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
        (GOOD.replace(": t", ": {column: t, zone: '+05:30'}"), "timestamp.zone: '+05:30' is no time zone"),
        (GOOD + "delimiter: ';;'", "delimiter:"),
        (GOOD + "delimiter: '§'", "delimiter:"),
        (GOOD + "decimal: x", "decimal:"),
        (GOOD + "encoding: utf-32", "encoding: 'utf-32' is no encoding that can be read"),
        (GOOD + "encoding: nosuch", "encoding: 'nosuch' is no encoding that can be read"),
        (GOOD + "format: xls", "format: Input should be 'csv', 'parquet', 'jsonl', 'json' or 'excel'"),
        (GOOD + "headers: 3", "headers: Extra inputs are not permitted"),
        (GOOD + "header: [t, V]", "header has column 'U' 0 times"),
        (GOOD + "quality: {codes: opc-ua}", "quality names no column, and no measurement names its own"),
        (
            GOOD.replace("U}", "{column: U, quality: q}}") + "tag: k\nvalue: v",
            "the long form has one column of status",
        ),
        (
            GOOD.replace(": t", ": {column: t, start: 2026-01-05T06:00:00}"),
            "'2026-01-05 06:00:00' is no moment with a zone",
        ),
        (GOOD.replace(": t", ": {column: t, start: soon}"), "timestamp.start: 'soon' is no moment with a zone"),
        (GOOD.replace(": t", ": {column: t, start: 2026-01-05T06:00:00Z, unit: V}"), "timestamp.unit: unit 'V' is not"),
        (GOOD.replace(": t", ": {column: t, unit: min}"), "timestamp: unit goes with start"),
        (
            GOOD.replace(": t", ": {column: t, start: 2026-01-05T06:00:00Z, format: excel}"),
            "timestamp: start goes with one column of numbers",
        ),
        (GOOD + "unit: u", "unit names the column of units in the long form"),
        (
            GOOD.replace("U}", "{column: U, scale: 2}}") + "tag: k\nvalue: v\nunit: u",
            "each value has its unit by `unit`, so that no measurement has unit, scale or offset",
        ),
        (GOOD + "skip: -1", "skip: Input should be greater than or equal to 0"),
        (GOOD.replace(": t", ": {columns: []}"), "timestamp: give either a column, or columns such as [Date, Time]"),
        (GOOD.replace(": t", ": {column: t, columns: [d, t]}"), "timestamp: give either a column, or columns"),
        (GOOD.replace(": t", ": {column: t, shift: late}"), "timestamp.shift: 'late' is no duration, such as -PT15M"),
        (GOOD.replace(": t", ": {column: t, shift: P2Y}"), "timestamp.shift: 'P2Y' is no duration of at most 366 days"),
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


def test_a_missing_number_beyond_a_double_is_no_number_when_read(tmp_path):
    path = tmp_path / "mapping.yaml"
    path.write_text(f"{GOOD}missing: [{'9' * 400}, -1]")
    assert read_mapping(path, read_measurements()).missing_numbers == [-1.0]


@pytest.mark.parametrize("written", [r"\t", r"'\t'", r'"\t"'])
def test_a_tab_is_the_delimiter_when_yaml_keeps_its_two_characters(tmp_path, written):
    path = tmp_path / "mapping.yaml"
    path.write_text(GOOD + f"delimiter: {written}\nrecord: {{format: csv, names: [t], delimiter: {written}}}\n")
    mapping = read_mapping(path, read_measurements())
    assert (mapping.delimiter, mapping.record.delimiter) == ("\t", "\t")


def test_two_columns_of_a_time_are_read_in_order_when_mapped(tmp_path):
    path = tmp_path / "mapping.yaml"
    path.write_text(GOOD.replace(": t", ": {columns: [d, t], shift: -900.5}"))
    mapping = read_mapping(path, read_measurements())
    assert (mapping.columns, mapping.timestamp.shift) == (["d", "t", "U"], -900_500)


def test_a_text_has_no_scale_when_mapped(tmp_path):
    (tmp_path / "measurements.yaml").write_text("measurements: {state: {type: text}}")
    path = tmp_path / "mapping.yaml"
    path.write_text("timestamp: t\nequipment: m\nmeasurements: {state: {column: S, scale: 2}}\n")
    with pytest.raises(SettingsError, match="'state' is a text: no scale"):
        read_mapping(path, read_measurements(tmp_path / "measurements.yaml"))


TIMED = GOOD.replace(": t\n", ': {column: t, format: "FORM"}\n')


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("%s", "leave `format` out"),
        ("%-d/%-m/%Y", "write %d, which takes one digit too"),
        ("%e.%m.%Y", "write %d"),
        ("%F %T", "write %Y-%m-%d"),
        ("%c", "no code"),
        ("%x", "no code"),
        ("%Q", "no code"),
        ("%", "no code"),
        ("%d/%m/%Y %", "no code"),
        ("%5Y", "no code"),
        ("%:z", "no code"),
        ("mixed", "is no format: write it with strptime codes"),
        ("ISO8601", "none for ISO 8601"),
        ("dd/MM/yyyy", "is no format"),
        ("%%", "is no format"),
        ("", "is no format"),
        (" ", "is no format"),
        ("%H:%M:%S", "does not name the day"),
        ("%I:%M %p", "does not name the day"),
        ("%d/%m %H:%M", "does not name the day"),
        ("%m/%Y", "does not name the day"),
        ("%Y %U %H", "does not name the day"),
        ("%d/%m/%Y %I:%M", "%I without %p"),
        ("%d/%m/%Y %H:%M %p", "%p without %I"),
        ("%d/%m/%Y %M:%S", "%M without %H or %I"),
        ("%d/%m/%Y %H.%f", "%f without %S"),
        ("%d/%m/%Y %d", "a code twice"),
        ("%Y-%m-%d %V", "cannot be used"),
        ("%Z %Y-%m-%d", "only be read at the end"),
    ],
)
def test_a_format_is_refused_when_it_does_not_tell_a_moment(tmp_path, form, expected):
    path = tmp_path / "mapping.yaml"
    path.write_text(TIMED.replace("FORM", form))
    with pytest.raises(SettingsError) as caught:
        read_mapping(path, read_measurements())
    assert f"mapping file {path}: timestamp.format: " in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "form",
    [
        "%d/%m/%Y",
        "%y%m%d",
        "%Y%j",
        "%Y%m%d%H%M%S%f",
        "%d.%m.%Y %H:%M:%S,%f",
        "%b %d %Y %I:%M:%S %p",
        "%A %d %B %Y %H h %M",
        "%G-W%V-%u",
        "%Y-%m-%dT%H:%M:%S%z",
        "%Y-%m-%d %H:%M:%S %Z",
        "%d/%m/%Y at 100%% %H:%M",
        "excel",
    ],
)
def test_a_format_is_taken_when_it_tells_a_moment(tmp_path, form):
    path = tmp_path / "mapping.yaml"
    path.write_text(TIMED.replace("FORM", form))
    assert read_mapping(path, read_measurements()).timestamp.format == form


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('decimal: ","\nthousands: ","', "decimal and thousands are both ','"),
        ('thousands: "."', "decimal and thousands are both '.'"),
        ('thousands: ";"', "thousands:"),
        ("missing: [true]", "missing"),
        ("missing: [null]", "missing"),
    ],
)
def test_marks_and_missing_are_one_clear_line_when_wrong(tmp_path, line, expected):
    path = tmp_path / "mapping.yaml"
    path.write_text(GOOD + line)
    with pytest.raises(SettingsError) as caught:
        read_mapping(path, read_measurements())
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
