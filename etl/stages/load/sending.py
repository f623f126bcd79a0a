"""Send batches with back-pressure and retries."""

import gc
import heapq
import itertools
import random
import time
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import structlog
from cassandra import DriverException
from cassandra.cluster import Session
from cassandra.query import PreparedStatement

from etl.cassandra.retry import LOST_SECONDS, driver_errors, lost, worth_retrying
from etl.errors import Unreachable
from etl.stages.load.messages import Batch, Target
from etl.terminal import LOG_SECONDS

log = structlog.get_logger("etl.load")

BACKOFF_SECONDS = (0.05, 5.0)
# The memory of requests is collected after this number of batches.
CYCLES_BATCHES = 500


@dataclass(eq=False)
class _Pending:
    batch: Batch
    failures: int = 0
    first_failure: float = 0.0
    sent: float = 0.0
    done: bool = False


class Sender:
    """Keeps a bounded number of batches in flight, and retries after temporary errors."""

    def __init__(
        self,
        session: Session,
        table: Target,
        in_flight: int,
        patience: float,
        profile: Any,
        lost_seconds: float = LOST_SECONDS,
    ) -> None:
        """Allow at most `in_flight` batches, and `patience` seconds of retries for each.

        A batch without an answer for `lost_seconds` counts as failed.
        """
        self._session, self._table, self._profile = session, table, profile
        self._statement = table.statement
        self._most, self._patience, self._lost_seconds = in_flight, patience, lost_seconds
        # Earliest sent first.
        self._under_way: dict[_Pending, None] = {}
        self._heard = time.monotonic()
        # (batch, its number of failures when it was sent, its new error)
        self._answers: SimpleQueue[tuple[_Pending, int, Exception | None]] = SimpleQueue()
        # (time of the retry, tie-breaker, batch), earliest first
        self._waiting: list[tuple[float, int, _Pending]] = []
        self._ties = itertools.count()
        self.rows = self.batches = self.retries = self.bytes = 0

    def send(self, batch: Batch) -> None:
        """Send a batch; wait while too many are in flight.

        Raises:
            SettingsError: an earlier batch was refused.
            Unreachable: an earlier batch was not accepted in time.
        """
        while len(self._under_way) + len(self._waiting) >= self._most:
            self._step()
        self._dispatch(_Pending(batch))

    def drain(self) -> None:
        """Wait until every batch is stored; raise the same errors as `send`."""
        while self._under_way or self._waiting:
            self._step()

    def _dispatch(self, pending: _Pending) -> None:
        if pending.batch.prepared is not self._statement:
            pending.batch = pending.batch.renamed(self._statement)
        pending.sent = time.monotonic()
        self._under_way[pending] = None
        future = self._session.execute_async(pending.batch, execution_profile=self._profile)
        sent = (pending, pending.failures)
        future.add_callbacks(self._succeeded, self._failed, callback_args=sent, errback_args=sent)

    # The driver's event loop calls these two functions.
    def _succeeded(self, _result: object, pending: _Pending, failures: int) -> None:
        self._answers.put((pending, failures, None))

    def _failed(self, error: Exception, pending: _Pending, failures: int) -> None:
        self._answers.put((pending, failures, error))

    def _step(self) -> None:
        """Wait for the next answer, retry or lost batch, and act on it; say so while nothing comes."""
        now = time.monotonic()
        due = [now + LOG_SECONDS]
        due += [self._waiting[0][0]] if self._waiting else []
        due += [self._given_up_at()] if self._under_way else []
        try:
            answer = self._answers.get(timeout=max(0.0, min(due) - now))
        except Empty:
            self._give_up_lost()
            self._say_waiting()
        else:
            self._heard = time.monotonic()
            self._take_answer(*answer)
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            self.retries += 1
            self._dispatch(heapq.heappop(self._waiting)[2])

    def _given_up_at(self) -> float:
        return next(iter(self._under_way)).sent + self._lost_seconds

    def _give_up_lost(self) -> None:
        """Count batches as failed whose answer does not come; a later answer belongs to an earlier failure."""
        while self._under_way and self._given_up_at() <= time.monotonic():
            pending = next(iter(self._under_way))
            self._take_answer(pending, pending.failures, lost(self._lost_seconds))

    def _say_waiting(self) -> None:
        now = time.monotonic()
        if now - self._heard >= LOG_SECONDS:
            self._heard = now
            batches = len(self._under_way) + len(self._waiting)
            log.warning("waiting for Cassandra", table=self._table.name, batches=batches)

    def _take_answer(self, pending: _Pending, failures: int, error: Exception | None) -> None:
        # The driver may answer a request twice, for example if it fails again after an ID mismatch.
        if pending.done or failures != pending.failures:
            return
        del self._under_way[pending]
        if error:
            self._send_later(pending, error)
            return
        pending.done = True
        self.rows += pending.batch.rows
        self.batches += 1
        self.bytes += pending.batch.size
        pending.batch.forget()
        # A request of the driver and its timer reference each other.
        if self.batches % CYCLES_BATCHES == 0:
            gc.collect(0)

    def _send_later(self, pending: _Pending, error: Exception) -> None:
        if _is_new_id(error):
            error = self._prepare_again(pending.batch.prepared) or error
        if not (_is_new_id(error) or worth_retrying(error)):
            with driver_errors():
                raise error
        now = time.monotonic()
        pending.first_failure = pending.first_failure or now
        pending.failures += 1
        if now - pending.first_failure > self._patience:
            raise Unreachable(
                f"Cassandra has not taken a batch for {self._table.name} in {pending.failures} attempts: {error}"
            ) from error
        shortest, longest = BACKOFF_SECONDS
        # Jitter keeps batches that failed together from being retried together.
        pause = min(longest, shortest * 2 ** (pending.failures - 1)) * random.uniform(0.5, 1)  # noqa: S311 - no secret
        heapq.heappush(self._waiting, (now + pause, next(self._ties), pending))

    def _prepare_again(self, old: PreparedStatement) -> Exception | None:
        """Use Cassandra's new ID of the statement, unless an earlier failure has already done so."""
        if old is self._statement:
            try:
                self._statement = self._session.prepare(old.query_string)
            except Exception as error:
                return error
        return None


def _is_new_id(error: Exception) -> bool:
    # The driver has no exception class for a statement that gets another ID if it is prepared again.
    return type(error) is DriverException and "ID mismatch" in str(error)
