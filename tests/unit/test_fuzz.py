"""Inputs that once failed, and some made from them: none stops a reader, and the driver sees what would."""

import os
import signal
import time
from collections.abc import Iterator, Sequence

import pytest

from tests.fuzz.driver import MOST_FAILURES, TARGETS, Target, inputs, load, run
from tests.quiet import quiet_for_now

# So many batches take a few seconds.
BATCHES = {"decoder": 10, "urls": 10, "settings": 15, "recorded": 15}
CORPUS = [b"good", b"also good"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with quiet_for_now():
        yield


@pytest.mark.parametrize("name", TARGETS)
def test_input_is_read_or_refused_when_it_once_failed(name: str) -> None:
    target = load(name)
    for value in target.corpus:
        target.check([value])
    target.check(target.corpus)


@pytest.mark.parametrize("name", TARGETS)
def test_input_is_read_or_refused_when_it_is_made_at_random(name: str) -> None:
    target = load(name)
    for batch in range(BATCHES.get(name, 25)):
        target.check(inputs(target, 0, batch))


def test_inputs_are_the_same_when_the_seed_is_repeated() -> None:
    target = load("decoder")
    assert inputs(target, 5, 7) == inputs(target, 5, 7)
    assert inputs(target, 5, 7) != inputs(target, 6, 7)


def failing(values: Sequence[bytes]) -> None:
    """A reader that ends the process at one byte, and raises an error at another."""
    if any(b"\xff" in value for value in values):
        os.kill(os.getpid(), signal.SIGKILL)
    if any(b"\xfe" in value for value in values):
        raise ValueError("no such byte")


def test_driver_names_the_inputs_when_a_process_ends_or_an_error_is_raised() -> None:
    target = Target("failing", failing, CORPUS, [b"\xff", b"\xfe"], 10)
    report = run(target, 0, range(5), 1, lambda _: None)
    assert report.inputs == 50
    found = {value: text for _, value, text in report.failures if value is not None}
    assert len(found) >= 5
    for value, text in found.items():
        assert text == "the process ended with -9" if b"\xff" in value else "ValueError: no such byte" in text


def test_driver_ends_when_inputs_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.driver.HANG_SECONDS", 1)

    def hanging(_: Sequence[bytes]) -> None:
        while True:
            time.sleep(0.01)

    report = run(Target("hanging", hanging, CORPUS, [b"x"], 2), 0, range(1), 1, lambda _: None)
    assert {text for _, _, text in report.failures} == {"it hangs"}


def test_driver_names_the_input_when_it_takes_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.driver.MEMORY_BYTES", 64 * 1024 * 1024)

    def greedy(values: Sequence[bytes]) -> None:
        for value in values:
            bytearray(200_000_000 if b"x" in value else 1)[::4096] = bytes(48_829 if b"x" in value else 1)

    report = run(Target("greedy", greedy, CORPUS, [b"x"], 4), 0, range(2), 1, lambda _: None)
    assert report.failures
    assert all(b"x" in (value or b"") and "MiB of memory" in text for _, value, text in report.failures)


def test_driver_ends_early_when_most_inputs_fail() -> None:
    def check(_: Sequence[bytes]) -> None:
        raise ValueError("always")

    report = run(Target("wrong", check, CORPUS, [b"x"], 5), 0, range(1000), 1, lambda _: None)
    assert MOST_FAILURES <= len(report.failures) < MOST_FAILURES + 5
