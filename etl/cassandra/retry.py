"""Clear messages for errors of the driver, and retries of statements until Cassandra answers."""

import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event
from typing import Any, TypeVar

import structlog
from cassandra import (
    AuthenticationFailed,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    RequestExecutionException,
    Unauthorized,
    UnresolvableContactPoints,
)
from cassandra.cluster import NoHostAvailable, Session
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import (
    ErrorMessage,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    RequestValidationException,
    ServerError,
)

from etl.errors import CredentialsError, EtlError, SettingsError, Unreachable

log = structlog.get_logger("etl.cassandra")

PATIENCE = 60.0
IN_FLIGHT = 32
REQUEST_SECONDS = 20.0
# The driver answers a request within `REQUEST_SECONDS`, but it can lose one if connections break, and never answers it.
LOST_SECONDS = REQUEST_SECONDS + 30
# Every statement of this project is idempotent (each write has its own timestamp), so it is safe to retry all of these.
RETRYABLE: tuple[type[Exception], ...] = (
    OperationTimedOut,
    RequestExecutionException,
    OverloadedErrorMessage,
    IsBootstrappingErrorMessage,
    ServerError,
    ConnectionException,
    ConnectionBusy,
    NoConnectionsAvailable,
)
_DRIVER_ERRORS = (
    *RETRYABLE,
    NoHostAvailable,
    AuthenticationFailed,
    Unauthorized,
    InvalidRequest,
    ErrorMessage,
    UnresolvableContactPoints,
)
# The driver hides the cause of these errors inside them.
_PLAIN: dict[type[Exception], str] = {
    NoHostAvailable: "no node answers",
    OperationTimedOut: "no answer in time",
    UnresolvableContactPoints: "none of the names is known, is ETL_CASSANDRA_CONTACT_POINTS right?",
}
# An answer of a node begins with this if it cannot read roles or rights, because their replicas are unavailable.
_UNREADABLE = "Unable to perform auth"
Result = TypeVar("Result")


@contextmanager
def driver_errors(what: str = "") -> Iterator[None]:
    """Convert each error of the driver to one clear line without secrets."""
    try:
        yield
    except _DRIVER_ERRORS as error:
        raise translated(error, what) from error


def translated(error: Exception, what: str = "") -> EtlError:
    """Return the error that tells an operator what an error of the driver means."""
    cause = _cause(error)
    text = " ".join(str(cause).split())
    at = f" at {what}" if what else ""
    if _is_unreadable(cause):
        return Unreachable(f"Cassandra{at} cannot read its roles, are their replicas up? {server_message(cause)}")
    if isinstance(cause, AuthenticationFailed):
        return CredentialsError(f"Cassandra{at} refuses the credentials: check ETL_CASSANDRA_USERNAME and _PASSWORD")
    # A connection ends during the handshake if a node is shutting down, or if a proxy has no node behind it.
    if "[SSL" in text and "EOF occurred" not in text:
        check = "ETL_CASSANDRA_TLS and ETL_CASSANDRA_CA_FILE"
        # Cassandra calls a certificate that it cannot verify an internal error.
        if re.search("ALERT_(.*CERTIFICATE|UNKNOWN_CA|INTERNAL_ERROR)", text):
            check = "ETL_CASSANDRA_CERTIFICATE_FILE: Cassandra needs a client certificate of a CA that it trusts"
        return SettingsError(f"Cassandra{at}: TLS fails ({text}): check {check}")
    if isinstance(cause, Unauthorized):
        return SettingsError(f"Cassandra: the role lacks a right, grant it: {server_message(cause)}")
    if isinstance(cause, InvalidRequest | RequestValidationException):
        return SettingsError(f"Cassandra: {server_message(cause)}: run `etl schema`")
    text = _PLAIN.get(type(cause), text)
    return Unreachable(f"Cassandra{at} cannot be reached: {text or type(cause).__name__}")


def server_message(error: Any) -> str:
    """Return the message of the server in one line, without the text that the driver adds."""
    text = " ".join(str(error).split())
    return text.partition('message="')[2].rstrip('">') or text


