"""Parquet as pandas and Spark write it."""

import datetime
import decimal
import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.errors import SettingsError
from tests.unit.stages.generate.conftest import MAPPING

DAY = datetime.date(2026, 1, 5)
AT = "2026-01-05 08:00:00"


def parquet(table, **options):
    file = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), file, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("columns", "mapping"),
    [
        ({"d": pa.array([DAY]), "t": pa.array([datetime.time(8)])}, "{columns: [d, t]}"),
        ({"d": pa.array([DAY]), "t": ["08.00"]}, '{columns: [d, t], format: "%Y-%m-%d %H.%M"}'),
        ({"d": pa.array([1767571200], pa.timestamp("s")), "t": ["08:00"]}, "{columns: [d, t]}"),
        ({"d": pa.array([DAY], pa.date64())}, "{column: d, shift: PT8H}"),
        ({"d": pa.array([1767603600_000_000], pa.timestamp("us", "Asia/Tokyo"))}, "{column: d, shift: -3600}"),
        ({"d": pa.array([{"at": AT}])}, "d.at"),
        ({"d": pa.array([AT.encode()], pa.binary())}, "d"),
    ],
)
def test_times_are_right_when_columns_are_typed(rows_of, columns, mapping):
    table = {**columns, "machine": ["p"], "U": [1.5]}
    found = rows_of(parquet(table), MAPPING.replace(": time", f": {mapping}"), "file.parquet")
    assert found == ([("p", AT, 1.5)], [])


def test_times_of_any_year_are_right_when_they_are_int96(rows_of):
    years = [datetime.datetime(year, 1, 5, 8, tzinfo=datetime.UTC) for year in (2026, 9999)]
    table = {"time": pa.array(years, pa.timestamp("us", "UTC")), "machine": ["p"] * 2, "U": [1.5] * 2}
    readings, _ = rows_of(parquet(table, use_deprecated_int96_timestamps=True), name="file.parquet")
    assert [time for _, time, _ in readings] == [AT, "9999-01-05 08:00:00"]


def test_values_are_right_when_they_are_decimals_booleans_and_nested(rows_of):
    numbers = [decimal.Decimal("230.50"), None]
    rows = {"time": [AT] * 2, "machine": ["p", "q"], "a.b": [True, False], "v": [{"w": {"U": n}} for n in numbers]}
    mapping = MAPPING.replace("U}", "v.w.U, current: a.b}")
    assert rows_of(parquet(rows), mapping, "file.parquet") == ([("p", AT, 230.5), ("q", AT, None)], [])
    with pytest.raises(SettingsError, match=r"has no column 'v.U'; it has time, machine, a.b, v, v.w, v.w.U"):
        rows_of(parquet(rows), MAPPING.replace("U}", "v.U}"), "file.parquet")


def test_the_index_is_a_column_when_pandas_wrote_the_file(rows_of):
    frame = pd.DataFrame({"machine": ["p"], "U": [1.5]}, index=pd.DatetimeIndex([f"{AT}+00:00"], name="when"))
    for named, column in ((frame, "when"), (frame.rename_axis(None), "__index_level_0__")):
        file = io.BytesIO()
        named.to_parquet(file)
        found = rows_of(file.getvalue(), MAPPING.replace(": time", f": {column}"), "file.parquet")
        assert found == ([("p", AT, 1.5)], [])


def test_machines_are_whole_numbers_when_pandas_made_them_doubles(rows_of):
    table = {"time": [AT] * 3, "machine": [7.0, None, float("nan")], "U": [1.5] * 3}
    readings, letters = rows_of(parquet(table), name="file.parquet")
    assert (readings, len(letters)) == ([("7", AT, 1.5)], 2)
