"""The certificates that the Job of the chart makes, before the programs that read them."""

import datetime
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.charts.conftest import CHART

ITEM = {"secret": "tls", "namespace": "lines", "commonName": "kafka", "dnsNames": ["localhost", "kafka.lines.svc"]}


@pytest.fixture(scope="module")
def program() -> Iterator[ModuleType]:
    """The program; it is run with Airflow's packages, of which these tests need no more than one."""
    module = ModuleType("certificates")
    source = (CHART / "files" / "certificates.py").read_text().replace("from kubernetes import client, config\n", "")
    exec(compile(source, "certificates.py", "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module")
def authority(program: ModuleType) -> dict[str, bytes]:
    made: dict[str, bytes] = program.make_authority("plant-ca")
    return made


@pytest.fixture(scope="module")
def made(program: ModuleType, authority: dict[str, bytes]) -> dict[str, bytes]:
    certificate = x509.load_pem_x509_certificate(authority["tls.crt"])
    key = serialization.load_pem_private_key(authority["tls.key"], None)
    found: dict[str, bytes] = program.make_certificate(ITEM, certificate, key, 90)
    return found


def test_client_trusts_the_server_by_its_authority_and_its_names(made: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "keystore.pem").write_bytes(made["keystore.pem"])
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cadata=made["ca.crt"].decode())
    server.load_cert_chain(tmp_path / "keystore.pem")
    for name in ITEM["dnsNames"]:
        shake_hands(client, server, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(client, server, "elsewhere")


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    left, right = client.wrap_bio(theirs, ours, server_hostname=name), server.wrap_bio(ours, theirs, server_side=True)
    for _ in range(4):
        for side in (left, right):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert left.version()


@pytest.mark.parametrize(("store", "entry"), [("keystore", "PrivateKeyEntry"), ("truststore", "trustedCertEntry")])
def test_java_reads_the_stores(made: dict[str, bytes], tmp_path: Path, store: str, entry: str) -> None:
    (tmp_path / store).write_bytes(made[store])
    password = made[f"{store}-password"].decode()
    command = ["keytool", "-list", "-keystore", str(tmp_path / store), "-storepass:env", "PASSWORD"]
    listed = subprocess.run(
        command, env={"PASSWORD": password, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert entry in listed.stdout, listed.stdout


def test_certificate_is_renewed_when_less_than_a_third_is_left(
    program: ModuleType, made: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def later(days: float) -> Any:
        return lambda: datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)

    monkeypatch.setattr(program, "now", later(59))
    assert not program.ends_soon(made, 90)
    monkeypatch.setattr(program, "now", later(61))
    assert program.ends_soon(made, 90)


def test_certificate_is_renewed_when_another_authority_has_come(program: ModuleType, made: dict[str, bytes]) -> None:
    other = x509.load_pem_x509_certificate(program.make_authority("plant-ca")["tls.crt"])
    assert not program.signed_by(made, other)
