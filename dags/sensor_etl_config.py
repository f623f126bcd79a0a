"""Code of both DAGs: settings that the chart writes, default arguments of tasks, and the operator."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import Asset, BaseNotifier, BaseOperator, BaseOperatorLink
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from airflow.sdk.module_loading import import_string
from kubernetes.client import V1ContainerStateTerminated, V1Pod
from sensor_etl_lineage import datasets, lineage

CONFIG = Path(os.environ.get("SENSOR_ETL_DAG_CONFIG", "/opt/sensor-etl"))
SETTINGS = yaml.safe_load((CONFIG / "dag.yaml").read_text())
TABLE = Asset(f"cassandra://{SETTINGS['keyspace']}/sensor_data")
DATASETS = datasets(SETTINGS)
# Exit codes of the command `etl`.
WRONG_SETTINGS = 2
NOTHING_NEW = 3


def notifiers() -> list[BaseNotifier]:
    """Return what notifies people of a task that has failed in its last try."""
    return [import_string(item["notifier"])(**item["arguments"]) for item in SETTINGS["onFailure"]]


DEFAULT_ARGS = {
    "owner": "sensor-etl",
    "retries": SETTINGS["retries"],
    "retry_delay": timedelta(seconds=SETTINGS["retryDelaySeconds"]),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(seconds=SETTINGS["maxRetryDelaySeconds"]),
    "execution_timeout": timedelta(seconds=SETTINGS["executionTimeoutSeconds"]),
    "schedule_timeout_seconds": SETTINGS["scheduleTimeoutSeconds"],
    "startup_timeout_seconds": SETTINGS["startupTimeoutSeconds"],
    "startup_check_interval_seconds": SETTINGS["startupCheckIntervalSeconds"],
    "base_container_status_polling_interval": SETTINGS["pollIntervalSeconds"],
    "poll_interval": SETTINGS["pollIntervalSeconds"],
    "on_finish_action": "delete_pod",
    "do_xcom_push": False,
    # The environment of a pod must not appear in a log. The last lines of the stage state why it failed.
    "log_pod_spec_on_failure": False,
    "termination_message_policy": "FallbackToLogsOnError",
    "container_name_log_prefix_enabled": False,
    "on_failure_callback": notifiers(),
    **SETTINGS["taskArguments"],
}


class PageLink(BaseOperatorLink):
    """Button of a task in Airflow's UI: opens the page where it shows what the task did."""

    name = "Page"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:  # noqa: ARG002 - Airflow's signature
        """Return the URL: the machines for the analysis, the pipeline for a stage."""
        return SETTINGS["pageUrl"] + ("/" if operator.task_id == "analyze" else "/pipeline")


class EtlPodOperator(KubernetesPodOperator):
    """Run a stage in a pod. If its settings are wrong, the task is not retried: a person has to change them."""

    operator_extra_links = (PageLink(),) if SETTINGS["pageUrl"] else ()

    def get_openlineage_facets_on_start(self) -> Any:
        """Return what the task reads and writes, for OpenLineage's provider."""
        return lineage(*DATASETS[self.task_id])

    def cleanup(self, pod: V1Pod, remote_pod: V1Pod, *arguments: Any, **named: Any) -> None:
        """Clean up as the operator does, then fail the task permanently if a retry cannot help.

        If Kubernetes ended the pod, the error begins with the reason, which the last lines of the stage do not state.
        """
        try:
            super().cleanup(pod, remote_pod, *arguments, **named)
        except AirflowSkipException:
            raise
        except AirflowException as error:
            ended = terminated(remote_pod, self.base_container_name)
            if ended and ended.exit_code == WRONG_SETTINGS:
                raise AirflowFailException(str(error)) from error
            if reason := reason_of_kubernetes(remote_pod, ended):
                raise AirflowException(f"{reason}\n{error}") from error
            raise


def terminated(pod: V1Pod, container: str) -> V1ContainerStateTerminated | None:
    """Return how a container of a pod ended; None if it has not ended by itself."""
    statuses = (pod.status and pod.status.container_statuses) or []
    states = [status.state for status in statuses if status.name == container]
    return next((state.terminated for state in states if state and state.terminated), None)


def reason_of_kubernetes(pod: V1Pod, ended: V1ContainerStateTerminated | None) -> str | None:
    """Return why Kubernetes ended a pod; None if its container ended by itself."""
    if ended and ended.reason == "OOMKilled":
        return "OOMKilled: the pod needs more memory than its limit (the chart's value resources.limits.memory)"
    # Such as Evicted and DeadlineExceeded.
    return f"{pod.status.reason}: {pod.status.message}" if pod.status and pod.status.reason else None
