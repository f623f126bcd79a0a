"""How long runs take, printed and kept; nothing is asserted about time."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.airflow import INSIGHT, Airflow
from tests.e2e.runs import STAGES, counts, new_run


def seconds(airflow: Airflow, dag: str, run: str) -> float:
    found = airflow.call("GET", f"/dags/{dag}/dagRuns/{run}")
    begin, end = (datetime.fromisoformat(found[key]) for key in ("start_date", "end_date"))
    return (end - begin).total_seconds()


def keep(artefacts: Path, **figures: float) -> None:
    file = artefacts / "figures.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**known, **figures}, indent=1))
    for name, value in figures.items():
        print(f"{name}: {value:,.1f}")


@pytest.mark.long
def test_small_run_is_compared_with_five_pods_that_sleep(airflow: Airflow, artefacts: Path) -> None:
    sleep, small = new_run("sleep"), new_run("small")
    for dag, run in (("e2e_sleep", sleep), ("sensor_etl", small)):
        airflow.trigger(run, dag, **({"machines": 1, "durationSeconds": 10} if dag == "sensor_etl" else {}))
        assert airflow.wait(run, dag=dag) == "success"
    keep(
        artefacts,
        seconds_of_five_pods_that_sleep=seconds(airflow, "e2e_sleep", sleep),
        seconds_of_a_small_run=seconds(airflow, "sensor_etl", small),
    )
    for stage, task in airflow.tasks(small).items():
        keep(artefacts, **{f"seconds_of_{stage}": task["duration"]})


@pytest.mark.long
def test_million_readings_go_through_the_pods(airflow: Airflow, artefacts: Path) -> None:
    run = new_run("million")
    airflow.trigger(run, machines=100, durationSeconds=50, intervalSeconds=0.005)
    assert airflow.wait(run, 600) == "success"
    readings = counts(airflow.log(run, "load"))["loaded"]
    assert readings > 900_000
    took = seconds(airflow, "sensor_etl", run)
    # Awaited, so that it takes nothing from what the next tests do.
    analysis = airflow.insight(run, 600)["dag_run_id"]
    keep(artefacts, million_seconds_of_insight=seconds(airflow, INSIGHT, analysis))
    keep(artefacts, seconds_of_a_million=took, readings_per_second_of_a_million=readings / took)
    for stage in STAGES:
        keep(artefacts, **{f"million_seconds_of_{stage}": airflow.tasks(run)[stage]["duration"]})
