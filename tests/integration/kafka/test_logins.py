"""Each way to log in to a real broker, by both clients, and what is said when a setting is wrong."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import (
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePatternFilter,
    ResourceType,
    UserScramCredentialUpsertion,
)

from etl.admin.access import kafka_acls
from etl.admin.doctor import check_all
from etl.admin.grant import grant_access
from etl.errors import CredentialsError, EtlError, SettingsError, Unreachable
from etl.kafka import client as port
from etl.kafka import connection, ports, tokens
from etl.kafka.ports import open_producer
from etl.kafka.records import Span
from etl.settings import GrantSettings, KafkaSettings
from tests.integration.conftest import end
from tests.integration.identities import CLIENT, KEY_PASSWORD, Listeners, TokenServer, start_listeners, token_server
from tests.integration.kafka.test_client import read_all, send_one
from tests.integration.topics import CLIENTS

USERS = ("admin", "stranger")


@pytest.fixture(scope="module")
def oauth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    with token_server(tmp_path_factory.mktemp("keys") / "keys.json") as server:
        yield server


@pytest.fixture(scope="module")
def broker(oauth: TokenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listeners]:
    users = {user: secrets.token_urlsafe(16) for user in USERS}
    listeners = start_listeners(tmp_path_factory.mktemp("listeners"), users, oauth.keys)
    admin = KafkaAdminClient(**connection.options(KafkaSettings(**password(listeners, "scram"))))
    admin.alter_user_scram_credentials([UserScramCredentialUpsertion("admin", "SCRAM-SHA-256", users["admin"])])
    admin.close()
    yield listeners
    end(listeners.service)


@pytest.fixture(autouse=True)
def _fresh_tokens(oauth: TokenServer) -> Iterator[None]:
    tokens._tokens.clear()
    yield
    oauth.lifetime, oauth.status, oauth.body = 60.0, 200, b""


def password(broker: Listeners, listener: str, **more: object) -> dict[str, Any]:
    login = {"username": "admin", "password": broker.service.users["admin"]}
    return broker.settings(listener, **{**login, **more})


def token(broker: Listeners, oauth: TokenServer, **more: object) -> dict[str, Any]:
    login = {"oauth_token_url": oauth.url, "oauth_client_id": CLIENT[0], "oauth_client_secret": CLIENT[1]}
    return broker.settings("scram", **{"sasl_mechanism": "OAUTHBEARER", "oauth_scope": "kafka", **login, **more})


LOGINS = {
    "scram-sha-512": lambda broker, _: password(broker, "scram"),
    "scram-sha-256": lambda broker, _: password(broker, "scram", sasl_mechanism="SCRAM-SHA-256"),
    "plain": lambda broker, _: password(broker, "scram", sasl_mechanism="PLAIN"),
    "plain without TLS": lambda broker, _: password(broker, "plain", sasl_mechanism="PLAIN"),
    "token": token,
    "certificate": lambda broker, _: broker.settings("mutual", **broker.certificate()),
    "certificate with a password": lambda broker, _: broker.settings(
        "mutual", **broker.certificate("locked"), key_password=KEY_PASSWORD
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("login", LOGINS)
def test_client_writes_reads_and_commits_when_it_logs_in(
    broker: Listeners, oauth: TokenServer, topic: str, login: str, client: str
) -> None:
    settings = KafkaSettings(**LOGINS[login](broker, oauth), client=client, group=topic)
    with port.connect(settings) as connected:
        connected.create_topic(topic, 1, 1, {})
        send_one(settings, topic, b"a")
        assert read_all(connected, topic) == [(0, 0, b"a")]
        connected.commit(topic, {0: 1})
        assert connected.committed(topic) == {0: 1}


@pytest.mark.parametrize("client", CLIENTS)
def test_client_without_a_login_is_told_its_rights_when_it_only_encrypts(broker: Listeners, client: str) -> None:
    settings = KafkaSettings(**broker.settings("tls"), client=client)
    with (
        port.connect(settings) as connected,
        pytest.raises(CredentialsError, match="not allow this to an unauthenticated user"),
    ):
        connected.create_topic("refused", 1, 1, {})
    assert connection.reach(settings) is None


@pytest.mark.parametrize("client", CLIENTS)
def test_authorities_of_the_system_count_when_no_file_is_named(
    broker: Listeners, topic: str, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = KafkaSettings(**password(broker, "scram", ca_file=None), client=client)
    with pytest.raises(SettingsError, match=r"failed \(.*certificate.*\): check ETL_KAFKA_CA_FILE"):
        connection.reach(settings)
    monkeypatch.setenv("SSL_CERT_FILE", str(broker.service.ca_file))
    with port.connect(settings) as connected:
        connected.create_topic(topic, 1, 1, {})
        send_one(settings, topic, b"a")


@pytest.mark.parametrize("client", CLIENTS)
def test_token_is_renewed_when_it_expires_meanwhile(
    broker: Listeners, oauth: TokenServer, topic: str, client: str
) -> None:
    oauth.lifetime = 5.0
    settings = KafkaSettings(**token(broker, oauth), client=client)
    first = tokens.current_token(settings)
    with port.connect(settings) as connected, open_producer(settings) as producer:
        connected.create_topic(topic, 1, 1, {})
        producer.send(topic, b"m1", b"before", [])
        producer.send(topic, b"m1", b"b" * 1000, [])
        producer.flush()
        blocks = ports.read(settings, topic, {0: Span(0, 3)})
        assert next(blocks).values == [b"before"]
        # The first login is no longer valid, neither is its token.
        time.sleep(max(0.0, first.expires - time.time()) + 1)
        producer.send(topic, b"m1", b"after", [])
        producer.flush()
        assert [value for block in blocks for value in block.values][-1] == b"after"
    assert len(oauth.asked) > 1
    assert {str(asked["scope"]) for asked in oauth.asked} == {"['kafka']"}


def test_token_is_used_on_when_its_server_is_away_for_a_while(broker: Listeners, oauth: TokenServer) -> None:
    settings = KafkaSettings(**token(broker, oauth))
    first = tokens.current_token(settings)
    (key,) = tokens._tokens
    tokens._tokens[key] = first._replace(renew=0)
    oauth.status = 503
    assert tokens.current_token(settings).text == first.text
    tokens._tokens[key] = first._replace(renew=0, expires=0)
    with pytest.raises(Unreachable, match="HTTP 503"):
        tokens.current_token(settings)


WRONG: dict[str, tuple[Any, type[EtlError], str]] = {
    "password": (
        lambda broker, _: password(broker, "plain", sasl_mechanism="PLAIN", password="guessed"),
        CredentialsError,
        "refused user admin: check ETL_KAFKA_USERNAME",
    ),
    "mechanism that has no such user": (
        lambda broker, _: password(
            broker, "scram", sasl_mechanism="SCRAM-SHA-256", username="stranger", password="guessed"
        ),
        CredentialsError,
        "refused user stranger: .*ETL_KAFKA_SASL_MECHANISM",
    ),
    "mechanism that is not offered": (
        lambda broker, _: password(broker, "plain", sasl_mechanism="SCRAM-SHA-256"),
        CredentialsError,
        "does not offer SCRAM-SHA-256 at this port: check ETL_KAFKA_SASL_MECHANISM",
    ),
    "no certificate": (
        lambda broker, _: broker.settings("mutual"),
        SettingsError,
        "ETL_KAFKA_CERTIFICATE_FILE: Kafka needs a client certificate",
    ),
    "certificate of another authority": (
        lambda broker, _: broker.settings("mutual", **broker.certificate("stranger")),
        SettingsError,
        "ETL_KAFKA_CERTIFICATE_FILE: Kafka needs a client certificate of a CA that it trusts",
    ),
    "certificate that has expired": (
        lambda broker, _: broker.settings("mutual", **broker.certificate("expired")),
        SettingsError,
        r"ETL_KAFKA_CERTIFICATE_FILE: .*expired\.crt is valid .* only: renew it",
    ),
    "TLS where passwords are needed": (
        lambda broker, _: broker.settings("scram", security_protocol="SSL"),
        CredentialsError,
        "does not take SSL at this port: check ETL_KAFKA_SECURITY_PROTOCOL",
    ),
    "nothing where passwords are needed": (
        lambda broker, _: broker.settings("plain", security_protocol="PLAINTEXT"),
        CredentialsError,
        "does not take PLAINTEXT at this port: check ETL_KAFKA_SECURITY_PROTOCOL",
    ),
    "password where none is taken": (
        lambda broker, _: password(broker, "tls", security_protocol="SASL_SSL"),
        CredentialsError,
        "does not take SASL_SSL at this port: check ETL_KAFKA_SECURITY_PROTOCOL",
    ),
    "password in plain text where TLS is": (
        lambda broker, _: password(broker, "scram", security_protocol="SASL_PLAINTEXT"),
        SettingsError,
        "check ETL_KAFKA_SECURITY_PROTOCOL and the port",
    ),
    "secret of the client": (
        lambda broker, oauth: token(broker, oauth, oauth_client_secret="guessed"),
        CredentialsError,
        r"token server http\S+/token refuses client sensor-etl \(HTTP 401 invalid_client\): .*_OAUTH_CLIENT_SECRET",
    ),
    "address of the token server": (
        lambda broker, oauth: token(broker, oauth, oauth_token_url="http://user:guessed@127.0.0.1:1/token", timeout=1),
        Unreachable,
        "token server http://127.0.0.1:1/token does not answer",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_connection_names_the_setting_when_it_is_wrong(broker: Listeners, oauth: TokenServer, wrong: str) -> None:
    make, error, said = WRONG[wrong]
    settings = KafkaSettings(**make(broker, oauth))
    with pytest.raises(error, match=said) as raised, port.connect(settings):
        pass
    assert type(raised.value) is error
    assert "\n" not in str(raised.value)
    assert not [secret for secret in ("guessed", *broker.service.users.values()) if secret in str(raised.value)]


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (400, b'{"error": "invalid_scope"}', CredentialsError, "HTTP 400 invalid_scope.*ETL_KAFKA_OAUTH_SCOPE"),
        (403, b"<p>s3cret</p>", CredentialsError, r"refuses client sensor-etl \(HTTP 403\)"),
        (404, b"", SettingsError, "HTTP 404: check ETL_KAFKA_OAUTH_TOKEN_URL"),
        (302, b"", SettingsError, "HTTP 302: check ETL_KAFKA_OAUTH_TOKEN_URL"),
        (200, b"<html>", SettingsError, "does not answer with a token"),
        (200, b"[1]", SettingsError, "does not answer with a token"),
        (200, b'{"access_token": "a\\nb"}', SettingsError, "does not answer with a token"),
        (200, b'{"access_token": "a", "expires_in": "soon"}', SettingsError, "does not answer with a token"),
        (503, b"", Unreachable, "is not available"),
    ],
)
def test_token_server_is_named_when_it_gives_no_token(
    broker: Listeners, oauth: TokenServer, status: int, body: bytes, error: type[EtlError], said: str
) -> None:
    oauth.status, oauth.body = status, body
    with pytest.raises(error, match=said) as raised:
        tokens.current_token(KafkaSettings(**token(broker, oauth)))
    assert type(raised.value) is error
    assert "s3cret" not in str(raised.value)


def test_token_is_refused_when_the_broker_does_not_know_who_signed_it(broker: Listeners, oauth: TokenServer) -> None:
    oauth.body = b'{"access_token": "e30.e30.e30", "expires_in": 60}'
    with (
        pytest.raises(CredentialsError, match="refused client sensor-etl: check ETL_KAFKA_OAUTH_CLIENT_ID"),
        port.connect(KafkaSettings(**token(broker, oauth))),
    ):
        pass


def test_doctor_connects_when_the_login_is_a_certificate(
    broker: Listeners, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in broker.settings("mutual", **broker.certificate(), topic=topic).items():
        monkeypatch.setenv(f"ETL_KAFKA_{name.upper()}", str(value))
    found = {check.what: check for check in check_all()}
    assert found["Kafka"].state == "ok"
    assert f"topic {topic} does not exist" in found["topic"].text


def test_grant_gives_rights_to_principals_when_they_have_no_password(
    broker: Listeners, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = KafkaSettings(**broker.settings("mutual", **broker.certificate()), topic=topic, group=topic)
    for name, value in broker.settings("mutual", **broker.certificate(), topic=topic, group=topic).items():
        monkeypatch.setenv(f"ETL_KAFKA_{name.upper()}", str(value))
    principals = {"consume": f"CN=consume-{topic},O=plant", "load": f"User:load-{topic}"}
    for stage, principal in principals.items():
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "principal").write_text(f"{principal}\n")
    findings = list(grant_access(GrantSettings(kafka_dir=tmp_path)))
    assert [finding.warning for finding in findings] == [False, False]
    with port.connect(settings) as connected:
        for stage, principal in principals.items():
            name = principal.removeprefix("User:")
            assert rights(connected, f"User:{name}") == set(kafka_acls(stage, settings))


def rights(client: port.Client, principal: str) -> set[tuple[str, str, str]]:
    anything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    of_user = ACLFilter(principal, None, ACLOperation.ANY, ACLPermissionType.ANY, anything)
    found, _ = client._admin.describe_acls(of_user)
    return {
        (acl.resource_pattern.resource_type.name.lower(), acl.resource_pattern.resource_name, acl.operation.name)
        for acl in found
    }


def test_grant_sets_the_password_of_the_mechanism_when_it_is_sha_256(
    broker: Listeners, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = password(broker, "scram", sasl_mechanism="SCRAM-SHA-256", topic=topic, group=topic)
    for name, value in login.items():
        monkeypatch.setenv(f"ETL_KAFKA_{name.upper()}", str(value))
    (tmp_path / "consume").mkdir()
    (tmp_path / "consume" / "password").write_text("a new one")
    list(grant_access(GrantSettings(kafka_dir=tmp_path)))
    own = {"username": "consume", "password": "a new one"}
    assert connection.reach(KafkaSettings(**{**login, **own})) is None
    with pytest.raises(CredentialsError):
        connection.reach(KafkaSettings(**{**login, **own, "sasl_mechanism": "SCRAM-SHA-512"}))
