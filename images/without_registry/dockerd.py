"""A Docker daemon for a machine where root has no service manager to start one.

Its log and process ID are in `.cache/docker`, its data where Docker usually keeps them.
"""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from images.command import exclusive, step, tail
from images.errors import PrerequisiteError, ServiceError
from images.paths import CACHE

STATE = CACHE / "docker"
PID_FILE = STATE / "docker.pid"
LOG = STATE / "dockerd.log"
RUNTIME = Path(__file__).parent / "runc-bounded"
PACKAGES = "docker.io containerd runc iptables jq"
START_SECONDS = 60.0
STOP_SECONDS = 30.0


def start(is_up: Callable[[], bool]) -> None:
    """Start a daemon, unless another process has just done so, and return when it answers.

    Args:
        is_up: Returns whether a daemon answers.

    Raises:
        PrerequisiteError: A program of Docker is not installed.
        ServiceError: The daemon did not start.
    """
    if missing := [program for program in ("docker", "dockerd", "containerd", "runc") if not shutil.which(program)]:
        raise PrerequisiteError(f"no {', '.join(missing)}: apt-get install --no-install-recommends {PACKAGES}")
    STATE.mkdir(parents=True, exist_ok=True)
    with exclusive(STATE / "lock", "start Docker"), step("start Docker"):
        if not is_up():
            _prepare()
            _run(is_up)


def stop() -> None:
    """Stop the daemon that `start` started, with its containers. Any other daemon keeps running."""
    process = _process(PID_FILE, "dockerd")
    if process:
        process.terminate()
        process.wait(STOP_SECONDS)


def _prepare() -> None:
    # A daemon that was killed leaves its PID file, whose number may belong to another program by now.
    for pid_file, program in ((PID_FILE, "dockerd"), (Path("/run/docker/containerd/containerd.pid"), "containerd")):
        if not _process(pid_file, program):
            pid_file.unlink(missing_ok=True)
    # A kind node takes a few hundred inotify instances; the kernel's default limit is 128 per user.
    instances = Path("/proc/sys/fs/inotify/max_user_instances")
    instances.write_text(str(max(int(instances.read_text()), 1024)))


def _run(is_up: Callable[[], bool]) -> None:
    command = ["dockerd", "--pidfile", str(PID_FILE)]
    if _lacks_capabilities():
        if not shutil.which("jq"):
            raise PrerequisiteError("this machine's capabilities are bounded, which takes jq: apt-get install jq")
        command += ["--add-runtime", f"bounded={RUNTIME}", "--default-runtime", "bounded"]
    with LOG.open("ab") as log:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + START_SECONDS
    while not is_up():
        if daemon.poll() is not None or time.monotonic() > deadline:
            end = tail(LOG.read_text(errors="replace"))
            raise ServiceError(f"Docker did not start; its log {LOG} ends with:\n{end}")
        time.sleep(0.2)


def _lacks_capabilities() -> bool:
    """Return whether even root lacks a capability that the kernel knows."""
    status = Path("/proc/self/status").read_text()
    bounding = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapBnd:"))
    known = int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1
    return bounding != (1 << known) - 1


def _process(pid_file: Path, program: str) -> psutil.Process | None:
    try:
        process = psutil.Process(int(pid_file.read_text()))
        return process if process.name() == program else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
