"""Runs of the DAG in the cluster: what comes out at the end, and what one sees of it."""

from datetime import timedelta
from pathlib import Path

from etl.settings import CassandraSettings
from tests.e2e.airflow import Airflow
from tests.e2e.conftest import FINISHED_SECONDS
from tests.e2e.runs import STAGES, counts, generated, new_run, range_of, stored


def test_rows_equal_what_was_generated_when_a_run_ends(
    airflow: Airflow, cassandra: CassandraSettings, tmp_path: Path, finished: str
) -> None:
    tasks = airflow.tasks(finished)
    assert list(tasks) == STAGES
    assert {item["state"] for item in tasks.values()} == {"success"}
    begin = range_of(airflow, finished, FINISHED_SECONDS)
    expected = generated(tmp_path, begin, FINISHED_SECONDS, 3)
    assert len(expected) > 9000
    found = stored(cassandra, begin, begin + timedelta(seconds=FINISHED_SECONDS))
    assert {key: found.get(key) for key in expected} == expected


def test_log_of_each_pod_is_the_log_of_its_task(airflow: Airflow, finished: str) -> None:
    for stage in STAGES:
        log = airflow.log(finished, stage)
        assert f"stage={stage}" in log, log
        assert counts(log), log


def test_second_run_adds_only_what_is_new(airflow: Airflow, finished: str) -> None:
    second = new_run("second")
    airflow.trigger(second, machines=3, durationSeconds=FINISHED_SECONDS)
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


def test_task_is_not_tried_again_when_its_settings_are_wrong(airflow: Airflow) -> None:
    run = new_run("wrong")
    airflow.trigger(run, source="recorded", recordedUrl="/nowhere/readings.csv")
    assert airflow.wait(run) == "failed"
    generate = airflow.tasks(run)["generate"]
    assert (generate["state"], generate["try_number"]) == ("failed", 1)
    assert generate["max_tries"] > 1
