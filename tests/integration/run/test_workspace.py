"""The workspace on an S3-like store: no rename, no folders, no append."""

import secrets
from collections.abc import Iterator

import boto3
import fsspec
import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer

from etl.errors import DeliveryError
from etl.run.workspace import Source, Workspace, begin, commit, discard, find_manifest, once, open_workspace, prune

TABLE = pa.table({"equipment_id": ["pump-1", "pump-2"], "voltage": [230.0, None]})


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    bucket = f"plant-{secrets.token_hex(4)}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    yield f"s3://{bucket}/workspace"
    server.stop()


def finished(workspace: Workspace, stage: str) -> None:
    attempt = begin(workspace, stage)
    attempt.write("rows", TABLE)
    commit(attempt, "hash", {"loaded": 2}, [], None)


def test_attempt_exists_for_others_when_it_is_committed_to_an_object_store(store: str) -> None:
    workspace = open_workspace(store, "run-1")
    attempt = begin(workspace, "generate")
    attempt.write("readings", TABLE)
    assert find_manifest(open_workspace(store, "run-1"), "generate") is None
    commit(attempt, "hash", {"generated": 2}, [], None)
    manifest = find_manifest(open_workspace(store, "run-1"), "generate")
    assert manifest
    assert [table.to_pylist() for table in Source(workspace, manifest).tables("readings")] == [TABLE.to_pylist()]


def test_file_is_refused_when_the_object_was_changed(store: str) -> None:
    workspace = open_workspace(store, "run-1")
    finished(workspace, "transform")
    manifest = find_manifest(workspace, "transform")
    assert manifest
    (path,) = workspace.files.glob(f"{workspace.root}/run-1/transform/*/rows-00000.parquet")
    workspace.files.pipe_file(path, b"other")
    with pytest.raises(DeliveryError, match="differs"):
        Source(workspace, manifest).read("rows-00000.parquet")


def test_first_value_stays_when_a_retry_would_store_another(store: str) -> None:
    workspace = open_workspace(store, "run-1")
    assert once(workspace, "consume", "range.json", lambda: b"first") == b"first"
    assert once(open_workspace(store, "run-1"), "consume", "range.json", lambda: b"second") == b"first"


def test_discarded_attempt_leaves_nothing_when_it_had_files(store: str) -> None:
    workspace = open_workspace(store, "run-1")
    attempt = begin(workspace, "generate")
    attempt.write("readings", TABLE)
    discard(attempt)
    assert workspace.files.find(workspace.root) == []


def test_older_runs_go_when_newer_ones_have_finished(store: str) -> None:
    for run in ("run-1", "run-2", "run-3"):
        finished(open_workspace(store, run), "load")
    assert prune(open_workspace(store, "run-3"), "load", 2) == ["run-1"]
    assert find_manifest(open_workspace(store, "run-1"), "load") is None
    assert find_manifest(open_workspace(store, "run-2"), "load")
