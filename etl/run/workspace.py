"""The workspace of a run: `<url>/<run>/<stage>/<attempt>/` with Parquet files and a manifest written last.

If a run has several shards, it is `<url>/<run>/<stage>/<shard>-of-<shards>/<attempt>/`, with a chain of manifests each.
Object stores have no rename, so the manifest is the commit point: readers ignore files without one.
"""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from etl.errors import DeliveryError, SettingsError, Unreachable
from etl.urls import scheme_without_slashes, shown, without_secrets

MANIFEST = "manifest.json"
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+@=-]{0,199}")
_ATTEMPT = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{6}")
# The rule of botocore, which says so only at the first request.
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:.+")
_SHARD = re.compile(r"(\d+)-of-(\d+)")
# Threads cost more than they save if a file has fewer rows.
FEW_ROWS = 10_000
_VERSIONED = ("sensor-etl", "pyarrow", "pandas", "kafka-python", "confluent-kafka", "cassandra-driver")


@dataclass(frozen=True)
class File:
    """A file of an attempt: its size in bytes and, for Parquet, its rows.

    `folder` is the attempt that holds it, if that is another one than that of the manifest.
    """

    name: str
    size: int
    sha256: str
    rows: int = 0
    folder: str = ""

    @property
    def kind(self) -> str:
        """The kind of the content (`readings`, `rows`, ...): the name up to the number."""
        return self.name.rsplit("-", 1)[0]


@dataclass(frozen=True)
class Range:
    """The offsets [begin, end) of one partition; `committed` is the group's offset at the start, None if none.

    `left` is the number of offsets after the end that a cap leaves to the next run.
    """

    topic: str
    partition: int
    committed: int | None
    begin: int
    end: int
    left: int = 0


def topics_of(ranges: Sequence[Range]) -> list[str]:
    """Return the topics of ranges, each once, in order: the place of a topic is its number in the files of a run."""
    return list(dict.fromkeys(part.topic for part in ranges))


@dataclass(frozen=True)
class Summary:
    """The summary of a finished stage, or of a shard of it, for the ledger (`runs`).

    `unknown` counts the elements by field that no mapping and no measurement names.
    """

    stage: str
    attempt: str
    started: str
    seconds: float
    counts: dict[str, int]
    offsets: list[Range]
    versions: dict[str, str]
    shard: int = 0
    shards: int = 1
    unknown: dict[str, int] = field(default_factory=dict)

    @property
    def part(self) -> "Shard":
        """The shard."""
        return Shard(self.shard, self.shards)


@dataclass(frozen=True)
class Manifest:
    """The whole output of one attempt, and the summaries of the previous stages, oldest first."""

    run: str
    summary: Summary
    measurements: str
    files: list[File]
    history: list[Summary] = field(default_factory=list)

    def names(self, kind: str) -> list[str]:
        """Return the files of one kind (`readings`, `rows`, ...), in order."""
        return sorted(file.name for file in self.files if file.kind == kind)

    def rows(self, kind: str) -> int:
        """Return the number of rows in the files of one kind."""
        return sum(file.rows for file in self.files if file.kind == kind)


@dataclass(frozen=True, order=True)
class Shard:
    """Shard number `index`, from 0, of `count` shards of a run."""

    index: int = 0
    count: int = 1

    def has(self, number: int) -> bool:
        """Return whether the partition with this number, or the machine at this position, belongs to the shard."""
        return number % self.count == self.index


WHOLE = Shard()


@dataclass(frozen=True)
class Workspace:
    """The folder of a run for one shard; `files` is its fsspec filesystem."""

    files: Any
    root: str
    run: str
    shard: Shard = WHOLE


def open_workspace(url: str, run: str, shard: Shard = WHOLE) -> Workspace:
    """Open the workspace of a run; create nothing yet.

    Raises:
        SettingsError: the URL or the name of the run cannot be used.
    """
    if not _RUN.fullmatch(run):
        raise SettingsError(f"run ID {run!r}: use letters, digits and ._:+@=-, at most 200 (ETL_RUN_ID)")
    if scheme := scheme_without_slashes(url):
        # Such a URL would be a folder of the pod, whose files end with it.
        raise SettingsError(f"workspace {shown(url)!r}: write {scheme}:// with two slashes (ETL_WORKSPACE_URL)")
    try:
        files, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError, OSError) as error:
        reason = without_secrets(str(error), [url])
        raise SettingsError(f"workspace {shown(url)!r} cannot be opened: {reason} (ETL_WORKSPACE_URL)") from error
    if "s3" in files.protocol and not _BUCKET.fullmatch(root.partition("/")[0]):
        raise SettingsError(f"workspace {shown(url)!r}: this is no name of a bucket (ETL_WORKSPACE_URL)")
    return Workspace(files, root.rstrip("/"), run, shard)


def _path(workspace: Workspace, stage: str, *parts: str) -> str:
    shard = workspace.shard
    folder = [] if shard == WHOLE else [f"{shard.index}-of-{shard.count}"]
    return "/".join((workspace.root, workspace.run, stage, *folder, *parts))


