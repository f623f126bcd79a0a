"""Cassandra that asks for a client certificate, and Astra's way to it: a bundle, and a proxy that is told a node."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from etl.cassandra.connection import connect
from etl.errors import SettingsError, Unreachable
from etl.patience import patiently
from etl.settings import CassandraSettings
from images import local
from images.certificates import Authority, make_authority, write_certificates
from tests.integration.conftest import end
from tests.integration.identities import KEY_PASSWORD, write_clients


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority("cassandra authority")


@pytest.fixture(scope="module")
def files(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clients")
    write_clients(folder, authority)
    (folder / "ca.pem").write_bytes(authority.pem)
    return folder


@pytest.fixture(scope="module")
def node(authority: Authority, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Settings of a node with passwords that asks for a client certificate."""
    folder = tmp_path_factory.mktemp("node")
    write_certificates(folder / "tls", "cassandra", authority)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CASSANDRA_CLIENT_CA", str(files / "ca.pem"))
        service = local.launch(
            "cassandra",
            folder,
            heap="512m",
            java_options=local.QUICK_START,
            # The role that each new node has.
            users={"cassandra": "cassandra"},
            die_with_parent=True,
        )
    settings = {
        "contact_points": service.host,
        "port": service.ports["port"],
        "username": "cassandra",
        "password": "cassandra",
        "ca_file": files / "ca.pem",
        "timeout": local.START_SECONDS,
    }

    def ready() -> None:
        with connect(CassandraSettings(**settings, **certificate(files)), keyspace=False):
            pass

    # A new node lets clients in before it has its first role.
    patiently(local.START_SECONDS, ready, (SettingsError, Unreachable))
    yield {**settings, "timeout": 20}
    end(service)


def certificate(files: Path, name: str = "gateway") -> dict[str, Any]:
    return {"certificate_file": files / f"{name}.crt", "key_file": files / f"{name}.key"}


@pytest.mark.parametrize(("name", "password"), [("gateway", None), ("locked", KEY_PASSWORD)])
def test_connect_works_when_the_node_wants_a_client_certificate(
    node: dict[str, Any], files: Path, name: str, password: str | None
) -> None:
    settings = CassandraSettings(**node, **certificate(files, name), key_password=password)
    with connect(settings, keyspace=False) as session:
        assert session.execute("SELECT cluster_name FROM system.local").one() == ("sensor-etl",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "ETL_CASSANDRA_CERTIFICATE_FILE: Cassandra needs a client certificate"),
        ("stranger", "ETL_CASSANDRA_CERTIFICATE_FILE: Cassandra needs a client certificate of a CA that it trusts"),
        ("expired", r"ETL_CASSANDRA_CERTIFICATE_FILE: .*expired\.crt is valid .* only: renew it"),
    ],
)
def test_connect_names_the_certificate_when_the_node_refuses_it(
    node: dict[str, Any], files: Path, name: str | None, said: str
) -> None:
    settings = CassandraSettings(**node, **(certificate(files, name) if name else {}))
    with pytest.raises(SettingsError, match=said) as raised, connect(settings, keyspace=False):
        pass
    assert "\n" not in str(raised.value)


# Astra: https://docs.datastax.com/en/astra-db-serverless/drivers/secure-connect-bundle.html


@contextmanager
def proxy(node: local.Service, host_id: str, context: ssl.SSLContext) -> Iterator[int]:
    """Run a server on one port that tells the addresses by HTTP, and passes on all else to the node.

    Like Astra's, it needs a client certificate and is told the node by the name in the TLS handshake.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    contact = {"type": "sni_proxy", "local_dc": "datacenter1", "sni_proxy_address": f"127.0.0.1:{port}"}
    body = json.dumps({"contact_info": {**contact, "contact_points": [host_id]}}).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)
    names: dict[ssl.SSLObject | ssl.SSLSocket, str | None] = {}
    context.sni_callback = lambda encrypted, name, _: names.__setitem__(encrypted, name)

    def serve(plain: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as client:
            if names.get(client) != host_id:
                client.recv(65536)
                client.sendall(answer)
                return
            with socket.create_connection((node.host, node.ports["port"])) as server:
                back = threading.Thread(target=copy, args=(server, client), daemon=True)
                back.start()
                copy(client, server)

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield port
    listener.close()


def write_bundle(path: Path, files: Path, port: int) -> Path:
    with ZipFile(path, "w") as bundle:
        for name, file in {"ca.crt": "ca.pem", "cert": "gateway.crt", "key": "gateway.key"}.items():
            bundle.write(files / file, name)
        bundle.writestr("config.json", json.dumps({"host": "127.0.0.1", "port": port, "keyspace": "sensors"}))
    return path


# The driver makes the context of a bundle in an old way.
@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS is deprecated:DeprecationWarning")
def test_connect_works_when_a_bundle_leads_to_the_node(
    cassandra: local.Service, authority: Authority, files: Path, tmp_path: Path
) -> None:
    plain = {name.removeprefix("ETL_CASSANDRA_").lower(): value for name, value in cassandra.environment.items()}
    with connect(CassandraSettings(**plain), keyspace=False) as session:
        host_id = str(session.execute("SELECT host_id FROM system.local").one()[0])
    write_certificates(tmp_path, host_id, authority)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files / "ca.pem"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "keystore.pem")
    with proxy(cassandra, host_id, context) as port:
        bundle = write_bundle(tmp_path / "bundle.zip", files, port)
        with connect(CassandraSettings(secure_connect_bundle=bundle, timeout=20), keyspace=False) as session:
            assert session.execute("SELECT cluster_name FROM system.local").one() == ("sensor-etl",)
    settings = CassandraSettings(secure_connect_bundle=write_bundle(bundle, files, 1), timeout=1)
    with pytest.raises(Unreachable, match=r"addresses of the database of .*bundle\.zip"), connect(settings):
        pass


@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("content", "said"), [(None, "No such file"), (b"text", "no bundle of Astra"), ("empty", "cannot be used")]
)
def test_connect_names_the_bundle_when_it_cannot_be_used(
    tmp_path: Path, content: bytes | str | None, said: str
) -> None:
    path = tmp_path / "bundle.zip"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        ZipFile(path, "w").close()
    with (
        pytest.raises(SettingsError, match=f"ETL_CASSANDRA_SECURE_CONNECT_BUNDLE: .*{said}"),
        connect(CassandraSettings(secure_connect_bundle=path, timeout=1)),
    ):
        pass
