"""Runs of the DAG: start one, find its pods, and compare its readings with the table."""

import json
import os
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from etl.cassandra.connection import connect
from etl.model.measurements import read_measurements
from etl.run.workspace import Source, find_manifest, open_workspace
from etl.settings import CassandraSettings
from tests.e2e.airflow import DAG, Airflow

STAGES = ["generate", "produce", "consume", "transform", "load"]
Kubectl = Callable[..., str]
Rows = dict[tuple[str, datetime], tuple[float | None, ...]]
COLUMNS = [field.name for field in read_measurements().fields]


@dataclass(frozen=True)
class Run:
    """A run by hand of some machines, each with a reading every `interval` seconds for `seconds`."""

    airflow: Airflow
    name: str
    machines: int
    seconds: float
    interval: float | None = None

    def wait(self, seconds: float = 900) -> str:
        """Return the state in which it ended."""
        return self.airflow.wait(self.name, seconds)

    def task(self, stage: str) -> dict[str, Any]:
        """Return the task instance of a stage."""
        return self.airflow.tasks(self.name)[stage]

    def logs(self, stage: str) -> str:
        """Return the logs of all tries of a stage."""
        tries = range(1, self.task(stage)["try_number"] + 1)
        return "\n".join(self.airflow.log(self.name, stage, attempt) for attempt in tries)

    @property
    def begin(self) -> datetime:
        """Where its range begins: the duration before it was asked for."""
        run_after = self.airflow.call("GET", f"/dags/{DAG}/dagRuns/{self.name}")["run_after"]
        return datetime.fromisoformat(run_after) - timedelta(seconds=self.seconds)

    @property
    def end(self) -> datetime:
        """Where its range ends."""
        return self.begin + timedelta(seconds=self.seconds)


def start(airflow: Airflow, what: str, machines: int = 20, seconds: float = 3600) -> Run:
    """Trigger a run with timestamps of its own: they are multiples of an interval that hardly another run has."""
    run = Run(airflow, new_run(what), machines, seconds, random.randrange(1001, 2000) / 1000)
    airflow.trigger(run.name, machines=machines, durationSeconds=seconds, intervalSeconds=run.interval)
    return run


def new_run(what: str) -> str:
    return f"{what}-{uuid.uuid4().hex[:8]}"


def stored(settings: CassandraSettings, begin: datetime, end: datetime) -> Rows:
    """Rows of the table in a range of time, by equipment and timestamp."""
    names = ", ".join(COLUMNS)
    query = (
        f"SELECT equipment_id, timestamp, {names} FROM sensor_data"
        " WHERE equipment_id = %s AND day = %s AND timestamp >= %s AND timestamp <= %s"
    )
    found: Rows = {}
    with connect(settings) as session:
        for machine, day in session.execute("SELECT DISTINCT equipment_id, day FROM sensor_data"):
            for row in session.execute(query, (machine, day, begin, end)):
                # Cassandra compares milliseconds.
                if begin.replace(tzinfo=None) <= row[1] < end.replace(tzinfo=None):
                    found[row[0], row[1]] = tuple(row[2:])
    return found


def generated(folder: Path, begin: datetime, seconds: float, machines: int, interval: float | None = None) -> Rows:
    """What `generate` makes on this machine from the same settings, rounded as `transform` does."""
    variables = {
        "ETL_WORKSPACE_URL": str(folder),
        "ETL_RUN_ID": "expected",
        "ETL_GENERATE_START": begin.isoformat(),
        "ETL_GENERATE_DURATION": str(seconds),
        "ETL_GENERATE_MACHINES": str(machines),
        "ETL_GENERATE_INTERVAL": "" if interval is None else str(interval),
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
    return Run(airflow, run, 0, seconds).begin


def pods_of(kubectl: Kubectl, run: str, stage: str) -> list[tuple[str, str]]:
    """Name and phase of the pods of a task."""
    listed = kubectl("get", "pods", f"--selector=run_id={run},task_id={stage}", "--output=json")
    return [(item["metadata"]["name"], item["status"].get("phase", "")) for item in json.loads(listed)["items"]]


def running_pod(kubectl: Kubectl, run: str, stage: str, seconds: float = 200) -> str:
    """The name of a task's pod, as soon as it runs."""
    found: list[str] = []

    def runs() -> bool:
        found.extend(name for name, phase in pods_of(kubectl, run, stage) if phase == "Running")
        return bool(found)

    wait_until(runs, f"a pod of {stage} runs", seconds)
    return found[0]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 300, pause: float = 0.1) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {seconds:.0f} s: {what}")
        time.sleep(pause)
