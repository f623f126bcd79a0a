"""Recorded files: good lines become readings, each bad line a dead letter, and nothing stops the rest."""

import gzip
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import SettingsError
from etl.mapping.language import read_mapping
from etl.model.measurements import read_measurements
from etl.model.schemas import DEAD_LETTERS, generated
from etl.stages.generate import delimited
from etl.stages.generate import lines as text_lines
from etl.stages.generate.files import recorded_readings

ROOT = Path(__file__).parents[4]
MEASUREMENTS = "measurements:\n  voltage: {type: double}\n  power: {type: double}\n  state: {type: text}\n"
MAPPING = """
timestamp: {column: time}
equipment: {column: machine}
measurements: {voltage: U, power: {column: P, scale: 1000}, state: S}
"""
HEADER = b"time,machine,U,P,S\n"
GOOD = b"2026-01-05T08:00:00Z,pump,230.5,1.5,on\n"


@pytest.fixture(scope="module")
def declared(tmp_path_factory):
    path = tmp_path_factory.mktemp("declared") / "measurements.yaml"
    path.write_text(MEASUREMENTS)
    return read_measurements(path)


@pytest.fixture
def read(tmp_path, declared):
    """Read bytes as a file; gives readings as rows, and dead letters as (line, reason, value)."""

    def do(data, mapping=MAPPING, name="file.csv"):
        (tmp_path / name).write_bytes(data)
        (tmp_path / "mapping.yaml").write_text(mapping)
        return parse(tmp_path / name, read_mapping(tmp_path / "mapping.yaml", declared), declared)

    return do


def parse(path, mapping, measurements):
    readings, letters = generated(measurements).empty_table(), DEAD_LETTERS.empty_table()
    for block in recorded_readings(str(path), mapping, measurements):
        assert block.dead_letters.schema == DEAD_LETTERS
        readings = pa.concat_tables([readings, block.readings])
        letters = pa.concat_tables([letters, block.dead_letters])
    rows = readings.to_pylist()
    return rows, [(letter["line"], letter["reason"], letter["value"]) for letter in letters.to_pylist()]


def at(text):
    return datetime.fromisoformat(text).astimezone(UTC)


def test_a_line_is_a_reading_when_it_is_good(read):
    assert read(HEADER + GOOD) == (
        [
            {
                "equipment_id": "pump",
                "timestamp": at("2026-01-05T08:00:00+00:00"),
                "voltage": 230.5,
                "power": 1500.0,
                "state": "on",
                "json": None,
            }
        ],
        [],
    )


