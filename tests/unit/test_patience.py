"""What is waited for, for how long, and what is said meanwhile; time is the test's own."""

import time
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from etl.errors import CredentialsError, EtlError, SettingsError, Unreachable
from etl.patience import patiently


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], float]]:
    """A clock that only sleeping moves on."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return lambda: now[0]


def failing(error: EtlError, times: int = 1_000_000) -> Callable[[], str]:
    left = [times]

    def do() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return "done"

    return do


def test_result_comes_when_it_succeeds_in_time(clock: Callable[[], float]) -> None:
    with capture_logs() as lines:
        assert patiently(60, failing(Unreachable("node cannot be reached"), 5)) == "done"
    assert 0 < clock() < 60
    assert [line["event"] for line in lines] == ["trying again: node cannot be reached"]


def test_error_comes_when_the_time_is_up(clock: Callable[[], float]) -> None:
    with capture_logs() as lines, pytest.raises(Unreachable, match="node cannot be reached"):
        patiently(60, failing(Unreachable("node cannot be reached")))
    assert clock() == pytest.approx(60)
    # It is never silent for much longer than ten seconds.
    assert [line["seconds_left"] for line in lines] == sorted((line["seconds_left"] for line in lines), reverse=True)
    assert len(lines) >= 5


def test_nothing_is_waited_for_when_there_is_no_time(clock: Callable[[], float]) -> None:
    with capture_logs() as lines, pytest.raises(Unreachable):
        patiently(0, failing(Unreachable("node cannot be reached")))
    assert (clock(), lines) == (0, [])


@pytest.mark.parametrize("error", [SettingsError("wrong"), CredentialsError("refused")])
def test_error_comes_at_once_when_waiting_does_not_mend_it(clock: Callable[[], float], error: EtlError) -> None:
    with pytest.raises(type(error)):
        patiently(60, failing(error))
    assert clock() == 0


def test_credentials_are_waited_for_when_asked(clock: Callable[[], float]) -> None:
    passing = Unreachable, CredentialsError
    assert patiently(60, failing(CredentialsError("refused"), 3), passing) == "done"
    with pytest.raises(SettingsError):
        patiently(60, failing(SettingsError("wrong")), passing)
