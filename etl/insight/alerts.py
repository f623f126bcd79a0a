"""Alerts: each change of an event becomes a record on the topic of events and, if set, a call of a webhook.

An alert is sent at least once, with the event ID as key, so that consumers can recognise a repeat. It is sent before
the event is written to the tables, so that a crash in between repeats the alert.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from http.client import HTTPException, InvalidURL
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

import orjson
from pydantic import SecretStr

from etl.errors import SettingsError, Unreachable
from etl.kafka.ports import Producer
from etl.model.events import Event

HEADERS = [("content-type", b"application/json")]
WEBHOOK_SECONDS = 10.0
# Answers that may change after a while.
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})

State = Literal["open", "ended", "withdrawn"]


class _NoRedirects(HTTPRedirectHandler):
    """Refuse redirects: the request after one is a GET without the event, and its answer would count."""

    def redirect_request(self, *_: Any) -> None:
        """Return no request, so that the answer is an error."""


_OPENER = build_opener(_NoRedirects)


def alert(
    equipment_id: str, event_id: str, event: Event, found: datetime, *, withdrawn: bool = False
) -> dict[str, Any]:
    """Return the alert of an event: its ID, state and all its fields; times in ISO 8601, UTC."""
    state: State = "withdrawn" if withdrawn else "open" if event.end is None else "ended"
    return {
        "event_id": event_id,
        "state": state,
        "equipment_id": equipment_id,
        "kind": event.kind,
        "severity": event.severity,
        "measurement": event.measurement,
        "start": _iso(event.start),
        "end": _iso(event.end),
        "observed": event.observed,
        "expected": event.expected,
        "evidence": event.evidence,
        "found": _iso(found),
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def send(
    alerts: Sequence[dict[str, Any]], producer: Producer, topic: str, webhook: SecretStr | None, patience: float
) -> None:
    """Send alerts, and return when all are acknowledged.

    Raises:
        SettingsError: the topic is missing, may not be written, or the webhook refuses.
        Unreachable: Kafka or the webhook does not answer.
    """
    for each in alerts:
        producer.send(topic, each["event_id"].encode(), orjson.dumps(each), HEADERS)
    if alerts:
        producer.flush()
    if webhook:
        for each in alerts:
            _call(webhook, each, patience)


def _call(webhook: SecretStr, alert: dict[str, Any], patience: float) -> None:
    headers = {"Content-Type": "application/json", "Idempotency-Key": f"{alert['event_id']}/{alert['state']}"}
    url, data = webhook.get_secret_value(), orjson.dumps(alert)
    give_up, wait = time.monotonic() + patience, 0.5
    while True:
        try:
            # Its scheme is checked with the settings.
            request = Request(url, data, headers, method="POST")  # noqa: S310
            with _OPENER.open(request, timeout=WEBHOOK_SECONDS):
                return
        except HTTPError as error:
            if error.code not in _TEMPORARY:
                raise SettingsError(
                    f"the webhook refuses an event: HTTP {error.code}: check ETL_ANALYZE_WEBHOOK"
                ) from None
            reason = f"HTTP {error.code}"
        except (InvalidURL, ValueError):
            # Its text may quote the address, which may hold a token.
            raise SettingsError("the webhook cannot be called: ETL_ANALYZE_WEBHOOK is no good URL") from None
        except HTTPException:
            reason = "its answer is not HTTP"
        except (URLError, OSError) as error:
            reason = str(getattr(error, "reason", error))
        # The address may hold a token, so no message shows it.
        if time.monotonic() + wait > give_up:
            raise Unreachable(f"the webhook does not take an event: {reason}")
        time.sleep(wait)
        wait = min(2 * wait, 10.0)