@pytest.mark.parametrize("careful", [False, True])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"2026-01-05T08:00:01Z,pump,230", "recorded"),
        (b"2026-01-05T08:00:01Z,pump,230,1,on,more", "recorded"),
        (b"2026-13-05T08:00:01Z,pump,230,1,on", "timestamp"),
        (b"now,pump,230,1,on", "timestamp"),
        (b",pump,230,1,on", "timestamp"),
        (b"2026-01-05T08:00:01Z,,230,1,on", "missing-key"),
        (b"2026-01-05T08:00:01Z," + b"p" * 256 + b",230,1,on", "missing-key"),
        (b"2026-01-05T08:00:01Z,pump,,,", "no-measurement"),
        (b"2026-01-05T08:00:01Z,pump, ,,", "no-measurement"),
        (b"2026-01-05T08:00:01Z,pump\xff,230,1,on", "undecodable"),
        (b"2026-01-05T08:00:01Z,pump,230,1,\xff", "undecodable"),
        (b'2026-01-05T08:00:01Z,"pump,230,1,on', "recorded"),
        (b'2026-01-05T08:00:01Z,"pump"s,230,1,on"', "recorded"),
        (b'2026-01-05T08:00:01Z,"pump"s,230,1,on', "recorded"),
        (b"\0", "recorded"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_bad_line_is_a_dead_letter_when_others_are_good(read, monkeypatch, line, reason, end, careful):
    if careful:
        monkeypatch.setattr(delimited, "_clean", lambda *_: None)
    good = GOOD.rstrip() + end
    readings, letters = read(HEADER.rstrip() + end + good + line + end + good + good)
    assert letters == [(3, reason, line)]
    assert len(readings) == 3


@pytest.mark.parametrize("careful", [False, True])
def test_empty_lines_are_nothing_when_in_between(read, monkeypatch, careful):
    if careful:
        monkeypatch.setattr(delimited, "_clean", lambda *_: None)
    readings, letters = read(b"\n" + HEADER + b"\n" + GOOD + b"\r\n  \n" + GOOD + b"bad\n\n")
    assert len(readings) == 2
    assert letters == [(8, "recorded", b"bad")]


def test_a_bad_cell_is_carried_as_json_when_the_rest_is_good(read):
    readings, letters = read(HEADER + GOOD + b"2026-01-05T08:00:01.25Z,pump,1_0,inf,on\n" + GOOD)
    assert letters == []
    assert [row["json"] is None for row in readings] == [True, False, True]
    assert json.loads(readings[1]["json"]) == {
        "timestamp": "2026-01-05T08:00:01.250Z",
        "voltage": "1_0",
        "power": "inf",
        "state": "on",
    }
    assert readings[1]["voltage"] is None


def test_a_line_with_a_bad_cell_only_is_a_reading_when_nothing_else_is_there(read):
    """It is transform that judges values; here it only must not get lost."""
    readings, letters = read(HEADER + b"2026-01-05T08:00:01Z,pump,broken,,\n")
    assert letters == []
    assert json.loads(readings[0]["json"]) == {"timestamp": "2026-01-05T08:00:01.000Z", "voltage": "broken"}


def test_quoted_fields_may_hold_anything_when_closed(read):
    data = HEADER + b'2026-01-05T08:00:01Z,"pump, the ""big"" one",230,1,"on\n\r\n"\n' + GOOD + b"bad\n"
    readings, letters = read(data)
    assert [row["equipment_id"] for row in readings] == ['pump, the "big" one', "pump"]
    assert letters == [(6, "recorded", b"bad")]


def test_an_equipment_id_is_the_same_as_in_a_key_when_a_program_adds_to_it(read):
    rows = [b'2026-01-05T08:00:01Z,"%b",230,1,on\n' % key for key in (b' ""pump"" ', b"pump\0", b"pu\tmp")]
    readings, letters = read(HEADER + b"".join(rows))
    assert [row["equipment_id"] for row in readings] == ["pump", "pump"]
    assert letters == [(4, "missing-key", rows[2].rstrip(b"\n"))]


def test_a_stray_quote_takes_one_line_when_more_follow(read):
    bad = b'2026-01-05T08:00:01Z,"pump,230,1,on'
    readings, letters = read(HEADER + GOOD + (bad + b"\n" + GOOD * 3) * 2)
    assert len(readings) == 7
    assert letters == [(3, "recorded", bad), (7, "recorded", bad)]


def test_a_literal_quote_is_text_when_inside_a_field(read):
    readings, letters = read(HEADER + b'2026-01-05T08:00:01Z,3" pipe,230,1,on\n' + GOOD)
    assert [row["equipment_id"] for row in readings] == ['3" pipe', "pump"]
    assert letters == []


def test_a_huge_line_is_cut_when_it_is_kept(read, monkeypatch):
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", 64 * 1024)
    for huge in (b"x" * 3_000_000, b"2026-01-05T08:00:01Z,pump,1,1," + b"x" * 600_000):
        readings, letters = read(HEADER + GOOD + huge + b"\n" + GOOD)
        assert len(readings) == 2
        assert letters == [(3, "recorded", huge[: text_lines.MAX_LINE_BYTES])]


@pytest.mark.parametrize("data", [b"", HEADER, b"\n\n"])
def test_an_empty_file_gives_nothing_when_read(read, data):
    assert read(data) == ([], [])


CELL = st.sampled_from(
    [
        b"",
        b"1",
        b"2.5",
        b"x",
        b'"',
        b'"a"',
        b'"a\nb"',
        b'""',
        b"\xff",
        b"\r",
        b"\0",
        b" ",
        b"2026-01-05",
        b"1e3",
        b"\xc3\xa4",
    ]
)
LINE = st.one_of(
    st.just(GOOD.rstrip()),
    st.lists(CELL, min_size=4, max_size=6).map(b",".join),
    st.lists(CELL, min_size=3, max_size=3).map(lambda cells: b"2026-01-05T08:00:00Z,m," + b",".join(cells)),
)


@given(
    lines=st.lists(LINE, max_size=12),
    end=st.sampled_from([b"\n", b"\r\n"]),
    last=st.booleans(),
    block=st.integers(1, 80),
    rows=st.integers(1, 4),
)
def test_any_file_reads_the_same_when_blocks_and_paths_differ(
    tmp_path_factory, declared, lines, end, last, block, rows
):
    folder = tmp_path_factory.mktemp("any")
    (folder / "mapping.yaml").write_text(MAPPING)
    (folder / "file.csv").write_bytes(HEADER + end.join(lines) + (end if last else b""))
    mapping = read_mapping(folder / "mapping.yaml", declared)
    whole = parse(folder / "file.csv", mapping, declared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_lines, "BLOCK_BYTES", block)
        patch.setattr(text_lines, "BLOCK_ROWS", rows)
        assert parse(folder / "file.csv", mapping, declared) == whole
        patch.setattr(delimited, "_clean", lambda *_: None)
        assert parse(folder / "file.csv", mapping, declared) == whole
    assert [line for line, _, _ in whole[1]] == sorted({line for line, _, _ in whole[1]})
    quoted = any(b'"' in line for line in lines)
    if not quoted:
        kept = [line for line in b"\n".join(lines).split(b"\n") if line.strip(b" ,\r\n")]
        units = bool(kept) and not re.search(rb"\d", kept[0].split(b",")[0])
        assert len(whole[0]) + len(whole[1]) in (len(kept), len(kept) - units)


@given(data=st.binary(max_size=200), name=st.sampled_from(["file.csv", "file.jsonl"]))
def test_any_bytes_are_lines_when_they_follow_a_good_one(tmp_path_factory, declared, data, name):
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "mapping.yaml").write_text(MAPPING)
    first = HEADER + GOOD if name == "file.csv" else b'{"time": 1767600000, "machine": "m", "U": 1}\n'
    (folder / name).write_bytes(first + data)
    readings, _ = parse(folder / name, read_mapping(folder / "mapping.yaml", declared), declared)
    assert len(readings) >= 1


