"""`etl grant`: set the password and exactly the rights of each stage's Kafka user and Cassandra role.

A Kafka user whose password Kafka does not store (a certificate, an OAuth client) is named by its principal.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cassandra.cluster import Session
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    UserScramCredentialUpsertion,
)
from kafka.errors import NoError
from pydantic import SecretStr

from etl.admin.access import cassandra_permissions, kafka_acls, read_access
from etl.admin.schema import Finding
from etl.cassandra.connection import connect
from etl.cassandra.cql import identifier
from etl.cassandra.retry import retrying
from etl.cassandra.roles import set_role
from etl.errors import SettingsError
from etl.kafka.client import Client
from etl.kafka.client import connect as connect_kafka
from etl.kafka.connection import reach
from etl.settings import CassandraSettings, GrantSettings, KafkaSettings, read_settings

# A new password reaches the brokers with a delay.
LOGIN_SECONDS = 60.0

# Permissions by resource, with Cassandra's names.
Rights = dict[str, set[str]]


@dataclass(frozen=True)
class Account:
    """A user of Kafka or a role of Cassandra, for one stage or for `schema`; a principal has no password."""

    stage: str
    name: str
    password: SecretStr | None


def grant_access(settings: GrantSettings) -> Iterator[Finding]:
    """Create or change the users and roles of the mounted secrets; yield a line for each, a warning if it lost rights.

    The users in the settings of Kafka and Cassandra must be administrators.

    Raises:
        SettingsError: a folder cannot be used, a table is missing, or the administrator lacks a right.
        Unreachable: Kafka or Cassandra does not answer.
    """
    if not (settings.kafka_dir or settings.cassandra_dir):
        raise SettingsError(
            "no user or role to grant rights to: set ETL_GRANT_KAFKA_DIR, ETL_GRANT_CASSANDRA_DIR or both"
        )
    # Read everything before changing anything.
    users = _accounts("ETL_GRANT_KAFKA_DIR", settings.kafka_dir, KafkaSettings)
    roles = _accounts("ETL_GRANT_CASSANDRA_DIR", settings.cassandra_dir, CassandraSettings)
    if users:
        kafka = read_settings(KafkaSettings)
        _refuse_passwords(kafka, users)
        with connect_kafka(kafka) as client:
            for account in users:
                yield _grant_user(client, account)
    if roles:
        cassandra = read_settings(CassandraSettings)
        with connect(cassandra, keyspace=False) as session:
            for account in roles:
                yield _grant_role(session, account, cassandra.keyspace)


def _accounts(
    setting: str, folder: Path | None, service: type[KafkaSettings] | type[CassandraSettings]
) -> list[Account]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise SettingsError(f"{setting}: {folder} is no folder")
    # Kubernetes mounts files in hidden folders, with links to them.
    found = {path.name: path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    stages = list(read_access())
    if unknown := sorted(set(found) - set(stages)):
        raise SettingsError(f"{setting}: {unknown[0]} is none of {', '.join(stages)}")
    read = _user if service is KafkaSettings else _account
    accounts = [read(setting, stage, found[stage]) for stage in stages if stage in found]
    names = [account.name for account in accounts]
    if shared := next((name for name in names if names.count(name) > 1), None):
        raise SettingsError(f"{setting}: {shared} is there for more than one stage, give each its own")
    if names and (administrator := read_settings(service).username) in names:
        raise SettingsError(f"{setting}: {administrator} gives the rights, and would lose its own")
    return accounts


def _user(setting: str, stage: str, folder: Path) -> Account:
    """Read an account of Kafka."""
    if not (folder / "principal").exists():
        return _account(setting, stage, folder)
    if (folder / "password").exists():
        raise SettingsError(f"{setting}: {folder} has both `principal` and `password`: a principal has no password")
    return Account(stage, _secret(setting, folder / "principal").removeprefix("User:"), None)


def _refuse_passwords(settings: KafkaSettings, users: list[Account]) -> None:
    """Check that Kafka stores the passwords with the mechanism of the settings, by which each user then logs in."""
    if settings.logs_in and settings.sasl_mechanism.startswith("SCRAM"):
        return
    if user := next((user for user in users if user.password), None):
        raise SettingsError(
            f"ETL_GRANT_KAFKA_DIR: the password of {user.name} needs a login with SCRAM; for another login, give the"
            f" folder {user.stage} a file `principal`, such as User:CN={user.name}, instead of `password`"
        )


def _account(setting: str, stage: str, folder: Path) -> Account:
    name, password = _secret(setting, folder / "username", default=stage), _secret(setting, folder / "password")
    return Account(stage, name, SecretStr(password))


def _secret(setting: str, path: Path, default: str | None = None) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        text = default or ""
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text:
        raise SettingsError(f"{setting}: {path} is missing or empty, or cannot be read")
    return text


def _grant_user(client: Client, account: Account) -> Finding:
    """Set ACLs and any password of a Kafka user; revoke its other ACLs, except on named topics and groups of others."""
    principal = f"User:{account.name}"
    wanted = {
        ACL(
            principal,
            "*",
            ACLOperation[acl.operation],
            ACLPermissionType.ALLOW,
            ResourcePattern(ResourceType[acl.resource.upper()], acl.name),
        )
        for acl in kafka_acls(account.stage, client.settings)
    }
    any_resource = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    of_user = ACLFilter(principal, None, ACLOperation.ANY, ACLPermissionType.ANY, any_resource)

    def change(admin: Any) -> set[ACL]:
        found = {acl for acl in admin.describe_acls(of_user)[0] if not _elsewhere(acl, client.settings)}
        failed = admin.create_acls(list(wanted - found))["failed"]
        failed += [error for *_, error in admin.delete_acls(list(found - wanted)) if error is not NoError]
        if failed:
            raise failed[0](account.name)
        if account.password:
            password = account.password.get_secret_value()
            new = UserScramCredentialUpsertion(account.name, client.settings.sasl_mechanism, password)
            if refusal := admin.alter_user_scram_credentials([new])[account.name]:
                raise SettingsError(f"Kafka user {account.name}: {refusal}")
        return found - wanted

    taken = client.administer(f"Kafka user {account.name}", change)
    if account.password:
        _await_login(client.settings, account)
    return _finding(f"Kafka user {account.name}", _named(wanted), _named(taken))


def _elsewhere(acl: ACL, settings: KafkaSettings) -> bool:
    """Return whether an ACL is on a topic or group of another pipeline; patterns do not count."""
    pattern = acl.resource_pattern
    ours = {
        ResourceType.TOPIC: (*settings.topics, settings.dead_letter_topic, settings.events_topic),
        ResourceType.GROUP: (settings.group,),
    }
    return (
        pattern.resource_type in ours
        and pattern.pattern_type == ACLResourcePatternType.LITERAL
        and pattern.resource_name not in (*ours[pattern.resource_type], "*")
    )


def _named(acls: set[ACL]) -> list[str]:
    return sorted(
        f"{acl.operation.name} ON {acl.resource_pattern.resource_type.name} {acl.resource_pattern.resource_name}"
        for acl in acls
    )


def _await_login(settings: KafkaSettings, account: Account) -> None:
    """Log in as the user, because kafka-python does not always report that Kafka refused the password."""
    own = settings.model_copy(update={"username": account.name, "password": account.password})
    deadline = time.monotonic() + LOGIN_SECONDS
    while True:
        try:
            return reach(own)
        except SettingsError as error:
            if time.monotonic() > deadline:
                raise SettingsError(
                    f"Kafka user {account.name} cannot log in with its new password:"
                    f" may {settings.username} change passwords (ALTER on the cluster)?"
                ) from error
        time.sleep(0.2)


def _grant_role(session: Session, account: Account, keyspace: str) -> Finding:
    """Set password and permissions of a Cassandra role; revoke its others on this keyspace and on all keyspaces."""
    role = identifier(account.name)
    if account.password:
        set_role(session, account.name, account.password.get_secret_value(), superuser=False)
    wanted = cassandra_permissions(account.stage, keyspace)
    if keyspace not in session.cluster.metadata.keyspaces:
        # The creator of a role has all rights on it.
        wanted.pop(f"data/{keyspace}", None)
    found = {
        resource: set(permissions)
        for resource, permissions in _rows(session, "resource, permissions FROM system_auth.role_permissions", account)
        if resource in ("data", f"data/{keyspace}") or resource.startswith(f"data/{keyspace}/")
    }
    given, taken = _in_cql(_beyond(wanted, found)), _in_cql(_beyond(found, wanted))
    _execute(session, [f"GRANT {right} TO {role}" for right in given])
    _execute(session, [f"REVOKE {right} FROM {role}" for right in taken])
    parents = [name for (of,) in _rows(session, "member_of FROM system_auth.roles", account) for name in of or ()]
    _execute(session, [f"REVOKE {identifier(parent)} FROM {role}" for parent in parents])
    return _finding(f"Cassandra role {account.name}", _in_cql(wanted), taken + [f"role {name}" for name in parents])


def _execute(session: Session, statements: list[str]) -> None:
    for statement in statements:
        retrying(partial(session.execute, statement))


def _rows(session: Session, what: str, account: Account) -> list[Any]:
    query = f"SELECT {what} WHERE role = %s"
    return list(retrying(lambda: session.execute(query, (account.name,))))


def _beyond(rights: Rights, others: Rights) -> Rights:
    """Return the rights that are not in another set."""
    return {resource: permissions - others.get(resource, set()) for resource, permissions in rights.items()}


def _in_cql(rights: Rights) -> list[str]:
    return [
        f"{permission} ON {_resource(resource)}"
        for resource, permissions in sorted(rights.items())
        for permission in sorted(permissions)
    ]


def _resource(name: str) -> str:
    """Return in CQL `data`, `data/KEYSPACE`, `data/KEYSPACE/*` (all its tables) or `data/KEYSPACE/TABLE`."""
    path = [identifier(part) for part in name.split("/", 2)[1:]]
    if not path:
        return "ALL KEYSPACES"
    if len(path) == 1:
        return f"KEYSPACE {path[0]}"
    return f"ALL TABLES IN KEYSPACE {path[0]}" if name.endswith("/*") else f"TABLE {'.'.join(path)}"


def _finding(who: str, has: list[str], lost: list[str]) -> Finding:
    taken = f"; revoked: {', '.join(lost)}" if lost else ""
    return Finding(f"{who}: {', '.join(has) or 'no rights'}{taken}", warning=bool(lost))
