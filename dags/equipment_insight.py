"""What has been loaded, looked at after each load: what machines did, what is wrong with them, what is to come.

One pod, whose template stands beside those of the stages. `etl analyze` takes all loads that it has not seen yet, so
a run needs nothing of the one that caused it.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG
from sensor_etl_config import CONFIG, DEFAULT_ARGS, NOTHING_NEW, TABLE, EtlPodOperator

POD = CONFIG / "analyze.yaml"

# With `insight.enabled=false` the chart writes none.
if POD.exists():
    with DAG(
        "equipment_insight",
        description="What machines did, and what is wrong with them",
        doc_md=__doc__,
        tags=["sensor-etl"],
        schedule=[TABLE],
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        # Two runs at once would analyse the same loads.
        max_active_runs=1,
        default_args=DEFAULT_ARGS,
    ):
        EtlPodOperator(
            task_id="analyze",
            task_display_name="Equipment Analysis",
            pod_template_file=str(POD),
            skip_on_exit_code=NOTHING_NEW,
        )