def test_decimal_comma_and_delimiter_are_read_when_mapped(read):
    mapping = MAPPING + 'delimiter: ";"\ndecimal: ","\nencoding: latin-1\nmissing: ["", "?"]\n'
    readings, letters = read("Zeit;time;machine;U;P;S\nx;1767600000;Säge;230,5;?;an\n".encode("latin-1"), mapping)
    assert letters == []
    assert (readings[0]["equipment_id"], readings[0]["voltage"], readings[0]["power"]) == ("Säge", 230.5, None)
    assert readings[0]["timestamp"] == at("2026-01-05T08:00:00+00:00")


def test_scale_and_offset_apply_when_mapped(read):
    mapping = "timestamp: time\nequipment: {constant: one}\nmeasurements: {voltage: {column: U, scale: 2, offset: -1}}"
    readings, _ = read(HEADER + GOOD, mapping)
    assert (readings[0]["equipment_id"], readings[0]["voltage"], readings[0]["power"]) == ("one", 460.0, None)


def zoned(form=None):
    column = f'{{column: time, zone: Europe/Paris, format: "{form}"}}' if form else "{column: time, zone: Europe/Paris}"
    return MAPPING.replace("{column: time}", column)


def times(read, texts, mapping):
    rows = [f"{text},{machine},1,,\n".encode() for text, machine in texts]
    readings, letters = read(HEADER + b"".join(rows), mapping)
    return [row["timestamp"].strftime("%H:%M") for row in readings], [line for line, _, _ in letters]