def _cause(error: Any) -> Any:
    """Return the reason inside NoHostAvailable; a permanent one has priority."""
    if not isinstance(error, NoHostAvailable):
        return error
    # If only the session found no node, the driver lists addresses without reasons.
    causes = error.errors.values() if isinstance(error.errors, dict) else ()
    inner: list[Exception] = [cause for cause in causes if isinstance(cause, Exception)]
    lasting = [cause for cause in inner if not isinstance(cause, RETRYABLE) or isinstance(cause, AuthenticationFailed)]
    return next(iter(lasting or inner), error)


def _is_unreadable(error: Any) -> bool:
    return isinstance(error, AuthenticationFailed | Unauthorized) and _UNREADABLE in str(error)


def worth_retrying(error: Exception) -> bool:
    """Return whether a retry of the same statement may succeed."""
    if isinstance(error, NoHostAvailable):
        cause = _cause(error)
        return cause is error or worth_retrying(cause)
    if _is_unreadable(error):
        return True
    return isinstance(error, RETRYABLE) and not isinstance(error, AuthenticationFailed)


def retrying(call: Callable[[], Result], patience: float = PATIENCE) -> Result:
    """Call a function until it succeeds, with growing pauses, for at most `patience` seconds.

    Raises:
        Unreachable: the function still fails.
        SettingsError: a retry cannot help.
    """
    give_up = time.monotonic() + patience
    wait = 0.1
    while True:
        try:
            return call()
        except _DRIVER_ERRORS as error:
            if not worth_retrying(error) or time.monotonic() + wait > give_up:
                raise translated(error) from error
            log.warning("retrying Cassandra", reason=type(_cause(error)).__name__, seconds=round(wait, 1))
        # Jitter keeps several clients from retrying at the same moment.
        time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - no secret
        wait = min(wait * 2, 10.0)


def read_schema(refresh: Callable[[], None]) -> None:
    """Call one of the driver's functions that refresh its metadata until it succeeds.

    Raises:
        Unreachable: it still fails after all retries.
    """

    def attempt() -> None:
        try:
            refresh()
        except DriverException as error:
            if type(error) is not DriverException:
                raise
            # The driver has no exception class for a schema that it cannot read.
            raise ConnectionException(str(error)) from error

    retrying(attempt)


def lost(seconds: float) -> OperationTimedOut:
    """Return the error of a request that the driver has lost."""
    return OperationTimedOut(f"the driver has lost a request: no answer in {seconds:g} seconds")


def _rows(future: Any) -> list[tuple[Any, ...]]:
    """Wait for the rows of a request; the driver's own function would wait for ever for one that it has lost."""
    answered = Event()
    future.add_callbacks(lambda _: answered.set(), lambda _: answered.set())
    if not answered.wait(LOST_SECONDS):
        raise lost(LOST_SECONDS)
    return list(future.result())


def gather(
    session: Session, statements: Iterable[Any], in_flight: int = IN_FLIGHT, patience: float = PATIENCE
) -> Iterator[list[tuple[Any, ...]]]:
    """Execute idempotent statements concurrently, at most `in_flight` at a time; yield the rows of each, in order."""
    waiting: deque[tuple[Any, Any]] = deque()

    def finish() -> list[tuple[Any, ...]]:
        statement, future = waiting.popleft()
        try:
            return _rows(future)
        except _DRIVER_ERRORS as error:
            if not worth_retrying(error):
                raise translated(error) from error
            return retrying(lambda: _rows(session.execute_async(statement)), patience)

    for statement in statements:
        waiting.append((statement, session.execute_async(statement)))
        if len(waiting) >= in_flight:
            yield finish()
    while waiting:
        yield finish()


def pages(session: Session, statement: Any, patience: float = PATIENCE) -> Iterator[list[tuple[Any, ...]]]:
    """Execute an idempotent statement; yield its rows page by page, of the size that the statement has."""
    result = retrying(lambda: session.execute(statement), patience)
    while True:
        yield result.current_rows
        if not result.has_more_pages:
            return
        state = result.paging_state
        result = retrying(partial(session.execute, statement, paging_state=state), patience)
