"""Run programs, and say how long steps take."""

import contextlib
import functools
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from images.local import ServiceError


class CommandError(ServiceError):
    """A program could not be run or failed; the message holds the command and the end of what it printed."""


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
    line = shlex.join(str(word) for word in command)
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
        raise CommandError(f"cannot run {line}: {error}") from None
    if done.returncode:
        tail = "\n".join(f"{done.stdout}\n{done.stderr}".strip().splitlines()[-20:])
        raise CommandError(f"exit code {done.returncode} of {line}:\n{tail}")
    return done.stdout.rstrip("\n")


def reporting(main: Callable[[], int]) -> Callable[[], int]:
    """Let an expected end of a command line be one line on standard error and its exit code."""

    @functools.wraps(main)
    def run_and_report() -> int:
        try:
            return main()
        except ServiceError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code

    return run_and_report


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Tell on standard error that something begins, and how many seconds it took."""
    print(f"{what} ...", file=sys.stderr, flush=True)
    begin = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)
