"""`/metrics` of the page, on a real node."""

import secrets
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from etl.cassandra.store import Store
from etl.model.measurements import read_measurements
from etl.model.tables import FLEET_DAYS
from etl.page.metrics import INFO, PAGE_METRICS, STALEST, measure
from etl.page.server import make_server
from etl.results.reader import Reader
from etl.settings import PageSettings
from images import local
from tests.integration.fleet import Plant
from tests.integration.served import answering, filled, tables

MACHINES, DAYS = 60, 3
OPEN_METRICS = "application/openmetrics-text"
Values = dict[tuple[str, tuple[str, ...]], float]


def environment_of(cassandra: local.Service) -> dict[str, str]:
    return {**cassandra.environment, "ETL_CASSANDRA_KEYSPACE": f"sensors_{secrets.token_hex(4)}"}


@pytest.fixture(scope="module")
def plant(cassandra: local.Service) -> Iterator[tuple[Plant, Reader]]:
    with filled(environment_of(cassandra), MACHINES, DAYS) as (session, plant):
        yield plant, Reader(session, read_measurements())


@pytest.fixture(scope="module")
def values(plant: tuple[Plant, Reader]) -> Values:
    """The values by name and labels, as a scraper reads them."""
    with answering(plant[1]) as url, urllib.request.urlopen(f"{url}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


def of(values: Values, name: str) -> dict[tuple[str, ...], float]:
    return {labels: value for (found, labels), value in values.items() if found == name}


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def test_metrics_of_the_page_are_all_there_when_the_tables_are_filled(values: Values) -> None:
    assert {name for name, _ in values} == {metric.name for metric in PAGE_METRICS}


def test_health_is_that_of_the_newest_measurement(plant: tuple[Plant, Reader], values: Values) -> None:
    at = midnight(plant[0].last) + timedelta(hours=23, minutes=45)
    assert values["sensor_etl_health_timestamp_seconds", ()] == at.timestamp()
    assert values["sensor_etl_oldest_watermark_timestamp_seconds", ()] == (at - timedelta(hours=3)).timestamp()
    assert set(of(values, "sensor_etl_remaining_lag_records")) == {("0",), ("1",), ("2",), ("3",)}
    assert values["sensor_etl_watermarks", ()] == MACHINES


def test_machines_are_counted_once_by_their_last_state(plant: tuple[Plant, Reader], values: Values) -> None:
    last = Counter(row["state"] for row in plant[1].fleet(plant[0].last))
    states = of(values, "sensor_etl_machines")
    assert states == {(state,): last[state] for state in ("overload", "running", "idle", "off", "unknown")}
    assert sum(states.values()) == MACHINES


def test_sums_are_those_of_the_newest_day(plant: tuple[Plant, Reader], values: Values) -> None:
    rows = plant[1].fleet(plant[0].last)
    for name, column in (("energy_kwh", "energy_kwh"), ("received_readings", "received")):
        assert values[f"sensor_etl_{name}", ()] == pytest.approx(sum(row[column] for row in rows))  # type: ignore[literal-required]


def test_series_of_machines_are_few_when_the_fleet_is_large(plant: tuple[Plant, Reader], values: Values) -> None:
    newest: dict[str, Any] = {row["equipment_id"]: row["newest"] for row in plant[1].fleet(plant[0].last)}
    stalest = sorted(newest, key=newest.__getitem__)[:STALEST]
    assert of(values, "sensor_etl_machine_last_reading_timestamp_seconds") == {
        (machine,): newest[machine].timestamp() for machine in stalest
    }
    assert len(stalest) < MACHINES


def test_open_events_are_counted_with_those_acknowledged_apart(plant: tuple[Plant, Reader], values: Values) -> None:
    rows = [
        row
        for row in plant[1].events([plant[0].last - timedelta(days=back) for back in range(31)])
        if row["end"] is None
    ]
    expected = Counter(("true" if row["by"] else "false", row["kind"], row["severity"]) for row in rows)
    assert of(values, "sensor_etl_open_events") == expected
    assert expected


def test_machine_keeps_its_last_reading_when_it_is_silent_today(cassandra: local.Service) -> None:
    today = datetime.now(UTC).date()
    before = today - timedelta(days=3)
    row: dict[str, Any] = dict.fromkeys(FLEET_DAYS.columns)
    with tables(environment_of(cassandra)) as session:
        rows = [
            row
            | {"day": before, "equipment_id": "fan", "state": "idle", "newest": midnight(before), "energy_kwh": 9.0},
            row | {"day": before, "equipment_id": "pump", "state": "off", "newest": midnight(before)},
            row | {"day": today, "equipment_id": "pump", "newest": midnight(today), "energy_kwh": 2.0},
        ]
        Store(session).write(FLEET_DAYS, rows)
        samples = list(measure(Reader(session, read_measurements()), datetime.now(UTC)))
    found = {(sample.metric.name, *sample.labels.values()): sample.value for sample in samples}
    name = "sensor_etl_machine_last_reading_timestamp_seconds"
    assert found[name, "fan"] == midnight(before).timestamp()
    assert found[name, "pump"] == midnight(today).timestamp()
    assert (found["sensor_etl_machines", "idle"], found["sensor_etl_machines", "unknown"]) == (1, 1)
    assert found["sensor_etl_energy_kwh",] == 2.0


def test_only_the_version_is_told_when_the_tables_are_empty(cassandra: local.Service) -> None:
    with tables(environment_of(cassandra)) as session:
        samples = list(measure(Reader(session, read_measurements()), datetime.now(UTC)))
    assert [sample.metric for sample in samples] == [INFO]


def test_metrics_need_the_password_when_the_page_has_one(plant: tuple[Plant, Reader]) -> None:
    settings = PageSettings(username="viewer", password=SecretStr("secret"))
    client = make_server(plant[1], settings).test_client()
    assert client.get("/metrics").status_code == 401
    answer = client.get("/metrics", auth=("viewer", "secret"), headers={"Accept": OPEN_METRICS})
    assert answer.headers["Content-Type"].startswith(OPEN_METRICS)
    assert {family.name for family in open_metrics(answer.text)} == {metric.name for metric in PAGE_METRICS}
