"""Timestamps of a recorded file's column: epochs that can be, spreadsheets' serial numbers, formats, names of zones."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from etl.mapping import wallclock
from etl.mapping.language import TimestampColumn
from etl.mapping.wallclock import read_times, repeats
from etl.model.timestamps import MISSING

MORNING = 1_767_600_000_000  # 2026-01-05T08:00:00Z


def utc(texts, decimal=".", oldest_ms=None, **entry):
    given = {} if oldest_ms is None else {"oldest_ms": oldest_ms}
    found = read_times(pa.array(texts, pa.string()), TimestampColumn(column="t", **entry), decimal, **given)
    return [None if ms == MISSING else int(ms) for ms in found.utc]


@pytest.mark.parametrize(
    "text",
    [
        "43349.31836805555",
        "46027",
        "46027.5",
        "20260105",
        "202601050600",
        "20260105060000",
        "20260105060000123",
        "260105060000",
        "2026005",
        "202601",
        "0",
        "0.5",
        "123456",
        "-5",
        "1e5",
        "946684799",
        "946684799999",
        "4102444800000000000",
    ],
)
def test_a_number_is_no_timestamp_when_it_is_no_epoch_of_our_time(text):
    assert utc([text, "1767600000", "2026-01-05T08:00:00Z", text]) == [None, MORNING, MORNING, None]


def test_a_compact_date_of_ten_digits_is_no_timestamp_when_it_lies_ahead_as_an_epoch(monkeypatch):
    monkeypatch.setattr(wallclock.time, "time", lambda: MORNING / 1000)
    assert utc(["2026010506", str(MORNING // 1000 + 3600), str(MORNING // 1000 + 3601)]) == [
        None,
        MORNING + 3_600_000,
        None,
    ]


def test_an_older_epoch_is_a_timestamp_when_the_bound_is_older():
    assert utc(["788918400", "788918399"], oldest_ms=788_918_400_000) == [788_918_400_000, None]


def test_a_written_date_is_a_timestamp_when_it_is_old():
    """Only a number can be something else; how old a reading may be is for transform to say."""
    assert utc(["1995-01-01T00:00:00Z"]) == [788_918_400_000]


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("20260105", "%Y%m%d", "2026-01-05T00:00"),
        ("202601050800", "%Y%m%d%H%M", "2026-01-05T08:00"),
        ("20260105080000", "%Y%m%d%H%M%S", "2026-01-05T08:00"),
        ("20260105080000123", "%Y%m%d%H%M%S%f", "2026-01-05T08:00:00.123"),
        ("260105080000", "%y%m%d%H%M%S", "2026-01-05T08:00"),
        ("2026005", "%Y%j", "2026-01-05T00:00"),
    ],
)
def test_a_compact_date_is_read_when_the_mapping_gives_its_format(text, form, expected):
    from datetime import datetime

    moment = datetime.fromisoformat(f"{expected}+00:00")
    assert utc([text, "x"], format=form) == [round(moment.timestamp() * 1000), None]


def test_serial_numbers_are_read_when_the_mapping_says_so():
    day = 86_400_000
    texts = [
        "46027",
        "46027.333333333336",
        "46027.33333333333",
        "43349.31836805555",
        " ",
        "x",
        "0",
        "60",
        "9999999",
        "-1",
    ]
    first = MORNING - 8 * 3_600_000
    assert utc([text.strip() for text in texts], format="excel") == [
        first,
        MORNING,
        MORNING,
        first - (46027 - 43349) * day + 27_507_000,
        *[None] * 6,
    ]
    assert utc(["46027,5"], decimal=",", format="excel") == [first + day // 2]
    assert utc(["46027,5"], format="excel") == [None]
    assert utc(["46027.375"], format="excel", zone="Europe/Paris") == [MORNING]


def test_names_of_zones_are_read_as_the_zone_of_the_mapping_has_them():
    form, day = "%d/%m/%Y %H:%M %Z", "05/07/2026 08:00"
    names = ["CET", "CEST", "UTC", "GMT", "PST", "Europe/Paris", ""]
    summer = 1_783_238_400_000  # 08:00 UTC
    expected = [summer - 3_600_000, summer - 7_200_000, summer, summer, None, None, None]
    assert utc([f"{day} {name}".strip() for name in names], format=form, zone="Europe/Paris") == expected
    assert utc([f"{day} {name}".strip() for name in names], format=form) == [
        None,
        None,
        summer,
        summer,
        None,
        None,
        None,
    ]


def test_names_of_zones_tell_the_repeated_hour_apart():
    texts = ["25/10/2026 02:30 CEST", "25/10/2026 02:30 CET"]
    assert utc(texts, format="%d/%m/%Y %H:%M %Z", zone="Europe/Paris") == [1_792_888_200_000, 1_792_891_800_000]


def test_offsets_are_read_when_the_format_has_them():
    texts = ["2026-01-05 09:00+01:00", "2026-01-05 08:00Z", "2026-01-05 08:00"]
    assert utc(texts, format="%Y-%m-%d %H:%M%z", zone="Asia/Tokyo") == [MORNING, MORNING, None]


@pytest.mark.parametrize(
    ("zone", "first", "minutes"),
    [
        ("Europe/Paris", "2026-10-25T02:00", 60),
        ("Australia/Lord_Howe", "2026-04-05T01:30", 30),
        ("America/New_York", "2026-11-01T01:00", 60),
        ("Europe/Dublin", "2026-10-25T01:00", 60),
    ],
)
def test_repeated_hours_are_found_when_a_zone_has_them(zone, first, minutes):
    import numpy as np

    begin, end = (int(np.datetime64(text, "ms").astype(np.int64)) for text in ("2026-01-01", "2026-12-31"))
    (found,) = repeats(zone, begin, end)
    assert str(np.datetime64(found.start, "ms").astype("datetime64[m]")) == first
    assert found.end - found.start == found.first - found.second == minutes * 60_000


def test_repeated_hours_are_not_found_when_a_zone_has_none():
    assert repeats("Asia/Kolkata", MORNING, 4 * MORNING) == []


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("2026-01-05 24:00", None, "2026-01-06T00:00"),
        ("2024-12-24T24:00:00.000Z", None, "2024-12-25T00:00"),
        ("2026-01-05T24:00+02:00", None, "2026-01-05T22:00"),
        ("2026-01-05T24:01Z", None, None),
        ("24.12.2024 24:00", "%d.%m.%Y %H:%M", "2024-12-25T00:00"),
        ("24.12.2024  24:00:00", "%d.%m.%Y %H:%M:%S", "2024-12-25T00:00"),
        ("202601312400", "%Y%m%d%H%M", "2026-02-01T00:00"),
        ("24h00 31/12/25", "%Hh%M %d/%m/%y", "2026-01-01T00:00"),
        ("2026-01-05 24:00 +0100", "%Y-%m-%d %H:%M %z", "2026-01-05T23:00"),
        ("5 Jan 2026 24:00", "%d %b %Y %H:%M", "2026-01-06T00:00"),
        ("24.12.2024 24:30", "%d.%m.%Y %H:%M", None),
        ("31.02.2024 24:00", "%d.%m.%Y %H:%M", None),
    ],
)
def test_a_day_ends_at_24_when_written_so(text, form, expected):
    wanted = None if expected is None else int(datetime.fromisoformat(f"{expected}+00:00").timestamp() * 1000)
    assert utc([text], format=form) == [wanted]


@pytest.mark.parametrize(
    ("unit", "decimal", "cells", "seconds"),
    [
        ("s", ".", ["0", "0.0015", "1e1", "-1", "x", "1,5", ""], [0, 0.002, 10, -1, None, None, None]),
        ("min", ",", ["3", "0,5"], [180, 30]),
        ("ms", ".", ["1500"], [1.5]),
        ("h", ".", ["24"], [86_400]),
    ],
)
def test_times_are_elapsed_when_the_mapping_names_their_start(unit, decimal, cells, seconds):
    found = utc(cells, decimal, start="2026-01-05T09:00:00+01:00", unit=unit, zone="Asia/Tokyo")
    assert found == [None if each is None else MORNING + round(each * 1000) for each in seconds]


@pytest.mark.parametrize("zone", ["+01:00", "+0100", "+01", "UTC+1", "GMT+01:00", "Europe/Berlin"])
def test_the_zone_is_an_offset_when_written_so(zone):
    assert utc(["2026-01-05 09:00:00"], zone=zone) == [MORNING]
    assert utc(["2026-01-05 03:00:00"], zone="-05:00") == [MORNING]


def test_a_fraction_is_optional_when_the_format_has_one():
    texts = ["05.01.2026 08:00:00,1234567", "05.01.2026 08:00:00", "04.01.2026 24:00:00", "05.01.2026 08:00"]
    found = utc(texts, format="%d.%m.%Y %H:%M:%S,%f")
    assert found == [MORNING + 123, MORNING, MORNING - 8 * 3_600_000, None]


@pytest.mark.parametrize(
    "text", ["2026-01-05 08:00:00 UTC", "2026-01-05t08:00:00z", "2026-01-05T09:00:00+01:00[Europe/Berlin]"]
)
def test_the_zone_of_the_mapping_is_not_applied_when_a_text_names_its_own(text):
    assert utc([text], zone="Asia/Tokyo") == [MORNING]


def test_24_is_local_when_a_zone_is_mapped():
    assert utc(["2026-01-05 24:00"], zone="Asia/Tokyo") == [MORNING + 7 * 3_600_000]
    found = utc(["24.10.2026 24:00", "25.10.2026 24:00"], format="%d.%m.%Y %H:%M", zone="Europe/Paris")
    assert [f"{datetime.fromtimestamp(ms / 1000, UTC):%d %H:%M}" for ms in found] == ["24 22:00", "25 23:00"]


def test_the_shift_applies_to_utc_when_clocks_go_back():
    times = read_times(
        pa.array(["2026-10-25 03:00", "x"]), TimestampColumn(column="t", zone="Europe/Paris", shift="-PT15M"), "."
    )
    assert f"{datetime.fromtimestamp(times.utc[0] / 1000, UTC):%H:%M}" == "01:45"
    assert times.utc[1] == MISSING
