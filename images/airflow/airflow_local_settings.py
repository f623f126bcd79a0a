"""Read by each Airflow process as it starts; a task is a fork of one, and then has this import behind it."""

import airflow.providers.cncf.kubernetes.operators.pod  # type: ignore[import-not-found] # noqa: F401
