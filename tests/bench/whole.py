"""`etl run` as a user starts it: every process, import and connection counts."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import psutil

from etl.settings import RunSettings, read_settings
from etl.workspace import Summary, find_manifest, open_workspace
from tests.bench.figures import Figure, measured
from tests.bench.place import Place, fresh_group, fresh_keyspace, fresh_topics, run_like

SAMPLE_SECONDS = 0.05
MIB = 2**20


@dataclass
class _Peak:
    """The largest resident memory of one stage's processes together, in bytes, by the name of the stage."""

    bytes: dict[str, int] = field(default_factory=dict)

    def take(self, root: psutil.Process) -> None:
        for stage in root.children():
            try:
                name = stage.cmdline()[-1]
                together = [stage, *stage.children(recursive=True)]
                size = sum(process.memory_info().rss for process in together)
            except (psutil.NoSuchProcess, IndexError):
                continue
            self.bytes[name] = max(size, self.bytes.get(name, 0))


def etl_run(place: Place, name: str, readings: int) -> Figure:
    """Run all stages into fresh topics and tables; the peak is that of the process tree of the largest stage."""
    services = place.both
    with fresh_topics(), fresh_keyspace(), fresh_group(), run_like(place) as run:
        log = place.folder / f"{run}.log"
        with measured(name, readings, services) as figure, log.open("wb") as output:
            process = subprocess.Popen([sys.executable, "-m", "etl", "run"], stdout=output, stderr=output)
            peak = _watch(process)
            code, largest = _wait(process)
            peak.join()
        if code:
            raise RuntimeError(f"etl run ended with {code}:\n{log.read_text(errors='replace')[-2000:]}")
        summaries = _summaries()
    figure.peak_mib = max(largest, *peak.peak.bytes.values()) / MIB
    figure.notes.append(", ".join(f"{summary.stage} {summary.seconds:.1f} s" for summary in summaries))
    figure.notes.append("MiB " + ", ".join(f"{stage} {size / MIB:.0f}" for stage, size in peak.peak.bytes.items()))
    return figure


class _Watcher(threading.Thread):
    def __init__(self, root: psutil.Process) -> None:
        super().__init__(daemon=True)
        self.root, self.peak = root, _Peak()

    def run(self) -> None:
        while self.root.is_running() and self.root.status() != psutil.STATUS_ZOMBIE:
            self.peak.take(self.root)
            time.sleep(SAMPLE_SECONDS)


def _watch(process: subprocess.Popen[bytes]) -> _Watcher:
    watcher = _Watcher(psutil.Process(process.pid))
    watcher.start()
    return watcher


def _wait(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Return the exit code, and the largest resident memory of any one process below, which no sampling can miss."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _summaries() -> list[Summary]:
    found = read_settings(RunSettings)
    manifest = find_manifest(open_workspace(found.workspace_url, found.run_id), "load")
    return [*manifest.history, manifest.summary] if manifest else []
