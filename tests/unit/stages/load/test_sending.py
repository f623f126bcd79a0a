from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from cassandra.cqltypes import UTF8Type
from cassandra.protocol import ColumnMetadata
from cassandra.query import PreparedStatement
from structlog.testing import capture_logs

from etl.errors import Unreachable
from etl.stages.load import messages, sending

STATEMENT = PreparedStatement(
    [ColumnMetadata("k", "t", "equipment_id", UTF8Type)], b"id", [0], "INSERT", None, 5, [], None
)


class Batch(messages.Batch):
    def forget(self) -> None:
        pass


class Sent(NamedTuple):
    """A request in the place of the driver's future, which answers when a test says so."""

    callbacks: list[Callable[[], None]]

    def add_callbacks(self, callback: Any, errback: Any, callback_args: Any, errback_args: Any) -> None:
        self.callbacks.append(lambda: callback(None, *callback_args))

    def answer(self) -> None:
        self.callbacks[0]()


class Session:
    """A session that loses the answers of its first requests, if so many are to be lost."""

    def __init__(self, lost: int) -> None:
        self.lost = lost
        self.sent: list[Sent] = []

    def execute_async(self, batch: Any, execution_profile: Any) -> Any:
        self.sent.append(Sent([]))
        return self

    def add_callbacks(self, *given: Any, **named: Any) -> None:
        self.sent[-1].add_callbacks(*given, **named)
        if len(self.sent) > self.lost:
            self.sent[-1].answer()


def sender(session: Any, in_flight: int = 4, patience: float = 60) -> sending.Sender:
    return sending.Sender(session, messages.target_of(STATEMENT), in_flight, patience, None, lost_seconds=0.02)


def batch(rows: int) -> Batch:
    return Batch(STATEMENT, rows, 10 * rows)


def test_batch_is_sent_again_when_its_answer_never_comes() -> None:
    session = Session(lost=1)
    sending_ = sender(session)
    sending_.send(batch(3))
    sending_.drain()
    assert len(session.sent) == 2
    assert (sending_.rows, sending_.batches, sending_.retries, sending_.bytes) == (3, 1, 1, 30)


def test_send_goes_on_when_all_batches_in_flight_are_lost() -> None:
    session = Session(lost=2)
    sending_ = sender(session, in_flight=2)
    for rows in (1, 2, 3):
        sending_.send(batch(rows))
    sending_.drain()
    assert (sending_.rows, sending_.batches, sending_.retries) == (6, 3, 2)


def test_late_answer_counts_once_when_its_batch_was_sent_again() -> None:
    session = Session(lost=2)
    sending_ = sender(session)
    sending_.send(batch(3))
    while len(session.sent) < 2:
        sending_._step()
    session.sent[0].answer()
    sending_._step()
    assert sending_.rows == 0
    session.sent[1].answer()
    session.sent[0].answer()
    sending_.send(batch(4))
    sending_.drain()
    assert (sending_.rows, sending_.batches) == (7, 2)


def test_send_gives_up_when_no_answer_ever_comes() -> None:
    sending_ = sender(Session(lost=1000), patience=0.1)
    sending_.send(batch(3))
    with pytest.raises(Unreachable, match=r"k\.t in \d+ attempts: .*no answer in 0\.02 seconds"):
        sending_.drain()


def test_wait_is_logged_when_nothing_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LOG_SECONDS", 0.005)
    sending_ = sender(Session(lost=1))
    sending_.send(batch(3))
    with capture_logs() as lines:
        sending_.drain()
    assert {"table": "k.t", "batches": 1, "event": "waiting for Cassandra", "log_level": "warning"} in lines
