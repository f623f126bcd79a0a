"""Cells of a measurement: numbers as the mapping writes them, none, or bad cells; never a wrong value."""

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.mapping.language import read_mapping
from etl.model.measurements import read_measurements
from etl.stages.generate.files import recorded_readings

MAPPING = "timestamp: t\nequipment: {constant: one}\nmeasurements: {voltage: U, current: I}\n"
TIME = "2026-01-05T08:00:00Z"


@pytest.fixture
def read(tmp_path):
    """Read a file; gives of each reading voltage and the JSON it is carried as."""

    def do(path, options=""):
        (tmp_path / "mapping.yaml").write_text(MAPPING + options)
        measurements = read_measurements()
        mapping = read_mapping(tmp_path / "mapping.yaml", measurements)
        rows = [row for b in recorded_readings(str(path), mapping, measurements) for row in b.readings.to_pylist()]
        return [(row["voltage"], json.loads(row["json"])["voltage"] if row["json"] else None) for row in rows]

    return do


@pytest.fixture
def csv(tmp_path, read):
    def do(cells, options):
        lines = [f"{TIME};{cell};1" for cell in cells]
        (tmp_path / "file.csv").write_text("\n".join(["t;U;I", *lines]), encoding="utf-8")
        return read(tmp_path / "file.csv", f"delimiter: ';'\n{options}")

    return do


@pytest.fixture
def json_lines(tmp_path, read):
    def do(cells, options):
        lines = [f'{{"t": "{TIME}", "U": {cell}, "I": 1}}' for cell in cells]
        (tmp_path / "file.jsonl").write_text("\n".join(lines))
        return read(tmp_path / "file.jsonl", options)

    return do


@pytest.fixture
def parquet(tmp_path, read):
    def do(column, options=""):
        table = pa.table({"t": [TIME] * len(column), "U": column, "I": [1.0] * len(column)})
        pq.write_table(table, tmp_path / "file.parquet")
        return read(tmp_path / "file.parquet", options)

    return do


@pytest.mark.parametrize(
    ("decimal", "thousands", "good", "bad"),
    [
        (",", None, {"998,5": 998.5, "-2": -2.0, "1e3": 1000.0, ",5": 0.5}, ["1.234", "12.345", "1.234,5", "1,2,3"]),
        (".", None, {"998.5": 998.5, "1.234": 1.234}, ["1,234", "1,234.5", "1 234", "1'234"]),
        (
            ",",
            ".",
            {"1.234": 1234.0, "1.234,5": 1234.5, "-12.345.678": -12345678.0, "12,5": 12.5, "1234": 1234.0},
            ["1.23", "12.3456", "0.123", "1.234.5", "1,234.5", ".123", "1.234e3", "1234.567"],
        ),
        (".", ",", {"1,234": 1234.0, "1,234.5": 1234.5, "1234.5": 1234.5}, ["1,23", "1.5,000", "12,34,567"]),
        (",", " ", {"1 234,5": 1234.5, "1\u00a0234": 1234.0, "1\u202f234": 1234.0}, ["1.234", "1 23"]),
        (".", "'", {"1'234.5": 1234.5, "1\u2019234": 1234.0}, ["1,234", "1'23"]),
    ],
)
def test_a_number_with_another_mark_is_a_bad_cell_when_no_entry_names_it(csv, decimal, thousands, good, bad):
    options = f'decimal: "{decimal}"\n' + (f'thousands: "{thousands}"\n' if thousands else "")
    # Each alone and all together, as a block without a bad cell takes another way.
    for cells in ([*good, *bad], list(good), *([cell] for cell in [*good, *bad])):
        expected = [(good[cell], None) if cell in good else (None, cell) for cell in cells]
        assert csv(cells, options) == expected


