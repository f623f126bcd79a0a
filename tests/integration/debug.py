"""The command `etl` with the lines of every logger from debug on, whatever level it was given; `alert` sends an event.

python -m tests.integration.debug load --run r1
"""

import logging
import sys
from datetime import UTC, datetime

import etl.cli
from etl.insight.alerts import send
from etl.kafka.ports import open_producer
from etl.settings import AnalyzeSettings, KafkaSettings, read_settings


def _everything() -> None:
    _configure()
    logging.Logger.isEnabledFor = lambda self, level: level >= logging.DEBUG  # type: ignore[method-assign]
    logging.Logger.getEffectiveLevel = lambda self: logging.DEBUG  # type: ignore[method-assign]


def _alert() -> None:
    settings = read_settings(KafkaSettings)
    event = {"event_id": f"e-{datetime.now(UTC):%H%M%S}", "state": "open"}
    with open_producer(settings) as producer:
        send([event], producer, settings.events_topic, read_settings(AnalyzeSettings).webhook, patience=0.1)


_configure, etl.cli.configure_logs = etl.cli.configure_logs, _everything
if sys.argv[1] == "alert":
    etl.cli.app = _alert  # type: ignore[assignment]
etl.cli.main()
