"""Silence for many calls in one process: the lines of the stages would hide everything else."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


def quiet() -> None:
    """Let this process log nothing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


@contextmanager
def quiet_for_now() -> Iterator[None]:
    """Log nothing, and afterwards as before."""
    kept = structlog.get_config()
    quiet()
    yield
    structlog.configure(**kept)
