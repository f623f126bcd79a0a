from collections.abc import Callable
from typing import Any

import pytest

from etl.cassandra import retry


class Session:
    """A session that never answers its first request."""

    def __init__(self) -> None:
        self.requests = 0

    def execute_async(self, statement: str) -> Any:
        self.requests += 1
        return Future(statement, answers=self.requests > 1)


class Future:
    def __init__(self, statement: str, answers: bool) -> None:
        self.statement, self.answers = statement, answers

    def add_callbacks(self, callback: Callable[[object], None], errback: Callable[[object], None]) -> None:
        if self.answers:
            callback(None)

    def result(self) -> list[tuple[str]]:
        assert self.answers, "the driver would wait for ever"
        return [(self.statement,)]


def test_statement_is_executed_again_when_the_driver_lost_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "LOST_SECONDS", 0.01)
    session: Any = Session()
    assert list(retry.gather(session, ["a", "b"])) == [[("a",)], [("b",)]]
    assert session.requests == 3


def test_request_is_lost_only_after_the_driver_had_its_time() -> None:
    assert retry.LOST_SECONDS >= retry.REQUEST_SECONDS + 30
