"""Logs on standard error: readable lines by default, JSON with ETL_LOG_FORMAT=json."""

import logging
import os
import sys
from typing import TextIO

import structlog

from etl.printable import printable
from etl.urls import without_secrets


class _StandardError(logging.StreamHandler[TextIO]):
    """Write to the current standard error, because a progress bar may replace it."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        pass


def _without_secrets(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Remove secrets in URLs from every line, also from lines of libraries."""
    return {name: without_secrets(value) if isinstance(value, str) else value for name, value in event.items()}


def _in_one_line(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keep text from outside, such as names of files and headers, from forging lines; tracebacks have several."""
    kept = ("exception", "stack")
    return {
        name: printable(value) if isinstance(value, str) and name not in kept else value
        for name, value in event.items()
    }


def configure_logs() -> None:
    """Set up structlog, and format warnings of libraries in the same way."""
    as_json = os.environ.get("ETL_LOG_FORMAT", "").lower() == "json"
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _without_secrets,
        _in_one_line,
    ]
    last: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]
        if as_json
        # Plain tracebacks, because the default ones print local variables, which may be passwords.
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = _StandardError()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("etl").setLevel(logging.INFO)
