"""The DAG, its tasks and the pods that they would start; no cluster and no database."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.definitions.param import process_params
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from kubernetes.client import (
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStatus,
    V1ObjectMeta,
    V1Pod,
    V1PodStatus,
)

from tests.dags.config import PODS, SETTINGS
from tests.dags.conftest import Load, variables

STAGES = ["generate", "produce", "consume", "transform", "load"]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run_by_hand(run_id: str = "manual__2026-03-01T12:00:00.5+00:00") -> SimpleNamespace:
    """What Airflow knows of a run by hand: it has no logical date."""
    return SimpleNamespace(run_id=run_id, run_type="manual", run_after=NOON, data_interval_end=None)


def scheduled_run() -> SimpleNamespace:
    """What Airflow knows of a run of the schedule; it is created a little late."""
    return SimpleNamespace(
        run_id="scheduled__2026-03-01T12:00:00+00:00",
        run_type="scheduled",
        run_after=NOON + timedelta(seconds=3),
        data_interval_end=NOON,
    )


def pod(dag: Any, stage: str, dag_run: Any, *, conf: dict[str, Any] | None = None, shard: int = -1, **more: Any) -> Any:
    """The pod that a task would start."""
    task = dag.get_task(stage)
    ti = SimpleNamespace(
        dag_id=dag.dag_id, task_id=stage, run_id=dag_run.run_id, map_index=shard, try_number=1, is_mapped=shard >= 0
    )
    context: Any = {"dag": dag, "dag_run": dag_run, "run_id": dag_run.run_id, "ti": ti, "task": task} | more
    context["params"] = process_params(dag, task, conf, suppress_exception=False)
    if shard >= 0:
        task = task.unmap({"env_vars": task.expand_input.value["env_vars"][shard]})
    operator = task.prepare_for_execution()
    operator.render_template_fields(context)
    manifest = operator.build_pod_request_obj(context, dry_run=True)
    for callback in operator.callbacks:
        callback.on_pod_manifest_created(
            pod_request=manifest, client=None, mode="sync", context=context, operator=operator
        )
    return manifest


def ended(exit_code: int, reason: str, *, pod: str | None = None, message: str | None = None) -> V1PodStatus:
    """What Kubernetes says of a pod whose container has ended; for some reasons it ends the whole pod."""
    state = V1ContainerStateTerminated(exit_code=exit_code, reason=reason, message="Kafka does not answer")
    image = {"image": "sensor-etl", "image_id": "sensor-etl"}
    base = V1ContainerStatus(
        name="base", ready=False, restart_count=0, state=V1ContainerState(terminated=state), **image
    )
    return V1PodStatus(phase="Failed", reason=pod, message=message, container_statuses=[base])


def mounts(manifest: Any) -> dict[str, tuple[str | None, bool]]:
    """Where the workspace is mounted: its sub-folder there, and whether it can be written."""
    return {
        mount.mount_path: (mount.sub_path, not mount.read_only)
        for mount in manifest.spec.containers[0].volume_mounts
        if mount.name == "workspace"
    }


def test_dag_is_five_tasks_in_a_row(load_dag: Load) -> None:
    dag = load_dag()
    assert {task.task_id: list(task.downstream_task_ids) for task in dag.tasks} == {
        "generate": ["produce"],
        "produce": ["consume"],
        "consume": ["transform"],
        "transform": ["load"],
        "load": [],
    }
    assert [dag.get_task(stage).task_display_name for stage in STAGES] == [
        "Data Generation",
        "Kafka Producer",
        "Kafka Consumer",
        "Data Transformation",
        "Data Loading",
    ]


def test_dag_runs_once_at_a_time_and_only_from_now_on(load_dag: Load) -> None:
    dag = load_dag(schedule="0 * * * *")
    assert (dag.max_active_runs, dag.catchup) == (1, False)
    assert dag.timetable.expression == "0 * * * *"
    assert load_dag().timetable.can_be_scheduled is False


@pytest.mark.parametrize("stage", STAGES)
def test_task_is_repeated_with_back_off_and_ends_in_time(load_dag: Load, stage: str) -> None:
    task = load_dag().get_task(stage)
    assert task.retries == 2
    assert task.retry_exponential_backoff
    assert (task.retry_delay, task.max_retry_delay) == (timedelta(seconds=10), timedelta(seconds=300))
    assert task.execution_timeout == timedelta(hours=1)
    assert (task.startup_timeout_seconds, task.startup_check_interval_seconds) == (180, 1)


@pytest.mark.parametrize("stage", STAGES)
def test_task_waits_longer_for_room_than_for_the_start_of_its_pod(load_dag: Load, stage: str) -> None:
    assert load_dag().get_task(stage).schedule_timeout_seconds == 1800


@pytest.mark.parametrize("stage", STAGES)
def test_task_leaves_no_pod_no_xcom_and_no_environment_in_its_log(load_dag: Load, stage: str) -> None:
    task = load_dag().get_task(stage)
    assert task.on_finish_action == "delete_pod"
    assert task.do_xcom_push is False
    assert task.log_pod_spec_on_failure is False
    assert task.termination_message_policy == "FallbackToLogsOnError"


def test_table_is_an_asset_of_load_alone(load_dag: Load) -> None:
    outlets = {task.task_id: [asset.uri for asset in task.outlets] for task in load_dag(keyspace="plant").tasks}
    assert outlets == {stage: [] for stage in STAGES} | {"load": ["cassandra://plant/sensor_data"]}


@pytest.mark.parametrize("stage", STAGES)
def test_pod_is_that_of_its_template(load_dag: Load, stage: str) -> None:
    manifest = pod(load_dag(), stage, run_by_hand())
    template = yaml.safe_load((PODS / f"{stage}.yaml").read_text())
    container = manifest.spec.containers[0]
    assert manifest.metadata.namespace == "plant"
    assert manifest.metadata.labels["app.kubernetes.io/component"] == stage
    assert manifest.metadata.annotations["example.org/template"] == "{{ left as it is }}"
    assert manifest.spec.service_account_name == f"etl-{stage}"
    assert manifest.spec.automount_service_account_token is False
    assert manifest.spec.restart_policy == "Never"
    assert manifest.spec.security_context.run_as_non_root is True
    assert [item.name for item in manifest.spec.containers] == ["base"]
    assert (container.image, container.args or None) == (f"sensor-etl/{stage}:0.1.0", None)
    assert container.security_context.read_only_root_filesystem is True
    assert container.resources.limits == template["spec"]["containers"][0]["resources"]["limits"]
    assert container.env_from[0].config_map_ref.name == "etl-settings"
    assert variables(manifest)["ETL_SECRETS_DIR"] == "/etc/sensor-etl/secrets"
    assert {volume.name for volume in manifest.spec.volumes} == {"workspace", "tmp"}


@pytest.mark.parametrize("stage", STAGES)
def test_run_id_is_one_for_all_stages_and_fits_a_mount_path(load_dag: Load, stage: str) -> None:
    manifest = pod(load_dag(), stage, run_by_hand())
    assert variables(manifest)["ETL_RUN_ID"] == "manual__2026-03-01T12-00-00.5-00-00"


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_stage_may_write_to_its_own_folder_only(load_dag: Load, stage: str) -> None:
    own = f"manual__2026-03-01T12-00-00.5-00-00/{stage}"
    assert mounts(pod(load_dag(), stage, run_by_hand())) == {
        "/workspace": (None, False),
        f"/workspace/{own}": (own, True),
    }


def test_load_may_write_to_all_of_the_workspace_since_it_removes_old_runs(load_dag: Load) -> None:
    assert mounts(pod(load_dag(), "load", run_by_hand())) == {"/workspace": (None, True)}


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_is_mounted_when_the_workspace_is_no_volume(load_dag: Load, stage: str) -> None:
    manifest = pod(load_dag(workspaceVolume=False), stage, run_by_hand())
    assert len(mounts(manifest)) == 1, "that of the template"


def test_run_by_hand_covers_the_duration_before_it(load_dag: Load) -> None:
    environment = variables(pod(load_dag(), "generate", run_by_hand()))
    assert environment["ETL_GENERATE_START"] == "2026-03-01T11:50:00+00:00"
    assert float(environment["ETL_GENERATE_DURATION"]) == 600


def test_run_by_hand_takes_what_it_is_given(load_dag: Load) -> None:
    conf = {"machines": 3, "intervalSeconds": 0.5, "durationSeconds": 90}
    environment = variables(pod(load_dag(), "generate", run_by_hand(), conf=conf))
    assert environment["ETL_GENERATE_START"] == "2026-03-01T11:58:30+00:00"
    assert float(environment["ETL_GENERATE_DURATION"]) == 90
    assert environment["ETL_GENERATE_MACHINES"] == "3"
    assert environment["ETL_GENERATE_INTERVAL"] == "0.5"


def test_scheduled_run_goes_on_where_the_last_successful_one_ended(load_dag: Load) -> None:
    last_end = NOON - timedelta(hours=2)
    manifest = pod(load_dag(), "generate", scheduled_run(), prev_data_interval_end_success=last_end)
    assert variables(manifest)["ETL_GENERATE_START"] == "2026-03-01T10:00:00+00:00"
    assert float(variables(manifest)["ETL_GENERATE_DURATION"]) == 7200


def test_scheduled_run_covers_the_duration_when_it_is_the_first(load_dag: Load) -> None:
    environment = variables(pod(load_dag(), "generate", scheduled_run(), prev_data_interval_end_success=None))
    assert environment["ETL_GENERATE_START"] == "2026-03-01T11:50:00+00:00"
    assert float(environment["ETL_GENERATE_DURATION"]) == 600


def test_run_by_hand_does_not_begin_at_the_end_of_a_scheduled_one(load_dag: Load) -> None:
    dag_run = run_by_hand()
    dag_run.data_interval_end = NOON  # as with a logical date given
    last_end = NOON - timedelta(hours=2)
    environment = variables(pod(load_dag(), "generate", dag_run, prev_data_interval_end_success=last_end))
    assert environment["ETL_GENERATE_START"] == "2026-03-01T11:50:00+00:00"


@pytest.mark.parametrize(
    ("conf", "source", "url"),
    [
        ({}, "synthetic", ""),
        ({"source": "topic"}, "none", ""),
        ({"source": "recorded", "recordedUrl": "s3://plant/day.csv"}, "recorded", "s3://plant/day.csv"),
    ],
)
def test_source_is_what_the_run_says(load_dag: Load, conf: dict[str, Any], source: str, url: str) -> None:
    environment = variables(pod(load_dag(), "generate", run_by_hand(), conf=conf))
    assert environment["ETL_GENERATE_SOURCE"] == source
    assert environment["ETL_GENERATE_RECORDED_URL"] == url


def test_number_of_machines_is_left_to_the_catalogue_when_none_is_given(load_dag: Load) -> None:
    environment = variables(pod(load_dag(), "generate", run_by_hand(), conf={"machines": None}))
    assert environment["ETL_GENERATE_MACHINES"] == environment["ETL_GENERATE_INTERVAL"] == ""


@pytest.mark.parametrize(
    "conf", [{"machines": 0}, {"source": "other"}, {"durationSeconds": 0}, {"intervalSeconds": -1}, {"recordedUrl": 7}]
)
def test_run_is_refused_when_a_parameter_makes_no_sense(load_dag: Load, conf: dict[str, Any]) -> None:
    dag = load_dag()
    with pytest.raises(ValueError, match=f"Invalid input for param {next(iter(conf))}"):
        process_params(dag, dag.get_task("generate"), conf, suppress_exception=False)


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_new_skips_the_rest(load_dag: Load, stage: str) -> None:
    assert load_dag().get_task(stage).skip_on_exit_code == [3]


@pytest.mark.parametrize("stage", STAGES)
def test_stage_is_one_task_of_several_pods_when_there_are_shards(load_dag: Load, stage: str) -> None:
    dag = load_dag(shards=3)
    assert len(dag.tasks) == 5
    pods = [pod(dag, stage, run_by_hand(), shard=shard) for shard in range(3)]
    environments = [variables(manifest) for manifest in pods]
    assert [(env["ETL_SHARD"], env["ETL_SHARDS"]) for env in environments] == [("0", "3"), ("1", "3"), ("2", "3")]
    assert {env["ETL_RUN_ID"] for env in environments} == {"manual__2026-03-01T12-00-00.5-00-00"}
    assert [manifest.metadata.labels["map_index"] for manifest in pods] == ["0", "1", "2"]
    assert all(mounts(manifest) == mounts(pods[0]) for manifest in pods)


@pytest.mark.parametrize("stage", STAGES)
def test_empty_shard_is_no_reason_to_skip(load_dag: Load, stage: str) -> None:
    task = load_dag(shards=3).get_task(stage)
    operator = task.unmap({"env_vars": task.expand_input.value["env_vars"][0]})
    assert operator.skip_on_exit_code == []
    assert operator.task_display_name
    assert operator.retries == 2
    assert operator.log_pod_spec_on_failure is False


@pytest.mark.parametrize(
    ("status", "begin"),
    [
        (ended(137, "OOMKilled"), "OOMKilled: the pod needs more memory than its limit"),
        (ended(137, "Error", pod="Evicted", message="The node was low on resource: memory."), "Evicted: The node was"),
        (V1PodStatus(phase="Failed", reason="DeadlineExceeded", message="Pod was active"), "DeadlineExceeded: Pod was"),
        (ended(4, "Error"), "Pod stage returned a failure.\nKafka does not answer"),
    ],
)
def test_error_begins_with_the_reason_when_kubernetes_ended_the_pod(
    load_dag: Load, monkeypatch: pytest.MonkeyPatch, status: V1PodStatus, begin: str
) -> None:
    # There is no pod to be looked at, labelled or deleted.
    for action in ("is_istio_enabled", "patch_already_checked", "process_pod_deletion"):
        monkeypatch.setattr(KubernetesPodOperator, action, lambda self, pod, **_: None)
    pod = V1Pod(metadata=V1ObjectMeta(name="stage"), status=status)
    with pytest.raises(AirflowException) as error:
        load_dag().get_task("transform").prepare_for_execution().cleanup(pod, pod)
    assert str(error.value).startswith(begin)
    assert not isinstance(error.value, AirflowFailException)


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_task_takes_arguments_for_airflow_when_the_values_name_them(load_dag: Load, stage: str, shards: int) -> None:
    named = {"pool": "plant", "priority_weight": 5, "queue": "kubernetes", "deferrable": True}
    task = load_dag(shards=shards, taskArguments=named).get_task(stage)
    if shards > 1:
        task = task.unmap({"env_vars": {}})
    assert {name: getattr(task, name) for name in named} == named


@pytest.mark.parametrize("stage", STAGES)
def test_task_has_the_defaults_of_airflow_when_the_values_name_none(load_dag: Load, stage: str) -> None:
    task = load_dag().get_task(stage)
    assert (task.pool, task.priority_weight, task.queue, task.deferrable) == ("default_pool", 1, "default", False)
    assert list(task.operator_extra_links) == list(task.on_failure_callback) == []


def test_lineage_leaves_the_topic_to_gateways_when_they_fill_it(load_dag: Load) -> None:
    dag = load_dag(params=SETTINGS["params"] | {"source": "topic"})
    lineage = {task.task_id: task.get_openlineage_facets_on_start() for task in dag.tasks}
    assert [stage for stage in STAGES if not (lineage[stage].inputs or lineage[stage].outputs)] == STAGES[:2]
    assert [dataset.name for dataset in lineage["consume"].inputs] == ["sensor-readings", "meters"]


@pytest.mark.parametrize("cron", [None, "0 * * * *"])
def test_dag_starts_when_a_record_arrives_beside_its_schedule(load_dag: Load, cron: str | None) -> None:
    timetable = load_dag(startOnRecords=True, schedule=cron).timetable
    ((asset,),) = [list(timetable.asset_condition.objects)]
    assert asset.name == "sensor_etl_records"
    assert asset.watchers[0].trigger.kwargs["topics"] == ["sensor-readings", "meters"]
    assert asset.watchers[0].trigger.kwargs["commit_offset"] is False
    assert (getattr(timetable, "timetable", None) is not None) == (cron is not None)
