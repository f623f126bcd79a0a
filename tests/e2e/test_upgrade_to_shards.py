"""An upgrade that cuts the stages into shards: two pods for each task, one table. It comes last: others expect one pod."""

from datetime import timedelta
from pathlib import Path

from etl.settings import CassandraSettings
from images import install
from tests.e2e.airflow import Airflow
from tests.e2e.conftest import OPERATORS, VALUES
from tests.e2e.test_pipeline import STAGES, generated, new_run, range_of, stored


def test_rows_equal_what_was_generated_when_each_stage_is_two_pods(
    cluster: str, airflow: Airflow, cassandra: CassandraSettings, tmp_path: Path
) -> None:
    install.install(cluster, VALUES, [*OPERATORS, "pipeline.shards=2"])
    run = new_run("shards")
    airflow.trigger(run, machines=6, durationSeconds=60)
    assert airflow.wait(run) == "success"
    instances = airflow.call("GET", f"/dags/sensor_etl/dagRuns/{run}/taskInstances")["task_instances"]
    assert {(item["task_id"], item["map_index"]) for item in instances} == {(s, n) for s in STAGES for n in (0, 1)}
    begin = range_of(airflow, run, 60)
    expected = generated(tmp_path, begin, 60, 6)
    found = stored(cassandra, begin, begin + timedelta(seconds=60))
    assert {key: found.get(key) for key in expected} == expected
