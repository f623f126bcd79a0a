"""`etl page`: serve the application, with authentication, security headers, compression and health."""

import gzip
import hmac
import signal
import sys
from functools import lru_cache

import structlog
import waitress
from dash import Dash
from flask import Flask, Response, request

from etl.cassandra.connection import connect
from etl.errors import TERMINATED, EtlError
from etl.model.measurements import read_measurements
from etl.page.app import make_app, today
from etl.page.download import add_downloads
from etl.page.metrics import add_metrics
from etl.results.reader import PATIENCE, Reader
from etl.settings import CassandraSettings, PageSettings, RunSettings, read_settings

log = structlog.get_logger("etl.page")

THREADS = 8
OPEN = ("/healthz", "/readyz")
_SMALLEST_COMPRESSED = 1_000
_COMPRESSIBLE = ("text/", "application/json", "application/javascript")
_KEPT_FILES = 64
_CHALLENGE = 'Basic realm="sensor-etl", charset="UTF-8"'


def serve() -> None:
    """Serve until SIGTERM.

    Raises:
        SettingsError: a setting cannot be used, or a table is missing.
        Unreachable: Cassandra does not answer.
    """
    settings = read_settings(PageSettings)
    measurements = read_measurements(read_settings(RunSettings).measurements_file)
    with connect(read_settings(CassandraSettings), request_seconds=PATIENCE) as session:
        server = make_server(Reader(session, measurements), settings)
        log.info(f"serving on http://{settings.host}:{settings.port}")
        signal.signal(signal.SIGTERM, _end)
        waitress.serve(server, host=settings.host, port=settings.port, threads=THREADS, ident=None, _quiet=True)
    sys.exit(TERMINATED)


def _end(*_: object) -> None:
    """Let the server finish its current answers and stop."""
    raise SystemExit(TERMINATED)


def make_server(reader: Reader, settings: PageSettings) -> Flask:
    """Return the whole WSGI application."""
    app = make_app(reader)
    server: Flask = app.server
    # An equipment ID may contain two slashes in a row.
    server.url_map.merge_slashes = False
    _health(server, reader)
    add_downloads(server, reader, today)
    add_metrics(server, reader)
    guard(server, settings)
    protect(server, app)
    compress(server)
    return server


def guard(server: Flask, settings: PageSettings) -> None:
    """Require user and password if they are set, and refuse requests of other sites."""

    @server.before_request
    def check() -> Response | None:
        if request.method == "POST" and request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
            return Response("requests of other sites are refused\n", 403)
        if not settings.username or not settings.password or request.path in OPEN:
            return None
        given = request.authorization
        name, password = (given.username or "", given.password or "") if given else ("", "")
        # Compare both, so that the response time reveals neither.
        known = _same(name, settings.username), _same(password, settings.password.get_secret_value())
        if all(known):
            return None
        return Response(
            "authentication is needed\n", 401, {"WWW-Authenticate": 'Basic realm="sensor-etl", charset="UTF-8"'}
        )


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def protect(server: Flask, app: Dash) -> None:
    """Set headers that forbid content of other sites."""
    scripts = " ".join(["'self'", *(f"{found}" for found in app.csp_hashes())])
    policy = {
        "default-src": "'none'",
        "script-src": scripts,
        # Plotly writes style elements and attributes itself.
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    headers = {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }

    @server.after_request
    def add(response: Response) -> Response:
        response.headers.update(headers)
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        return response


def compress(server: Flask) -> None:
    """Compress text, and keep the compressed form of files that never change."""

    @server.after_request
    def pack(response: Response) -> Response:
        # Files are streamed unchanged, except scripts.
        if "gzip" not in str(request.accept_encodings) or not (response.mimetype or "").startswith(_COMPRESSIBLE):
            return response
        if response.is_streamed and not response.direct_passthrough:
            return response
        response.direct_passthrough = False
        body = response.get_data()
        if len(body) >= _SMALLEST_COMPRESSED:
            response.set_data(_static(body) if request.method == "GET" else gzip.compress(body, 4))
            response.headers["Content-Encoding"] = "gzip"
            response.vary.add("Accept-Encoding")
        return response


@lru_cache(_KEPT_FILES)
def _static(body: bytes) -> bytes:
    return gzip.compress(body, 6)


def _health(server: Flask, reader: Reader) -> None:
    def alive() -> Response:
        return Response("ok\n")

    def ready() -> Response:
        try:
            reader.answers()
        except EtlError as error:
            return Response(f"{error}\n", 503)
        return Response("ok\n")

    server.add_url_rule("/healthz", "healthz", alive)
    server.add_url_rule("/readyz", "readyz", ready)
