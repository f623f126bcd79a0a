"""Wait for a service that is not available yet, and log it while waiting."""

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
    seconds: float, do: Callable[[], Result], passing: type[EtlError] | tuple[type[EtlError], ...] = Unreachable
) -> Result:
    """Call an idempotent function repeatedly while it fails with a temporary error, for a limited time.

    The first error is logged at once, and then every ten seconds.

    Raises:
        EtlError: the last temporary error after the time; any other error at once.
    """
    deadline = time.monotonic() + seconds
    pause, longest = PAUSES
    said: float | None = None
    while True:
        try:
            return do()
        except passing as error:
            now = time.monotonic()
            if now >= deadline:
                raise
            if said is None or now - said >= SAY_SECONDS:
                said = now
                log.warning(f"trying again: {error}", seconds_left=round(deadline - now))
        time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        pause = min(2 * pause, longest)
