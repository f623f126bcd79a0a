"""Folders and patterns: which files they name, which shard reads them, and what a second try does."""

import zipfile
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest

from etl.errors import SettingsError
from etl.mapping.language import read_mapping
from etl.run.runner import run_stage
from etl.run.workspace import Shard, Source, open_workspace
from etl.settings import RunSettings, read_stage_settings
from etl.stages.generate import listing, progress
from etl.stages.generate import stage as stage_module
from etl.stages.generate.listing import list_files
from etl.stages.generate.stage import generate
from tests.unit.stages.generate.conftest import MAPPING, MEASUREMENTS

HEADER = "time,machine,U\n"


def text(hour, machine="p", value=1):
    return f"{HEADER}2026-01-05T{hour:02}:00:00Z,{machine},{value}\n"


@pytest.fixture
def folder(tmp_path):
    """Make a folder with files of hours 0 to 4, and others that are no readings."""
    files = tmp_path / "files"
    for name in ("a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv", "x [1].csv"):
        (files / name).parent.mkdir(parents=True, exist_ok=True)
    for hour, name in enumerate(("a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv", "x [1].csv")):
        (files / name).write_text(text(hour))
    for name in (".hidden.csv", "_SUCCESS", "sub/._c.csv", "README.md"):
        (files / name).write_text("no readings")
    return files


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv", "x [1].csv"]),
        ("/", ["a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv", "x [1].csv"]),
        ("/*.csv", ["a.csv", "b.csv", "x [1].csv"]),
        ("/[ab].csv", ["a.csv", "b.csv"]),
        ("/?.csv", ["a.csv", "b.csv"]),
        ("/**/*.csv", ["a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv", "x [1].csv"]),
        ("/sub/**", ["sub/c.csv", "sub/deep/d.csv"]),
        ("/x [1].csv", ["x [1].csv"]),
        ("/a.csv", ["a.csv"]),
    ],
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_files_are_those_that_the_url_names_when_listed(folder, tmp_path, pattern, expected, scheme):
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    mapping = read_mapping(tmp_path / "mapping.yaml", MEASUREMENTS)
    if scheme and "?" in pattern:
        pytest.skip("a question mark begins the query of a URL")
    found = list_files(f"{scheme}{folder}{pattern}", mapping).files
    assert [each.name.removeprefix("file://").removeprefix(f"{folder}/") for each in found] == expected


def test_files_of_a_zip_and_of_memory_are_listed_when_a_pattern_names_them(folder, tmp_path):
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    mapping = read_mapping(tmp_path / "mapping.yaml", MEASUREMENTS)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("a.csv", "b.csv", "c.txt"):
            archive.writestr(name, text(0))
    found = list_files(f"zip://*.csv::{tmp_path}/all.zip", mapping).files
    assert [each.name for each in found] == [f"{tmp_path}/all.zip/a.csv", f"{tmp_path}/all.zip/b.csv"]
    memory = fsspec.filesystem("memory")
    memory.pipe({"/listed/a.csv": b"1", "/listed/b.csv": b"2"})
    assert [each.name for each in list_files("memory://listed/*", mapping).files] == [
        "memory:///listed/a.csv",
        "memory:///listed/b.csv",
    ]


