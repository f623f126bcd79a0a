"""The rights that `etl grant` gives on secure services: each stage can do its work with them, and nothing beyond."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cassandra import Unauthorized

from etl.admin.access import read_access
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
from etl.run.runner import STAGES, run_stage
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

TABLES = ("sensor_data", "watermarks", "equipment", "runs", "touched_days")
USERS = ("produce", "consume", "transform", "load", "analyze", "page", "schema", "stranger")
COMMANDS = ("analyze", "page")
# Kafka has no smaller rights than these.
INCLUDED = {
    "commit-offsets": ["commit-offsets", "read-offsets", "read topic"],
    "write dead-letters": ["write dead-letters", "see-offsets"],
    "create-topics": ["create-topics", "see-offsets"],
}

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
        grant(tmp_path_factory.mktemp("stages"), users, [user for user in USERS if user in (*STAGES, *COMMANDS)])
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


@pytest.mark.parametrize("user", USERS)
def test_tables_are_open_to_a_role_when_access_says_so_and_only_then(
    granted: pytest.MonkeyPatch, users: dict[str, str], user: str
) -> None:
    log_in(user, users, granted)
    rights = read_access().get(user, {}).get("cassandra", {})
    granted_all = "keyspace" in rights
    can: dict[str, list[str]] = {table: [] for table in TABLES}
    with connect(read_settings(CassandraSettings)) as session:
        for table in TABLES:
            key = "month, run, stage, shard" if table == "runs" else "run, equipment_id, day"
            key = {"sensor_data": "equipment_id, day, timestamp", "runs": key, "touched_days": key}.get(
                table, "equipment_id"
            )
            known = {"day": "'2026-01-05'", "timestamp": "1", "shard": "0"}
            values = ", ".join(known.get(name, "'x'") for name in key.split(", "))
            for right, statement in (
                ("read", f"SELECT * FROM {table} LIMIT 1"),
                ("modify", f"INSERT INTO {table} ({key}) VALUES ({values})"),
                ("alter", f"ALTER TABLE {table} WITH comment = 'mine'"),
            ):
                if allowed(lambda statement=statement: session.execute(statement)):
                    can[table].append(right)
        assert allowed(lambda: session.execute("CREATE TABLE other (a text PRIMARY KEY)")) == granted_all
    everything = ["read", "modify", "alter"]
    assert can == {table: everything if granted_all else rights.get(table, []) for table in TABLES}


def allowed(attempt: Attempt) -> bool:
    try:
        attempt()
    except Unauthorized:
        return False
    except SettingsError as error:
        if "allow" in str(error) or "Authorization" in str(error):
            return False
        raise
    return True


@pytest.mark.parametrize("user", USERS)
def test_topics_are_open_to_a_user_when_access_says_so_and_only_then(
    granted: pytest.MonkeyPatch, users: dict[str, str], user: str
) -> None:
    log_in(user, users, granted)
    settings = read_settings(KafkaSettings)
    rights = [
        {"write": f"write {on}", "read": f"read {on}"}.get(right, right)
        for on, named in read_access().get(user, {}).get("kafka", {}).items()
        for right in named
    ]
    expected = {one for right in rights for one in INCLUDED.get(right, [right])}

    def send(topic: str) -> None:
        with open_producer(settings) as producer:
            producer.send(topic, b"press-1", b"{}", [])
            producer.flush()

    with kafka.connect(settings) as client:
        attempts: dict[str, Attempt] = {
            "write topic": lambda: send("granted"),
            "write dead-letters": lambda: send("granted-dead"),
            "write events": lambda: send("granted-events"),
            "read topic": lambda: list(ports.read(settings, "granted", client.log_spans("granted"))),
            "see-offsets": lambda: client.log_spans("granted-dead"),
            "read-offsets": lambda: client.committed("granted"),
            "commit-offsets": lambda: client.commit("granted", {0: 1}),
            # That it is there already is told to those who may create it only.
            "create-topics": lambda: client.create_topic("granted", 1, 1, {}),
        }
        assert {name for name, attempt in attempts.items() if allowed(attempt)} == expected
