"""What is told while programs run, and what two processes do not do at once."""

import io
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from images import command
from images.command import exclusive, follow, step
from images.errors import CommandError

ROOT = Path(__file__).parents[3]
# Takes the lock of its first argument, says so, and does nothing until its standard input ends.
HOLD = """
import sys
from pathlib import Path
from images import command
command.SILENCE = 0.05
with command.exclusive(Path(sys.argv[1]), "build images"):
    print("has it", flush=True)
    sys.stdin.read()
"""


class Awaited(io.StringIO):
    """Standard error that tells when so many lines have a text."""

    def __init__(self, text: str, times: int) -> None:
        super().__init__()
        self.text, self.times, self.seen = text, times, threading.Event()

    def write(self, written: str) -> int:
        length = super().write(written)
        if self.getvalue().count(self.text) >= self.times:
            self.seen.set()
        return length


def test_step_says_again_and_again_progress_it_is_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SILENCE", 0.01)
    told = Awaited("so far, package 7 of 9", 3)
    monkeypatch.setattr(sys, "stderr", told)
    with step("build all") as report:
        report("package 7 of 9")
        assert told.seen.wait(60)
    lines = told.getvalue().splitlines()
    assert lines[0] == "build all ..."
    assert lines[-1].startswith("build all: ")
    assert lines[-1].endswith(" s")


def test_step_asks_progress_it_is_when_nothing_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "SILENCE", 0.01)
    answers = iter(["error", "3 of 9 pods ready"])

    def ask() -> str:
        answer = next(answers, "9 of 9 pods ready")
        if answer == "error":
            raise CommandError("the cluster does not answer yet")
        return answer

    told = Awaited("9 of 9 pods ready", 1)
    monkeypatch.setattr(sys, "stderr", told)
    with step("install", ask):
        assert told.seen.wait(60)
    assert "so far, 3 of 9 pods ready" in told.getvalue()


def test_silence_is_shorter_than_anyone_waits() -> None:
    assert command.SILENCE <= 15


def test_lines_of_a_program_are_told_while_it_runs(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"echo one; echo two >&2; while [ ! -e {mark} ]; do sleep 0.05; done; cat"
    told: list[str] = []

    def report(line: str) -> None:
        told.append(line)
        # The program goes on only after its second line was told.
        if line == "two":
            mark.touch()

    follow("sh", "-c", script, report=report, stdin="three\n")
    assert told == ["one", "two", "three"]


def test_last_lines_of_a_program_are_in_the_error_when_it_fails() -> None:
    with pytest.raises(CommandError, match=r"exit code 3 of sh .*\n6\n(.*\n)*25$") as caught:
        follow("sh", "-c", "seq 25; exit 3", report=lambda line: None)
    assert "\n5\n" not in str(caught.value)
    with pytest.raises(CommandError, match="cannot run"):
        follow("no-such-program", report=lambda line: None)


def test_second_process_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    holder = [sys.executable, "-c", HOLD, str(tmp_path / "lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen(holder, **pipes) as first:  # type: ignore[call-overload]
        assert first.stdout.readline() == "has it\n"
        with subprocess.Popen(holder, **pipes) as second:  # type: ignore[call-overload]
            waits = f"wait for process {first.pid} (build images)"
            assert second.stderr.readline() == f"{waits} ...\n"
            assert second.stderr.readline().startswith(f"{waits}: ")
            first.stdin.close()
            assert second.stdout.readline() == "has it\n"
            second.stdin.close()
            second.stderr.read()
    assert (first.returncode, second.returncode) == (0, 0)


def test_lock_may_be_nested_within_a_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "lock"
    for _ in range(2):
        with exclusive(lock, "build"), exclusive(lock, "build"):
            pass
    assert capsys.readouterr().err == ""
