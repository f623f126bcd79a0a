"""`etl run` as a user starts it: every process, import and connection counts."""

import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from etl.run.runner import STAGES
from etl.run.workspace import Summary, find_manifest, open_workspace
from etl.settings import RunSettings, read_settings
from tests.bench.figures import Figure, measured, settle
from tests.bench.place import Place, fresh_group, fresh_keyspace, fresh_topics, run_like

SAMPLE_SECONDS = 0.05
MIB = 2**20


def etl_run(place: Place, name: str, readings: int) -> Figure:
    """Run all stages into fresh topics and tables; the peak is that of the process tree of the largest stage."""
    with fresh_topics(), fresh_keyspace(), fresh_group(), run_like(place) as run:
        log = place.folder / f"{run}.log"
        settle(place.both)
        with measured(name, readings, place.both) as figure, log.open("wb") as output:
            process = subprocess.Popen([sys.executable, "-m", "etl", "run"], stdout=output, stderr=output)
            peaks = watch(process)
        if process.returncode:
            raise RuntimeError(f"etl run ended with {process.returncode}:\n{log.read_text(errors='replace')[-2000:]}")
        summaries = _summaries()
    figure.peak_mib = max(peaks.values()) / MIB
    figure.notes.append(", ".join(f"{summary.stage} {summary.seconds:.1f} s" for summary in summaries))
    figure.notes.append("MiB " + ", ".join(f"{stage} {size / MIB:.0f}" for stage, size in peaks.items()))
    return figure


def watch(process: subprocess.Popen[bytes]) -> dict[str, int]:
    """Wait for the end; return the peak of resident memory of each stage's process tree, in bytes."""
    peaks: dict[str, int] = {}
    run = psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            for stage in run.children():
                name = stage.cmdline()[-1]
                size = sum(_peak(each.pid) for each in [stage, *stage.children(recursive=True)])
                peaks[name] = max(size, peaks.get(name, 0))
        time.sleep(SAMPLE_SECONDS)
    return {name: size for name, size in peaks.items() if name in STAGES}


def _peak(pid: int) -> int:
    """Return a process's highest resident memory so far, as the kernel keeps it; now's where it does not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return int(psutil.Process(pid).memory_info().rss)
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _summaries() -> list[Summary]:
    found = read_settings(RunSettings)
    manifest = find_manifest(open_workspace(found.workspace_url, found.run_id), "load")
    return [*manifest.history, manifest.summary] if manifest else []
