"""The hour that is there twice when clocks go back, through whole files and by itself."""

import itertools
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from etl.mapping.language import read_mapping
from etl.model.measurements import read_measurements
from etl.stages.generate import lines as text_lines
from etl.stages.generate import repeated
from etl.stages.generate.files import recorded_readings

HOUR = 60  # minutes
NIGHT = datetime(2026, 10, 25, tzinfo=UTC)  # clocks go back at 01:00 UTC in Paris
LORD_HOWE = datetime(2026, 4, 4, 15, tzinfo=UTC)  # by half an hour, at 15:00 UTC


@pytest.fixture
def read(tmp_path):
    """Read lines of (local time, machine); gives (UTC, machine, number of the line) in order, and letters."""

    def do(lines, zone="Europe/Paris", block=None, **entry):
        options = ", ".join(f"{name}: {value}" for name, value in {"column: t, zone": zone, **entry}.items())
        (tmp_path / "mapping.yaml").write_text(f"timestamp: {{{options}}}\nequipment: m\nmeasurements: {{voltage: U}}")
        rows = [f"{text},{machine},{number}" for number, (text, machine) in enumerate(lines)]
        (tmp_path / "file.csv").write_text("\n".join(["t,m,U", *rows]))
        measurements = read_measurements()
        mapping = read_mapping(tmp_path / "mapping.yaml", measurements)
        with pytest.MonkeyPatch.context() as patch:
            if block:
                patch.setattr(text_lines, "BLOCK_BYTES", block)
            blocks = list(recorded_readings(str(tmp_path / "file.csv"), mapping, measurements))
        readings = pa.concat_tables(each.readings for each in blocks).to_pylist()
        letters = pa.concat_tables(each.dead_letters for each in blocks).to_pylist()
        return [(row["timestamp"], row["equipment_id"], int(row["voltage"])) for row in readings], letters

    return do


