"""Run programs, say how far steps are and how long they took, and let one process at a time do what two must not."""

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

# A step says at least this often how far it is.
SILENCE = 10.0
TAIL_LINES = 20
# Of this user, for all copies of the project: they share the daemon and its images.
LOCKS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sensor-etl"

Tell = Callable[[str], None]

# Locks that this process holds, and how often.
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
        stdin: Text that it reads; nothing by default.
        cwd: Folder to run it in.
        environment: Variables besides those of this process.

    Raises:
        CommandError: It is not there, or it ended with an error.
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
    tell: Tell,
    stdin: str | None = None,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a command that takes long, and tell each line that it prints as soon as it does; else as `run`.

    Raises:
        CommandError: It is not there, or it ended with an error.
    """
    lines: list[str] = []
    with tempfile.TemporaryFile("w+") as given:
        given.write(stdin or "")
        given.seek(0)
        try:
            process = subprocess.Popen(
                command,
                stdin=given,
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
                    tell(line)
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
def step(what: str, how_far: Callable[[], str] | None = None) -> Iterator[Tell]:
    """Tell on standard error that something begins, from time to time how far it is, and how many seconds it took.

    How far is what was told last to what this yields, or else what `how_far` returns.
    """
    begin, ended = time.monotonic(), threading.Event()
    told = [""]

    def beat() -> None:
        while not ended.wait(SILENCE):
            now = told[0]
            if how_far and not now:
                with contextlib.suppress(ServiceError):
                    now = how_far()
            if not ended.is_set():
                _say(f"{what}: {time.monotonic() - begin:.0f} s so far" + (f", {now[:150]}" if now else ""))

    def tell(line: str) -> None:
        told[0] = line

    _say(f"{what} ...")
    threading.Thread(target=beat, daemon=True).start()
    try:
        yield tell
    finally:
        ended.set()
    _say(f"{what}: {time.monotonic() - begin:.1f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Wait, and say so, while another process is at the same; within one process it may be nested."""
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
