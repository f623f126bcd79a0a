"""Analyse each load: machine indicators, events and forecasts.

The task is one pod; its template is beside the templates of the stages. `etl analyze` takes all loads that are not
analysed yet, so a run needs no data from the run that triggered it.
"""

from datetime import UTC, datetime

from airflow.sdk import DAG
from sensor_etl_config import CONFIG, DEFAULT_ARGS, NOTHING_NEW, TABLE, EtlPodOperator

POD = CONFIG / "analyze.yaml"

# With `insight.enabled=false` the chart writes no template.
if POD.exists():
    with DAG(
        "equipment_insight",
        description="Machine indicators, events and forecasts",
        doc_md=__doc__,
        tags=["sensor-etl"],
        schedule=[TABLE],
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        # Two concurrent runs would analyse the same loads.
        max_active_runs=1,
        default_args=DEFAULT_ARGS,
    ):
        EtlPodOperator(
            task_id="analyze",
            task_display_name="Equipment Analysis",
            pod_template_file=str(POD),
            skip_on_exit_code=NOTHING_NEW,
        )
