"""The Docker daemon: the one that answers, else one of our own where no service manager could start it.

`python -m images.docker up|down|status`. Our own keeps its log and process ID in `.cache/docker`, its data where Docker
usually has them.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

from images.command import Tell, alone, follow, reporting, run, step
from images.errors import CommandError, PrerequisiteError, ServiceError

STATE = Path(__file__).parent.parent / ".cache" / "docker"
PID_FILE = STATE / "docker.pid"
LOG = STATE / "dockerd.log"
RUNTIME = Path(__file__).parent / "kind" / "runc-bounded"
PACKAGES = "docker.io containerd runc iptables jq"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
# How either builder says which of its steps it has come to.
BUILD_STEP = re.compile(r"(Step |#\d+ \[[^]]*?)\d+/\d+")


def is_up() -> bool:
    """Tell whether a daemon answers."""
    try:
        run("docker", "version", "--format", "{{.Server.Version}}")
    except CommandError:
        return False
    return True


def up() -> None:
    """Start a daemon unless one answers.

    Raises:
        PrerequisiteError: Docker is not installed, or not ours to start.
        ServiceError: It did not come up.
    """
    if is_up():
        return
    if os.geteuid() or Path("/run/systemd/system").exists():
        raise PrerequisiteError("Docker does not answer: start it, and see that you may use it (docker info)")
    if missing := [program for program in ("docker", "dockerd", "containerd", "runc") if not shutil.which(program)]:
        raise PrerequisiteError(f"no {', '.join(missing)}: apt-get install --no-install-recommends {PACKAGES}")
    STATE.mkdir(parents=True, exist_ok=True)
    with alone(STATE / "lock", "start Docker"), step("start Docker"):
        if not is_up():
            _start()


def down() -> None:
    """Stop the daemon that `up` started, with its containers; leave any other alone."""
    process = _process(PID_FILE, "dockerd")
    if process:
        process.terminate()
        process.wait(STOP_SECONDS)


def has(image: str) -> bool:
    """Tell whether the daemon has an image of this name."""
    return image_id(image) is not None


def image_id(image: str) -> str | None:
    """Return the ID of an image that the daemon has, else None."""
    try:
        return run("docker", "image", "inspect", "--format", "{{.Id}}", image)
    except CommandError:
        return None


def pull(image: str) -> bool:
    """Have the daemon fetch an image, and tell whether its registry gave it."""
    with step(f"pull {image}"), contextlib.suppress(CommandError):
        run("docker", "pull", "--quiet", image)
        return True
    return False


def build(tag: str, *arguments: str | Path, tell: Tell, stdin: str | None = None) -> None:
    """Build an image, and tell which step of its Dockerfile is being done.

    Raises:
        CommandError: It could not be built.
    """

    def tell_step(line: str) -> None:
        if BUILD_STEP.match(line):
            tell(line)

    follow("docker", "build", "--tag", tag, *arguments, tell=tell_step, stdin=stdin)


def _start() -> None:
    # Left behind by a daemon that was killed, it can name a process that is something else by now.
    for pid_file, program in ((PID_FILE, "dockerd"), (Path("/run/docker/containerd/containerd.pid"), "containerd")):
        if not _process(pid_file, program):
            pid_file.unlink(missing_ok=True)
    # A kind node takes some hundred of them, and the kernel's own limit is 128 for each user.
    instances = Path("/proc/sys/fs/inotify/max_user_instances")
    instances.write_text(str(max(int(instances.read_text()), 1024)))
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
            tail = "\n".join(LOG.read_text(errors="replace").splitlines()[-15:])
            raise ServiceError(f"Docker did not start; its log {LOG} ends with:\n{tail}")
        time.sleep(0.2)


def _lacks_capabilities() -> bool:
    """Tell whether even root lacks some capability that the kernel knows."""
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


@reporting
def main() -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m images.docker", description="A Docker daemon.")
    parser.add_argument("action", choices=["up", "down", "status"])
    action = parser.parse_args().action
    if action == "up":
        up()
    elif action == "down":
        down()
    answers = is_up()
    print(f"docker: {'answers' if answers else 'stopped'}")
    return 0 if answers or action == "down" else ServiceError.exit_code


if __name__ == "__main__":
    sys.exit(main())
