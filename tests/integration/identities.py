"""A broker with a listener for each kind of login, the certificates for it, and an OAuth server of its own."""

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from images import local
from images.certificates import Authority, issue, make_authority, write_certificates
from images.service import free_ports

# Not a password that a test would find in ordinary text.
CLIENT = ("sensor-etl", "oauth-s3cret/+ü")
KEY_PASSWORD = "key-s3cret"
PRINCIPAL = "CN=gateway"


@dataclass
class TokenServer:
    """An OAuth server that signs tokens; a test may change its answers."""

    url: str
    keys: Path
    lifetime: float = 60.0
    status: int = 200
    body: bytes = b""
    asked: list[dict[str, list[str]]] = field(default_factory=list)


@dataclass(frozen=True)
class Listeners:
    """A broker with several listeners, by name: `scram` (SASL_SSL), `plain` (SASL_PLAINTEXT), `tls`, `mutual`."""

    service: local.Service
    ports: dict[str, int]
    files: Path

    def settings(self, listener: str, **more: object) -> dict[str, Any]:
        """The settings of a client of this listener."""
        protocol = {"scram": "SASL_SSL", "plain": "SASL_PLAINTEXT"}.get(listener, "SSL")
        settings = {"bootstrap_servers": f"localhost:{self.ports[listener]}", "security_protocol": protocol}
        if listener != "plain":
            settings["ca_file"] = str(self.service.ca_file)
        return {**settings, "timeout": 20, **more}

    def certificate(self, name: str = "gateway") -> dict[str, Any]:
        """The settings of a client certificate."""
        return {"certificate_file": self.files / f"{name}.crt", "key_file": self.files / f"{name}.key"}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def token_server(keys: Path) -> Iterator[TokenServer]:
    """Run an OAuth server, and write its public key where a broker finds it."""
    key = rsa.generate_private_key(65537, 2048)
    number = key.public_key().public_numbers()
    public = {"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256", "e": "AQAB"}
    keys.write_text(json.dumps({"keys": [public | {"n": _base64(number.n.to_bytes(256))}]}))

    def signed(lifetime: float) -> str:
        now = int(time.time())
        claims = {"sub": CLIENT[0], "iat": now, "exp": now + int(lifetime), "scope": "kafka"}
        text = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": "one"}, claims))
        return f"{text}.{_base64(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            server.asked.append(form)
            body, status = server.body, server.status
            if status == 200 and not body:
                expected = "Basic " + base64.b64encode(b"sensor-etl:oauth-s3cret%2F%2B%C3%BC").decode()
                if self.headers["Authorization"] != expected:
                    status, body = 401, b'{"error": "invalid_client"}'
                else:
                    token = {"access_token": signed(server.lifetime), "expires_in": server.lifetime}
                    body = json.dumps({**token, "token_type": "bearer"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = TokenServer(f"http://127.0.0.1:{http.server_port}/token", keys)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    http.shutdown()
    thread.join()
    http.server_close()


def write_clients(folder: Path, authority: Authority) -> None:
    """Write client certificates: `gateway`, `locked` (a key with a password), `expired`, and that of a `stranger`."""
    made = {
        "gateway": issue(authority, "gateway"),
        "locked": issue(authority, "gateway", password=KEY_PASSWORD.encode()),
        "expired": issue(authority, "gateway", lifetime=timedelta(minutes=-1)),
        "stranger": issue(make_authority("somebody else"), "stranger"),
    }
    for name, (key, certificate) in made.items():
        (folder / f"{name}.key").write_bytes(key)
        (folder / f"{name}.crt").write_bytes(certificate)


def start_listeners(folder: Path, users: dict[str, str], keys: Path) -> Listeners:
    """Start the broker; its first user, `gateway` and the OAuth client may do everything."""
    authority = make_authority("kafka authority")
    write_certificates(folder / "kafka" / "tls", "kafka", authority)
    write_clients(folder, authority)
    own, further = free_ports("kafka"), dict(zip(("plain", "tls", "mutual"), free_ports("kafka").values(), strict=True))
    # The broker is started with these ports, as if it had been started before.
    (folder / "kafka" / "service.json").write_text(json.dumps({"ports": own}))
    (folder / "server.properties").write_text("\n".join(_properties(own, further, users, keys)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KAFKA_SETTINGS", str(folder / "server.properties"))
        service = local.start(
            "kafka",
            folder / "kafka",
            heap="512m",
            java_options=f"{local.QUICK_START} -Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{keys}",
            users=users,
            die_with_parent=True,
        )
    return Listeners(service, {"scram": own["port"], **further}, folder)


def _properties(own: dict[str, int], further: dict[str, int], users: dict[str, str], keys: Path) -> Iterator[str]:
    """Settings that add listeners, mechanisms and super users to those of `run.sh`."""
    ports = {"CLIENT": own["port"], "INTERNAL": own["internal_port"], "CONTROLLER": own["controller_port"]}
    ports |= {name.upper(): port for name, port in further.items()}
    listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
    yield f"listeners={listeners}"
    yield f"advertised.listeners={listeners}"
    kinds = {"CLIENT": "SASL_SSL", "PLAIN": "SASL_PLAINTEXT"}
    yield "listener.security.protocol.map=" + ",".join(f"{name}:{kinds.get(name, 'SSL')}" for name in ports)
    yield "listener.name.mutual.ssl.client.auth=required"
    yield "super.users=" + ";".join(f"User:{name}" for name in ("CN=kafka", PRINCIPAL, CLIENT[0], next(iter(users))))
    modules = "org.apache.kafka.common.security"
    oauth = f"{modules}.oauthbearer"
    passwords = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    login = {
        "scram-sha-512": f"{modules}.scram.ScramLoginModule required;",
        "scram-sha-256": f"{modules}.scram.ScramLoginModule required;",
        "plain": f"{modules}.plain.PlainLoginModule required {passwords};",
        "oauthbearer": f'{oauth}.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="unused";',
    }
    for listener, names in (("client", list(login)), ("plain", ["plain", "scram-sha-512"])):
        yield f"listener.name.{listener}.sasl.enabled.mechanisms={','.join(names).upper()}"
        for name in names:
            yield f"listener.name.{listener}.{name}.sasl.jaas.config={login[name]}"
    validator = f"{oauth}.OAuthBearerValidatorCallbackHandler"
    yield f"listener.name.client.oauthbearer.sasl.server.callback.handler.class={validator}"
    yield f"sasl.oauthbearer.jwks.endpoint.url=file://{keys}"
    # A connection ends, unless the client logs in again with a new token.
    yield "listener.name.client.oauthbearer.connections.max.reauth.ms=3600000"
