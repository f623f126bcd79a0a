"""`etl grant` on secure services: made, changed and taken back, whatever was there before."""

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cassandra.cluster import Session
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from etl.admin.access import cassandra_permissions, kafka_acls
from etl.admin.schema import create_schema
from etl.cassandra.connection import connect
from etl.errors import SettingsError
from etl.kafka import connection
from etl.model.measurements import read_measurements
from etl.settings import CassandraSettings, KafkaSettings, SchemaSettings
from images import local
from tests.integration.accounts import mount
from tests.integration.machine import Machine

# Marks that would end a literal or a line of another language.
PASSWORD = """it's "so" $$ -- %s {x} \\ ü"""
STAGES = ("produce", "consume", "transform", "load")


@pytest.fixture
def machine(
    secure_kafka: local.Service, secure_cassandra: local.Service, topic: str, keyspace: str, tmp_path: Path
) -> Machine:
    """The command of an administrator, with topics and tables, and folders of secrets."""
    own = {
        "ETL_KAFKA_TOPIC": topic,
        "ETL_KAFKA_DEAD_LETTER_TOPIC": f"{topic}-dead-letters",
        "ETL_KAFKA_GROUP": topic,
        "ETL_CASSANDRA_KEYSPACE": keyspace,
        "ETL_GRANT_KAFKA_DIR": str(tmp_path),
        "ETL_GRANT_CASSANDRA_DIR": str(tmp_path),
    }
    machine = Machine(secure_kafka.environment | secure_cassandra.environment | own)
    list(create_schema(read_measurements(), SchemaSettings(), machine.cassandra, machine.kafka))
    return machine


@pytest.fixture
def names(tmp_path: Path) -> dict[str, str]:
    """Mounted secrets of users of this test's own."""
    names = {stage: f'{stage}-"{secrets.token_hex(4)}' for stage in STAGES}
    mount(tmp_path, dict.fromkeys(STAGES, PASSWORD), names)
    return names


@pytest.fixture
def session(machine: Machine) -> Iterator[Session]:
    with connect(machine.cassandra) as session:
        yield session


@pytest.fixture
def admin(machine: Machine) -> Iterator[KafkaAdminClient]:
    admin = KafkaAdminClient(**connection.options(machine.kafka))
    yield admin
    admin.close()


def acls(admin: KafkaAdminClient, name: str) -> set[tuple[str, str, str]]:
    anything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    of_user = ACLFilter(f"User:{name}", None, ACLOperation.ANY, ACLPermissionType.ANY, anything)
    found, _ = admin.describe_acls(of_user)
    return {
        (acl.resource_pattern.resource_type.name.lower(), acl.resource_pattern.resource_name, acl.operation.name)
        for acl in found
    }


def permissions(session: Session, name: str) -> dict[str, set[str]]:
    query = "SELECT resource, permissions FROM system_auth.role_permissions WHERE role = %s"
    return {resource: set(named) for resource, named in session.execute(query, (name,)) if named}


def logs_in(machine: Machine, name: str, password: str) -> tuple[bool, bool]:
    """Tell whether Kafka and Cassandra take the password."""
    own = {"username": name, "password": password}

    def works(enter: Callable[[], object]) -> bool:
        try:
            enter()
        except SettingsError:
            return False
        return True

    def enter_cassandra() -> None:
        with connect(CassandraSettings(**{**machine.cassandra.model_dump(), **own}), keyspace=False):
            pass

    return works(lambda: connection.reach(KafkaSettings(**{**machine.kafka.model_dump(), **own}))), works(
        enter_cassandra
    )


def check_rights(machine: Machine, names: dict[str, str], admin: KafkaAdminClient, session: Session) -> None:
    for stage, name in names.items():
        assert acls(admin, name) == set(kafka_acls(stage, machine.kafka))
        assert permissions(session, name) == cassandra_permissions(stage, machine.cassandra.keyspace)


def test_grant_gives_a_stage_its_rights_and_shows_no_password_when_run_and_run_again(
    machine: Machine, names: dict[str, str], admin: KafkaAdminClient, session: Session
) -> None:
    for again in (False, True):
        done = machine.etl("grant")
        assert done.returncode == 0, done.stderr
        # The node refuses to change a password that it has just set; a new one has to be set once.
        assert again or "retrying Cassandra" not in done.stderr
        lines = done.stdout.splitlines()
        assert len(lines) == 2 * len(STAGES)
        assert all(line.startswith("ok ") for line in lines)
        for name in names.values():
            assert sum(name in line for line in lines) == 2
        assert PASSWORD not in done.stdout + done.stderr
        check_rights(machine, names, admin, session)
    assert all(logs_in(machine, name, PASSWORD) == (True, True) for name in names.values())


