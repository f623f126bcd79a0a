"""Runs of the DAG in the cluster: what comes out at the end, and what one sees of it."""

import json
import os
import subprocess
import sys
import time
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from etl.cassandra.connection import connect
from etl.model.measurements import read_measurements
from etl.run.workspace import Source, find_manifest, open_workspace
from etl.settings import CassandraSettings
from tests.e2e.airflow import Airflow
from tests.e2e.conftest import Kubectl

STAGES = ["generate", "produce", "consume", "transform", "load"]
Rows = dict[tuple[str, datetime], tuple[float | None, ...]]
COLUMNS = [field.name for field in read_measurements().fields]


def new_run(what: str) -> str:
    return f"{what}-{uuid.uuid4().hex[:8]}"


def stored(settings: CassandraSettings, begin: datetime, end: datetime) -> Rows:
    """Rows of the table in a range of time, by equipment and timestamp."""
    names = ", ".join(COLUMNS)
    query = f"SELECT equipment_id, timestamp, {names} FROM sensor_data WHERE equipment_id = %s AND day = %s"
    found: Rows = {}
    with connect(settings) as session:
        equipment = [row[0] for row in session.execute("SELECT DISTINCT equipment_id, day FROM sensor_data")]
        days = [begin.date() + timedelta(days=n) for n in range((end.date() - begin.date()).days + 1)]
        for machine in set(equipment):
            for day in days:
                for row in session.execute(query, (machine, day)):
                    if begin.replace(tzinfo=None) <= row[1] < end.replace(tzinfo=None):
                        found[row[0], row[1]] = tuple(row[2:])
    return found


