"""The contract that the twins of the simulation share with a real broker and a real node.

Each test runs on both, through the functions of the stages.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cassandra.cluster import Session

from etl.admin.schema import create_tables
from etl.cassandra.checks import check_columns
from etl.cassandra.connection import connect
from etl.cassandra.store import Store
from etl.cassandra.watermarks import read_watermarks
from etl.errors import DeliveryError, SettingsError
from etl.kafka import client as kafka
from etl.kafka.ports import open_producer, read
from etl.kafka.records import Span
from etl.model.schemas import TIMESTAMP
from etl.model.tables import TOUCHED_DAYS, pipeline_tables
from etl.settings import CassandraSettings, KafkaSettings, SchemaSettings, read_settings
from etl.stages.load import columnar
from etl.stages.transform.lookup import lookup_rows
from images import local
from tests.integration.topics import await_end, made_topics, make_anew, send, transaction
from tests.simulation.by_hand import simple
from tests.simulation.plant import TOPIC
from tests.simulation.schedule import CASSANDRA, KAFKA
from tests.simulation.services import Plan, Services, in_place, make_topic_anew, measured

KINDS = ("real", "twin")
MEASUREMENTS = measured("voltage", "current")
MIDNIGHT = 1_767_571_200_000  # 2026-01-05
DAY = MIDNIGHT // 86_400_000
FAR_AWAY = 10**13
COLUMNS = ["equipment_id", "day", "timestamp", "voltage", "current", "quality"]


@pytest.fixture
def twins() -> Iterator[Services]:
    services = simple(plan=Plan(partitions=2))
    with in_place(services):
        yield services


@dataclass
class Topic:
    """A topic of two partitions: of a broker, or of a twin."""

    settings: KafkaSettings
    broker: local.Service | None = None
    twins: Services | None = None

    def append(self, *records: dict[str, Any]) -> None:
        """Append records to partition 0: key and value; the broker stamps them."""
        if self.broker:
            send(self.broker, self.settings.topic, *records)
        if self.twins:
            for record in records:
                self.twins.broker.topics[TOPIC][0].append(1, record.get("key"), record["value"])

    def make_anew(self, client: kafka.Client) -> None:
        """Delete the topic and create it again."""
        if self.broker:
            make_anew(client)
        if self.twins:
            make_topic_anew(self.twins)

    def transact(self, value: bytes, commit: bool) -> None:
        """Append a record to partition 0 in a transaction, and end that; its marker takes an offset."""
        if self.broker:
            with kafka.connect(self.settings) as client:
                end = client.log_spans(self.settings.topic)[0].end
                with transaction(self.broker, self.settings.topic) as producer:
                    producer.send(self.settings.topic, value, partition=0)
                    producer.flush()
                    (producer.commit_transaction if commit else producer.abort_transaction)()
                await_end(client, end + 2)
        if self.twins:
            log = self.twins.broker.topics[TOPIC][0]
            log.append(1, None, value, transaction=len(log.entries))
            log.end_transaction(len(log.entries) - 1, commit)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, topic: str, tmp_path: Path) -> Iterator[Topic]:
    if request.param == "twin":
        yield Topic(KAFKA, twins=request.getfixturevalue("twins"))
        return
    service = request.getfixturevalue("kafka")
    with made_topics(service, topic, tmp_path):
        yield Topic(read_settings(KafkaSettings), service)


def values(place: Topic, span: Span) -> list[tuple[int, bytes | None]]:
    blocks = read(place.settings, place.settings.topic, {0: span})
    return [pair for block in blocks for pair in zip(block.offsets, block.values, strict=True)]


def test_records_of_an_aborted_transaction_are_not_read_and_its_marker_takes_an_offset(place: Topic) -> None:
    place.append({"value": b"first"})
    place.transact(b"aborted", commit=False)
    place.transact(b"committed", commit=True)
    with kafka.connect(place.settings) as client:
        assert client.log_spans(place.settings.topic) == {0: Span(0, 5), 1: Span(0, 0)}
    assert values(place, Span(0, 5)) == [(0, b"first"), (3, b"committed")]
    assert values(place, Span(1, 3)) == []


def test_topic_has_another_id_and_the_group_no_offset_when_it_is_recreated(place: Topic) -> None:
    topic = place.settings.topic
    place.append({"value": b"first"})
    with kafka.connect(place.settings) as client:
        client.commit(topic, {0: 1})
        before = client.topic_id(topic)
        assert client.topic_id(topic) == before
        place.make_anew(client)
        assert client.topic_id(topic) != before
        assert client.committed(topic) == {0: None, 1: None}


def test_offsets_of_a_group_are_none_until_they_are_committed_and_may_go_back(place: Topic) -> None:
    with kafka.connect(place.settings) as client:
        assert client.committed(place.settings.topic) == {0: None, 1: None}
        client.commit(place.settings.topic, {0: 7})
        assert client.committed(place.settings.topic) == {0: 7, 1: None}
        client.commit(place.settings.topic, {0: 2, 1: 0})
        assert client.committed(place.settings.topic) == {0: 2, 1: 0}


def test_first_offset_at_a_time_is_none_when_all_records_are_older(place: Topic) -> None:
    place.append({"value": b"first"}, {"value": b"second"})
    with kafka.connect(place.settings) as client:
        assert client.offsets_at(place.settings.topic, 0) == {0: 0, 1: None}
        assert client.offsets_at(place.settings.topic, FAR_AWAY) == {0: None, 1: None}


def test_unknown_topic_is_a_wrong_setting(place: Topic) -> None:
    with kafka.connect(place.settings) as client, pytest.raises(SettingsError, match="nowhere"):
        client.partitions("nowhere")


def test_key_decides_the_partition_and_all_records_are_there_after_a_flush(place: Topic) -> None:
    with open_producer(place.settings) as producer:
        for number in range(40):
            producer.send(place.settings.topic, f"machine-{number % 8}".encode(), str(number).encode(), [("h", b"1")])
        producer.flush()
    with kafka.connect(place.settings) as client:
        spans = client.log_spans(place.settings.topic)
    found: dict[bytes, list[int]] = {}
    partition_of: dict[bytes, set[int]] = {}
    for block in read(place.settings, place.settings.topic, spans):
        for partition, key, value in zip(block.partitions, block.keys, block.values, strict=True):
            found.setdefault(key or b"", []).append(int(value or b""))
            partition_of.setdefault(key or b"", set()).add(partition)
    assert found == {f"machine-{n}".encode(): list(range(n, 40, 8)) for n in range(8)}
    # As Java's default partitioner has it.
    assert {key: min(of) for key, of in partition_of.items() if len(of) == 1} == {
        f"machine-{n}".encode(): p for n, p in enumerate(PARTITIONS)
    }


PARTITIONS = (1, 1, 1, 1, 0, 1, 0, 0)


@pytest.fixture(params=KINDS)
def session(request: pytest.FixtureRequest, keyspace: str) -> Iterator[Session]:
    """A session with the tables of the stages."""
    if request.param == "twin":
        request.getfixturevalue("twins")
        with connect(CASSANDRA) as found:
            yield found
        return
    environment = request.getfixturevalue("cassandra").environment
    own = CassandraSettings(
        contact_points=environment["ETL_CASSANDRA_CONTACT_POINTS"],
        port=environment["ETL_CASSANDRA_PORT"],
        local_datacenter=environment["ETL_CASSANDRA_LOCAL_DATACENTER"],
        keyspace=keyspace,
    )
    with connect(own, keyspace=False) as made:
        list(create_tables(made, pipeline_tables(MEASUREMENTS), SchemaSettings(), own))
    with connect(own) as found:
        yield found


def row(second: int, write_time: int, voltage: float | None, current: float | None = None, **more: Any) -> Any:
    return {
        "equipment_id": "press-1",
        "day": DAY,
        "timestamp": MIDNIGHT + second * 1000,
        "voltage": voltage,
        "current": current,
        "quality": "",
        "write_time": write_time,
        "replaces": False,
        **more,
    }


def write(session: Session, *rows: Any) -> None:
    names = [*COLUMNS, "write_time", "replaces"]
    types = [pa.string(), pa.date32(), TIMESTAMP, pa.float64(), pa.float64(), pa.string(), pa.int64(), pa.bool_()]
    columns = [pa.array([each[name] for each in rows]) for name in names]
    table = pa.table(
        {
            n: c.cast(pa.int32()).cast(t) if n == "day" else c.cast(t)
            for n, c, t in zip(names, columns, types, strict=True)
        }
    )
    columnar.write(session, columnar.insert(session, "sensor_data", COLUMNS), [table])


def found(session: Session, *seconds: int) -> list[tuple[int, float | None, float | None, int]]:
    wanted = pa.table(
        {
            "equipment_id": pa.array(["press-1"] * len(seconds), pa.string()),
            "timestamp": pa.array([MIDNIGHT + second * 1000 for second in seconds]).cast(TIMESTAMP),
        }
    )
    rows = lookup_rows(session, MEASUREMENTS, wanted).to_pylist()
    return [
        (round(row["timestamp"].timestamp()) - MIDNIGHT // 1000, row["voltage"], row["current"], row["write_time"])
        for row in rows
    ]


def test_tables_are_as_the_stages_want_them(session: Session) -> None:
    check_columns(session, pipeline_tables(MEASUREMENTS))


def test_larger_write_time_wins_in_any_order_of_writes(session: Session) -> None:
    write(session, row(0, 20, 2.0))
    write(session, row(0, 10, 1.0))
    assert found(session, 0) == [(0, 2.0, None, 20)]


def test_larger_value_wins_when_write_times_are_equal(session: Session) -> None:
    for voltage in (2.0, 3.0, 1.0):
        write(session, row(0, 10, voltage))
    assert found(session, 0) == [(0, 3.0, None, 10)]


def test_unset_value_keeps_the_stored_one_and_null_deletes_it(session: Session) -> None:
    write(session, row(0, 10, 1.0, 5.0), row(1, 10, 1.0, 5.0))
    write(session, row(0, 20, 2.0), row(1, 20, 2.0, replaces=True))
    assert found(session, 0, 1) == [(0, 2.0, 5.0, 20), (1, 2.0, None, 20)]


def test_deletion_wins_over_a_value_when_write_times_are_equal(session: Session) -> None:
    write(session, row(0, 10, 1.0, None, replaces=True))
    write(session, row(0, 10, 1.0, 5.0))
    assert found(session, 0) == [(0, 1.0, None, 10)]


def test_keys_are_found_when_asked_one_by_one_and_as_a_range(session: Session) -> None:
    write(session, *(row(second, 10 + second, float(second)) for second in range(60)))
    everything = [(second, float(second), None, 10 + second) for second in range(60)]
    assert found(session, 3, 59, 61) == [everything[3], everything[59]]
    assert found(session, *range(60)) == everything


def test_hours_are_added_to_a_set(session: Session) -> None:
    update = 'UPDATE "touched_days" SET "hours" = "hours" + ? WHERE "run" = ? AND "equipment_id" = ? AND "day" = ?'
    store = Store(session)
    for hours in ({1, 2}, {2, 23}):
        store.change(update, [[[hours, "run", "press-1", DAY]]])
    store.write(TOUCHED_DAYS, [{"run": "other", "equipment_id": "press-1", "day": DAY, "hours": {7}}])
    query = 'SELECT "equipment_id", "hours" FROM "touched_days" WHERE "run" = ?'
    rows = list(store.ask(query, [("run",), ("other",)]))
    assert [[(name, set(hours)) for name, hours in part] for part in rows] == [
        [("press-1", {1, 2, 23})],
        [("press-1", {7})],
    ]


def test_watermarks_are_read_when_they_are_written_with_their_own_write_time(session: Session) -> None:
    statement = columnar.insert(session, "watermarks", ["equipment_id", "timestamp"])
    for second in (9, 3):
        stamp = pa.array([MIDNIGHT + second * 1000])
        table = pa.table({"equipment_id": ["press-1"], "timestamp": stamp.cast(TIMESTAMP), "write_time": stamp})
        columnar.write(session, statement, [table])
    (found,) = read_watermarks(session).to_pylist()
    assert found["equipment_id"] == "press-1"
    assert round(found["timestamp"].timestamp() * 1000) == MIDNIGHT + 9000


def test_reading_fails_when_the_log_no_longer_holds_the_records(twins: Services) -> None:
    log = twins.broker.topics[TOPIC][0]
    for number in range(3):
        log.append(1, None, str(number).encode())
    log.begin = 2
    with pytest.raises(DeliveryError):
        values(Topic(KAFKA, twins=twins), Span(0, 3))
