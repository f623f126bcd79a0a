"""`etl schema` on the real services: it creates what is missing, keeps what is there, and refuses what cannot be."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from cassandra.cluster import Session

from etl.admin.schema import Finding, create_schema, create_tables
from etl.cassandra.checks import check_columns
from etl.cassandra.connection import connect
from etl.errors import SettingsError, Unreachable
from etl.kafka import client as kafka
from etl.model.measurements import Measurement, Measurements, read_measurements
from etl.model.tables import INSIGHT, pipeline_tables
from etl.settings import CassandraSettings, KafkaSettings, SchemaSettings
from images import local

VOLTAGE, MODE = Measurement("voltage", "double"), Measurement("mode", "text")


@dataclass(frozen=True)
class Place:
    """Where a test creates its schema."""

    cassandra: CassandraSettings
    kafka: KafkaSettings
    session: Session

    def create(self, *measurements: Measurement, **settings: object) -> list[Finding]:
        declared = Measurements(measurements) if measurements else read_measurements()
        return list(create_schema(declared, SchemaSettings(**settings), self.cassandra, self.kafka))

    def columns(self, table: str) -> dict[str, str]:
        query = "SELECT column_name, type FROM system_schema.columns WHERE keyspace_name = %s AND table_name = %s"
        return dict(self.session.execute(query, (self.cassandra.keyspace, table)).all())


@pytest.fixture
def place(
    request: pytest.FixtureRequest, cassandra: local.Service, topic: str, keyspace: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    for service in (request.getfixturevalue("kafka"), cassandra):
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
    settings = CassandraSettings(keyspace=keyspace)
    with connect(settings, keyspace=False) as session:
        yield Place(
            settings,
            KafkaSettings(topic=topic, dead_letter_topic=f"{topic}-dead", events_topic=f"{topic}-events", group=topic),
            session,
        )


def test_schema_creates_everything_when_nothing_is_there(place: Place) -> None:
    findings = place.create()

    assert [finding.text.rpartition(": ")[2] for finding in findings] == ["created"] * 20
    assert not any(finding.warning for finding in findings)
    declared = {measurement.name: "double" for measurement in read_measurements().declared}
    assert place.columns("sensor_data") == {
        "equipment_id": "text",
        "day": "date",
        "timestamp": "timestamp",
        **declared,
        "quality": "text",
    }
    rows = place.session.execute(
        "SELECT column_name, kind, position, clustering_order FROM system_schema.columns"
        " WHERE keyspace_name = %s AND table_name = 'sensor_data'",
        (place.cassandra.keyspace,),
    )
    assert sorted(row for row in rows if row[1] != "regular") == [
        ("day", "partition_key", 1, "none"),
        ("equipment_id", "partition_key", 0, "none"),
        ("timestamp", "clustering", 0, "desc"),
    ]
    with kafka.connect(place.kafka) as client:
        assert client.partitions(place.kafka.topic) == [0, 1, 2, 3]
    with connect(place.cassandra) as session:
        check_columns(session, [*pipeline_tables(read_measurements()), *INSIGHT])


def test_schema_changes_nothing_when_it_is_there(place: Place) -> None:
    place.create(VOLTAGE)
    place.session.execute(
        f"INSERT INTO {place.cassandra.keyspace}.watermarks (equipment_id, timestamp) VALUES ('a', 1)"
    )

    findings = place.create(VOLTAGE)

    assert [finding.text.rpartition(": ")[2] for finding in findings] == ["is there"] * 20
    assert not any(finding.warning for finding in findings)
    assert place.session.execute(f"SELECT equipment_id FROM {place.cassandra.keyspace}.watermarks").all() == [("a",)]


def test_schema_adds_and_keeps_columns_when_the_measurements_change(place: Place) -> None:
    place.create(VOLTAGE, MODE)

    findings = place.create(VOLTAGE, Measurement("order", "double"), Measurement("select", "text"))

    assert [finding.text for finding in findings if finding.text.endswith("added")] == [
        "table sensor_data: column order added",
        "table sensor_data: column select added",
    ]
    columns = place.columns("sensor_data")
    assert [columns[name] for name in ("voltage", "mode", "order", "select")] == ["double", "text", "double", "text"]


def test_schema_refuses_when_a_type_changes(place: Place) -> None:
    place.create(VOLTAGE, MODE)

    with pytest.raises(SettingsError, match="column mode of table sensor_data is text, not double"):
        place.create(VOLTAGE, Measurement("torque", "double"), Measurement("mode", "double"))

    assert "torque" not in place.columns("sensor_data")


def test_schema_refuses_when_a_table_has_another_key(place: Place) -> None:
    place.create(VOLTAGE)
    place.session.execute(f"DROP TABLE {place.cassandra.keyspace}.watermarks")
    place.session.execute(
        f"CREATE TABLE {place.cassandra.keyspace}.watermarks"
        " (equipment_id text, timestamp timestamp, PRIMARY KEY (equipment_id, timestamp))"
    )

    with pytest.raises(SettingsError, match="table watermarks has another primary key"):
        place.create(VOLTAGE)


def test_schema_warns_when_what_is_fixed_differs(place: Place) -> None:
    first = {
        "ttl": 3600,
        "compaction": "{'class': 'TimeWindowCompactionStrategy', 'compaction_window_size': 2}",
        "cassandra_replication": '{"class": "SimpleStrategy", "replication_factor": 1}',
    }
    place.create(VOLTAGE, **first)
    assert not any(finding.warning for finding in place.create(VOLTAGE, **first))

    findings = place.create(
        VOLTAGE,
        compaction="{'class': 'TimeWindowCompactionStrategy', 'compaction_window_size': 3}",
        cassandra_replication="{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}",
    )

    warnings = [finding.text for finding in findings if finding.warning]
    assert len(warnings) == 3
    assert "SimpleStrategy" in warnings[0]
    assert "TTL of 3600 s, which stays" in warnings[1]
    assert "'compaction_window_size': '2'" in warnings[2]
    query = "SELECT table_name, default_time_to_live FROM system_schema.tables WHERE keyspace_name = %s"
    ttl = dict(place.session.execute(query, (place.cassandra.keyspace,)).all())
    assert ttl.pop("sensor_data") == 3600
    assert set(ttl.values()) == {0}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"cassandra_replication": "3"}, "ETL_SCHEMA_CASSANDRA_REPLICATION"),
        ({"cassandra_replication": "{'class': "}, "ETL_SCHEMA_CASSANDRA_REPLICATION"),
        ({"compaction": "{'compaction_window_size': 3}"}, "ETL_SCHEMA_COMPACTION"),
        ({"compaction": "{'class': 'NoSuchStrategy'}"}, "NoSuchStrategy"),
        ({"catalogue_file": Path("nowhere.yaml")}, "nowhere.yaml cannot be read"),
    ],
)
def test_schema_says_which_setting_is_wrong_when_one_is(place: Place, settings: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said) as raised:
        place.create(VOLTAGE, **settings)
    assert "etl schema" not in str(raised.value)


def test_schema_loads_the_catalogue_when_it_is_given_again(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    for volts in (400, 690):
        file.write_text(f"machines:\n- {{equipment_id: press-1, name: Press, nominal_voltage: {volts}, phases: 3}}\n")
        findings = place.create(VOLTAGE, catalogue_file=file)

    assert findings[-1].text == "table equipment: 1 machines written"
    stored = place.session.execute(
        f"SELECT equipment_id, name, nominal_voltage, rated_current, phases, interval_seconds"
        f" FROM {place.cassandra.keyspace}.equipment"
    )
    assert stored.all() == [("press-1", "Press", 690.0, 16.0, 3, 1.0)]


def test_tables_are_complete_when_two_create_them_at_once(place: Place) -> None:
    measurements = Measurements((VOLTAGE, MODE))

    def create() -> None:
        with connect(place.cassandra, keyspace=False) as session:
            list(create_tables(session, pipeline_tables(measurements), SchemaSettings(), place.cassandra))

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(create) for _ in range(2)]
        for done in both:
            done.result()

    with connect(place.cassandra) as session:
        check_columns(session, pipeline_tables(measurements))


def test_schema_creates_nothing_when_kafka_is_away(place: Place) -> None:
    away = place.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1", "timeout": 1})

    with pytest.raises(Unreachable, match="Kafka"):
        list(create_schema(Measurements((VOLTAGE,)), SchemaSettings(), place.cassandra, away))

    query = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s"
    assert place.session.execute(query, (place.cassandra.keyspace,)).one() is None


def test_schema_knows_the_machines_that_generate_makes_up_when_asked(place: Place) -> None:
    place.create(VOLTAGE, made_up_machines=3)
    found = place.session.execute(f"SELECT equipment_id FROM {place.cassandra.keyspace}.equipment")
    assert {row[0] for row in found} == {"conveyor-0001", "pump-0001", "compressor-0001"}
