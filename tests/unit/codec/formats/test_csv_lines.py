"""Records that are lines of CSV."""

import pytest

from tests.unit.codec.formats.records import parsed

NAMES = {"format": "csv", "names": ["time", "voltage", "state"]}


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        (b"2026-01-05T08:00:00Z,230.5,on", ["2026-01-05T08:00:00Z", "230.5", "on"]),
        (b"1,2,3\r\n", ["1", "2", "3"]),
        (b"1,2,3,", ["1", "2", "3"]),
        (b"\xef\xbb\xbf1,,\xc3\xa4", ["1", "", "\u00e4"]),
        (b'1,"2,5","a ""b""\nc"', ["1", "2,5", 'a "b"\nc']),
        (b",,", ["", "", ""]),
    ],
)
def test_line_is_an_object_of_texts_when_it_has_a_cell_for_each_name(line: bytes, cells: list[str]) -> None:
    assert parsed(NAMES, line) == [dict(zip(NAMES["names"], cells, strict=True))]


def test_lines_are_a_list_when_a_record_has_several() -> None:
    assert parsed(NAMES, b"time,voltage,state\n1,2,3\r4,5,6\n\n", b"time, voltage,state") == [
        [{"time": "1", "voltage": "2", "state": "3"}, {"time": "4", "voltage": "5", "state": "6"}],
        [],
    ]


def test_record_is_refused_with_a_reason_when_it_is_no_such_line() -> None:
    assert parsed(NAMES, b"1,2", b"1,2,3,4", b"\xff,2,3", b'1,"2,3', b"", b"1,2,3") == [
        "<the line has 2 cells, but 3 names are declared>",
        "<the line has 4 cells, but 3 names are declared>",
        "<the line is not UTF-8: invalid start byte at byte 0>",
        "<no CSV: unexpected end of data>",
        "<the record has no line>",
        {"time": "1", "voltage": "2", "state": "3"},
    ]


def test_line_is_split_as_the_mapping_says_when_it_names_delimiter_and_quote() -> None:
    entry = {"format": "csv", "names": ["a", "b"], "delimiter": ";", "quote": None}
    assert parsed(entry, b'"1;2,5') == [{"a": '"1', "b": "2,5"}]