@pytest.mark.parametrize("block", [30, 4_000_000])
def test_the_repeated_hour_is_told_by_order_when_clocks_go_back(read, monkeypatch, block):
    monkeypatch.setattr(text_lines, "BLOCK_BYTES", block)
    walls = ["01:59", "02:00", "02:30", "02:59", "02:00", "02:30", "02:59", "03:00"]
    texts = [(f"25.10.2026 {wall}", "a") for wall in walls]
    found, _ = times(read, texts, zoned("%d.%m.%Y %H:%M"))
    assert found == ["23:59", "00:00", "00:30", "00:59", "01:00", "01:30", "01:59", "02:00"]


def test_the_repeated_hour_is_told_per_equipment_when_they_alternate(read):
    texts = [(f"2026-10-25 {wall}", name) for wall in ("02:20", "02:40", "02:10", "02:50") for name in "ab"]
    texts.insert(3, ("2026-10-25 02:05", "c"))
    found, refused = times(read, texts, zoned())
    assert refused == [5]
    assert found == ["00:20", "00:20", "00:40", "00:40", "01:10", "01:10", "01:50", "01:50"]


def test_the_repeated_hour_begins_anew_when_a_year_has_passed(read):
    walls = ("2025-10-26 02:30", "2025-10-26 02:10", "2026-10-25 02:40", "2026-10-25 02:20")
    found, _ = times(read, [(text, "a") for text in walls], zoned())
    assert found == ["00:30", "01:10", "00:40", "01:20"]


def test_a_local_time_that_never_was_is_a_dead_letter_when_clocks_go_forward(read):
    texts = [(f"2026-03-29 {wall}", "a") for wall in ("01:59", "02:00", "02:30", "03:00")]
    assert times(read, texts, zoned()) == (["00:59", "01:00"], [3, 4])


def test_a_zone_of_its_own_counts_when_a_timestamp_names_one(read):
    texts = [(text, "a") for text in ("2026-07-01T12:00Z", "2026-07-01T12:00+05:00", "2026-07-01T12:00", "1782900000")]
    found, _ = times(read, texts, zoned())
    assert found == ["12:00", "07:00", "10:00", "10:00"]


