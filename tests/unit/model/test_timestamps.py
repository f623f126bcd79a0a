"""Timestamps as gateways send them."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.model.timestamps import MISSING, to_milliseconds

MOMENT = 1_767_592_800_123


def convert(*texts: str | None) -> list[int]:
    return to_milliseconds(pd.Series(texts, dtype="str")).tolist()


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-05T06:00:00.123Z",
        "2026-01-05T06:00:00.123",
        "2026-01-05 06:00:00.123999",
        "2026-01-05T07:00:00.123999999+01:00",
        "2026-01-05T00:30:00,1239-0530",
        "20260105T060000.123Z",
        " 2026-01-05T06:00:00.123Z ",
        "2026-01-05t06:00:00.123z",
        "2026-01-05 06:00:00.123 UTC",
        "2026-01-05 06:00:00,1239GMT",
        "2026-01-05T06:00:00.123Z[UTC]",
        "2026-01-05T07:00:00.123+01:00[Europe/Berlin]",
        "1767592800.123",
        "1767592800.1239999999",
        "1.7675928001239e9",
        "1767592800123",
        "1767592800123.9",
        "1767592800123999",
        "1767592800123999999",
    ],
)
def test_to_milliseconds_floors_to_one_moment_when_forms_differ(text: str) -> None:
    assert convert(text) == [MOMENT]


@pytest.mark.parametrize(
    "text",
    [
        *[None, "", "now", "today", "abc", "NaN", "inf", "2026-13-01", "2026-02-30", "2026-01-05T25:00:00", "1e30"],
        *["1.2.3", "2026-01-05 06 CET", "2026-01-05 UTC", "2026-02-30t24:00", "2026-01-05T06:00:00[Europe/Berlin]"],
    ],
)
def test_to_milliseconds_is_missing_when_text_is_no_timestamp(text: str | None) -> None:
    assert convert(text) == [MISSING]


@pytest.mark.parametrize(
    "text",
    [
        "20260105",
        "19991231",
        "202601050600",
        "20260105060000",
        "20260105060000123",
        "20260105060000.5",
        "20260105.0",
        "2.0260105E7",
        "+20260105",
        " 20260105 ",
    ],
)
def test_to_milliseconds_is_missing_when_a_number_is_a_date_in_digits(text: str) -> None:
    assert convert(text) == [MISSING]
    assert convert("1767592800.123", text, "20260105T060000.123Z") == [MOMENT, MISSING, MOMENT]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("946684800000", 946_684_800_000), ("20261305", 20_261_305_000), ("2026010506", 2_026_010_506_000), ("0", 0)],
)
def test_to_milliseconds_is_an_epoch_when_a_number_is_no_date_in_digits(text: str, milliseconds: int) -> None:
    assert convert(text) == [milliseconds]


@pytest.mark.parametrize("text", ["-1", "-1.5e3", "1969-12-31T23:59:59.999Z", "1600-01-01T00:00:00Z"])
def test_to_milliseconds_is_negative_when_before_1970(text: str) -> None:
    (value,) = convert(text)
    assert MISSING < value < 0


def test_to_milliseconds_does_not_depend_on_neighbours_when_forms_are_mixed() -> None:
    texts = ["1600-01-01", "9999-12-31T23:59:59.123456789Z", "1767592800.1", "x", None, "2026-01-05T06:00:00+05:30"]
    assert convert(*texts) == [value for text in texts for value in convert(text)]


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)),
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_to_milliseconds_equals_datetime_when_iso_has_a_zone(moment: datetime, zone: timezone) -> None:
    exact = (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert convert(moment.replace(tzinfo=UTC).astimezone(zone).isoformat()) == [exact]


@given(st.integers(10**8, 99_999_999_999), st.integers(0, 999_999_999))
def test_to_milliseconds_floors_exactly_when_epoch_has_a_fraction(seconds: int, nanoseconds: int) -> None:
    assert convert(f"{seconds}.{nanoseconds:09d}") == [seconds * 1000 + nanoseconds // 1_000_000]


@given(st.integers(10**18, np.iinfo(np.int64).max))
def test_to_milliseconds_floors_exactly_when_epoch_is_in_nanoseconds(nanoseconds: int) -> None:
    assert convert(str(nanoseconds)) == [nanoseconds // 1_000_000]


@given(st.datetimes(datetime(1601, 1, 1), datetime(2300, 1, 1)), st.integers(0, 9), st.sampled_from(["T", " "]))
def test_to_milliseconds_does_not_depend_on_neighbours_when_all_are_plain(
    moment: datetime, digits: int, separator: str
) -> None:
    text = moment.isoformat(separator, "microseconds")[: 20 + digits].rstrip(".") + "000"[: max(0, digits - 6)] + "Z"
    alone, beside = convert(text), convert(text, "1767592800")
    assert alone == beside[:1]


@pytest.mark.parametrize(
    "text", ["2026-02-30T00:00:00Z", "2026-01-05T24:00:01Z", "2026-01-05T06:00:60Z", "2026-01-05T06:60:00Z"]
)
def test_to_milliseconds_is_missing_when_a_plain_text_names_no_moment(text: str) -> None:
    assert convert(text) == convert(text, "1767592800")[:1] == [MISSING]


@given(st.lists(st.integers(0, 17).flatmap(lambda digits: st.integers(10**digits, 10 ** (digits + 1) - 1)), min_size=1))
def test_to_milliseconds_does_not_depend_on_neighbours_when_all_are_whole_epochs(epochs: list[int]) -> None:
    texts = [str(epoch) for epoch in epochs]
    assert convert(*texts) == convert(*texts, "2026-01-05")[:-1]
