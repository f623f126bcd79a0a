"""Recorded files that are read: their output stays if the stage crashes, and the next try does not read them again.

The output of several files together is kept once it has the size of a chunk, so that many small files make few objects.
`recorded.json` in the folder of the stage lists it, and is written after it.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import structlog

from etl.model.schemas import CHUNK_BYTES, CHUNK_ROWS
from etl.run.workspace import Attempt, File, Workspace, begin, discard, earlier, find, store
from etl.stages.generate.listing import changed
from etl.stages.generate.opening import Found

STATE = "recorded.json"
GROUP_SECONDS = 10.0
_STAGE = "generate"

log = structlog.get_logger("etl.recorded")


@dataclass
class Progress:
    """The output of finished files, and of the group of files at hand."""

    workspace: Workspace
    inputs: str
    output: Attempt
    groups: list[dict[str, Any]] = field(default_factory=list)
    read: list[Found] = field(default_factory=list)
    waiting: dict[str, list[pa.Table]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    began: float = field(default_factory=time.monotonic)
    files: int = 0

    @property
    def done(self) -> set[str]:
        """The names of the files whose output is kept."""
        return {entry["name"] for group in self.groups for entry in group["read"]}

    @property
    def total(self) -> Counter[str]:
        """The counts of all files."""
        return sum((Counter(group["counts"]) for group in self.groups), Counter[str]())


def resume(workspace: Workspace, inputs: str, listed: Sequence[Found]) -> Progress:
    """Begin, or go on behind the files that an earlier try has finished with the same inputs.

    A file that has changed since is read again, with those that were kept together with it.

    Args:
        workspace: that of the run and shard.
        inputs: identifies all that determines the readings of a file besides its content.
        listed: the files as they are now.
    """
    progress = Progress(workspace, inputs, begin(workspace, _STAGE))
    stored = json.loads(find(workspace, _STAGE, STATE) or b"{}")
    now = {each.name: each for each in listed}
    if stored.get("inputs") == inputs:
        progress.groups = [group for group in stored["groups"] if not _tell_changes(group, now)]
    progress.output.files.extend(File(**file) for group in progress.groups for file in group["files"])
    progress.files = len(progress.output.files)
    if progress.groups:
        log.info("files of an earlier try are not read again", files=len(progress.done))
    return progress


@contextmanager
def undone(progress: Progress) -> Iterator[None]:
    """After an error remove the output of this try if none of it is kept."""
    before = len(progress.groups)
    try:
        yield
    except BaseException:
        if len(progress.groups) == before:
            discard(progress.output)
        raise


def _tell_changes(group: dict[str, Any], now: dict[str, Found]) -> bool:
    others = [entry for entry in group["read"] if entry["name"] in now and _stamp(now[entry["name"]]) != entry]
    for entry in others:
        log.warning(
            "recorded file has changed since an earlier try read it, and is read again",
            file=entry["name"],
            size=now[entry["name"]].size,
            size_before=entry["size"],
        )
    return bool(others)


def tell_earlier_runs(workspace: Workspace, listed: Sequence[Found]) -> None:
    """Log the files that have changed since the newest run that read them; all of them are read again."""
    seen: dict[str, dict[str, Any]] = {}
    states = [json.loads(data) for data in earlier(workspace, _STAGE, STATE)]
    for state in sorted(states, key=lambda state: float(state["written"])):
        seen |= {entry["name"]: entry for group in state["groups"] for entry in group["read"]}
    for found in listed:
        before = seen.get(found.name)
        if before and found.size is not None and _stamp(found) != before:
            verb = "has grown" if found.size > (before["size"] or 0) else "has changed"
            log.info(f"recorded file {verb} since an earlier run", file=found.name, size=found.size)


def _stamp(found: Found) -> dict[str, Any]:
    return {"name": found.name, "size": found.size, "version": found.version}


def add(progress: Progress, kind: str, table: pa.Table) -> None:
    """Add rows of the file at hand; write them as soon as they are a chunk."""
    waiting = progress.waiting.setdefault(kind, [])
    if not _fits(waiting, table):
        _flush(progress, kind)
    if len(table):
        waiting.append(table)
        progress.rows += len(table)


def finish_file(progress: Progress, found: Found, counts: Counter[str], *, last: bool) -> None:
    """Finish a file; keep it, and the others of its group, if they are enough or it is the last one."""
    if now := changed(found):
        log.warning(
            "recorded file changed while it was read: the next run reads it whole", file=found.name, size=now.size
        )
    progress.read.append(found)
    progress.counts.update(counts)
    if last or progress.rows >= CHUNK_ROWS or time.monotonic() - progress.began >= GROUP_SECONDS:
        _keep(progress)


def _keep(progress: Progress) -> None:
    for kind in list(progress.waiting):
        _flush(progress, kind)
    files = progress.output.files[progress.files :]
    progress.groups.append(
        {
            "read": [_stamp(found) for found in progress.read],
            "files": [asdict(file) for file in files],
            "counts": dict(progress.counts),
        }
    )
    state = {"inputs": progress.inputs, "written": time.time(), "groups": progress.groups}
    store(progress.workspace, _STAGE, STATE, json.dumps(state).encode())
    progress.files = len(progress.output.files)
    progress.read, progress.rows, progress.began = [], 0, time.monotonic()
    progress.counts.clear()


def _fits(tables: list[pa.Table], more: pa.Table) -> bool:
    rows, size = sum(map(len, [*tables, more])), sum(table.nbytes for table in [*tables, more])
    return bool(rows <= CHUNK_ROWS and size <= CHUNK_BYTES)


def _flush(progress: Progress, kind: str) -> None:
    if tables := progress.waiting.get(kind):
        progress.output.write(kind, pa.concat_tables(tables), elsewhere=True)
        tables.clear()