def generated(folder: Path, begin: datetime, seconds: float, machines: int) -> Rows:
    """What `generate` makes on this machine from the same settings, rounded as `transform` does."""
    variables = {
        "ETL_WORKSPACE_URL": str(folder),
        "ETL_RUN_ID": "expected",
        "ETL_GENERATE_START": begin.isoformat(),
        "ETL_GENERATE_DURATION": str(seconds),
        "ETL_GENERATE_MACHINES": str(machines),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ETL_")}
    subprocess.run([sys.executable, "-m", "etl", "generate"], env=kept | variables, check=True)
    workspace = open_workspace(str(folder), "expected")
    manifest = find_manifest(workspace, "generate")
    assert manifest
    table = pa.concat_tables(Source(workspace, manifest).tables("readings"))
    decimals = {measurement.name: measurement.decimals for measurement in read_measurements().declared}
    columns: list[list[Any]] = [
        [None if value is None else round(value, decimals[name]) for value in table[name].to_pylist()]
        for name in COLUMNS
    ]
    times = [time.replace(tzinfo=None) for time in table["timestamp"].to_pylist()]
    keys = zip(table["equipment_id"].to_pylist(), times, strict=True)
    return dict(zip(keys, zip(*columns, strict=True), strict=True))


def counts(log: str) -> dict[str, int]:
    """The closing counts of a stage, from its log."""
    (line,) = [line for line in log.splitlines() if " done " in line and "stage=" in line][-1:]
    pairs = [word.split("=", 1) for word in line.split() if "=" in word]
    return {key: int(value) for key, value in pairs if value.isdigit()}


def range_of(airflow: Airflow, run: str, seconds: float) -> datetime:
    """Where the range of a run by hand begins: the duration before it was asked for."""
    run_after = airflow.call("GET", f"/dags/sensor_etl/dagRuns/{run}")["run_after"]
    return datetime.fromisoformat(run_after) - timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def finished(airflow: Airflow) -> str:
    """A run of three machines and ten minutes that has ended well."""
    run = new_run("finished")
    airflow.trigger(run, machines=3, durationSeconds=600)
    assert airflow.wait(run) == "success"
    return run


def test_rows_equal_what_was_generated_when_a_run_ends(
    airflow: Airflow, cassandra: CassandraSettings, tmp_path: Path, finished: str
) -> None:
    tasks = airflow.tasks(finished)
    assert list(tasks) == STAGES
    assert {item["state"] for item in tasks.values()} == {"success"}
    begin = range_of(airflow, finished, 600)
    expected = generated(tmp_path, begin, 600, 3)
    assert len(expected) > 1500
    found = stored(cassandra, begin, begin + timedelta(seconds=600))
    assert {key: found.get(key) for key in expected} == expected


def test_log_of_each_pod_is_the_log_of_its_task(airflow: Airflow, finished: str) -> None:
    for stage in STAGES:
        log = airflow.log(finished, stage)
        assert f"stage={stage}" in log, log
        assert counts(log), log


def test_second_run_adds_only_what_is_new(airflow: Airflow, finished: str) -> None:
    second = new_run("second")
    airflow.trigger(second, machines=3, durationSeconds=600)
    assert airflow.wait(second) == "success"
    loaded = counts(airflow.log(second, "load"))
    assert loaded["duplicate"] > 0
    assert 0 < loaded["loaded"] < counts(airflow.log(finished, "load"))["loaded"] + loaded["duplicate"]
    assert loaded["loaded"] + loaded["duplicate"] == loaded["consumed"]


def test_rest_is_skipped_when_there_is_nothing_new(airflow: Airflow) -> None:
    run = new_run("nothing")
    airflow.trigger(run, source="topic")
    assert airflow.wait(run) == "success"
    states = {stage: item["state"] for stage, item in airflow.tasks(run).items()}
    assert states == {
        "generate": "success",
        "produce": "success",
        "consume": "skipped",
        "transform": "skipped",
        "load": "skipped",
    }


@pytest.mark.parametrize("stage", [pytest.param("consume", marks=pytest.mark.long), "load"])
def test_table_is_right_when_a_pod_is_killed_in_mid_work(
    airflow: Airflow, cassandra: CassandraSettings, kubectl: Kubectl, tmp_path: Path, stage: str
) -> None:
    # A pod may have come to its end before the blow falls: then another run is tried.
    for attempt in range(5):
        run = new_run("killed")
        airflow.trigger(run, machines=20, durationSeconds=3600)
        pod = running_pod(kubectl, run, stage)
        kubectl("delete", "pod", pod, "--grace-period=0", "--force", "--wait=false", "--ignore-not-found")
        assert airflow.wait(run, 600) == "success"
        begin = range_of(airflow, run, 3600)
        expected = generated(tmp_path / str(attempt), begin, 3600, 20)
        found = stored(cassandra, begin, begin + timedelta(seconds=3600))
        assert {key: found.get(key) for key in expected} == expected
        if airflow.tasks(run)[stage]["try_number"] > 1:
            return
    pytest.fail(f"no pod of {stage} could be killed in time")


@pytest.mark.long
def test_no_second_pod_starts_and_no_log_is_lost_when_the_scheduler_is_killed(
    airflow: Airflow, kubectl: Kubectl
) -> None:
    earlier, run = new_run("earlier"), new_run("scheduler")
    airflow.trigger(earlier, machines=1, durationSeconds=10)
    assert airflow.wait(earlier) == "success"
    # The same operator, in a task that outlives the scheduler's start and the time until a lost task is noticed.
    airflow.trigger(run, dag="e2e_sleep", seconds=120)
    running_pod(kubectl, run, "sleep_0")
    scheduler = "app.kubernetes.io/component=airflow-scheduler"
    kubectl("delete", "pod", f"--selector={scheduler}", "--grace-period=0", "--force", "--wait=false")
    seen: set[str] = set()
    deadline = time.monotonic() + 400
    while (state := airflow.tasks(run, "e2e_sleep")["sleep_0"]["state"]) not in ("success", "failed"):
        seen |= {name for name, _ in pods_of(kubectl, run, "sleep_0")}
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    assert state == "success"
    assert airflow.tasks(run, "e2e_sleep")["sleep_0"]["try_number"] > 1
    assert len(seen) == 1
    assert "stage=generate" in airflow.log(earlier, "generate")


def pods_of(kubectl: Kubectl, run: str, stage: str) -> list[tuple[str, str]]:
    """Name and phase of the pods of a task."""
    listed = kubectl("get", "pods", f"--selector=run_id={run},task_id={stage}", "--output=json")
    return [(item["metadata"]["name"], item["status"].get("phase", "")) for item in json.loads(listed)["items"]]


def running_pod(kubectl: Kubectl, run: str, stage: str, seconds: float = 200) -> str:
    """The name of a task's pod, as soon as it runs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for name, phase in pods_of(kubectl, run, stage):
            if phase == "Running":
                return name
        time.sleep(0.1)
    raise TimeoutError(f"no pod of {stage} ran")
