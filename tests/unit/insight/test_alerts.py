"""The webhook: what is no URL ends with one line that holds none of it."""

import socket
from contextlib import contextmanager
from threading import Thread

import pytest
from pydantic import SecretStr

from etl.errors import SettingsError, Unreachable
from etl.insight import alerts

ALERT = {"event_id": "e", "state": "open"}


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/services/T0/tok3n with a blank",
        "https://user:tok3n@127.0.0.1/services",
        "https://127.0.0.1:tok3n/services",
        "https://127.0.0.1/services/t\u00f6k3n-tok3n",
        "https://[127.0.0.1/tok3n",
    ],
)
def test_a_webhook_is_refused_in_one_line_without_its_token_when_it_is_no_good_url(url):
    with pytest.raises(SettingsError, match="ETL_ANALYZE_WEBHOOK") as caught:
        alerts._call(SecretStr(url), ALERT, 0.0)
    assert "tok3n" not in str(caught.value)
    assert "\n" not in str(caught.value)


@contextmanager
def answering(data):
    """A server that sends these bytes once; yields its URL and the first lines of the requests."""
    lines = []

    def serve():
        connection, _ = server.accept()
        with connection:
            lines.append(connection.recv(65_536).splitlines()[0])
            connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/tok3n", lines
        thread.join()


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200]
)
def test_webhook_counts_as_away_when_its_answer_is_not_http(data):
    with answering(data) as (url, _), pytest.raises(Unreachable, match="its answer is not HTTP"):
        alerts._call(SecretStr(url), ALERT, 0.0)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_event_does_not_count_as_taken_when_the_webhook_leads_elsewhere(code):
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (login, asked),
        answering(b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (code, login.encode())) as (
            url,
            _,
        ),
    ):
        with pytest.raises(SettingsError, match=f"refuses an event: HTTP {code}"):
            alerts._call(SecretStr(url), ALERT, 0.0)
        assert asked == []
        alerts._call(SecretStr(login), ALERT, 0.0)
