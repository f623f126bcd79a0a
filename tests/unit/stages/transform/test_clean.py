"""One reading at a time: timestamps, rounding, checks."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.model.measurements import Measurement, Measurements
from etl.model.schemas import consumed
from etl.stages.transform.clean import Times, clean

MEASUREMENTS = Measurements(
    (
        Measurement("voltage", "double", "V", decimals=1, minimum=0, maximum=1000),
        Measurement("current", "double", "A", decimals=3),
        Measurement("state", "text"),
    )
)
RECORD_TIME = 1_767_592_800_000
YEAR_2000 = 946_684_800_000
HOUR = 3_600_000
TIMES = Times(oldest=YEAR_2000, read=RECORD_TIME + 10 * HOUR)


def readings(*given: dict[str, Any], measurements: Measurements = MEASUREMENTS) -> pa.Table:
    defaults = {
        "partition": 0,
        "offset": 7,
        "index": 0,
        "record_time": RECORD_TIME,
        "equipment_id": "pump-1",
        "timestamp_ms": RECORD_TIME - 1000,
        "replays": 0,
    }
    return pa.Table.from_pylist([{**defaults, **reading} for reading in given], schema=consumed(measurements))


def cleaned(*given: dict[str, Any], measurements: Measurements = MEASUREMENTS) -> tuple[list[Any], list[Any]]:
    good, rejected = clean(readings(*given, measurements=measurements), measurements, {}, TIMES)
    return good.to_pylist(), rejected.to_pylist()


def reason(**reading: Any) -> str:
    good, rejected = cleaned(reading)
    assert not good
    return str(rejected[0]["reason"])


def test_clean_rounds_by_measurement_when_values_have_more_digits() -> None:
    ((good,), _) = cleaned({"voltage": 230.06, "current": 1.23456})
    assert (good["voltage"], good["current"], good["quality"]) == (230.1, 1.235, "")


def test_clean_makes_zero_positive_when_it_rounds_from_below() -> None:
    ((good,), _) = cleaned({"voltage": 1.0, "current": -0.0001})
    assert math.copysign(1, good["current"]) == 1


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_clean_keeps_a_double_finite_when_it_is_huge(value: float) -> None:
    ((good,), _) = cleaned({"current": value})
    assert math.isfinite(good["current"])
    assert abs(good["current"] - value) <= 0.0005 + abs(value) * 1e-15


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, 1000.1])
def test_clean_stores_as_missing_and_names_it_when_an_optional_value_is_bad(value: float) -> None:
    ((good,), _) = cleaned({"voltage": value, "current": 1.0})
    assert math.isnan(good["voltage"])
    assert good["quality"] == "voltage"


def test_clean_names_all_bad_measurements_in_declared_order_when_several_are() -> None:
    ((good,), _) = cleaned({"voltage": -1.0, "bad": "current", "state": "on"})
    assert good["quality"] == "voltage,current"


@pytest.mark.parametrize("value", [0.0, 1000.0, 500.0])
def test_clean_takes_a_value_when_it_is_inside_or_on_the_bounds(value: float) -> None:
    ((good,), _) = cleaned({"voltage": value})
    assert (good["voltage"], good["quality"]) == (value, "")


def test_clean_rejects_when_there_is_no_usable_measurement() -> None:
    assert reason() == "no-measurement"
    assert reason(voltage=math.nan) == "no-measurement"
    assert reason(voltage=-1.0, bad="state,current") == "no-measurement"


def test_clean_keeps_a_reading_when_only_a_text_is_there() -> None:
    ((good,), _) = cleaned({"state": "running"})
    assert good["state"] == "running"


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ({"timestamp_ms": None, "timestamp": None}, "timestamp"),
        ({"timestamp_ms": None, "timestamp": "yesterday"}, "timestamp"),
        ({"timestamp_ms": -1}, "before-1970"),
        ({"timestamp_ms": None, "timestamp": "1969-12-31T23:59:59Z"}, "before-1970"),
        ({"timestamp_ms": 0}, "past"),
        ({"timestamp_ms": YEAR_2000 - 1}, "past"),
        ({"timestamp_ms": None, "timestamp": "0"}, "past"),
        ({"timestamp_ms": None, "timestamp": "123456"}, "past"),
        ({"timestamp_ms": None, "timestamp": "123456789"}, "past"),
        ({"timestamp_ms": None, "timestamp": "43349.3"}, "past"),
        ({"timestamp_ms": None, "timestamp": "1970-01-01T00:02:03Z"}, "past"),
        ({"timestamp_ms": None, "timestamp": "1999-12-31T23:59:59.999Z"}, "past"),
        ({"timestamp_ms": None, "timestamp": "20260105"}, "timestamp"),
        ({"timestamp_ms": None, "timestamp": "202601050600"}, "timestamp"),
        ({"timestamp_ms": RECORD_TIME + 3_600_001}, "future"),
        ({"timestamp_ms": np.iinfo(np.int64).max}, "future"),
    ],
)
def test_clean_rejects_when_the_timestamp_is_unusable(timestamp: dict[str, Any], expected: str) -> None:
    assert reason(voltage=1.0, **timestamp) == expected


def test_clean_takes_a_timestamp_when_it_is_just_inside_its_bounds() -> None:
    good, rejected = cleaned(
        {"voltage": 1.0, "timestamp_ms": YEAR_2000}, {"voltage": 1.0, "timestamp_ms": RECORD_TIME + 3_600_000}
    )
    assert [reading["timestamp"] for reading in good] == [YEAR_2000, RECORD_TIME + 3_600_000]
    assert not rejected


@pytest.mark.parametrize("record_time", [-1, 0, 1, TIMES.read + 1, 4_070_908_800_000, np.iinfo(np.int64).max])
def test_clean_compares_with_the_time_of_reading_when_the_record_has_no_time_to_be_believed(record_time: int) -> None:
    last = TIMES.read + HOUR
    good, rejected = cleaned(
        *(
            {"voltage": 1.0, "record_time": record_time, "timestamp_ms": at}
            for at in (last, last + 1, 4_070_908_800_000)
        )
    )
    assert [reading["timestamp"] for reading in good] == [last]
    assert [letter["reason"] for letter in rejected] == ["future", "future"]


@pytest.mark.parametrize(
    ("oldest", "named"), [(RECORD_TIME - 6 * HOUR, "2026-01-05 ("), (RECORD_TIME, "2026-01-05T06:00:00+00:00 (")]
)
def test_clean_names_the_setting_when_a_timestamp_is_too_old(oldest: int, named: str) -> None:
    times = Times(oldest, read=RECORD_TIME)
    _, rejected = clean(readings({"voltage": 1.0, "timestamp_ms": oldest - 1}), MEASUREMENTS, {}, times)
    assert f"before {named}ETL_TRANSFORM_OLDEST)" in rejected["detail"][0].as_py()


def test_clean_mixes_typed_and_text_timestamps_when_both_come() -> None:
    good, _ = cleaned(
        {"voltage": 1.0, "timestamp_ms": YEAR_2000 + 5},
        {"voltage": 1.0, "timestamp_ms": None, "timestamp": "2000-01-01T00:00:00.006Z"},
    )
    assert [reading["timestamp"] - YEAR_2000 for reading in good] == [5, 6]


@pytest.mark.parametrize(
    "reading", [{"current": 1.0}, {"voltage": -5.0, "current": 1.0}, {"bad": "voltage", "current": 1.0}]
)
def test_clean_rejects_when_a_required_measurement_is_bad_or_missing(reading: dict[str, Any]) -> None:
    required = Measurements((Measurement("voltage", "double", minimum=0, required=True), *MEASUREMENTS.declared[1:]))
    good, rejected = cleaned(reading, measurements=required)
    assert not good
    assert rejected[0]["reason"] == "required"
    assert "voltage" in rejected[0]["detail"]


def test_clean_tells_the_row_of_each_when_some_are_rejected() -> None:
    good, rejected = cleaned({"voltage": 1.0}, {}, {"voltage": 2.0}, {"voltage": 3.0, "timestamp_ms": -5})
    assert [reading["row"] for reading in good] == [0, 2]
    assert [(letter["row"], letter["reason"]) for letter in rejected] == [(1, "no-measurement"), (3, "before-1970")]


def test_clean_numbers_machines_alike_when_files_follow_each_other() -> None:
    machines: dict[str, int] = {}
    clean(readings({"equipment_id": "b"}, {"equipment_id": "a"}), MEASUREMENTS, machines, TIMES)
    good, _ = clean(
        readings({"equipment_id": "a", "voltage": 1.0}, {"equipment_id": "c", "voltage": 1.0}),
        MEASUREMENTS,
        machines,
        TIMES,
    )
    assert machines == {"b": 0, "a": 1, "c": 2}
    assert good["equipment"].to_pylist() == [1, 2]
