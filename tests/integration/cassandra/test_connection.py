"""Reach a real Cassandra: what is wrong is said in one line, and lookups return what is stored."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

import pyarrow as pa
import pytest
from cassandra import DriverException
from cassandra.cluster import Session
from cassandra.util import Date

from etl.admin.schema import create_tables
from etl.cassandra.checks import check_columns
from etl.cassandra.connection import connect
from etl.cassandra.retry import read_schema, retrying
from etl.cassandra.watermarks import read_watermarks
from etl.errors import SettingsError, Unreachable
from etl.model.measurements import Measurement, Measurements
from etl.model.schemas import DAY_MS, TIMESTAMP
from etl.model.tables import pipeline_tables
from etl.settings import CassandraSettings, SchemaSettings
from etl.stages.transform.lookup import lookup_rows
from images import local

MEASUREMENTS = Measurements((Measurement("voltage", "double"), Measurement("mode", "text")))
MIDNIGHT = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1000)


def settings_of(service: local.Service, **changes: object) -> CassandraSettings:
    given = {name.removeprefix("ETL_CASSANDRA_").lower(): value for name, value in service.environment.items()}
    return CassandraSettings(**{**given, **changes})


@pytest.fixture(scope="module")
def session(cassandra: local.Service) -> Iterator[Session]:
    settings = settings_of(cassandra, keyspace="lookups")
    with connect(settings, keyspace=False) as session:
        list(create_tables(session, pipeline_tables(MEASUREMENTS), SchemaSettings(), settings))
        session.set_keyspace("lookups")
        yield session


def store(session: Session, equipment: str, stamps: list[int]) -> None:
    """Store rows with a voltage of the milliseconds since midnight, and a mode for every second one."""
    insert = session.prepare(
        'INSERT INTO sensor_data (equipment_id, day, "timestamp", voltage, mode, quality) VALUES (?, ?, ?, ?, ?, ?)'
        " USING TIMESTAMP ?"
    )
    rows = [
        (
            equipment,
            Date(stamp // DAY_MS),
            stamp,
            float(stamp - MIDNIGHT),
            "on" if number % 2 else None,
            "",
            1000 + number,
        )
        for number, stamp in enumerate(stamps)
    ]
    for future in [session.execute_async(insert, row) for row in rows]:
        future.result()


def keys(*wanted: tuple[str, int]) -> pa.Table:
    names, stamps = zip(*wanted, strict=True) if wanted else ((), ())
    return pa.table(
        {"equipment_id": pa.array(names, pa.string()), "timestamp": pa.array(stamps, pa.int64()).cast(TIMESTAMP)}
    )


def found_keys(table: pa.Table) -> list[tuple[str, int]]:
    return list(zip(table["equipment_id"].to_pylist(), table["timestamp"].cast(pa.int64()).to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("name", "step", "wanted_step"),
    [("dense", 1000, 1), ("every-other", 1000, 2), ("range-of-too-many", 1000, 50), ("few", 60_000, 300)],
)
def test_lookup_returns_the_stored_rows_when_spaced(session: Session, name: str, step: int, wanted_step: int) -> None:
    stored = [MIDNIGHT + step * i for i in range(3000)]
    store(session, name, stored)
    absent = (name, MIDNIGHT - 1)
    wanted = sorted([absent, *((name, stamp) for stamp in stored[::wanted_step]), (name, stored[-1] + 1)])

    found = lookup_rows(session, MEASUREMENTS, keys(*wanted))

    assert found_keys(found) == wanted[1:-1]
    numbers = range(0, 3000, wanted_step)
    assert found["voltage"].to_pylist() == [float(step * i) for i in numbers]
    assert found["mode"].to_pylist() == ["on" if i % 2 else None for i in numbers]
    assert found["write_time"].to_pylist() == [1000 + i for i in numbers]
    assert set(found["quality"].to_pylist()) == {""}


def test_lookup_keeps_equipment_and_days_apart_when_timestamps_are_the_same(session: Session) -> None:
    stamps = [MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + DAY_MS]
    store(session, "apart-a", stamps)
    store(session, "apart-b", stamps[1:])
    wanted = [(name, stamp) for name in ("apart-a", "apart-b", "apart-c") for stamp in stamps]

    found = lookup_rows(session, MEASUREMENTS, keys(*wanted))

    assert found_keys(found) == [*wanted[:3], *wanted[4:6]]


def test_lookup_returns_nothing_when_nothing_is_wanted(session: Session) -> None:
    found = lookup_rows(session, MEASUREMENTS, keys())

    assert found.num_rows == 0
    assert found.schema.names == ["equipment_id", "timestamp", "voltage", "mode", "quality", "write_time"]
    assert found.schema.field("write_time").type == pa.int64()


def test_lookup_returns_a_key_once_when_it_is_wanted_twice(session: Session) -> None:
    store(session, "twice", [MIDNIGHT])

    assert lookup_rows(session, MEASUREMENTS, keys(("twice", MIDNIGHT), ("twice", MIDNIGHT))).num_rows == 1


def test_lookup_takes_the_newest_cell_when_somebody_else_wrote_the_row(session: Session) -> None:
    day = Date(MIDNIGHT // DAY_MS)
    for column, value, write_time in (("voltage", 1.0, 70), ("mode", "x", 90)):
        session.execute(
            f'INSERT INTO sensor_data (equipment_id, day, "timestamp", {column}) VALUES (%s, %s, %s, %s)'
            f" USING TIMESTAMP {write_time}",
            ("foreign", day, MIDNIGHT, value),
        )
    session.execute(
        'INSERT INTO sensor_data (equipment_id, day, "timestamp") VALUES (%s, %s, %s)', ("foreign", day, MIDNIGHT + 1)
    )
    store(session, "foreign", [MIDNIGHT + 2])

    found = lookup_rows(session, MEASUREMENTS, keys(*(("foreign", MIDNIGHT + i) for i in range(3))))

    assert found_keys(found) == [("foreign", MIDNIGHT + i) for i in range(3)]
    assert found["write_time"].to_pylist() == [90, 0, 1000]
    assert found["quality"].to_pylist() == [None, None, ""]
    assert found["mode"].to_pylist() == ["x", None, None]


def test_watermarks_are_read_whole_when_they_fill_several_pages(session: Session) -> None:
    insert = session.prepare('INSERT INTO watermarks (equipment_id, "timestamp") VALUES (?, ?)')
    expected = {f"machine-{number:05d}": MIDNIGHT + number for number in range(6000)}
    for future in [session.execute_async(insert, row) for row in expected.items()]:
        future.result()

    found = read_watermarks(session)

    assert dict(found_keys(found)) == expected
    assert found.num_rows == 6000


def test_check_passes_when_a_measurement_was_removed(session: Session) -> None:
    check_columns(session, pipeline_tables(Measurements(MEASUREMENTS.declared[:1])))


@pytest.mark.parametrize(
    ("measurement", "said"),
    [
        (Measurement("torque", "double"), "no column torque: run `etl schema`"),
        (Measurement("mode", "double"), "is text"),
    ],
)
def test_check_fails_when_a_column_does_not_fit(session: Session, measurement: Measurement, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        check_columns(session, pipeline_tables(Measurements((measurement,))))


def test_connect_names_etl_schema_when_the_keyspace_is_missing(cassandra: local.Service) -> None:
    with (
        pytest.raises(SettingsError, match="no keyspace 'nowhere': run `etl schema`"),
        connect(settings_of(cassandra, keyspace="nowhere")),
    ):
        pass


def test_connect_names_the_datacenters_when_ours_is_none_of_them(cassandra: local.Service) -> None:
    with (
        pytest.raises(SettingsError, match=r"LOCAL_DATACENTER: 'moon' is none of datacenter1"),
        connect(settings_of(cassandra, local_datacenter="moon"), keyspace=False),
    ):
        pass


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"port": 1}, "refused"), ({"contact_points": "nowhere.invalid"}, "none of the names is known")],
)
def test_connect_waits_and_is_clear_when_nobody_answers(
    cassandra: local.Service, changes: dict[str, object], reason: str
) -> None:
    settings = settings_of(cassandra, timeout=1.0, **changes)
    text = f"at {settings.contact_points} port {settings.port} cannot be reached: .*{reason}"
    started = time.monotonic()
    with pytest.raises(Unreachable, match=text) as raised, connect(settings):
        pass
    assert "\n" not in str(raised.value)
    assert time.monotonic() - started >= 1


def test_schema_is_read_when_the_driver_has_lost_its_connection_for_it(cassandra: local.Service) -> None:
    with connect(settings_of(cassandra), keyspace=False) as own:
        own.cluster.control_connection._connection.close()
        with pytest.raises(DriverException):
            own.cluster.refresh_keyspace_metadata("system")
        own.cluster.control_connection._connection.close()

        read_schema(lambda: own.cluster.refresh_keyspace_metadata("system"))


def test_node_is_tried_again_soon_and_for_ever_when_it_is_away(session: Session) -> None:
    waits = list(islice(session.cluster.reconnection_policy.new_schedule(), 10_000))
    assert len(waits) == 10_000
    assert max(waits) <= 10


def test_retries_end_when_replicas_stay_away(cassandra: local.Service, session: Session) -> None:
    session.execute(
        "CREATE KEYSPACE IF NOT EXISTS three WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 3}"
    )
    session.execute(
        'CREATE TABLE IF NOT EXISTS three.watermarks (equipment_id text PRIMARY KEY, "timestamp" timestamp)'
    )
    with connect(settings_of(cassandra, keyspace="three")) as away:
        started = time.monotonic()
        with pytest.raises(Unreachable, match="Cannot achieve consistency level"):
            read_watermarks(away, patience=1)
        assert time.monotonic() - started > 0.1


def test_retries_do_not_begin_when_waiting_does_not_help(session: Session) -> None:
    started = time.monotonic()
    with pytest.raises(SettingsError, match=r"nothing.*run `etl schema`"):
        retrying(lambda: session.execute("SELECT * FROM nothing"))
    assert time.monotonic() - started < 1


def test_connect_works_when_tls_and_passwords_are_on(secure_cassandra: local.Service) -> None:
    with connect(settings_of(secure_cassandra), keyspace=False) as session:
        assert session.execute("SELECT cluster_name FROM system.local").one() == ("sensor-etl",)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"password": "not-the-password"}, SettingsError, "refuses the credentials"),
        ({"username": "nobody"}, SettingsError, "refuses the credentials"),
        ({"username": None, "password": None}, SettingsError, "refuses the credentials"),
        ({"ca_file": None, "tls": True}, SettingsError, "TLS fails"),
        ({"ca_file": None}, Unreachable, "cannot be reached"),
    ],
)
def test_connect_says_what_is_wrong_when_access_is_refused(
    secure_cassandra: local.Service, changes: dict[str, object], error: type[Exception], said: str
) -> None:
    settings = settings_of(secure_cassandra, timeout=1.0, **changes)
    with pytest.raises(error, match=said) as raised, connect(settings, keyspace=False):
        pass
    assert "\n" not in str(raised.value)
    assert "not-the-password" not in str(raised.value)
    assert secure_cassandra.users["admin"] not in str(raised.value)


def test_connect_refuses_when_the_ca_file_is_none(
    cassandra: local.Service, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("ca") / "ca.pem"
    for text in (None, "no certificate"):
        if text:
            file.write_text(text)
        with pytest.raises(SettingsError, match="ETL_CASSANDRA_CA_FILE"), connect(settings_of(cassandra, ca_file=file)):
            pass
