"""The DAG of the analysis, its task and the pod that it would start; no cluster and no database."""

from datetime import timedelta
from types import SimpleNamespace

from airflow.sdk import Asset

from tests.dags.conftest import Load, variables
from tests.dags.test_sensor_etl import mounts, pod


def run_of_an_asset() -> SimpleNamespace:
    """What Airflow knows of a run that a load has caused."""
    return SimpleNamespace(run_id="asset_triggered__2026-03-01T12:00:00.5+00:00", run_type="asset_triggered")


def test_insight_is_one_task_beside_the_stages(load_dags: Load) -> None:
    dags = load_dags()
    assert set(dags) == {"sensor_etl", "equipment_insight"}
    assert [task.task_id for task in dags["equipment_insight"].tasks] == ["analyze"]
    assert dags["equipment_insight"].get_task("analyze").task_display_name == "Equipment Analysis"


def test_insight_runs_once_at_a_time_after_what_load_updates(load_dags: Load) -> None:
    dags = load_dags(keyspace="plant")
    awaited = list(dags["equipment_insight"].timetable.asset_condition.objects)
    assert awaited == dags["sensor_etl"].get_task("load").outlets == [Asset("cassandra://plant/sensor_data")]
    assert dags["equipment_insight"].max_active_runs == 1


def test_nothing_new_skips_the_analysis(load_dags: Load) -> None:
    assert load_dags()["equipment_insight"].get_task("analyze").skip_on_exit_code == [3]


def test_analysis_is_tried_and_watched_as_the_stages_are(load_dags: Load) -> None:
    task = load_dags()["equipment_insight"].get_task("analyze")
    assert (task.retries, task.execution_timeout) == (2, timedelta(hours=1))
    assert (task.on_finish_action, task.do_xcom_push, task.log_pod_spec_on_failure) == ("delete_pod", False, False)


def test_pod_of_the_analysis_is_that_of_its_template(load_dags: Load) -> None:
    manifest = pod(load_dags()["equipment_insight"], "analyze", run_of_an_asset())
    assert manifest.metadata.labels["app.kubernetes.io/component"] == "analyze"
    assert manifest.spec.service_account_name == "etl-analyze"
    assert manifest.spec.containers[0].image == "sensor-etl/analyze:0.1.0"
    assert variables(manifest) == {"ETL_SECRETS_DIR": "/etc/sensor-etl/secrets"}
    assert mounts(manifest) == {}


def test_there_is_no_insight_when_there_is_no_pod_for_it(load_dags: Load) -> None:
    assert set(load_dags(without="analyze")) == {"sensor_etl"}