def test_old_password_fails_when_the_mounted_one_has_changed(
    machine: Machine, names: dict[str, str], tmp_path: Path
) -> None:
    assert machine.etl("grant").returncode == 0
    mount(tmp_path, {"load": "another one"})
    assert machine.etl("grant").returncode == 0
    # The node keeps what it knows of a password for two seconds.
    time.sleep(2.1)
    assert logs_in(machine, names["load"], "another one") == (True, True)
    assert logs_in(machine, names["load"], PASSWORD) == (False, False)


def test_rights_are_taken_away_when_a_stage_does_not_need_them(
    machine: Machine, names: dict[str, str], admin: KafkaAdminClient, session: Session, topic: str, keyspace: str
) -> None:
    assert machine.etl("grant").returncode == 0
    role = names["load"].replace('"', '""')
    session.execute(f'CREATE ROLE "{keyspace}"')
    for right in (
        f"SELECT ON TABLE {keyspace}.runs",
        f"CREATE ON KEYSPACE {keyspace}",
        f"SELECT ON ALL TABLES IN KEYSPACE {keyspace}",
        "SELECT ON ALL KEYSPACES",
        "SELECT ON TABLE system_auth.roles",
    ):
        session.execute(f'GRANT {right} TO "{role}"')
    session.execute(f'GRANT "{keyspace}" TO "{role}"')
    session.execute(f'ALTER ROLE "{role}" WITH SUPERUSER = true')
    patterns = [
        ResourcePattern(ResourceType.TOPIC, f"{topic}-dead", ACLResourcePatternType.PREFIXED),
        ResourcePattern(ResourceType.TOPIC, f"{topic}-dead-letters"),
        ResourcePattern(ResourceType.GROUP, "*"),
        ResourcePattern(ResourceType.TRANSACTIONAL_ID, "any"),
        ResourcePattern(ResourceType.GROUP, "elsewhere"),
    ]
    principal = f"User:{names['load']}"
    more = [ACL(principal, "*", ACLOperation.DESCRIBE, ACLPermissionType.ALLOW, pattern) for pattern in patterns]
    assert not admin.create_acls(more)["failed"]

    done = machine.etl("grant")

    assert done.returncode == 0, done.stderr
    lost = [line for line in done.stdout.splitlines() if "revoked" in line]
    assert len(lost) == 2
    assert all(names["load"] in line and line.startswith("warn") for line in lost)
    # What it may do elsewhere is not ours to say.
    wanted = cassandra_permissions("load", keyspace)
    assert permissions(session, names["load"]) == wanted | {"data/system_auth/roles": {"SELECT"}}
    wanted_acls = set(kafka_acls("load", machine.kafka))
    assert acls(admin, names["load"]) == wanted_acls | {("group", "elsewhere", "DESCRIBE")}
    found = session.execute("SELECT member_of, is_superuser FROM system_auth.roles WHERE role = %s", (names["load"],))
    assert found.one() == (None, False)


def test_one_service_is_left_alone_when_it_has_no_secrets(
    machine: Machine, names: dict[str, str], admin: KafkaAdminClient, session: Session
) -> None:
    assert machine.etl("grant", ETL_GRANT_KAFKA_DIR="").returncode == 0
    assert acls(admin, names["load"]) == set()
    assert permissions(session, names["load"])


def test_message_says_who_lacks_the_right_when_the_administrator_is_none(
    machine: Machine, names: dict[str, str], users: dict[str, str]
) -> None:
    for service, other in (("KAFKA", "CASSANDRA"), ("CASSANDRA", "KAFKA")):
        stranger = {f"ETL_{service}_USERNAME": "stranger", f"ETL_{service}_PASSWORD": users["stranger"]}
        done = machine.etl("grant", **stranger, **{f"ETL_GRANT_{other}_DIR": ""})
        assert done.returncode == 2
        assert service.capitalize() in done.stderr
        assert PASSWORD not in done.stdout + done.stderr


def test_message_names_schema_when_a_table_is_missing(machine: Machine, names: dict[str, str]) -> None:
    with connect(machine.cassandra) as session:
        session.execute("DROP TABLE runs")
    done = machine.etl("grant", ETL_GRANT_KAFKA_DIR="")
    assert done.returncode == 2
    assert "etl schema" in done.stderr
