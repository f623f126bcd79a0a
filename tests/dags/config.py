"""What the chart writes for the DAG: its settings, and in `pods` the templates."""

from pathlib import Path

PODS = Path(__file__).parent / "pods"
SETTINGS = {
    "schedule": None,
    "startOnRecords": False,
    "shards": 1,
    "retries": 2,
    "retryDelaySeconds": 10,
    "maxRetryDelaySeconds": 300,
    "executionTimeoutSeconds": 3600,
    "scheduleTimeoutSeconds": 1800,
    "startupTimeoutSeconds": 180,
    "startupCheckIntervalSeconds": 1,
    "pollIntervalSeconds": 1,
    "workspaceVolume": True,
    "keyspace": "sensors",
    "taskArguments": {},
    "onFailure": [],
    "pageUrl": "",
    "topics": ["sensor-readings", "sensor-readings-dead-letters", "sensor-events", "meters"],
    "lineage": {
        "kafka": "kafka://broker:9093",
        "cassandra": "cassandra://node:9042",
        "workspace": "s3://plant/workspace",
    },
    "params": {
        "source": "synthetic",
        "machines": 10,
        "intervalSeconds": None,
        "durationSeconds": 600,
        "recordedUrl": None,
    },
}
