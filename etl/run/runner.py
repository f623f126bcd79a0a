"""Run one stage: find its input, run it in a new attempt, and commit the manifest last."""

import gc
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

import structlog
from pydantic_settings import BaseSettings

from etl.errors import TERMINATED, EtlError, SettingsError, Unreachable
from etl.model.measurements import Measurements, read_measurements
from etl.run.metrics import publish_metrics
from etl.run.workspace import (
    WHOLE,
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
    open_workspace,
    prune,
)
from etl.settings import STAGE_PARTS, RunSettings

STAGES = tuple(STAGE_PARTS)

log = structlog.get_logger("etl.stage")


@dataclass(frozen=True)
class Work:
    """The work of a stage: its input (None if it needs none) and its output."""

    workspace: Workspace
    measurements: Measurements
    source: Source | None
    output: Attempt

    @property
    def input(self) -> Source:
        """The input of a stage that needs one.

        Raises:
            Unreachable: the workspace shows none. The listing of an object store may lag behind, so a retry may help.
        """
        if self.source is None:
            raise Unreachable(
                f"run {self.workspace.run}: nothing to {self.output.stage}, the previous stage has not finished"
            )
        return self.source


@dataclass(frozen=True)
class Outcome:
    """The result of a stage: counts of readings by class, and the range of offsets.

    A `complaint` ends the stage with an exit code although its work is done and the next stage may begin.
    """

    counts: dict[str, int]
    offsets: Sequence[Range] = field(default_factory=tuple)
    complaint: EtlError | None = None


# Its arguments are its work and its settings.
Stage = Callable[..., Outcome]


def run_stage(name: str, stage: Stage, settings: RunSettings, *parts: BaseSettings) -> Manifest:
    """Run a stage with its settings unless an attempt of it has already finished; return the manifest.

    Raises:
        EtlError: the stage failed, and the next stage sees no output; or it is done, with a complaint.
    """
    # Stages create and drop tens of thousands of objects; frequent garbage collection took a third of the time.
    gc.set_threshold(1_000_000)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run_stage(name, lambda work: stage(work, *parts), settings)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_stage(name: str, stage: Callable[[Work], Outcome], settings: RunSettings) -> Manifest:
    measurements = read_measurements(settings.measurements_file)
    workspace = open_workspace(settings.workspace_url, settings.run_id, Shard(settings.shard, settings.shards))
    _check_shards(workspace, name)
    if finished := find_manifest(workspace, name):
        log.info("already done", stage=name, run=workspace.run, attempt=finished.summary.attempt)
        return finished
    source = _source(workspace, name)
    if source and source.manifest.measurements != measurements.sha256:
        raise SettingsError(f"run {workspace.run} began with another measurement file: start a new run")
    output = begin(workspace, name)
    part = {} if workspace.shard == WHOLE else {"shard": f"{settings.shard} of {settings.shards}"}
    log.info("started", stage=name, run=workspace.run, **part, attempt=output.name)
    try:
        outcome = stage(Work(workspace, measurements, source, output))
    except BaseException:
        discard(output)
        raise
    # The work is done. Ignore SIGTERM from here, so that the manifest is written.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    manifest = commit(output, measurements.sha256, outcome.counts, outcome.offsets, source.manifest if source else None)
    publish_metrics(manifest, settings)
    log.info("done", stage=name, run=workspace.run, seconds=manifest.summary.seconds, **outcome.counts)
    if name == STAGES[-1]:
        _prune(workspace, settings.keep_runs)
    if outcome.complaint:
        raise outcome.complaint
    return manifest


def _prune(workspace: Workspace, keep: int) -> None:
    try:
        for run in prune(workspace, STAGES[-1], keep):
            log.info("pruned", run=run)
    except (OSError, Unreachable) as error:
        log.warning("older runs not pruned", error=str(error))


def _source(workspace: Workspace, name: str) -> Source | None:
    position = STAGES.index(name)
    before = find_manifest(workspace, STAGES[position - 1]) if position else None
    return Source(workspace, before) if before else None


def _check_shards(workspace: Workspace, name: str) -> None:
    """Refuse another number of shards than that of finished attempts of this stage and the previous one."""
    position = STAGES.index(name)
    for stage in STAGES[max(0, position - 1) : position + 1]:
        for count in {shard.count for shard in find_shards(workspace, stage)} - {workspace.shard.count}:
            raise SettingsError(
                f"run {workspace.run} began with {count} shard(s), not {workspace.shard.count}: set ETL_SHARDS={count},"
                " or start a new run"
            )


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(TERMINATED)