def test_a_url_is_one_file_when_its_query_has_wildcards():
    assert not listing.is_pattern("https://host/a.csv?sig=[x]*")
    assert listing.is_pattern("https://host/*.csv?sig=x")
    assert not listing.is_pattern("s3://bucket/a.csv")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the stage over a URL; gives its counts, and the hours of its readings in order."""
    (tmp_path / "mapping.yaml").write_text(MAPPING)

    def do(url, run_id="one", shard=0, shards=1):
        settings = RunSettings(workspace_url=str(tmp_path / "workspace"), run_id=run_id, shard=shard, shards=shards)
        with monkeypatch.context() as patch:
            for name, value in {
                "SOURCE": "recorded",
                "RECORDED_URL": url,
                "MAPPING_FILE": tmp_path / "mapping.yaml",
            }.items():
                patch.setenv(f"ETL_GENERATE_{name}", str(value))
            manifest = run_stage("generate", generate, settings, *read_stage_settings("generate"))
        source = Source(open_workspace(settings.workspace_url, run_id, Shard(shard, shards)), manifest)
        hours = [time.hour for table in source.tables("readings") for time in table["timestamp"].to_pylist()]
        return manifest.summary.counts, hours

    return do


@pytest.fixture
def read(monkeypatch):
    """Note the names of the files that are read."""
    names = []

    def noting(found, *others):
        names.append(Path(found.name).name)
        yield from original(found, *others)

    original = stage_module.file_readings
    monkeypatch.setattr(stage_module, "file_readings", noting)
    return names


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_each_file_is_read_by_one_shard_when_there_are_several(folder, run, read, shards):
    parts = [run(folder, shard=shard, shards=shards) for shard in range(shards)]
    assert sorted(hour for _, hours in parts for hour in hours) == [0, 1, 2, 3, 4]
    assert sum(counts["generated"] for counts, _ in parts) == 5
    assert len(read) == 5


def test_a_file_keeps_its_shard_when_others_appear(folder, run):
    before = [set(run(folder, "one", shard, 2)[1]) for shard in range(2)]
    (folder / "a0.csv").write_text(text(20))
    after = [set(run(folder, "two", shard, 2)[1]) - {20} for shard in range(2)]
    assert before == after


@pytest.mark.parametrize("seconds", [0.0, 1000.0])
def test_finished_files_are_not_read_again_when_a_try_fails(folder, run, read, monkeypatch, seconds):
    monkeypatch.setattr(progress, "GROUP_SECONDS", seconds)
    bad = folder / "sub/deep/d.csv"
    bad.write_text("no columns\n")
    with pytest.raises(SettingsError, match=r"d.csv has no column 'time'"):
        run(folder)
    assert read == ["a.csv", "b.csv", "c.csv", "d.csv"]
    bad.write_text(text(3))
    read.clear()
    assert run(folder) == ({"generated": 5, "rejected": 0}, [0, 1, 2, 3, 4])
    assert read == (["d.csv", "x [1].csv"] if seconds == 0 else ["a.csv", "b.csv", "c.csv", "d.csv", "x [1].csv"])


def test_a_file_is_read_again_when_it_changed_between_tries(folder, run, read, monkeypatch):
    monkeypatch.setattr(progress, "GROUP_SECONDS", 0.0)
    told = []
    monkeypatch.setattr(progress.log, "warning", lambda line, **values: told.append((line, values["file"])))
    (folder / "sub/c.csv").write_text("no columns\n")
    with pytest.raises(SettingsError):
        run(folder)
    (folder / "sub/c.csv").write_text(text(2))
    with (folder / "b.csv").open("a") as file:
        file.write("2026-01-05T11:00:00Z,p,1\n")
    (folder / "a.csv").unlink()
    read.clear()
    counts, hours = run(folder)
    assert (counts["generated"], sorted(hours)) == (6, [0, 1, 2, 3, 4, 11])
    assert read == ["b.csv", "c.csv", "d.csv", "x [1].csv"]
    assert told == [
        ("recorded file has changed since an earlier try read it, and is read again", str(folder / "b.csv"))
    ]


def test_all_files_are_read_again_when_the_mapping_changed_between_tries(folder, run, read, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "GROUP_SECONDS", 0.0)
    (folder / "b.csv").write_text("no columns\n")
    with pytest.raises(SettingsError):
        run(folder)
    (folder / "b.csv").write_text(text(1))
    (tmp_path / "mapping.yaml").write_text(MAPPING + "missing: [7]")
    read.clear()
    run(folder)
    assert len(read) == 5


def test_a_later_run_reads_all_and_tells_which_files_grew_when_it_begins(folder, run, monkeypatch):
    told = []
    monkeypatch.setattr(progress.log, "info", lambda line, **values: told.append((line, values.get("file"))))
    run(folder)
    assert told == []
    with (folder / "b.csv").open("a") as file:
        file.write("2026-01-05T11:00:00Z,p,1\n")
    assert sorted(run(folder, "two")[1]) == [0, 1, 2, 3, 4, 11]
    assert told == [("recorded file has grown since an earlier run", str(folder / "b.csv"))]


def test_a_warning_tells_when_a_file_grew_while_it_was_read(folder, run, monkeypatch):
    told = []
    monkeypatch.setattr(progress.log, "warning", lambda line, **values: told.append(values["file"]))
    original = stage_module.file_readings

    def growing(found, *others):
        yield from original(found, *others)
        if found.name.endswith("a.csv"):
            Path(found.name).write_text(text(0) + text(1))

    monkeypatch.setattr(stage_module, "file_readings", growing)
    run(folder)
    assert told == [str(folder / "a.csv")]


def test_one_file_without_a_reading_is_told_when_others_have_some(folder, run, monkeypatch):
    told = []
    monkeypatch.setattr(stage_module.log, "warning", told.append)
    (folder / "b.csv").write_text(HEADER + "monday,p,1\n")
    assert run(folder)[0] == {"generated": 4, "rejected": 1}
    assert len(told) == 1
    assert "b.csv:2" in told[0]


def test_files_of_a_group_are_in_few_tables_when_they_are_small(folder, run, tmp_path):
    for hour in range(10):
        (folder / f"n{hour}.csv").write_text(text(hour))
    run(folder)
    assert len(list((tmp_path / "workspace").rglob("readings-*.parquet"))) == 1


def test_nothing_matches_is_one_clear_line_when_a_pattern_is_wrong(folder, run):
    with pytest.raises(SettingsError, match=r"\*.x: there is no file \(ETL_GENERATE_RECORDED_URL\)"):
        run(f"{folder}/*.x")


def test_tables_of_an_earlier_try_are_read_by_the_next_stage(folder, run, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "GROUP_SECONDS", 0.0)
    run(folder)
    names = sorted(path.name for path in (tmp_path / "workspace").rglob("readings-*.parquet"))
    assert names == [f"readings-{number:05}.parquet" for number in range(5)]
    assert pq.read_table(next((tmp_path / "workspace").rglob("readings-00003.parquet"))).num_rows == 1
