"""What the DAGs share: the folder that the chart writes, its settings, how tasks are tried and their pods watched."""

import os
from datetime import timedelta
from pathlib import Path

import yaml
from airflow.sdk import Asset

CONFIG = Path(os.environ.get("SENSOR_ETL_DAG_CONFIG", "/opt/sensor-etl"))
SETTINGS = yaml.safe_load((CONFIG / "dag.yaml").read_text())
TABLE = Asset(f"cassandra://{SETTINGS['keyspace']}/sensor_data")
NOTHING_NEW = 3  # exit code of `etl consume` and `etl analyze`

DEFAULT_ARGS = {
    "owner": "sensor-etl",
    "retries": SETTINGS["retries"],
    "retry_delay": timedelta(seconds=SETTINGS["retryDelaySeconds"]),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(seconds=SETTINGS["maxRetryDelaySeconds"]),
    "execution_timeout": timedelta(seconds=SETTINGS["executionTimeoutSeconds"]),
    "startup_timeout_seconds": SETTINGS["startupTimeoutSeconds"],
    "startup_check_interval_seconds": SETTINGS["startupCheckIntervalSeconds"],
    "base_container_status_polling_interval": SETTINGS["pollIntervalSeconds"],
    "poll_interval": SETTINGS["pollIntervalSeconds"],
    "on_finish_action": "delete_pod",
    "do_xcom_push": False,
    # The pod's environment has no place in a log; the last lines of the stage say why it failed.
    "log_pod_spec_on_failure": False,
    "termination_message_policy": "FallbackToLogsOnError",
    "container_name_log_prefix_enabled": False,
}
