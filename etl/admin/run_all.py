"""`etl run`: check everything, run one process per stage, then show a table of the results."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType

import structlog

from etl.admin.doctor import check_all, worst
from etl.errors import DONE, TERMINATED, NothingNew, SettingsError
from etl.run.runner import STAGES
from etl.run.workspace import Workspace, find_manifest, open_workspace
from etl.settings import RunSettings, read_settings
from etl.terminal import print_table, written
from etl.urls import shown

INTERRUPTED = 130
_LARGEST_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes

log = structlog.get_logger("etl.run")


@dataclass(frozen=True)
class Process:
    """The end of a stage's process: exit code, seconds of wall-clock time, peak resident memory in bytes."""

    stage: str
    code: int
    seconds: float
    peak_rss: int


def new_run_id() -> str:
    """Return a run ID that sorts by time: UTC to the second, and a random part."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def run_stages(run_id: str | None = None) -> int:
    """Run all unfinished stages of a run; return the exit code of the last one.

    Raises:
        SettingsError: a setting is wrong; no stage was started.
    """
    settings = read_settings(RunSettings, run_id=run_id or os.environ.get("ETL_RUN_ID") or new_run_id())
    if settings.shards > 1:
        raise SettingsError("`etl run` does a run in one shard: unset ETL_SHARDS, or start the stages of each shard")
    workspace = open_workspace(settings.workspace_url, settings.run_id)
    problems = [check for check in check_all(patient=True) if check.state != "ok"]
    for check in problems:
        (log.error if check.state == "fail" else log.warning)(f"{check.what}: {check.text}")
    if code := worst(problems):
        return code
    log.info("run", run=settings.run_id, workspace=shown(settings.workspace_url))
    started = time.monotonic()
    with _passing_signals_on() as ending:
        processes: list[Process] = []
        for stage in STAGES:
            if find_manifest(workspace, stage):
                log.info("already done", stage=stage, run=settings.run_id)
                continue
            processes.append(_run_process(stage, settings.run_id, ending))
            # A stage may be done and still have a complaint about its input.
            if ending.code or (processes[-1].code and not find_manifest(workspace, stage)):
                break
    _print(workspace, processes, time.monotonic() - started)
    last = processes[-1] if processes else Process(STAGES[-1], DONE, 0, 0)
    if last.code == NothingNew.exit_code:
        log.info("the topic holds nothing new, the run ends here", run=settings.run_id)
    elif ending.code or (last.code and not find_manifest(workspace, last.stage)):
        log.warning(
            f"{last.stage} ended the run; `etl run --run {settings.run_id}` continues it",
            code=ending.code or last.code,
        )
    return ending.code or _exit_code(processes)


def _exit_code(processes: list[Process]) -> int:
    """Return the code of the last failure; a complaint has priority over "nothing new"."""
    codes = [process.code for process in processes if process.code] or [DONE]
    return next((code for code in reversed(codes) if code != NothingNew.exit_code), codes[-1])


@dataclass
class _Ending:
    """The current process, and the exit code that a signal requested."""

    process: subprocess.Popen[bytes] | None = None
    code: int = 0


@contextmanager
def _passing_signals_on() -> Iterator[_Ending]:
    """Forward SIGTERM and SIGINT to the running stage, then end the run."""
    ending = _Ending()

    def end(received: int, _: FrameType | None) -> None:
        ending.code = INTERRUPTED if received == signal.SIGINT else TERMINATED
        if ending.process and ending.process.returncode is None:
            ending.process.send_signal(signal.SIGTERM)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_process(stage: str, run_id: str, ending: _Ending) -> Process:
    started = time.monotonic()
    # In its own process group, so that a stage gets ctrl-C only once, from here, and can clean up.
    process = subprocess.Popen(
        [sys.executable, "-m", "etl", stage], env={**os.environ, "ETL_RUN_ID": run_id}, process_group=0
    )
    ending.process = process
    if ending.code:
        process.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    code = code if code >= 0 else 128 - code
    return Process(stage, code, time.monotonic() - started, usage.ru_maxrss * _LARGEST_UNIT)


def _print(workspace: Workspace, processes: list[Process], seconds: float) -> None:
    """Print counts, seconds (with process start), readings per second (without it) and peak memory of each stage.

    The system includes the parent's memory at the start in the peak of a process, so no peak is below this process's.
    """
    ended = {process.stage: process for process in processes}
    rows: list[list[object]] = []
    for stage in STAGES:
        manifest, process = find_manifest(workspace, stage), ended.get(stage)
        if not manifest and not process:
            break
        took = [process.seconds, round(process.peak_rss / 2**20)] if process else [None, None]
        if not manifest:
            rows.append([stage, f"ended with exit code {process.code}" if process else "", took[0], None, took[1]])
            continue
        counts, own = manifest.summary.counts, manifest.summary.seconds
        rate = round(max(counts.values(), default=0) / own) if own else None
        rows.append([stage, written(counts), took[0], rate, took[1]])
    rows.append(["all", "", seconds, None, max((round(p.peak_rss / 2**20) for p in processes), default=None)])
    print_table(f"run {workspace.run}", ["stage", "readings", "seconds", "readings/s", "peak MiB"], rows)
