"""What a load sets off: the analysis by itself, and the page that shows what it found."""

import base64
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import expect, sync_playwright

from etl.cassandra.connection import connect
from etl.settings import CassandraSettings
from images.errors import ServiceError
from tests.e2e.airflow import INSIGHT, Airflow
from tests.e2e.conftest import CQL, FINISHED_SECONDS, Kubectl, Run, forwarded
from tests.e2e.runs import generated, new_run, range_of
from tests.e2e.test_ui import QUIET, browser

SEE_EVENTS = """
from etl.kafka.client import connect
from etl.settings import KafkaSettings, read_settings
with connect(read_settings(KafkaSettings)) as client:
    print("partitions", client.partitions(client.settings.events_topic))
"""
USER = "viewer"


class Analysed(NamedTuple):
    """A run of the stages, and that of the analysis after it."""

    airflow: Airflow
    insight: str
    state: str
    machines: set[str]
    day: datetime


@pytest.fixture(scope="module")
def analysed(airflow: Airflow, finished: str, tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    begin = range_of(airflow, finished, FINISHED_SECONDS)
    machines = {name for name, _ in generated(tmp_path_factory.mktemp("expected"), begin, FINISHED_SECONDS, 3)}
    found = airflow.insight(finished)
    return Analysed(airflow, found["dag_run_id"], found["state"], machines, begin)


@pytest.fixture(scope="module")
def address(cluster: str) -> Iterator[str]:
    """The page, through its Service."""
    with forwarded(cluster, "service/sensor-etl-page", 8050) as port:
        yield f"http://127.0.0.1:{port}"


def fetch(address: str, password: str | None = None) -> int:
    """The status of an answer."""
    request = urllib.request.Request(address)
    if password is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_analysis_runs_by_itself_after_a_load(analysed: Analysed) -> None:
    assert analysed.state == "success"
    found = analysed.airflow.call("GET", f"/dags/{INSIGHT}/dagRuns/{analysed.insight}")
    assert found["run_type"] == "asset_triggered"
    # A load that ended while another analysis ran may have been part of that one already.
    assert analysed.airflow.tasks(analysed.insight, INSIGHT)["analyze"]["state"] in ("success", "skipped")


def test_each_machine_of_the_run_has_a_row_of_its_day(analysed: Analysed, cassandra: CassandraSettings) -> None:
    query = "SELECT day FROM machine_days WHERE equipment_id = %s AND year = %s AND day = %s"
    # Readings of an hour can be of two days.
    days = {analysed.day.date(), (analysed.day + timedelta(seconds=FINISHED_SECONDS - 1)).date()}
    with connect(cassandra) as session:
        found = {
            name
            for name in analysed.machines
            if any(session.execute(query, (name, day.year, day)).one() for day in days)
        }
    assert found == analysed.machines


def test_analysis_may_see_the_topic_of_events(run: Run) -> None:
    code, log = run("analyze", SEE_EVENTS)
    assert code == 0, log
    assert "partitions" in log


def test_analysis_is_skipped_when_nothing_is_new(analysed: Analysed) -> None:
    airflow, run = analysed.airflow, new_run("nothing")
    airflow.trigger(run, dag=INSIGHT)
    assert airflow.wait(run, dag=INSIGHT) == "success"
    assert airflow.tasks(run, INSIGHT)["analyze"]["state"] == "skipped"


def test_page_asks_for_a_password_and_its_health_does_not(address: str, secret: Callable[[str, str], str]) -> None:
    assert fetch(address) == fetch(address, "wrong") == 401
    assert fetch(address, secret("sensor-etl-page", "password")) == 200
    assert fetch(f"{address}/healthz") == fetch(f"{address}/readyz") == 200


def test_page_shows_a_machine(
    address: str, analysed: Analysed, cassandra: CassandraSettings, secret: Callable[[str, str], str], artefacts: Path
) -> None:
    machine = min(analysed.machines)
    day = analysed.day.date()
    with connect(cassandra) as session:
        query = "SELECT name FROM fleet_days WHERE day = %s AND equipment_id = %s"
        row = session.execute(query, (day, machine)).one()
    name = (row and row[0]) or machine
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser(), args=QUIET)
        page = chromium.new_page(
            http_credentials={"username": USER, "password": secret("sensor-etl-page", "password")},
            viewport={"width": 1500, "height": 1000},
        )
        page.goto(f"{address}/?day={day}&text={machine}")
        expect(page.get_by_text(name).first).to_be_visible(timeout=60_000)
        page.screenshot(path=artefacts / "page.png")
        chromium.close()


def test_page_may_acknowledge_and_change_nothing_else(kubectl: Kubectl) -> None:
    def execute(statement: str) -> str:
        page = ("exec", "deployment/sensor-etl-page", "--container=page")
        return kubectl(*page, "--", "python", "-c", CQL, statement)

    key = "day = '2026-01-01' AND event_id = 'e2e'"
    execute(f"UPDATE sensors.acknowledgements SET note = 'tried' WHERE {key}")
    execute(f"DELETE FROM sensors.acknowledgements WHERE {key}")
    for table in ("machine_days", "sensor_data"):
        execute(f"SELECT * FROM sensors.{table} LIMIT 1")
    where = "equipment_id = 'none'"
    for statement, right in (
        (f"DELETE FROM sensors.machine_days WHERE {where} AND year = 2026", "MODIFY"),
        (f"DELETE FROM sensors.sensor_data WHERE {where} AND day = '2026-01-01'", "MODIFY"),
        ("SELECT * FROM sensors.analyzed_runs LIMIT 1", "SELECT"),
        ("DROP TABLE sensors.acknowledgements", "DROP"),
        ("CREATE TABLE sensors.own (id int PRIMARY KEY)", "CREATE"),
    ):
        with pytest.raises(ServiceError, match=f"no {right} permission"):
            execute(statement)
