"""Answers of the webhook: the raw bytes that its server sends. Only status and headers of an answer are parsed."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from pydantic import SecretStr

from etl.errors import EtlError
from etl.insight import alerts
from tests.fuzz.refusal import check_refusal

BATCH = 50
WORDS = (
    *(
        b"HTTP/1.1 ",
        b"HTTP/1.0 ",
        b"HTTP/2 ",
        b"HTTP/0.9",
        b"ICY 200 OK",
        b"200 OK",
        b"204 ",
        b"302 Found",
        b"307 ",
        b"500",
    ),
    *(
        b"401 Unauthorized\r\nWWW-Authenticate: Basic realm=x",
        b"100 Continue\r\n\r\n",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b": ",
    ),
    *(
        b"Location: http://127.0.0.1/other",
        b"Location: file:///etc/passwd",
        b"Location: ftp://127.0.0.1/",
        b"Location: ",
    ),
    *(b"Content-Length: ", b"Transfer-Encoding: chunked\r\n\r\n", b"-1", b"9" * 5000, b"\0", b"\xff", b"x" * 70_000),
    *(
        b"Content-Encoding: gzip",
        b"Connection: close",
        b"0\r\n\r\n",
        b"ffffffff\r\n",
        b"Set-Cookie: ",
        b"Retry-After: 1",
    ),
)
_TOKEN = "t0ken-t0ken"
_ALERT = {"event_id": "e", "state": "open"}


class _Socket(socket.socket):
    """One end of a pair, which has no options of TCP."""

    def setsockopt(self, *_: Any) -> None:
        pass


def check(inputs: Sequence[bytes]) -> None:
    """Check that each answer counts as taken, or ends in one line without the token of the URL."""
    for each in inputs:
        with _answering(each):
            try:
                alerts._call(SecretStr(f"http://127.0.0.1/{_TOKEN}"), _ALERT, 0.0)
            except EtlError as error:
                check_refusal(error, _TOKEN)
            else:
                assert each.lstrip().startswith(b"HTTP/"), "taken without an answer"


@contextmanager
def _answering(answer: bytes) -> Iterator[None]:
    """Let every new connection receive these bytes and then the end."""

    def connect(*_: Any, **__: Any) -> socket.socket:
        here, there = socket.socketpair()
        there.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        there.settimeout(0)
        there.sendall(answer)
        there.shutdown(socket.SHUT_WR)
        ends.append(there)
        return _Socket(fileno=here.detach())

    def unknown(*_: Any) -> str:
        raise OSError("no such host")

    ends: list[socket.socket] = []
    with patch("socket.create_connection", connect), patch("socket.gethostbyname", unknown):
        try:
            yield
        finally:
            for end in ends:
                end.close()
