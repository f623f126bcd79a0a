"""Wait for a service that is not available yet, and log it while waiting."""

import math
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from etl.errors import EtlError, Unreachable

log = structlog.get_logger("etl")

PAUSES = 0.2, 2.0  # seconds between attempts: the first and the longest pause
SAY_SECONDS = 10.0

Result = TypeVar("Result")


def patiently(
    seconds: float,
    do: Callable[[], Result],
    passing: type[EtlError] | tuple[type[EtlError], ...] = Unreachable,
    *,
    doing: str = "trying again",
    pauses: tuple[float, float] = PAUSES,
    say_seconds: float = SAY_SECONDS,
) -> Result:
    """Call an idempotent function repeatedly while it fails with a temporary error.

    Args:
        seconds: the time after which the error is raised; `math.inf` for no limit.
        do: the function.
        passing: the temporary errors.
        doing: begin of the log lines.
        pauses: seconds between attempts: the first and the longest pause.
        say_seconds: seconds between two log lines; the first error is logged at once.

    Raises:
        EtlError: the last temporary error after the time; any other error at once.
    """
    began = time.monotonic()
    deadline = began + seconds
    pause, longest = pauses
    said: float | None = None
    while True:
        try:
            return do()
        except passing as error:
            now = time.monotonic()
            if now >= deadline:
                raise
            if said is None or now - said >= say_seconds:
                said = now
                endless = math.isinf(seconds)
                times = {"seconds": round(now - began)} if endless else {"seconds_left": round(deadline - now)}
                log.warning(f"{doing}: {error}", **times)
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(2 * pause, longest)
