"""Wait for a service that is not there yet, and say so while it lasts."""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from etl.errors import EtlError, Unreachable

log = structlog.get_logger("etl")

PAUSES = 0.2, 2.0  # seconds between attempts: the first, and the longest
SAY_SECONDS = 10.0

Result = TypeVar("Result")


def patiently(
    seconds: float, do: Callable[[], Result], passing: type[EtlError] | tuple[type[EtlError], ...] = Unreachable
) -> Result:
    """Do something that may be repeated, again and again for some seconds, while it fails with a passing error.

    What it waits for is logged at once, and every ten seconds from then on.

    Raises:
        EtlError: the last passing error once the time is up; any other at once.
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
