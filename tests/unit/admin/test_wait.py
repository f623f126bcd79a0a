"""`etl wait`: what it waits for, and what it says meanwhile; Cassandra and time are the test's own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cassandra import InvalidRequest
from structlog.testing import capture_logs

from etl.admin import wait
from etl.errors import CredentialsError, SettingsError, Unreachable


class Session:
    """A session without the table for its first requests."""

    def __init__(self, missing: int) -> None:
        self.missing = missing

    def execute(self, query: str) -> None:
        if self.missing:
            self.missing -= 1
            raise InvalidRequest("table watermarks does not exist")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only sleeping moves on."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def serve(monkeypatch: pytest.MonkeyPatch, *errors: Exception, missing: int = 0) -> None:
    """Let connections fail with these errors in turn, then give a session."""
    left, session = iter(errors), Session(missing)

    @contextmanager
    def connect(settings: object) -> Iterator[Session]:
        for error in left:
            raise error
        yield session

    monkeypatch.setattr(wait, "connect", connect)


def test_wait_ends_when_node_role_and_tables_have_come(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    serve(monkeypatch, Unreachable("down"), CredentialsError("no role"), SettingsError("no keyspace"), missing=2)
    assert wait.wait_for_tables() == "tables are there after 10 s"
    assert clock == [10.0]


def test_wait_says_what_it_waits_for_at_once_and_then_every_twenty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, *[Unreachable("down")] * 21)
    with capture_logs() as lines:
        wait.wait_for_tables()
    assert [(line["event"], line["seconds"]) for line in lines] == [
        ("waiting for the tables: down", seconds) for seconds in (0, 20, 40)
    ]


def test_wait_reads_the_settings_again_at_each_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[type] = []
    monkeypatch.setattr(wait, "read_settings", read.append)
    serve(monkeypatch, CredentialsError("old password"), CredentialsError("old password"))
    wait.wait_for_tables()
    assert len(read) == 3


def test_wait_ends_with_an_error_that_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, TypeError("defect"))
    with pytest.raises(TypeError, match="defect"):
        wait.wait_for_tables()
