"""Tokens that are signed with AWS credentials; those of an OAuth server are tried on a real broker."""

import base64
import sys
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from etl.errors import SettingsError
from etl.kafka import tokens
from etl.kafka.identity import python_options, rdkafka_options
from etl.settings import KafkaSettings

SETTINGS = KafkaSettings(security_protocol="SASL_SSL", sasl_mechanism="AWS_MSK_IAM", aws_region="eu-central-1")
AWS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")


@pytest.fixture(autouse=True)
def _without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    for name in AWS:
        monkeypatch.delenv(name, raising=False)
    absent = tmp_path_factory.mktemp("aws") / "absent"
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(absent))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    tokens._tokens.clear()
    yield
    tokens._tokens.clear()


def test_token_is_a_signed_address_of_the_region_when_credentials_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    token = tokens.current_token(SETTINGS)
    url = urlsplit(base64.urlsafe_b64decode(token.text + "=" * (-len(token.text) % 4)).decode())
    assert url.hostname == "kafka.eu-central-1.amazonaws.com"
    assert parse_qs(url.query)["Action"] == ["kafka-cluster:Connect"]
    assert "s3cret" not in url.query
    assert 0 < token.renew - time.time() < token.expires - time.time() <= 900
    assert tokens.current_token(SETTINGS) is token
    python, rdkafka = python_options(SETTINGS), rdkafka_options(SETTINGS, [])
    assert python["sasl_mechanism"] == rdkafka["sasl.mechanism"] == "OAUTHBEARER"
    assert python["sasl_oauth_token_provider"].token() == token.text
    assert rdkafka["oauth_cb"]("") == (token.text, token.expires)


def test_message_names_the_credentials_when_there_are_none() -> None:
    failures: list[SettingsError] = []
    with pytest.raises(SettingsError, match="AWS_MSK_IAM: no credentials are found"):
        rdkafka_options(SETTINGS, failures)["oauth_cb"]("")
    assert len(failures) == 1


def test_message_names_the_extra_when_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    with pytest.raises(SettingsError, match="install the extra `msk`"):
        tokens.current_token(SETTINGS)
