"""Five pods that only sleep, the first as long as one likes: what Airflow and Kubernetes take by themselves."""

from datetime import timedelta

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, chain

with DAG("e2e_sleep", schedule=None, max_active_runs=1, params={"seconds": 1}):
    chain(
        *(
            KubernetesPodOperator(
                task_id=f"sleep_{number}",
                pod_template_file="/opt/sensor-etl/generate.yaml",
                # The template's arguments come after, as the shell's own.
                cmds=["sh", "-c", f"sleep {'{{ params.seconds }}' if number == 0 else 1}"],
                startup_check_interval_seconds=1,
                base_container_status_polling_interval=1,
                poll_interval=1,
                do_xcom_push=False,
                retries=1,
                retry_delay=timedelta(seconds=5),
            )
            for number in range(5)
        )
    )
