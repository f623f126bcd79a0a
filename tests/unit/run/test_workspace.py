import json
import time
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import DeliveryError, SettingsError, Unreachable
from etl.run.workspace import (
    Attempt,
    Manifest,
    Range,
    Shard,
    Source,
    Workspace,
    begin,
    commit,
    discard,
    find_manifest,
    find_shards,
    once,
    open_workspace,
    prune,
)

TABLE = pa.table({"equipment_id": ["a", "b", "a"], "voltage": [1.5, None, 2.5]})
OFFSETS = [Range("topic", 0, None, 3, 9), Range("topic", 1, 4, 4, 4)]


@pytest.fixture(params=["folder", "object store"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    url = str(tmp_path / "space") if request.param == "folder" else f"memory://{uuid4()}"
    return open_workspace(url, "run-1")


def finish(workspace: Workspace, stage: str = "consume", before: Manifest | None = None) -> tuple[Attempt, Manifest]:
    attempt = begin(workspace, stage)
    attempt.write("readings", TABLE)
    attempt.write("readings", TABLE.slice(0, 1))
    attempt.write("dead-letters", TABLE.slice(0, 2))
    return attempt, commit(attempt, "hash", {"consumed": 4}, OFFSETS, before)


def test_manifest_is_found_as_written_when_an_attempt_is_committed(workspace: Workspace) -> None:
    _, manifest = finish(workspace)
    found = find_manifest(workspace, "consume")
    assert found == manifest
    assert found.names("readings") == ["readings-00000.parquet", "readings-00001.parquet"]
    assert (found.rows("readings"), found.rows("dead-letters"), found.rows("rows")) == (4, 2, 0)
    assert found.summary.offsets == OFFSETS
    assert found.summary.versions["pyarrow"] == pa.__version__


def test_tables_are_equal_when_read_back(workspace: Workspace) -> None:
    _, manifest = finish(workspace)
    tables = list(Source(workspace, manifest).tables("readings"))
    assert tables == [TABLE, TABLE.slice(0, 1)]


def test_nothing_is_found_when_an_attempt_is_not_committed(workspace: Workspace) -> None:
    begin(workspace, "consume").write("readings", TABLE)
    assert find_manifest(workspace, "consume") is None


def test_nothing_is_found_when_nothing_was_written(workspace: Workspace) -> None:
    assert find_manifest(workspace, "consume") is None


def test_manifest_of_another_run_or_stage_is_not_found_when_one_exists(workspace: Workspace) -> None:
    finish(workspace, "consume")
    assert find_manifest(workspace, "transform") is None
    assert find_manifest(Workspace(workspace.files, workspace.root, "run-2"), "consume") is None


def test_first_attempt_counts_when_two_finish(workspace: Workspace) -> None:
    _, first = finish(workspace)
    finish(workspace)
    assert find_manifest(workspace, "consume") == first


def test_history_grows_when_stages_follow(workspace: Workspace) -> None:
    _, consumed = finish(workspace, "consume")
    _, transformed = finish(workspace, "transform", consumed)
    _, loaded = finish(workspace, "load", transformed)
    assert [summary.stage for summary in loaded.history] == ["consume", "transform"]
    found = find_manifest(workspace, "load")
    assert found
    assert found.history == [consumed.summary, transformed.summary]


@pytest.mark.parametrize("damage", [b"", b"other bytes", None])
def test_reading_fails_when_a_file_is_not_what_the_manifest_says(workspace: Workspace, damage: bytes | None) -> None:
    attempt, manifest = finish(workspace)
    path = f"{workspace.root}/run-1/consume/{attempt.name}/readings-00001.parquet"
    if damage is None:
        workspace.files.rm(path)
    else:
        workspace.files.pipe_file(path, damage)
    source = Source(workspace, manifest)
    assert source.read("readings-00000.parquet") == TABLE
    with pytest.raises(DeliveryError, match=r"readings-00001\.parquet is missing or differs"):
        source.read("readings-00001.parquet")


def test_reading_fails_when_the_manifest_does_not_name_a_file(workspace: Workspace) -> None:
    _, manifest = finish(workspace)
    with pytest.raises(DeliveryError, match="not in the manifest"):
        Source(workspace, manifest).read("readings-00002.parquet")


def test_first_value_stays_when_stored_again(workspace: Workspace) -> None:
    assert once(workspace, "consume", "offsets.json", lambda: b"first") == b"first"
    assert once(workspace, "consume", "offsets.json", lambda: b"second") == b"first"
    assert find_manifest(workspace, "consume") is None


def test_attempt_leaves_nothing_when_discarded(workspace: Workspace) -> None:
    attempt = begin(workspace, "consume")
    attempt.write("readings", TABLE)
    discard(attempt)
    assert not workspace.files.glob(f"{workspace.root}/run-1/consume/*/*")
    discard(begin(workspace, "consume"))


def test_half_a_file_goes_too_when_an_attempt_is_discarded(tmp_path: Path) -> None:
    attempt = begin(open_workspace(str(tmp_path), "run-1"), "consume")
    folder = tmp_path / "run-1" / "consume" / attempt.name
    folder.mkdir(parents=True)
    (folder / "readings-00000.parquet.part").write_bytes(b"half")
    discard(attempt)
    assert not folder.exists()


def test_newest_finished_runs_stay_when_pruned(workspace: Workspace) -> None:
    runs = [Workspace(workspace.files, workspace.root, f"run-{name}") for name in ("z", "y", "x", "w")]
    for run in runs[:3]:
        finish(run, "load")
    finish(runs[3], "consume")
    assert prune(workspace, "load", 1) == ["run-y", "run-z"]
    assert find_manifest(runs[0], "load") is None
    assert find_manifest(runs[2], "load")
    assert find_manifest(runs[3], "consume")
    assert prune(workspace, "load", 1) == []


def test_unfinished_run_goes_when_newer_ones_have_finished_and_it_is_a_day_old(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    for run, hours, stage in (
        ("failed-long-ago", 80, "consume"),
        ("finished-long-ago", 70, "load"),
        ("kept", 60, "load"),
        ("failed", 50, "consume"),
        ("failed-of-late", 2, "consume"),
        ("kept-too", 1, "load"),
    ):
        monkeypatch.setattr("etl.run.workspace.time.time", lambda hours=hours: now - hours * 3600)
        finish(Workspace(workspace.files, workspace.root, run), stage)
    monkeypatch.setattr("etl.run.workspace.time.time", lambda: now)
    assert prune(workspace, "load", 4) == []
    assert prune(workspace, "load", 2) == ["finished-long-ago", "failed-long-ago"]
    assert prune(workspace, "load", 1) == ["kept", "failed"]
    assert find_manifest(Workspace(workspace.files, workspace.root, "failed-of-late"), "consume")


def in_shard(workspace: Workspace, run: str, shard: int, shards: int = 3) -> Workspace:
    return Workspace(workspace.files, workspace.root, run, Shard(shard, shards))


def test_shards_share_nothing_when_they_write_the_same_stage(workspace: Workspace) -> None:
    first, second = in_shard(workspace, "run-1", 0), in_shard(workspace, "run-1", 1)
    _, manifest = finish(first)
    assert once(first, "consume", "range.json", lambda: b"first") == b"first"
    assert find_manifest(first, "consume") == manifest
    assert (manifest.summary.shard, manifest.summary.shards) == (0, 3)
    assert list(Source(first, manifest).tables("readings")) == [TABLE, TABLE.slice(0, 1)]
    assert once(second, "consume", "range.json", lambda: b"second") == b"second"
    for other in (second, workspace, in_shard(workspace, "run-1", 0, 2)):
        assert find_manifest(other, "consume") is None


def test_shards_are_found_when_they_have_finished(workspace: Workspace) -> None:
    assert find_shards(workspace, "consume") == set()
    finish(in_shard(workspace, "run-1", 2))
    finish(in_shard(workspace, "run-2", 1))
    begin(in_shard(workspace, "run-1", 0), "consume").write("readings", TABLE)
    assert find_shards(workspace, "consume") == {Shard(2, 3)}
    finish(workspace)
    assert find_shards(workspace, "consume") == {Shard(2, 3), Shard(0, 1)}


def test_run_is_pruned_when_all_of_its_shards_have_finished(workspace: Workspace) -> None:
    for run, shards in (("old", (0, 1, 2)), ("part", (0, 2)), ("new", (2, 1, 0))):
        for shard in shards:
            finish(in_shard(workspace, run, shard), "load")
    assert prune(workspace, "load", 1) == ["old"]
    assert find_shards(in_shard(workspace, "old", 0), "load") == set()
    assert len(find_shards(in_shard(workspace, "part", 0), "load")) == 2
    assert len(find_shards(in_shard(workspace, "new", 0), "load")) == 3


def test_nothing_is_pruned_when_the_workspace_is_new(workspace: Workspace) -> None:
    assert prune(workspace, "load", 1) == []


@pytest.mark.parametrize("run", ["", ".", "..", "../up", "a/b", "-x", "a b", "x" * 201])
def test_run_is_refused_when_its_name_is_no_folder_name(tmp_path: Path, run: str) -> None:
    with pytest.raises(SettingsError, match="ETL_RUN_ID"):
        open_workspace(str(tmp_path), run)


def test_run_is_accepted_when_airflow_named_it(tmp_path: Path) -> None:
    assert open_workspace(str(tmp_path), "scheduled__2026-01-05T06:00:00+00:00").run


def test_message_names_the_setting_when_the_url_has_no_such_protocol() -> None:
    with pytest.raises(SettingsError, match="ETL_WORKSPACE_URL"):
        open_workspace("nowhere://x", "run-1")


@pytest.mark.parametrize("url", ["s3:/key:secr3t@bucket/runs", "s3:bucket/runs", "s3://bad bucket!/runs", "s3:///runs"])
def test_workspace_is_refused_when_its_url_names_no_bucket(url: str) -> None:
    with pytest.raises(SettingsError, match="ETL_WORKSPACE_URL") as caught:
        open_workspace(url, "run-1")
    assert "secr3t" not in str(caught.value)


def test_message_is_one_line_when_the_workspace_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    workspace = open_workspace(str(tmp_path / "file"), "run-1")
    with pytest.raises(Unreachable, match="workspace cannot be written") as caught:
        begin(workspace, "consume").write("readings", TABLE)
    assert "\n" not in str(caught.value)


def test_manifest_is_plain_json_when_committed(tmp_path: Path) -> None:
    workspace = open_workspace(str(tmp_path), "run-1")
    attempt, manifest = finish(workspace)
    raw = json.loads((tmp_path / "run-1" / "consume" / attempt.name / "manifest.json").read_text())
    assert raw["run"] == "run-1"
    assert raw["files"][0].keys() == {"name", "size", "sha256", "rows", "folder"}
    assert raw["summary"]["offsets"][0] == {
        "topic": "topic",
        "partition": 0,
        "committed": None,
        "begin": 3,
        "end": 9,
        "left": 0,
    }
    assert manifest.measurements == raw["measurements"] == "hash"


@given(st.lists(st.tuples(st.text(), st.one_of(st.none(), st.floats(allow_nan=False))), max_size=50))
def test_any_table_is_equal_when_read_back(readings: list[tuple[str, float | None]]) -> None:
    workspace = open_workspace(f"memory://{uuid4()}", "run-1")
    table = pa.table(
        {
            "equipment_id": pa.array([name for name, _ in readings], pa.string()),
            "voltage": pa.array([value for _, value in readings], pa.float64()),
        }
    )
    attempt = begin(workspace, "consume")
    file = attempt.write("readings", table)
    manifest = commit(attempt, "hash", {}, [], None)
    assert file.rows == len(readings)
    assert Source(workspace, manifest).read(file.name) == table