def _write(workspace: Workspace, path: str, data: bytes) -> None:
    try:
        workspace.files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        # A crash may leave half a file in a local folder; an object store stores the whole file or nothing.
        if isinstance(workspace.files, LocalFileSystem):
            workspace.files.pipe_file(f"{path}.part", data)
            workspace.files.mv(f"{path}.part", path)
        else:
            workspace.files.pipe_file(path, data)
    except OSError as error:
        raise Unreachable(f"workspace cannot be written: {error}") from error


def _read(workspace: Workspace, path: str) -> bytes | None:
    try:
        return bytes(workspace.files.cat_file(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreachable(f"workspace cannot be read: {error}") from error


def once(workspace: Workspace, stage: str, name: str, make: Callable[[], bytes]) -> bytes:
    """Return the value that the first attempt of a stage stored under a name; create and store it if there is none."""
    path = _path(workspace, stage, name)
    stored = _read(workspace, path)
    if stored is None:
        stored = make()
        _write(workspace, path, stored)
    return stored


def find(workspace: Workspace, stage: str, name: str) -> bytes | None:
    """Return the value that `once` stored, None if there is none."""
    return _read(workspace, _path(workspace, stage, name))


def store(workspace: Workspace, stage: str, name: str, data: bytes) -> None:
    """Store a value under a name for later attempts; it replaces the one before."""
    _write(workspace, _path(workspace, stage, name), data)


def earlier(workspace: Workspace, stage: str, name: str) -> Iterator[bytes]:
    """Yield the values under a name of the other runs, in all of their shards."""
    try:
        paths = workspace.files.glob(f"{workspace.root}/*/{stage}/**/{name}")
    except OSError as error:
        raise Unreachable(f"workspace cannot be read: {error}") from error
    for path in paths:
        if not path.startswith(f"{workspace.root}/{workspace.run}/") and (data := _read(workspace, path)):
            yield data


def find_manifest(workspace: Workspace, stage: str) -> Manifest | None:
    """Return the manifest of the first finished attempt of a stage in this shard, None if there is none."""
    found = _finished(workspace, workspace.run, stage)
    for attempt in sorted(attempt for _, shard, attempt in found if shard == workspace.shard):
        if data := _read(workspace, _path(workspace, stage, attempt, MANIFEST)):
            return _manifest(json.loads(data))
    return None


def find_manifests(workspace: Workspace, stage: str) -> list[Manifest]:
    """Return the manifests of a stage in all other runs and shards, the oldest attempt first."""
    found = sorted((attempt, run, shard) for run, shard, attempt in _finished(workspace, "*", stage))
    manifests = []
    for attempt, run, shard in found:
        other = replace(workspace, run=run, shard=shard)
        if run != workspace.run and (data := _read(other, _path(other, stage, attempt, MANIFEST))):
            manifests.append(_manifest(json.loads(data)))
    return manifests


def find_shards(workspace: Workspace, stage: str) -> set[Shard]:
    """Return the shards in which a stage of the run has finished."""
    return {shard for _, shard, _ in _finished(workspace, workspace.run, stage)}


def _finished(workspace: Workspace, run: str, stage: str) -> Iterator[tuple[str, Shard, str]]:
    """Yield run, shard and name of each finished attempt of a stage; `run` may be a pattern."""
    try:
        paths = workspace.files.glob(f"{workspace.root}/{run}/{stage}/**/{MANIFEST}")
    except OSError as error:
        raise Unreachable(f"workspace cannot be read: {error}") from error
    for path in paths:
        *before, attempt, _ = path.split("/")
        if named := _SHARD.fullmatch(before[-1]):
            yield before[-3], Shard(int(named[1]), int(named[2])), attempt
        else:
            yield before[-2], WHOLE, attempt


def _summary(raw: dict[str, Any]) -> Summary:
    return Summary(**{**raw, "offsets": [Range(**item) for item in raw["offsets"]]})


def _manifest(raw: dict[str, Any]) -> Manifest:
    return Manifest(
        run=raw["run"],
        summary=_summary(raw["summary"]),
        measurements=raw["measurements"],
        files=[File(**item) for item in raw["files"]],
        history=[_summary(item) for item in raw["history"]],
    )


@dataclass(frozen=True)
class Source:
    """The output of the previous stage, according to its manifest."""

    workspace: Workspace
    manifest: Manifest

    def read(self, name: str) -> pa.Table:
        """Read a Parquet file of the manifest.

        Raises:
            DeliveryError: the file is missing or does not match the manifest.
        """
        file = next((file for file in self.manifest.files if file.name == name), None)
        if file is None:
            raise DeliveryError(f"{name} is not in the manifest of {self.manifest.summary.stage}")
        attempt = file.folder or self.manifest.summary.attempt
        path = _path(self.workspace, self.manifest.summary.stage, attempt, name)
        data = _read(self.workspace, path)
        if data is None or len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
            raise DeliveryError(f"{path} is missing or differs from its manifest: start a new run")
        threads = file.rows > FEW_ROWS
        return pq.ParquetFile(pa.BufferReader(data), pre_buffer=threads).read(use_threads=threads)

    def tables(self, kind: str) -> Iterator[pa.Table]:
        """Read the files of one kind, one at a time, in order."""
        for name in self.manifest.names(kind):
            yield self.read(name)


@dataclass(frozen=True)
class Attempt:
    """The output of a running stage; others ignore it before `commit`."""

    workspace: Workspace
    stage: str
    name: str
    started: float
    files: list[File]
    unknown: dict[str, int] = field(default_factory=dict)

    def write(self, kind: str, table: pa.Table, *, elsewhere: bool = False) -> File:
        """Write one Parquet file `<kind>-NNNNN.parquet`, at most one chunk; `elsewhere`: for another's manifest."""
        number = sum(file.kind == kind for file in self.files)
        sink = pa.BufferOutputStream()
        # Doubles and timestamps rarely repeat, so only text benefits from a dictionary.
        texts = [column.name for column in table.schema if pa.types.is_string(column.type)]
        pq.write_table(table, sink, compression="lz4", use_dictionary=texts, write_statistics=False)
        data = sink.getvalue()
        folder = self.name if elsewhere else ""
        name = f"{kind}-{number:05d}.parquet"
        file = File(name, data.size, hashlib.sha256(data).hexdigest(), table.num_rows, folder)
        _write(self.workspace, _path(self.workspace, self.stage, self.name, file.name), data.to_pybytes())
        self.files.append(file)
        return file


def begin(workspace: Workspace, stage: str) -> Attempt:
    """Begin an attempt with a unique name, so that two concurrent attempts never share a file."""
    now = time.time()
    return Attempt(workspace, stage, f"{_stamp(now)}-{secrets.token_hex(3)}", now, [])


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def commit(
    attempt: Attempt, measurements: str, counts: dict[str, int], offsets: Sequence[Range], before: Manifest | None
) -> Manifest:
    """Write the manifest; now the output of the attempt exists."""
    summary = Summary(
        stage=attempt.stage,
        attempt=attempt.name,
        started=datetime.fromtimestamp(attempt.started, UTC).isoformat(timespec="milliseconds"),
        seconds=round(time.time() - attempt.started, 3),
        counts=counts,
        offsets=list(offsets),
        versions=versions(),
        shard=attempt.workspace.shard.index,
        shards=attempt.workspace.shard.count,
        unknown=attempt.unknown,
    )
    history = [] if before is None else [*before.history, before.summary]
    manifest = Manifest(attempt.workspace.run, summary, measurements, list(attempt.files), history)
    path = _path(attempt.workspace, attempt.stage, attempt.name, MANIFEST)
    _write(attempt.workspace, path, json.dumps(manifest, default=vars).encode())
    return manifest


@cache
def versions() -> dict[str, str]:
    """Return the versions that may explain a difference between two runs; reading them takes tens of milliseconds."""
    found = {}
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except ImportError:
            continue
    return found


def discard(attempt: Attempt) -> None:
    """Remove the files of a failed attempt."""
    with suppress(FileNotFoundError):
        attempt.workspace.files.rm(_path(attempt.workspace, attempt.stage, attempt.name), recursive=True)


def prune(workspace: Workspace, last_stage: str, keep: int) -> list[str]:
    """Remove old finished runs (the last stage has a manifest in each shard); keep the newest; return removed names.

    Unfinished runs are also removed if as many newer runs have finished, and no stage of them began for a day.
    """
    finished: dict[str, dict[Shard, str]] = {}
    for run, shard, attempt in _finished(workspace, "*", last_stage):
        attempts = finished.setdefault(run, {})
        attempts[shard] = max(attempt, attempts.get(shard, ""))
    newest = {run: max(attempts.values()) for run, attempts in finished.items() if _complete(set(attempts))}
    old = sorted(newest, key=newest.__getitem__, reverse=True)[keep:]
    if kept := sorted(newest.values(), reverse=True)[keep - 1 : keep]:
        yesterday = _stamp(time.time() - 86_400)
        last = _last_attempts(workspace)
        old += sorted(run for run in set(last) - set(newest) if last[run] < min(kept[0], yesterday))
    for run in old:
        # Another shard may remove the same run.
        with suppress(FileNotFoundError):
            workspace.files.rm(f"{workspace.root}/{run}", recursive=True)
    return old


def _last_attempts(workspace: Workspace) -> dict[str, str]:
    """Return the newest attempt of each run, finished or not."""
    last: dict[str, str] = {}
    for path in workspace.files.find(workspace.root):
        run, *parts = path.removeprefix(f"{workspace.root}/").split("/")
        for attempt in filter(_ATTEMPT.fullmatch, parts):
            last[run] = max(attempt, last.get(run, ""))
    return last


def _complete(shards: set[Shard]) -> bool:
    return any(all(Shard(index, one.count) in shards for index in range(one.count)) for one in shards)