def test_json_lines_are_readings_when_they_are_objects(read):
    lines = [
        b'{"time": "2026-01-05T08:00:00Z", "machine": "pump", "U": 230, "P": 1.5, "S": "on", "other": [1]}',
        b'{"time": 1767600001, "machine": 7, "U": "high", "P": true, "S": 3}',
        b'{"time": 1767600002, "machine": "pump", "U": 1e999, "P": null}',
        b'{"time": 1767600003, "machine": "pump", "U": 123456789012345678901234567890}',
        b'{"time": 1767600004, "machine": "pump"}',
        b'{"time": true, "machine": "pump", "U": 1}',
        b'{"time": 1767600005, "machine": null, "U": 1}',
        b"[1]",
        b'{"time": 1767600006, "machine": "pump", "U": 1',
        b'{"machine": "\xff"}',
        b'{"time": 1767600007, "machine": "\\ud800", "U": 1}',
        b"[" * 5000,
        b'{"time": ' + b"9" * 5000 + b', "machine": "pump", "U": 1}',
        b"",
        b'{"time": "2026-01-05T08:00:08Z", "machine": "pump", "U": 8}',
    ]
    readings, letters = read(b"\xef\xbb\xbf" + b"\r\n".join(lines), name="file.jsonl")
    assert [(row["equipment_id"], row["voltage"], row["power"], row["state"]) for row in readings] == [
        ("pump", 230.0, 1500.0, "on"),
        ("7", None, 1000.0, None),
        ("pump", float("inf"), None, None),
        ("pump", None, None, None),
        ("pump", 8.0, None, None),
    ]
    assert json.loads(readings[1]["json"]) == {
        "timestamp": "2026-01-05T08:00:01.000Z",
        "voltage": "high",
        "power": 1000.0,
        "state": 3,
    }
    assert json.loads(readings[3]["json"])["voltage"] == 123456789012345678901234567890
    assert [(line, reason) for line, reason, _ in letters] == [
        (5, "no-measurement"),
        (6, "timestamp"),
        (7, "missing-key"),
        (8, "recorded"),
        (9, "recorded"),
        (10, "undecodable"),
        (11, "undecodable"),
        (12, "recorded"),
        (13, "recorded"),
    ]
    assert letters[3][2] == b"[1]"


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (pa.array([-1, 1_767_600_000_000_999_999, None], pa.timestamp("ns", "UTC")), "2026-01-05T08:00:00+00:00"),
        (pa.array([0, 1_767_600_000, None], pa.timestamp("s")), "2026-01-05T07:00:00+00:00"),
        (pa.array(["x", "2026-01-05T08:00:00.000", None]).dictionary_encode(), "2026-01-05T07:00:00+00:00"),
        (pa.array([-5, 1_767_600_000_000, None]), "2026-01-05T08:00:00+00:00"),
        (pa.array([-5.5, 1_767_600_000.0, None]), "2026-01-05T08:00:00+00:00"),
    ],
)
def test_parquet_rows_are_readings_when_types_fit(read, tmp_path, times, expected):
    table = pa.table(
        {
            "time": times,
            "machine": pa.array(["a", "b", "c"]).dictionary_encode(),
            "U": pa.array([1, 2, 3], pa.int16()),
            "P": pa.array(["1", "x", ""], pa.large_string()),
            "S": pa.nulls(3),
            "unread": [[1], [2], [3]],
        }
    )
    pq.write_table(table, tmp_path / "source.parquet")
    readings, letters = read((tmp_path / "source.parquet").read_bytes(), zoned(), name="file.parquet")
    assert at(expected) in [row["timestamp"] for row in readings]
    assert next(row for row in readings if row["equipment_id"] == "b")["voltage"] == 2.0
    assert b'"power": "x"' in next(row for row in readings if row["equipment_id"] == "b")["json"]
    line, reason, value = letters[-1]
    assert (line, reason) == (3, "timestamp")
    assert json.loads(value) == {"time": None, "machine": "c", "U": 3, "P": "", "S": None}


def test_a_compressed_file_is_read_when_its_ending_tells(read):
    assert len(read(gzip.compress(HEADER + GOOD), name="file.csv.gz")[0]) == 1


def test_parquet_times_are_floored_when_finer(read, tmp_path):
    table = pa.table(
        {"time": pa.array([-1], pa.timestamp("us", "UTC")), "machine": ["a"], "U": [1.0], "P": [1.0], "S": ["x"]}
    )
    pq.write_table(table, tmp_path / "source.parquet")
    readings, _ = read((tmp_path / "source.parquet").read_bytes(), name="file.parquet")
    assert readings[0]["timestamp"] == at("1969-12-31T23:59:59.999+00:00")


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"time,machine,U,P\n", "file.csv", "has no column 'S'; it has time, machine, U, P"),
        (b"time,machine,U,P,S,U\n", "file.csv", "has column 'U' 2 times"),
        (b"\xff\n", "file.csv", "column names cannot be read"),
        (GOOD, "file.txt", "`format: csv`"),
        (b"PAR1 not", "file.parquet", "no good Parquet"),
        (gzip.compress(HEADER + GOOD * 1000)[:-20], "file.csv.gz", "damaged"),
        (HEADER, "file.csv.gz", "damaged"),
    ],
)
def test_a_wrong_file_is_one_clear_line_when_read(read, data, name, expected):
    with pytest.raises(SettingsError) as caught:
        read(data, name=name)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_line_when_opened(tmp_path, declared):
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    mapping = read_mapping(tmp_path / "mapping.yaml", declared)
    for url in (
        str(tmp_path / "nowhere.csv"),
        str(tmp_path / "mapping.yaml" / "x.csv"),
        "nosuch://user:secret@host/x.csv",
    ):
        with pytest.raises(SettingsError, match="cannot be opened") as caught:
            list(recorded_readings(url, mapping, declared))
        assert "secret" not in str(caught.value)


