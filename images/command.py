"""Run programs, report the progress of long steps, and lock what two processes must not do at once."""

import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from images.errors import CommandError, ServiceError

# A step reports its progress at least this often, in seconds.
SILENCE = 10.0
TAIL_LINES = 20
# One folder for all copies of the project of this user: they share the Docker daemon and its images.
LOCKS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sensor-etl"

# Called with a line of text, the latest progress of a step.
Report = Callable[[str], None]

# Locks that this process holds, and how many times.
_held: dict[Path, int] = {}


def run(
    *command: str | Path,
    stdin: str | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command and return its standard output, without the last line break.

    Args:
        command: The program and its arguments.
        stdin: Text for its standard input, empty by default.
        cwd: Folder to run it in.
        environment: Variables besides those of this process.

    Raises:
        CommandError: The program does not exist, or it ended with an error.
    """
    try:
        done = subprocess.run(
            command,
            input=stdin or "",
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise CommandError(f"cannot run {_line(command)}: {error}") from None
    if done.returncode:
        raise _failed(command, done.returncode, f"{done.stdout}\n{done.stderr}")
    return done.stdout.rstrip("\n")


def follow(
    *command: str | Path,
    report: Report,
    stdin: str | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command that takes long, and report each line of its output at once; otherwise like `run`.

    Raises:
        CommandError: The program does not exist, or it ended with an error.
    """
    lines: list[str] = []
    with tempfile.TemporaryFile("w+") as source:
        source.write(stdin or "")
        source.seek(0)
        try:
            process = subprocess.Popen(
                command,
                stdin=source,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise CommandError(f"cannot run {_line(command)}: {error}") from None
        with process:
            for printed in process.stdout or ():
                if line := printed.strip():
                    lines = [*lines[1 - TAIL_LINES :], line]
                    report(line)
    if process.returncode:
        raise _failed(command, process.returncode, "\n".join(lines))


def _line(command: tuple[str | Path, ...]) -> str:
    return shlex.join(str(word) for word in command)


def tail(text: str, lines: int = 15) -> str:
    """Return the last lines of an output or a log, for a message."""
    return "\n".join(text.splitlines()[-lines:])


def _failed(command: tuple[str | Path, ...], code: int, printed: str) -> CommandError:
    return CommandError(f"exit code {code} of {_line(command)}:\n{tail(printed.strip(), TAIL_LINES)}")


@contextlib.contextmanager
def step(what: str, progress: Callable[[], str] | None = None) -> Iterator[Report]:
    """Report a step on standard error: its begin, its progress at least every `SILENCE` seconds, and its duration.

    Args:
        what: The step, such as `build images`.
        progress: Returns the progress while none was reported.

    Yields:
        A function to be called with the latest progress.
    """
    begin, ended = time.monotonic(), threading.Event()
    latest = [""]

    def beat() -> None:
        while not ended.wait(SILENCE):
            now = latest[0]
            if progress and not now:
                with contextlib.suppress(ServiceError):
                    now = progress()
            if not ended.is_set():
                _print(f"{what}: {time.monotonic() - begin:.0f} s so far" + (f", {now[:150]}" if now else ""))

    def report(line: str) -> None:
        latest[0] = line

    _print(f"{what} ...")
    threading.Thread(target=beat, daemon=True).start()
    try:
        yield report
    finally:
        ended.set()
    _print(f"{what}: {time.monotonic() - begin:.1f} s")


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def exclusive(lock: Path, what: str) -> Iterator[None]:
    """Hold a lock between processes, and report while another process holds it. One process may nest it.

    Args:
        lock: File of the lock; it holds the process ID of the owner.
        what: What the lock protects, for the report of a process that waits.
    """
    if _held.get(lock):
        _held[lock] += 1
        try:
            yield
        finally:
            _held[lock] -= 1
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            with step(f"wait for process {file.read().strip() or '(just started)'} ({what})"):
                fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        print(os.getpid(), file=file, flush=True)
        _held[lock] = 1
        try:
            yield
        finally:
            del _held[lock]