def local(moments, zone):
    return [moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S") for moment in moments]


def every(start, minutes, step):
    return [start + timedelta(minutes=minute) for minute in np.arange(0, minutes, step).tolist()]


def zone_of(name):
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def check(read, order, moments, zone="Europe/Paris", block=None, machines=("a",)):
    """Write moments of some machines as local times in an order, and expect the same moments."""
    lines = [(moment, machine) for moment in moments for machine in machines]
    lines = [lines[place] for place in order(lines)]
    texts = local([moment for moment, _ in lines], zone_of(zone))
    found, letters = read(list(zip(texts, [machine for _, machine in lines], strict=True)), zone, block)
    assert letters == []
    assert found == [(moment, machine, number) for number, (moment, machine) in enumerate(lines)]


def in_order(lines):
    return range(len(lines))


def descending(lines):
    return range(len(lines) - 1, -1, -1)


def by_local_time(zone, sign=1):
    """Interleave the two passes, as a sort by local time does."""

    def do(lines):
        texts = [moment.astimezone(zone_of(zone)).replace(tzinfo=None) for moment, _ in lines]
        places = sorted(range(len(lines)), key=lambda place: texts[place])
        return places[::sign]

    return do


def by_machine(lines):
    return sorted(range(len(lines)), key=lambda place: lines[place][1])


@pytest.mark.parametrize("block", [60, None])
@pytest.mark.parametrize("machines", [("a",), ("a", "b", "c")])
@pytest.mark.parametrize(
    "order",
    [in_order, descending, by_local_time("Europe/Paris"), by_local_time("Europe/Paris", -1), by_machine],
    ids=["passes", "descending", "interleaved", "interleaved-descending", "by-machine"],
)
@pytest.mark.parametrize("step", [1, 15, 20, 30])
def test_the_repeated_hour_is_right_when_both_passes_are_there(read, order, step, machines, block):
    if step == 1 and block:
        block = 4000
    check(read, order, every(NIGHT - timedelta(hours=3), 8 * HOUR, step), machines=machines, block=block)


@pytest.mark.parametrize("order", [in_order, descending, by_local_time("Australia/Lord_Howe")])
def test_the_repeated_half_hour_is_right_when_clocks_go_back_by_that(read, order):
    check(read, order, every(LORD_HOWE - timedelta(hours=3), 6 * HOUR, 5), zone="Australia/Lord_Howe")


@pytest.mark.parametrize("zone", ["America/New_York", "America/St_Johns", "Europe/Dublin", "Europe/London"])
def test_the_repeated_hour_is_right_when_the_zone_is_another(read, zone):
    moments = every(datetime(2026, 10, 24, 20, tzinfo=UTC), 9 * 24 * HOUR, 10)
    check(read, in_order, moments, zone=zone)


def test_the_repeated_hour_is_right_when_an_hourly_meter_writes_years(read):
    check(read, in_order, every(datetime(2019, 1, 1, tzinfo=UTC), 6 * 365 * 24 * HOUR, 60), block=5000)


def test_the_repeated_hour_is_right_when_labels_are_the_ends_of_intervals(read):
    walls = ["01:45", "02:00", "02:15", "02:30", "02:45", "03:00", "02:15", "02:30", "02:45", "03:00", "03:15"]
    for order, place in ((list, 0), (sorted, 0)):
        lines = [(f"2026-10-25 {wall}", "a") for wall in order(walls)]
        found, letters = read(lines)
        assert letters == []
        expected = [NIGHT + timedelta(minutes=15 * step - 15) for step in range(len(walls))]
        assert sorted(moment for moment, _, _ in found) == expected, place


def test_the_repeated_hour_is_right_when_times_have_odd_milliseconds_and_a_few_are_late(read):
    steps = np.cumsum(np.random.default_rng(3).integers(900, 61_000, 500))
    moments = [NIGHT - timedelta(hours=1) + timedelta(milliseconds=int(step)) for step in steps]
    for place in (60, 130, 200):
        moments[place], moments[place + 1] = moments[place + 1], moments[place]
    texts = [moment.astimezone(zone_of("Europe/Paris")).isoformat(" ", "milliseconds")[:-6] for moment in moments]
    found, letters = read([(text, "a") for text in texts])
    assert letters == []
    assert [moment for moment, _, _ in found] == [moment.replace(microsecond=moment.microsecond) for moment in moments]


def test_a_machine_is_told_by_its_own_readings_when_another_stops_in_that_hour(read):
    both = every(NIGHT - timedelta(hours=1), 4 * HOUR, 10)
    lines = [(moment, machine) for moment in both for machine in "ab"]
    lines = [each for each in lines if each[1] == "a" or each[0] < NIGHT + timedelta(minutes=25)]
    texts = local([moment for moment, _ in lines], zone_of("Europe/Paris"))
    found, letters = read(list(zip(texts, [machine for _, machine in lines], strict=True)), block=90)
    assert letters == []
    assert [each[:2] for each in found] == lines


@pytest.mark.parametrize(
    ("walls", "first_line"),
    [
        (["02:00", "02:20", "02:40"], 2),  # the file holds no more than one of the two
        (["01:40", "02:00", "02:20", "02:40", "03:00"], 3),  # one pass, but a time before and one after
        (["01:30", "02:30", "03:30"], 3),  # every hour, and one is missing
        (["02:30"], 2),
    ],
)
@pytest.mark.parametrize("kind", ["refuse", "first", "second"])
def test_the_mapping_decides_when_one_pass_is_missing(read, caplog, walls, first_line, kind):
    lines = [(f"2026-10-25 {wall}", "a") for wall in walls]
    inside = [wall for wall in walls if wall.startswith("02")]
    found, letters = read(lines, **({} if kind == "refuse" else {"ambiguous": kind}))
    if kind == "refuse":
        assert [letter["line"] for letter in letters] == list(range(first_line, first_line + len(inside)))
        assert {letter["reason"] for letter in letters} == {"timestamp"}
        assert "occurs twice in Europe/Paris" in letters[0]["detail"]
        assert letters[0]["value"].startswith(f"2026-10-25 {inside[0]},a,".encode())
    else:
        assert letters == []
    assert len(found) == len(walls) - len(letters)
    hours = {moment.hour for moment, _, _ in found if moment.hour in (0, 1) and moment.day == 25}
    assert hours == {"refuse": set(), "first": {0}, "second": {1}}[kind]


@pytest.mark.parametrize(
    ("walls", "hour"),
    [(["01:20", "01:40", "02:00", "02:20"], 0), (["02:20", "02:40", "03:00", "03:20"], 1)],
)
def test_one_pass_is_told_when_it_goes_on_without_a_gap_on_one_side_only(read, walls, hour):
    found, letters = read([(f"2026-10-25 {wall}", "a") for wall in walls])
    assert letters == []
    assert [moment.hour for moment, _, _ in found if moment.day == 25].count(hour) >= 2


def test_readings_sent_twice_are_no_second_pass_when_all_others_are_sent_twice_too(read):
    walls = ["01:20", "01:40", "02:00", "02:20", "02:40", "03:00", "03:20"]
    found, letters = read([(f"2026-10-25 {wall}", "a") for wall in walls for _ in range(2)])
    assert len(letters) == 6
    assert len(found) == 8


def test_nothing_is_told_when_a_few_of_one_pass_are_there_twice(read):
    walls = ["02:00", "02:10", "02:20", "02:30", "02:40", "02:50", "02:40", "02:50", "03:00"]
    found, letters = read([(f"2026-10-25 {wall}", "a") for wall in walls])
    assert [letter["line"] for letter in letters] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert [number for _, _, number in found] == [8]


def test_the_warning_counts_when_clocks_went_back(read, monkeypatch):
    told = []
    monkeypatch.setattr(repeated.log, "warning", lambda text, **values: told.append((text, values)))
    walls = ["01:30", "02:00", "02:00", "02:30", "02:30", "02:45", "03:00"]
    _, letters = read([(f"2026-10-25 {wall}", "a") for wall in walls])
    assert [letter["line"] for letter in letters] == [7]
    ((text, values),) = told
    assert "Europe/Paris" in text
    assert (values["told_apart"], values["not_told_apart"]) == (4, 1)


def test_no_time_is_held_back_when_the_file_is_far_from_such_an_hour(read, monkeypatch):
    monkeypatch.setattr(repeated, "_hold", None)
    check(read, in_order, every(datetime(2026, 7, 1, tzinfo=UTC), 3 * HOUR, 1), block=200)


def test_the_json_of_a_bad_cell_has_the_right_time_when_it_is_of_the_second_pass(tmp_path):
    (tmp_path / "mapping.yaml").write_text(
        "timestamp: {column: t, zone: Europe/Paris}\nequipment: {constant: a}\nmeasurements: {voltage: U}"
    )
    walls = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
    (tmp_path / "file.csv").write_text("t,U\n" + "\n".join(f"2026-10-25 {wall},bad" for wall in walls))
    measurements = read_measurements()
    mapping = read_mapping(tmp_path / "mapping.yaml", measurements)
    blocks = recorded_readings(str(tmp_path / "file.csv"), mapping, measurements)
    rows = list(itertools.chain.from_iterable(block.readings.to_pylist() for block in blocks))
    assert [json.loads(row["json"])["timestamp"][11:16] for row in rows] == [
        "23:30", "00:00", "00:30", "01:00", "01:30", "02:00"
    ]  # fmt: skip
    assert all(row["timestamp"].strftime("%H:%M") == json.loads(row["json"])["timestamp"][11:16] for row in rows)


def test_rows_wait_on_disk_when_they_are_many(read, monkeypatch):
    monkeypatch.setattr(repeated, "HELD_BYTES", 1000)
    check(read, in_order, every(NIGHT - timedelta(hours=2), 6 * HOUR, 1), machines="abc", block=2000)
