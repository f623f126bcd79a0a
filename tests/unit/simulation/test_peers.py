"""How other connectors lost readings, played against the stages; beside each, where it was reported."""

from collections.abc import Iterator

import pytest
from cassandra import Unavailable

from etl.errors import Unreachable
from tests.simulation.by_hand import append_raw, appended, log_of, ran, ran_whole, simple
from tests.simulation.cassandra import Database
from tests.simulation.plant import DEAD_LETTERS, FIRST_MS, Reading
from tests.simulation.schedule import settle
from tests.simulation.services import Services, in_place

PUMP, FAN = "machine-0", "machine-1"
KEY = (PUMP, FIRST_MS)
YEAR_MS = 365 * 86_400_000


@pytest.fixture
def services() -> Iterator[Services]:
    """Twins in the place of the services; at the end of the test the pipeline settles, and all is judged."""
    services = simple()
    with in_place(services):
        yield services
        settle(services)


def reasons(services: Services) -> list[bytes]:
    return [dict(record.headers)["etl-reason"] for record in services.broker.topics[DEAD_LETTERS][0].records()]


# lensesio/stream-reactor#448: a cursor that asks for later timestamps only.
def test_readings_are_stored_when_their_timestamp_is_the_newest_one_of_the_run_before(services: Services) -> None:
    appended(services, Reading(KEY, 1.0))
    ran_whole(services, "first")
    appended(services, Reading((FAN, FIRST_MS), 2.0), Reading(KEY, 3.0))
    ran_whole(services, "second")
    assert len(services.table("sensor_data")) == 2
    assert reasons(services) == [b"superseded"]


# Altinity/clickhouse-sink-connector#1299: offsets were committed before the writes were confirmed.
def test_offsets_stay_when_no_write_is_confirmed(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise Unavailable("no replica")

    appended(services, Reading(KEY, 1.0))
    ran(services, "consume", "run")
    ran(services, "transform", "run")
    monkeypatch.setattr(Database, "write", refuse)
    with pytest.raises(Unreachable):
        ran(services, "load", "run")
    assert services.committed(0) is None
    monkeypatch.undo()


# ArroyoSystems/arroyo#1103: one bad record stopped its partition for 27 hours.
def test_records_after_a_bad_one_are_stored_when_a_partition_holds_poison(services: Services) -> None:
    appended(services, Reading(KEY, 1.0))
    append_raw(services, PUMP.encode(), b"\x00poison")
    appended(services, Reading((PUMP, FIRST_MS + 60_000), 2.0))
    ran_whole(services, "run")
    assert len(services.table("sensor_data")) == 2
    assert len(reasons(services)) == 1
    assert services.committed(0) == 3


# quixio/quix-streams#1103: rows without a value of the partition key disappeared.
def test_record_without_a_key_is_a_dead_letter_when_others_are_stored(services: Services) -> None:
    append_raw(services, None, Reading(KEY, 1.0).value())
    appended(services, Reading(KEY, 2.0))
    ran_whole(services, "run")
    assert len(services.table("sensor_data")) == 1
    (letter,) = services.broker.topics[DEAD_LETTERS][0].records()
    assert letter.value == Reading(KEY, 1.0).value()


# quixio/quix-streams#1129: a deletion of the former value won over the new one of the same moment.
def test_value_stays_when_a_reading_of_its_millisecond_lacked_it(services: Services) -> None:
    moment = services.broker.millis()
    for number, current in enumerate((5.0, None, 6.5)):
        reading = Reading(KEY, float(number), current)
        services.plant.made[reading.value()] = reading
        log_of(services).append(moment, PUMP.encode(), reading.value())
        ran_whole(services, f"run-{number}")
    assert reasons(services) == [b"superseded", b"superseded"]


# quixio/quix-streams#1129 as well: a sweep by age took rows that were late.
def test_old_reading_stays_when_it_comes_after_newer_ones(services: Services) -> None:
    appended(services, Reading(KEY, 1.0))
    ran_whole(services, "first")
    appended(services, Reading((PUMP, FIRST_MS - YEAR_MS), 2.0))
    ran_whole(services, "second")
    assert len(services.table("sensor_data")) == 2


# segmentio/kafka-go#1332: records of aborted transactions were read as committed ones.
def test_record_of_an_aborted_transaction_is_not_stored_when_later_ones_are(services: Services) -> None:
    appended(services, Reading(KEY, 1.0), transaction=1)
    log_of(services).end_transaction(1, commit=False)
    appended(services, Reading(KEY, 2.0))
    ran_whole(services, "run")
    assert len(services.table("sensor_data")) == 1
    assert reasons(services) == []


# confluentinc/kafka-connect-storage-cloud#253: a task overwrote the longer output of another one.
def test_rows_of_both_runs_stay_when_the_shorter_one_loads_last(services: Services) -> None:
    appended(services, Reading(KEY, 1.0))
    for name in ("consume", "transform"):
        ran(services, name, "shorter")
    appended(services, Reading((PUMP, FIRST_MS + 60_000), 2.0))
    ran_whole(services, "longer")
    ran(services, "load", "shorter")
    assert len(services.table("sensor_data")) == 2
    assert services.committed(0) == 2
