"""The rights that `etl grant` gives on secure services: each stage can do its work with them, and nothing beyond."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cassandra import Unauthorized
from cassandra.metadata import TableMetadata
from kafka import TopicPartition
from kafka.admin import (
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    ResourcePatternFilter,
    ResourceType,
    UserScramCredentialUpsertion,
)
from kafka.errors import NoError

from etl.admin.access import cassandra_permissions, kafka_acls, read_access
from etl.admin.grant import grant_access
from etl.admin.schema import create_schema
from etl.cassandra.connection import connect
from etl.errors import SettingsError
from etl.insight.analyze import analyze
from etl.insight.limits import default_limits
from etl.kafka import client as kafka
from etl.kafka import ports
from etl.kafka.ports import open_producer
from etl.model.measurements import read_measurements
from etl.page.app import VIEWS, today
from etl.page.url import PageUrl
from etl.page.views.machine import machine
from etl.results.reader import Reader
from etl.run.runner import run_stage
from etl.settings import (
    AnalyzeSettings,
    CassandraSettings,
    GrantSettings,
    KafkaSettings,
    RunSettings,
    SchemaSettings,
    read_settings,
    read_stage_settings,
)
from etl.stages import consume, produce
from etl.stages.generate import stage as generate
from etl.stages.load import stage as load
from etl.stages.transform import stage as transform
from images import local
from tests.integration.accounts import mount

COMMANDS = ("analyze", "page")
# What the access table names, and what belongs to somebody else.
TOPICS = ("granted", "granted-dead", "granted-events", "others")
KEYSPACES = ("granted", "others")
GROUPS = ("granted", "granted-watch", "others")
Attempt = Callable[[], object]


def log_in(user: str, users: dict[str, str], patch: pytest.MonkeyPatch) -> None:
    for service in ("KAFKA", "CASSANDRA"):
        patch.setenv(f"ETL_{service}_USERNAME", user)
        patch.setenv(f"ETL_{service}_PASSWORD", users[user])


def grant(folder: Path, users: dict[str, str], stages: list[str]) -> None:
    mount(folder, {stage: users[stage] for stage in stages})
    list(grant_access(GrantSettings(kafka_dir=folder, cassandra_dir=folder)))
    # The node keeps what it knows of a role for two seconds.
    time.sleep(2.1)


@pytest.fixture(scope="module")
def granted(
    secure_kafka: local.Service,
    secure_cassandra: local.Service,
    users: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[pytest.MonkeyPatch]:
    """Each user has the rights of its stage, and `schema` has made topics and tables with its own."""
    own = {
        "ETL_KAFKA_TOPIC": "granted",
        "ETL_KAFKA_DEAD_LETTER_TOPIC": "granted-dead",
        "ETL_KAFKA_EVENTS_TOPIC": "granted-events",
        "ETL_KAFKA_GROUP": "granted",
        "ETL_KAFKA_TIMEOUT": "20",
        "ETL_CASSANDRA_KEYSPACE": "granted",
        "ETL_WORKSPACE_URL": str(tmp_path_factory.mktemp("granted")),
        "ETL_RUN_ID": "run-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (secure_kafka.environment | secure_cassandra.environment | own).items():
            patch.setenv(name, value)
        grant(tmp_path_factory.mktemp("schema"), users, ["schema"])
        log_in("schema", users, patch)
        parts = SchemaSettings(), read_settings(CassandraSettings), read_settings(KafkaSettings)
        list(create_schema(read_measurements(), *parts))
        assert not any(finding.warning for finding in create_schema(read_measurements(), *parts))
        log_in("admin", users, patch)
        # Again, because Cassandra gives all rights on a table to the role that creates it.
        grant(tmp_path_factory.mktemp("stages"), users, list(read_access()))
        make_others()
        yield patch


def test_stages_analysis_and_page_do_their_work_when_each_has_its_own_rights(
    granted: pytest.MonkeyPatch, users: dict[str, str]
) -> None:
    settings = read_settings(RunSettings)
    for name, value in (("MACHINES", "2"), ("INTERVAL", "1"), ("DURATION", "60")):
        granted.setenv(f"ETL_GENERATE_{name}", value)
    run_stage("generate", generate.generate, settings, *read_stage_settings("generate"))
    for name, stage in (
        ("produce", produce.produce),
        ("consume", consume.consume),
        ("transform", transform.transform),
        ("load", load.load),
    ):
        log_in(name, users, granted)
        manifest = run_stage(name, stage, settings, *read_stage_settings(name))
        if name == "produce":
            with open_producer(read_settings(KafkaSettings)) as producer:
                producer.send("granted", b"press-1", b"no JSON", [])
                producer.flush()
    assert manifest.summary.counts.items() >= {"consumed": 121, "loaded": 120, "dead_letters": 1}.items()
    log_in("analyze", users, granted)
    services = read_settings(CassandraSettings), read_settings(KafkaSettings)
    assert analyze(read_measurements(), default_limits(), read_settings(AnalyzeSettings), *services)["days"] >= 2
    log_in("page", users, granted)
    with connect(read_settings(CassandraSettings)) as session:
        reader = Reader(session, read_measurements())
        shown = [view(reader, PageUrl(path), today()) for path, (_, view) in VIEWS.items()]
        assert "2 machines" in shown[0].says, shown[0].says
        day = reader.newest_day(today())
        assert day
        assert machine(reader, PageUrl("/"), reader.fleet(day)[0]["equipment_id"], day).says
        reader.acknowledge("20260105T081500Z.press-1.overload", "somebody", "seen", datetime.now(UTC))


def make_others() -> None:
    """A topic and a keyspace of somebody else, and a record in each topic: nobody is refused one that is not there."""
    settings = read_settings(KafkaSettings)
    with kafka.connect(settings) as client:
        client.create_topic("others", 1, 1, {})
    with open_producer(settings) as producer:
        for topic in TOPICS[1:]:
            producer.send(topic, b"press-1", b"{}", [])
        producer.flush()
    with connect(read_settings(CassandraSettings), keyspace=False) as session:
        session.execute(
            "CREATE KEYSPACE others WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}"
        )
        session.execute("CREATE TABLE others.sensor_data (equipment_id text PRIMARY KEY)")


def allowed(attempt: Attempt) -> bool:
    try:
        attempt()
    except Unauthorized:
        return False
    except SettingsError as error:
        # For those who may not see a topic it does not exist.
        if any(word in str(error) for word in ("allow", "Authorization", "does not exist")):
            return False
        raise
    return True


@pytest.fixture(params=(*read_access(), "stranger"))
def user(granted: pytest.MonkeyPatch, users: dict[str, str], request: pytest.FixtureRequest) -> str:
    """Each identity, and one that the access table does not name; it is logged in."""
    name = str(request.param)
    log_in(name, users, granted)
    return name


def insert(table: TableMetadata) -> str:
    """An insert of a row with nothing but its key."""
    values = {"text": "'x'", "date": "'2026-01-05'", "timestamp": "1", "int": "0"}
    names, kinds = zip(*((column.name, values[column.cql_type]) for column in table.primary_key), strict=True)
    return f"INSERT INTO {table.keyspace_name}.{table.name} ({', '.join(names)}) VALUES ({', '.join(kinds)})"


def statements(table: TableMetadata) -> dict[str, list[str]]:
    """Statements by the permission that they need; the last one of a permission may destroy the table or its rows."""
    name = f"{table.keyspace_name}.{table.name}"
    return {
        "SELECT": [f"SELECT * FROM {name} LIMIT 1"],
        "MODIFY": [insert(table), f"TRUNCATE {name}"],
        "ALTER": [f"ALTER TABLE {name} WITH comment = 'mine'"],
        "AUTHORIZE": [f"GRANT SELECT ON {name} TO stranger"],
        "CREATE INDEX": [f"CREATE INDEX mine ON {name} ({table.partition_key[0].name})"],
        "DROP": [f"DROP TABLE {name}"],
    }


def test_each_table_is_open_for_each_verb_when_the_access_table_says_so_and_only_then(user: str) -> None:
    rights = cassandra_permissions(user, "granted") if user in read_access() else {}
    with connect(read_settings(CassandraSettings), keyspace=False) as session:
        keyspaces = session.cluster.metadata.keyspaces
        tables = [table for name in KEYSPACES for table in keyspaces[name].tables.values()]
        named = {table for access in read_access().values() for table in access.get("cassandra", ())} - {"keyspace"}
        assert {table.name for table in tables} >= named
        for table in tables:
            resources = ("data", f"data/{table.keyspace_name}", f"data/{table.keyspace_name}/{table.name}")
            may = {permission for resource in resources for permission in rights.get(resource, ())}
            for permission, attempts in statements(table).items():
                needed = "ALTER" if permission == "CREATE INDEX" else permission
                expected = needed in may
                # Whoever may destroy a table does not do it here.
                destroys = 1 if expected and permission in ("MODIFY", "DROP", "CREATE INDEX") else 0
                for attempt in attempts[: len(attempts) - destroys]:
                    assert allowed(lambda attempt=attempt: session.execute(attempt)) == expected, attempt


def test_keyspaces_and_roles_are_open_to_those_who_create_tables_alone(user: str) -> None:
    creates = "keyspace" in read_access().get(user, {}).get("cassandra", {})
    replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    attempts = {
        f"CREATE TABLE granted.made_by_{user} (a text PRIMARY KEY)": creates,
        f"DROP TABLE granted.made_by_{user}": creates,
        f"ALTER KEYSPACE granted WITH replication = {replication}": creates,
        f"CREATE KEYSPACE made_by_{user} WITH replication = {replication}": creates,
        "ALTER KEYSPACE others WITH durable_writes = false": False,
        "DROP KEYSPACE others": False,
        "SELECT * FROM system_auth.roles": False,
        "SELECT * FROM system_auth.role_permissions": False,
        "CREATE ROLE another": False,
        f'ALTER ROLE "{user}" WITH SUPERUSER = true': False,
        "DROP ROLE stranger": False,
        f'GRANT SELECT ON ALL KEYSPACES TO "{user}"': False,
    }
    with connect(read_settings(CassandraSettings), keyspace=False) as session:
        for attempt, expected in attempts.items():
            if attempt.startswith("DROP TABLE") and not creates:
                continue
            assert allowed(lambda attempt=attempt: session.execute(attempt)) == expected, attempt


# A right on a resource: (`topic`, `group` or `cluster`; name; operation), and an attempt that needs them all.
Right = tuple[str, str, str]


def held(user: str) -> set[Right]:
    """The rights by the access table; each one but those on settings implies to describe the resource."""
    acls = kafka_acls(user, read_settings(KafkaSettings)) if user in read_access() else []
    rights = {(acl.resource, acl.name, acl.operation) for acl in acls}
    implied = {(kind, name, "DESCRIBE") for kind, name, verb in rights if verb in ("READ", "WRITE", "DELETE", "ALTER")}
    return rights | implied


def attempts_on_topics(client: kafka.Client, topic: str) -> Iterator[tuple[set[Right], Attempt]]:
    settings, first = client.settings, TopicPartition(topic, 0)
    resource = ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "86400000"})

    def send() -> None:
        with open_producer(settings) as producer:
            producer.send(topic, b"press-1", b"{}", [])
            producer.flush()

    def ask(operation: Callable[[Any], object]) -> Attempt:
        return lambda: client.administer(f"topic {topic}", operation)

    def alter(admin: Any) -> None:
        answers = admin.alter_configs([resource], validate_only=True, raise_on_unknown=False)
        if "AuthorizationFailed" in str(answers):
            raise SettingsError(str(answers))

    yield {("topic", topic, "WRITE")}, send
    yield {("topic", topic, "READ")}, lambda: list(ports.read(settings, topic, client.log_spans(topic)))
    yield {("topic", topic, "DESCRIBE")}, lambda: client.log_spans(topic)
    yield {("topic", topic, "DESCRIBE_CONFIGS")}, lambda: client.topic_settings(topic)
    # Only those who may create it are told that it is there.
    yield {("cluster", "kafka-cluster", "CREATE")}, lambda: client.create_topic(topic, 1, 1, {})
    yield {("topic", topic, "ALTER")}, ask(lambda admin: admin.create_partitions({topic: 100}, validate_only=True))
    yield {("topic", topic, "ALTER_CONFIGS")}, ask(alter)
    yield {("topic", topic, "DELETE")}, ask(lambda admin: admin.delete_records({first: 0}))
    yield {("topic", topic, "DELETE")}, ask(lambda admin: admin.delete_topics([topic]))


def test_each_topic_is_open_for_each_verb_when_the_access_table_says_so_and_only_then(user: str) -> None:
    rights = held(user)
    with kafka.connect(read_settings(KafkaSettings)) as client:
        for topic in TOPICS:
            for needed, attempt in attempts_on_topics(client, topic):
                assert allowed(attempt) == (needed <= rights), (topic, needed)


def test_each_group_is_open_for_each_verb_when_the_access_table_says_so_and_only_then(user: str) -> None:
    rights = held(user)
    for group in GROUPS:
        settings = read_settings(KafkaSettings).model_copy(update={"group": group})
        with kafka.connect(settings) as client:
            for topic in TOPICS:
                see = {("group", group, "DESCRIBE"), ("topic", topic, "DESCRIBE")}
                commit = {("group", group, "READ"), ("topic", topic, "READ")}
                assert allowed(lambda topic=topic: client.committed(topic)) == (see <= rights), (group, topic)
                assert allowed(lambda topic=topic: client.commit(topic, {0: 0})) == (commit <= rights), (group, topic)

            def delete(admin: Any, group: str = group) -> None:
                # kafka-python returns the names of errors here.
                if "AuthorizationFailed" in (answer := admin.delete_groups([group])[group]):
                    raise SettingsError(answer)

            assert not allowed(lambda delete=delete: client.administer("group", delete)), group


def test_cluster_is_closed_to_all_but_the_administrator(user: str) -> None:
    anything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    every = ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, anything)

    def check(error: Any) -> None:
        if error is not NoError:
            raise error("the cluster")

    def list_rights(admin: Any) -> None:
        check(admin.describe_acls(every)[1])

    def delete_rights(admin: Any) -> None:
        for *_, error in admin.delete_acls([every]):
            check(error)

    def change_password(admin: Any) -> None:
        change = UserScramCredentialUpsertion("stranger", "SCRAM-SHA-512", "mine")
        if refusal := admin.alter_user_scram_credentials([change])["stranger"]:
            raise SettingsError(f"not allowed: {refusal}")

    with kafka.connect(read_settings(KafkaSettings)) as client:
        for operation in (list_rights, delete_rights, change_password):
            assert not allowed(lambda operation=operation: client.administer("the cluster", operation)), operation