@pytest.mark.parametrize("missing", ["-200", '"-200"', '"-200,0"', "-200.0", '"-2e2"'])
def test_numbers_are_missing_by_value_when_csv_writes_them_in_other_ways(csv, missing):
    cells = ["-200,0", "-200", "-200,00", " -200 ", "-2e2", "200", "-200,1"]
    expected = [(None, None)] * 5 + [(200.0, None), (-200.1, None)]
    assert csv(cells, f'decimal: ","\nmissing: ["", {missing}]') == expected


def test_numbers_are_missing_by_value_when_marks_stand_in_them(csv):
    options = 'decimal: ","\nthousands: "."\nmissing: [-9999]'
    assert csv(["-9.999", "-9999,0", "9.999"], options) == [(None, None), (None, None), (9999.0, None)]


def test_numbers_are_missing_by_value_when_json_has_them_as_number_or_text(json_lines):
    cells = ["-9999", '"-9999"', "-9999.0", '"-9999.0"', '"N/A"', '""', "21.5", '"231.5"', "true"]
    expected = [(None, None)] * 6 + [(21.5, None), (231.5, None), (1.0, None)]
    assert json_lines(cells, 'missing: ["", -9999, "N/A"]') == expected


@pytest.mark.parametrize(
    "column",
    [
        pa.array([-9999, 7], pa.int16()),
        pa.array([-9999, 7], pa.int64()),
        pa.array([-9999, 7], pa.float64()),
        pa.array([-9999, 7], pa.float32()),
        pa.array([Decimal("-9999.00"), Decimal(7)], pa.decimal128(10, 2)),
        pa.array(["-9999", "7"]),
        pa.array(["-9999.0", "7"], pa.large_string()),
        pa.array(["-9999.0", "7"]).dictionary_encode(),
    ],
)
def test_numbers_are_missing_by_value_when_parquet_has_them_in_any_type(parquet, column):
    assert parquet(column, "missing: [-9999]") == [(None, None), (7.0, None)]


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_numbers_are_missing_by_value_when_a_shorter_float_holds_them_inexactly(parquet, kind):
    assert parquet(pa.array(np.array([-999.9, 7], kind)), "missing: [-999.9]") == [(None, None), (7.0, None)]


def test_missing_is_taken_before_the_scale_when_both_are_mapped(tmp_path, read):
    (tmp_path / "file.csv").write_text(f"t,U,I\n{TIME},-1,1\n{TIME},-0.001,1\n")
    path = tmp_path / "file.csv"
    options = "missing: [-1]\n"
    mapping = MAPPING.replace("U,", "{column: U, scale: 1000},")
    (tmp_path / "mapping.yaml").write_text(mapping + options)
    measurements = read_measurements()
    blocks = recorded_readings(str(path), read_mapping(tmp_path / "mapping.yaml", measurements), measurements)
    assert [row["voltage"] for block in blocks for row in block.readings.to_pylist()] == [None, -1.0]


@pytest.mark.parametrize("whole", [2**53 + 1, -(2**53) - 1, 2**64 - 1])
def test_a_whole_number_is_a_bad_cell_when_no_double_holds_it(csv, json_lines, parquet, whole):
    assert csv([str(whole), "1"], "") == [(None, str(whole)), (1.0, None)]
    assert json_lines([str(whole), "1"], "") == [(None, whole), (1.0, None)]
    kind = pa.uint64() if whole > 2**63 else pa.int64()
    assert parquet(pa.array([whole, 1], kind)) == [(None, whole), (1.0, None)]
    assert parquet(pa.array([Decimal(whole), Decimal(1)], pa.decimal128(38, 0))) == [(None, str(whole)), (1.0, None)]


def test_a_large_number_is_a_value_when_a_double_holds_it(csv, parquet):
    assert csv([str(2**60), "1.5e300", "9007199254740993.5"], "") == [
        (2.0**60, None),
        (1.5e300, None),
        (9007199254740993.5, None),
    ]
    assert parquet(pa.array([2**60])) == [(2.0**60, None)]
