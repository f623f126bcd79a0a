"""What `etl grant` refuses before it changes anything."""

from pathlib import Path

import pytest

from etl.admin.grant import grant_access
from etl.errors import SettingsError
from etl.settings import GrantSettings


def mount(folder: Path, **files: str) -> GrantSettings:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return GrantSettings(kafka_dir=folder)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"loader__password": "x"},
            "loader is none of generate, produce, consume, transform, load, analyze, watch, page, schema",
        ),
        ({"load__username": "x"}, r"load/password is missing or empty"),
        ({"load__password": " \n"}, r"load/password is missing or empty"),
        ({"load__password": "x", "load__username": ""}, r"load/username is missing or empty"),
        ({"load__password": "x", "consume__password": "y", "consume__username": "load"}, "load is there for more"),
        ({"load__password": "x", "load__username": "admin"}, "admin gives the rights"),
        ({"load__principal": "User:admin"}, "admin gives the rights"),
        ({"load__principal": "\n"}, r"load/principal is missing or empty"),
        ({"load__principal": "CN=load", "load__password": "x"}, "load has both `principal` and `password`"),
    ],
)
def test_grant_names_what_is_wrong_when_the_secrets_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], said: str
) -> None:
    monkeypatch.setenv("ETL_KAFKA_USERNAME", "admin")
    with pytest.raises(SettingsError, match=said):
        list(grant_access(mount(tmp_path, **files)))


@pytest.mark.parametrize(
    "login",
    [
        {"SECURITY_PROTOCOL": "SSL", "CERTIFICATE_FILE": "admin.pem"},
        {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "PLAIN", "USERNAME": "admin", "PASSWORD": "y"},
    ],
)
def test_grant_asks_for_a_principal_when_kafka_does_not_store_the_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: dict[str, str]
) -> None:
    for name, value in login.items():
        monkeypatch.setenv(f"ETL_KAFKA_{name}", value)
    with pytest.raises(SettingsError, match=r"password of load needs .* SCRAM; .* `principal`, such as User:CN=load"):
        list(grant_access(mount(tmp_path, load__password="x")))


def test_grant_names_the_setting_when_the_folder_is_absent(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ETL_GRANT_KAFKA_DIR: .* is no folder"):
        list(grant_access(GrantSettings(kafka_dir=tmp_path / "absent")))


def test_grant_names_both_settings_when_neither_is_set() -> None:
    with pytest.raises(SettingsError, match=r"ETL_GRANT_KAFKA_DIR.*ETL_GRANT_CASSANDRA_DIR"):
        list(grant_access(GrantSettings()))


def test_grant_gives_nobody_rights_when_the_folder_holds_only_what_kubernetes_hides(tmp_path: Path) -> None:
    assert list(grant_access(mount(tmp_path, **{"..data__password": "x"}))) == []
