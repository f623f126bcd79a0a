"""A server with the documented API of a schema registry, as far as consumers use it.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

import base64
import json
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Registry:
    """The schemas of a registry by ID, subject and version, and the paths that were asked for."""

    url: str = ""
    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    versions: dict[tuple[str, int], int] = field(default_factory=dict)
    user: str | None = None
    status: int = 200
    asked: list[str] = field(default_factory=list)

    def add(
        self, text: str, kind: str, number: int, subject: str = "s", version: int = 1, references: Any = None
    ) -> int:
        """Register a schema; `references` are subjects of version 1, by their names in the schema."""
        named = [{"name": name, "subject": other, "version": 1} for name, other in (references or {}).items()]
        self.schemas[number] = {"schema": text, "references": named, "guid": guid(number)}
        if kind != "AVRO":  # as the API leaves it out
            self.schemas[number]["schemaType"] = kind
        self.versions[subject, version] = number
        return number

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        plain = path.partition("?")[0]
        if found := re.fullmatch(r"/schemas/ids/(\d+)", plain):
            if int(found[1]) in self.schemas:
                return 200, self.schemas[int(found[1])]
            return 404, {"error_code": 40403, "message": "Schema not found"}
        if found := re.fullmatch(r"/schemas/guids/([0-9a-f-]+)", plain):
            return next(
                ((200, schema) for schema in self.schemas.values() if schema["guid"] == found[1]),
                (404, {"error_code": 40403, "message": "Schema not found"}),
            )
        if found := re.fullmatch(r"/subjects/(.+)/versions/(\d+)", plain):
            number = self.versions.get((found[1], int(found[2])))
            if number is None:
                return 404, {"error_code": 40402, "message": "Version not found"}
            named = {"subject": found[1], "version": int(found[2]), "id": number}
            return 200, {**self.schemas[number], **named}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}


def guid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


@contextmanager
def registry(certificate: tuple[str, str] | None = None) -> Iterator[Registry]:
    """Serve a registry; `certificate`: the PEM files of certificate and key."""
    state = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            status, answer = (200, {}) if state.status == 200 else (state.status, {"error_code": state.status})
            expected = f"Basic {base64.b64encode((state.user or '').encode()).decode()}"
            if state.user and self.headers.get("Authorization") != expected:
                status, answer = 401, {"error_code": 40101, "message": "Unauthorized"}
            elif status == 200:
                status, answer = state.answer(self.path)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    state.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()
