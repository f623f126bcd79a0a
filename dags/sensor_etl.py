"""Load sensor readings from Kafka into Cassandra: five stages, each in a pod.

The chart writes the pod templates of the stages and `dag.yaml`, the settings of this DAG, into the folder
`SENSOR_ETL_DAG_CONFIG`. This module adds the values that differ from run to run.

It starts at the times of a schedule, when a record arrives on a topic, or by hand.

A run by hand covers the `durationSeconds` before it. A scheduled run covers the time since the last successful one.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback
from airflow.sdk import (
    DAG,
    Asset,
    AssetOrTimeSchedule,
    AssetWatcher,
    CronTriggerTimetable,
    Param,
    chain,
)
from kubernetes.client import V1Pod, V1VolumeMount
from sensor_etl_config import CONFIG, DEFAULT_ARGS, NOTHING_NEW, SETTINGS, TABLE, EtlPodOperator

STAGES = {
    "generate": "Data Generation",
    "produce": "Kafka Producer",
    "consume": "Kafka Consumer",
    "transform": "Data Transformation",
    "load": "Data Loading",
}
SHARDS = SETTINGS["shards"]


def arrival() -> Asset:
    """Return an asset that Airflow's triggerer updates when a record arrives on a topic.

    The record only starts a run: consume reads it later, from its own offsets. So the watcher commits no offsets and
    ignores the content, which may be binary: each record `is not None`.
    """
    from airflow.providers.common.messaging.triggers.msg_queue import MessageQueueTrigger

    readings, _dead_letters, _events, *more = SETTINGS["topics"]
    trigger = MessageQueueTrigger(
        scheme="kafka",
        topics=[readings, *more],
        kafka_config_id="sensor_etl_kafka",
        apply_function="operator.is_not",
        apply_function_args=[None],
        commit_offset=False,
    )
    return Asset("sensor_etl_records", watchers=[AssetWatcher(name="sensor_etl_records", trigger=trigger)])


def schedule() -> Any:
    """Return when the DAG runs: at the times of a cron expression, when a record arrives, both, or by hand only."""
    cron = SETTINGS["schedule"]
    if not SETTINGS["startOnRecords"]:
        return cron
    if not cron:
        return [arrival()]
    return AssetOrTimeSchedule(timetable=CronTriggerTimetable(cron, timezone="UTC"), assets=[arrival()])


def etl_run_id(run_id: str) -> str:
    """Return the name of the run in the workspace. A mount path may not contain a colon."""
    return re.sub(r"[^A-Za-z0-9._=@-]", "-", run_id)


def time_range(dag_run: Any, last_end: datetime | None, seconds: float) -> tuple[datetime, timedelta]:
    """Return start and length of the range that `generate` covers; they are the same in each try, whatever the clock.

    Args:
        dag_run: The run.
        last_end: End of the last successful scheduled run, if there is one.
        seconds: Length for a run by hand, and for the first scheduled run.
    """
    end = dag_run.data_interval_end or dag_run.run_after
    start = None if dag_run.run_type == "manual" else last_end
    start = start or end - timedelta(seconds=seconds)
    return start, end - start


class OwnFolder(KubernetesPodOperatorCallback):
    """Let a stage write into its own folder of the workspace; the pod template mounts the workspace read-only."""

    @staticmethod
    def on_pod_manifest_created(*, pod_request: V1Pod, context: Any, operator: Any, **_: Any) -> None:
        """Add the mount. The operator does not render templates in the path of a mount."""
        folder = f"{etl_run_id(context['run_id'])}/{operator.task_id}"
        base = next(container for container in pod_request.spec.containers if container.name == "base")
        base.volume_mounts.append(
            V1VolumeMount(name="workspace", mount_path=f"/workspace/{folder}", sub_path=folder, read_only=False)
        )


def environment(stage: str, shard: int) -> dict[str, str]:
    """Return the environment variables that differ from run to run, as templates."""
    variables = {"ETL_RUN_ID": "{{ etl_run_id(run_id) }}", "ETL_SHARD": str(shard), "ETL_SHARDS": str(SHARDS)}
    if stage != "generate":
        return variables
    time_range = "time_range(dag_run, prev_data_interval_end_success | default(none), params.durationSeconds)"
    return variables | {
        "ETL_GENERATE_SOURCE": "{{ 'none' if params.source == 'topic' else params.source }}",
        "ETL_GENERATE_START": f"{{{{ {time_range}[0].isoformat() }}}}",
        "ETL_GENERATE_DURATION": f"{{{{ {time_range}[1].total_seconds() }}}}",
        # An empty value counts as not set.
        "ETL_GENERATE_MACHINES": "{{ params.machines or '' }}",
        "ETL_GENERATE_INTERVAL": "{{ params.intervalSeconds or '' }}",
        "ETL_GENERATE_RECORDED_URL": "{{ params.recordedUrl or '' }}",
    }


def pod(stage: str) -> Any:
    """Return the task of a stage: one pod, or one pod per shard."""
    arguments: dict[str, Any] = {
        "task_id": stage,
        "task_display_name": STAGES[stage],
        "pod_template_file": str(CONFIG / f"{stage}.yaml"),
        "outlets": [TABLE] if stage == "load" else [],
        # Load removes the folders of old runs, so its template mounts the whole workspace.
        "callbacks": [OwnFolder] if SETTINGS["workspaceVolume"] and stage != "load" else [],
    }
    if SHARDS == 1:
        return EtlPodOperator(**arguments, env_vars=environment(stage, 0), skip_on_exit_code=NOTHING_NEW)
    shards = [environment(stage, shard) for shard in range(SHARDS)]
    return EtlPodOperator.partial(**arguments, map_index_template=f"shard {{{{ ti.map_index }}}} of {SHARDS}").expand(
        env_vars=shards
    )


with DAG(
    "sensor_etl",
    description="Sensor readings from Kafka into Cassandra",
    doc_md=__doc__,
    tags=["sensor-etl"],
    schedule=schedule(),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # Two concurrent runs would read the same offsets.
    max_active_runs=1,
    params={
        "source": Param(
            SETTINGS["params"]["source"],
            enum=["synthetic", "recorded", "topic"],
            description="synthetic: synthetic readings; recorded: readings of a file; topic: gateways fill the topic",
        ),
        "machines": Param(
            SETTINGS["params"].get("machines"),
            type=["null", "integer"],
            minimum=1,
            description="synthetic: number of machines; none: all machines of the catalogue",
        ),
        "intervalSeconds": Param(
            SETTINGS["params"].get("intervalSeconds"),
            type=["null", "number"],
            exclusiveMinimum=0,
            description="synthetic: seconds between two readings of a machine; none: the catalogue's",
        ),
        "durationSeconds": Param(
            SETTINGS["params"]["durationSeconds"],
            type="number",
            exclusiveMinimum=0,
            description="synthetic: length of the time range in seconds; it ends at the time of the run",
        ),
        "recordedUrl": Param(
            SETTINGS["params"].get("recordedUrl"),
            type=["null", "string"],
            description="recorded: URL of the file (CSV, Parquet, JSON lines), in fsspec's form",
        ),
    },
    user_defined_macros={"etl_run_id": etl_run_id, "time_range": time_range},
    default_args=DEFAULT_ARGS,
):
    chain(*(pod(stage) for stage in STAGES))
