"""Certificates and keys of a client: each file that cannot be used is named by its setting."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from etl.errors import SettingsError
from etl.tls import client_context
from images.certificates import issue, make_authority


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, authority = tmp_path_factory.mktemp("tls"), make_authority("plant")
    made = {
        "good": issue(authority, "gateway"),
        "other": issue(authority, "other"),
        "locked": issue(authority, "gateway", password=b"key-s3cret"),
        "expired": issue(authority, "gateway", lifetime=timedelta(minutes=-1)),
    }
    for name, (key, certificate) in made.items():
        (folder / f"{name}.key").write_bytes(key)
        (folder / f"{name}.crt").write_bytes(certificate)
    (folder / "both.pem").write_bytes(b"".join(made["good"]))
    (folder / "ca.pem").write_bytes(authority.pem)
    (folder / "text").write_text("no certificate")
    return folder


@pytest.mark.parametrize(
    ("certificate", "key", "password"),
    [("good.crt", "good.key", None), ("both.pem", None, None), ("locked.crt", "locked.key", "key-s3cret")],
)
def test_context_is_made_when_certificate_and_key_belong_together(
    files: Path, certificate: str, key: str | None, password: str | None
) -> None:
    secret = SecretStr(password) if password else None
    assert client_context("ETL_X_", files / "ca.pem", files / certificate, files / key if key else None, secret)


@pytest.mark.parametrize(
    ("ca", "certificate", "key", "password", "said"),
    [
        ("absent", "good.crt", "good.key", None, r"^ETL_X_CA_FILE: .*absent cannot be used"),
        ("text", "good.crt", "good.key", None, r"^ETL_X_CA_FILE: .*text cannot be used"),
        ("ca.pem", "absent", "good.key", None, r"^ETL_X_CERTIFICATE_FILE: .*absent cannot be used.*No such file"),
        ("ca.pem", "text", "good.key", None, r"^ETL_X_CERTIFICATE_FILE: .*text cannot be used"),
        ("ca.pem", "expired.crt", "expired.key", None, r"^ETL_X_CERTIFICATE_FILE: .*expired\.crt is valid .*: renew"),
        ("ca.pem", "good.crt", "absent", None, r"^ETL_X_KEY_FILE: .*absent cannot be used"),
        ("ca.pem", "good.crt", "text", None, r"^ETL_X_KEY_FILE: .*text has no key .*ETL_X_KEY_PASSWORD"),
        ("ca.pem", "good.crt", None, None, r"^ETL_X_KEY_FILE: .*good\.crt has no key that can be used"),
        ("ca.pem", "good.crt", "other.key", None, r"^ETL_X_KEY_FILE: the key in .*other\.key is not that of"),
        ("ca.pem", "locked.crt", "locked.key", None, r"^ETL_X_KEY_FILE: .*locked\.key has no key .*ETL_X_KEY_PASSWORD"),
        ("ca.pem", "locked.crt", "locked.key", "guessed", r"^ETL_X_KEY_FILE: .*locked\.key has no key"),
    ],
)
def test_context_names_the_setting_when_a_file_cannot_be_used(
    files: Path, ca: str, certificate: str, key: str | None, password: str | None, said: str
) -> None:
    secret = SecretStr(password) if password else None
    with pytest.raises(SettingsError, match=said) as raised:
        client_context("ETL_X_", files / ca, files / certificate, files / key if key else None, secret)
    assert "guessed" not in str(raised.value)
    assert "\n" not in str(raised.value)
