"""CSV as people have it: what stands above and below the names of the columns, encodings, line ends."""

import codecs
import gzip
import sys

import pytest

from etl.errors import SettingsError
from etl.stages.generate import delimited, objects
from etl.stages.generate import lines as text_lines
from tests.unit.stages.generate.conftest import MAPPING

HEADER = "time,machine,U\n"
ROWS = "2026-01-05T08:00:00Z,p,230\n2026-01-05T08:01:00Z,p,231\n"
READ = [("p", "2026-01-05 08:00:00", 230.0), ("p", "2026-01-05 08:01:00", 231.0)]
FILE = HEADER + ROWS


@pytest.mark.parametrize(
    ("data", "mapping"),
    [
        # Above the names.
        ('Report, 5" pipe\n\nLogger;3\n' + FILE, ""),
        ("a,b,c\n1,2,3\n" + FILE, "skip: 2"),
        ("# made by X\n" + HEADER + "#, a comment\n" + ROWS + '# it"s over\n', 'comment: "#"'),
        ("sep=;\r\n" + FILE.replace(",", ";"), ""),
        ('"sep=\t"\n' + FILE.replace(",", "\t"), ""),
        ("sep=,\n" + FILE.replace(",", ";"), 'delimiter: ";"'),
        ("\n\n" + FILE, ""),
        # The names.
        (ROWS, "header: [time, machine, U]"),
        (FILE, "header: [time, machine, U]"),
        ("any title\n" + ROWS, "header: [time, machine, U]\nskip: 1"),
        ('" time ",machine,"U"\n' + ROWS, ""),
        ('time,machine,U,"two\nlines"\n' + ROWS.replace("\n", ",x\n"), ""),
        # Below them.
        (HEADER + "UTC,,V\n" + ROWS, ""),
        (HEADER + "yyyy-mm-dd,-,[m3/h]\n" + ROWS, ""),
        (HEADER + ROWS.replace("\n", ",\n"), ""),
        (HEADER + ROWS.replace("\n", ",, ,\n", 1), ""),
        (HEADER.replace("\n", ",,\n") + ROWS, ""),
        (HEADER.replace("\n", ",,\n") + ROWS.replace("\n", ",\n"), ""),
        (HEADER + ",,\n" + ROWS + ",,,,\n , ,\n", ""),
        (HEADER + ROWS[: len(ROWS) // 2] + HEADER + ROWS[len(ROWS) // 2 :], ""),
        (HEADER + ROWS[: len(ROWS) // 2] + "U,time,machine\nV,,\n231,2026-01-05T08:01:00Z,p\n", ""),
        # Line ends.
        (FILE.replace("\n", "\r"), ""),
        (FILE.replace("\n", "\r\n"), ""),
    ],
)
@pytest.mark.parametrize("careful", [False, True])
def test_rows_are_right_when_people_write_a_file_so(rows_of, monkeypatch, data, mapping, careful):
    if careful:
        monkeypatch.setattr(delimited, "_clean", lambda *_: None)
        monkeypatch.setattr(text_lines, "BLOCK_BYTES", 7)
    assert rows_of(data, MAPPING + mapping) == (READ, [])


@pytest.mark.parametrize(
    ("data", "mapping"),
    [
        (codecs.BOM_UTF8 + FILE.encode(), ""),
        (codecs.BOM_UTF8 + FILE.encode(), "encoding: latin-1"),
        (FILE.encode(), "encoding: utf-8-sig"),
        (codecs.BOM_UTF16_LE + FILE.encode("utf-16-le"), ""),
        (codecs.BOM_UTF16_BE + FILE.encode("utf-16-be"), "encoding: utf-16"),
        (FILE.encode("utf-16-le"), "encoding: utf-16"),
        (FILE.encode("utf-16-be"), "encoding: utf-16"),
        (FILE.encode("utf-16-be"), "encoding: utf-16-be"),
        (codecs.BOM_UTF16_LE + FILE.replace("\n", "\r").encode("utf-16-le"), ""),
        (codecs.BOM_UTF16_LE + ("sep=;\r\n" + FILE.replace(",", ";")).encode("utf-16-le"), ""),
    ],
)
def test_the_encoding_is_that_of_the_mark_or_the_mapping_when_read(rows_of, data, mapping):
    assert rows_of(data, MAPPING + mapping) == (READ, [])


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_letter_has_the_original_bytes_when_the_file_is_utf_16(rows_of, encoding):
    bad = ["bäd", "\U0001f600,\ud800"]
    data = (HEADER + ROWS + "\r\n".join(bad) + "\r\n").encode(encoding, "surrogatepass")
    readings, letters = rows_of(data + b"\0", f"{MAPPING}encoding: {encoding}")
    assert readings == READ
    values = [text.encode(encoding, "surrogatepass") for text in bad]
    assert letters == [(4, "recorded", values[0]), (5, "undecodable", values[1]), (6, "undecodable", b"\0")]


def test_a_letter_has_the_line_of_the_file_when_lines_above_are_not_read(rows_of):
    data = "title\n\nsub,title\n" + HEADER + "UTC,,V\n" + "bad\n" + ROWS + HEADER + ROWS + "worse\n"
    readings, letters = rows_of(data)
    assert readings == READ * 2
    assert letters == [(6, "recorded", b"bad"), (12, "recorded", b"worse")]


@pytest.mark.parametrize("block", [1, 30, 4_000_000])
def test_a_file_reads_the_same_when_blocks_differ(rows_of, monkeypatch, block):
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", block)
    other = 'machine,note,time,U,\n,,,kV,\nq,"two\nlines",2026-01-05T09:00:00Z,7,\n'
    readings, letters = rows_of("title\n" + FILE + other + "bad\n" + HEADER + ROWS)
    assert readings == [*READ, ("q", "2026-01-05 09:00:00", 7.0), *READ]
    assert letters == [(9, "recorded", b"bad")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (",p,230", "timestamp"),  # a value: no row of units
        ("x,p,", "timestamp"),
        ("x,p,NaN", "timestamp"),
        ("V", "recorded"),
    ],
)
def test_a_first_row_is_a_letter_when_it_holds_no_units(rows_of, line, reason):
    assert rows_of(HEADER + line + "\n" + ROWS) == (READ, [(2, reason, line.encode())])


@pytest.mark.parametrize(
    ("data", "mapping", "expected"),
    [
        (FILE.encode("utf-16-le"), "", "looks like UTF-16: add `encoding: utf-16-le`"),
        (FILE.encode("utf-16-be"), "", "looks like UTF-16: add `encoding: utf-16-be`"),
        ("Zeit\n".encode("utf-16-le")[1:-2], "encoding: utf-16", "`encoding: utf-16-le` or `encoding: utf-16-be`"),
        (FILE.replace(",", ";"), "", 'write `delimiter: ";"` into it'),
        ("title\n" + FILE.replace(",", "\t"), "", 'write `delimiter: "\\t"` into it'),
        (ROWS, "", "add `header: [NAME, ...]`"),
        ("time,machine\n" + ROWS, "", "has no column 'U'; it has time, machine"),
        (gzip.compress(FILE.encode()), "", "begins like gzip, not like text"),
        (b"PAR1" + bytes(20), "", "begins like Parquet"),
        (b"\n" * 70_000 + FILE.encode(), "", "no column names in its first 64 KiB"),
        (HEADER.encode() + b"x" * 70_000 + FILE.encode(), "skip: 9000", "no column names in its first 64 KiB"),
    ],
)
def test_the_line_to_add_is_named_when_a_file_does_not_fit(rows_of, data, mapping, expected):
    with pytest.raises(SettingsError) as caught:
        rows_of(data, MAPPING + mapping)
    assert expected in str(caught.value)


def test_date_and_time_are_joined_when_they_are_two_columns(rows_of):
    mapping = """
timestamp: {columns: [Date, Time], format: "%d/%m/%Y %H.%M.%S", zone: Europe/Rome}
equipment: {constant: box}
measurements: {voltage: T}
delimiter: ";"
decimal: ","
missing: ["", -200]
"""
    data = "Date;Time;T;;\r\n10/03/2004;18.00.00;13,6;;\r\n10/03/2004;24.00.00;-200,0;;\r\n10/03/2004;;1;;\r\n;;;;\r\n"
    readings, letters = rows_of(data, mapping)
    assert readings == [("box", "2004-03-10 17:00:00", 13.6)]
    assert [(line, reason) for line, reason, _ in letters] == [(3, "no-measurement"), (4, "timestamp")]


def test_the_long_form_is_joined_when_each_line_has_a_tag(rows_of):
    mapping = """
timestamp: timestamp
equipment: {column: tag, pattern: '(.+)[.]'}
tag: {column: tag, pattern: '[.](.+)'}
value: value
measurements: {voltage: U, current: I}
"""
    data = "Export\ntag,timestamp,value\n,UTC,[x]\np.U,2026-01-05T08:00Z,230\np.I,2026-01-05T08:00Z,1\np.U,never,1\n"
    assert rows_of(data, mapping) == (READ[:1], [(6, "timestamp", b"p.U,never,1")])


def test_the_beginning_of_an_interval_is_stored_when_times_mark_its_end(rows_of):
    mapping = "timestamp: {column: time, zone: Europe/Zurich, shift: -PT15M}\nequipment: {constant: m}\n"
    walls = ["01:45", "02:00", "02:15", "02:30", "02:45", "03:00", "02:15", "02:30", "02:45", "03:00", "03:15"]
    data = "time,U\n" + "".join(f"2013-10-27 {wall}:00,{row}\n" for row, wall in enumerate(walls))
    readings, letters = rows_of(data, mapping + "measurements: {voltage: U}\n")
    assert letters == []
    quarters = [(23, 30), (23, 45), *((hour, minute) for hour in (0, 1) for minute in (0, 15, 30, 45)), (2, 0)]
    assert [time[11:16] for _, time, _ in readings] == [f"{hour:02}:{minute:02}" for hour, minute in quarters]


# JSON arrays


ONE = '{"time": "2026-01-05T08:00:00Z", "machine": "p", "U": 230}'
OTHER = '{"machine": "p", "nested": {"a": [{"b": "}]"}]},\n "time": "2026-01-05T08:01:00Z", "U": 231}'


@pytest.mark.parametrize("block", [1, 10, 4_000_000])
@pytest.mark.parametrize(
    "data",
    [
        f"[{ONE},{OTHER}]",
        f"[\n  {ONE},\n  {OTHER}\n]\n",
        f"{ONE}\n{OTHER}\n",
        f"[{ONE}]\n[{OTHER}]",
        f"\ufeff[{ONE},{OTHER}",
    ],
)
def test_elements_are_readings_when_a_file_is_an_array(rows_of, monkeypatch, data, block):
    monkeypatch.setattr(objects, "BLOCK_BYTES", block)
    monkeypatch.setattr(text_lines, "HEAD_BYTES", max(3, block))
    assert rows_of(data, name="file.json") == (READ, [])


@pytest.mark.parametrize("block", [10, 4_000_000])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("7", "recorded"),
        ('"text"', "recorded"),
        ("[1]", "recorded"),
        ("nul", "recorded"),
        ('{"time": 01}', "recorded"),
        ('{"time": "2026, "U": 1}', "recorded"),
        ('{"time": {}', "recorded"),
        ('{"time": "\\ud800"}', "undecodable"),
        ('{"time": "x", "machine": "p"}', "timestamp"),
        pytest.param(
            '{"a":' * 2000 + "1" + "}" * 2000,
            "recorded",
            marks=pytest.mark.skipif(sys.version_info >= (3, 12), reason="this Python parses it"),
        ),
    ],
)
def test_an_element_is_a_letter_when_it_is_bad(rows_of, monkeypatch, bad, reason, block):
    monkeypatch.setattr(objects, "BLOCK_BYTES", block)
    monkeypatch.setattr(text_lines, "HEAD_BYTES", max(3, block))
    readings, letters = rows_of(f"[{ONE},\n  {bad},\n  {OTHER}]", name="file.json")
    assert readings == READ
    assert letters == [(2, reason, bad.encode())]


def test_the_end_of_an_array_is_a_letter_when_it_is_cut(rows_of):
    readings, letters = rows_of(f"[{ONE},\n{OTHER[:-9]}", name="file.json")
    assert readings == READ[:1]
    assert letters == [(2, "recorded", OTHER[:-9].encode())]


def test_bytes_are_kept_when_an_element_is_not_utf_8(rows_of):
    readings, letters = rows_of(f"[{ONE},".encode() + b'{"machine": "\xff"}, ' + OTHER.encode() + b"]", name="f.json")
    assert (readings, letters) == (READ, [(1, "undecodable", b'{"machine": "\xff"}')])


def test_an_element_is_cut_when_it_is_huge(rows_of, monkeypatch):
    monkeypatch.setattr(objects, "BLOCK_BYTES", 100_000)
    for huge in ('{"time": "' + "x" * 900_000 + '"}', '{"time": "' + "x" * 900_000 + "}"):
        readings, letters = rows_of(f"[{ONE},{huge},{OTHER}]", name="file.json")
        assert readings == READ
        assert [(line, len(value)) for line, _, value in letters] == [(1, text_lines.MAX_LINE_BYTES)]


def test_a_nested_value_is_read_when_the_column_is_a_path(rows_of):
    data = '{"time": 1767600000, "machine": "p", "v": {"U": 230}, "v.I": 1, "w": 3}\n'
    mapping = MAPPING.replace("U}", "v.U, current: v.I, state: w.x}")
    assert rows_of(data, mapping, "file.jsonl")[0] == READ[:1]


def test_elements_are_readings_when_they_are_within_objects(rows_of):
    data = (
        '{"id": "p", "all": [{"t": 1767600000, "U": 230}, 7, {"t": 1767600060, "U": 231}, {"t": "x"}]}\n{"id": "q"}\n'
    )
    mapping = "timestamp: t\nequipment: $.id\nreadings: all\nmeasurements: {voltage: U}\n"
    lines = data.encode().splitlines()
    expected = (READ, [(1, "recorded", lines[0]), (1, "timestamp", b'{"t": "x"}'), (2, "recorded", lines[1])])
    assert rows_of(data, mapping, "file.jsonl") == expected