def test_a_wrong_parquet_type_is_one_clear_line_when_mapped(read, tmp_path):
    table = pa.table({"time": [1], "machine": ["a"], "U": [[1]], "P": [1], "S": ["on"]})
    pq.write_table(table, tmp_path / "source.parquet")
    with pytest.raises(SettingsError, match="column 'U' of type list"):
        read((tmp_path / "source.parquet").read_bytes(), name="file.parquet")


def test_our_own_file_gives_readings_and_letters_when_read():
    measurements = read_measurements()
    data = ROOT / "tests" / "data"
    readings, letters = parse(data / "plant.csv", read_mapping(data / "plant.yaml", measurements), measurements)
    assert len(readings) == 300
    assert {row["equipment_id"] for row in readings} == {"pump-0001", "compressor-0001", "press-0001"}
    assert [(line, reason) for line, reason, _ in letters] == [
        (23, "no-measurement"),
        (25, "recorded"),
        (27, "timestamp"),
        (29, "missing-key"),
        (31, "undecodable"),
        (33, "recorded"),
        (310, "recorded"),
    ]
    lines = (data / "plant.csv").read_bytes().split(b"\n")
    assert all(value == lines[line - 1] for line, _, value in letters)


def test_the_shared_file_gives_19444_readings_when_it_is_there():
    shared = Path(os.environ.get("ETL_SHARED", ROOT.parent / "shared"))
    if "ETL_SHARED" not in os.environ and not shared.is_dir():
        pytest.skip("no shared folder; ETL_SHARED names one")
    examples = ROOT / "docs" / "examples"
    measurements = read_measurements(examples / "household_measurements.yaml")
    mapping = read_mapping(examples / "household_power.yaml", measurements)
    readings, letters = parse(shared / "data" / "household_power.csv", mapping, measurements)
    assert len(readings) == 19_444
    assert [(line, reason, value) for line, reason, value in letters] == [
        (6841, "no-measurement", b"21/12/2006 11:23:00,,,,,,,"),
        (6842, "no-measurement", b"21/12/2006 11:24:00,,,,,,,"),
        (19_448, "recorded", b"30/1"),
    ]
    assert readings[0]["timestamp"] == at("2006-12-16T17:24:00+01:00")
    assert (readings[0]["active_power"], readings[0]["voltage"]) == (4216.0, 234.84)


def test_a_parquet_row_is_a_dead_letter_when_its_text_is_not_utf_8(read, tmp_path):
    texts = pa.array([b"a", b"\xff\xfe", b"c"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, texts.buffers())
    table = pa.table(
        {"time": ["2026-01-05T08:00:00Z"] * 3, "machine": broken, "U": [1.0, 2.0, 3.0], "P": [1.0] * 3, "S": ["x"] * 3}
    )
    pq.write_table(table, tmp_path / "source.parquet", use_dictionary=False)
    readings, letters = read((tmp_path / "source.parquet").read_bytes(), name="file.parquet")
    assert [row["equipment_id"] for row in readings] == ["a", "c"]
    assert [letter[:2] for letter in letters] == [(2, "undecodable")]
    assert json.loads(letters[0][2])["machine"] == "\\xff\\xfe"
