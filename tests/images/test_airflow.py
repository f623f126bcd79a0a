"""The image of Airflow: the DAGs are in it, and it works with the database's image by TLS."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.dags.config import PODS, SETTINGS
from tests.images.conftest import RESTRICTED, Run
from tests.images.servers import ALONE, Postgres

LOGS = "--tmpfs=/opt/airflow/logs:uid=50000"
PYTHON = ["--entrypoint=python", LOGS]


def test_dags_of_the_image_can_be_read(run: Run, tmp_path: Path) -> None:
    # JSON is YAML too.
    (tmp_path / "dag.yaml").write_text(json.dumps(SETTINGS))
    for template in PODS.iterdir():
        (tmp_path / template.name).write_text(template.read_text())
    tmp_path.chmod(0o755)
    code = (
        "from pathlib import Path; from airflow.dag_processing.dagbag import BundleDagBag\n"
        "bag = BundleDagBag(bundle_path=Path('/opt/airflow/dags'))\n"
        "print(bag.import_errors, *bag.dags['sensor_etl'].task_ids, *bag.dags['equipment_insight'].task_ids)"
    )
    done = run("airflow", "-c", code, options=[*PYTHON, f"--volume={tmp_path}:/opt/sensor-etl:ro"])
    assert done.stdout.splitlines()[-1:] == ["{} generate produce consume transform load analyze"], done.stderr


def test_processes_have_the_operator_imported_before_they_fork(run: Run) -> None:
    code = (
        "import sys; from airflow import settings; settings.initialize()\n"
        "print('airflow.providers.cncf.kubernetes.operators.pod' in sys.modules)"
    )
    done = run("airflow", "-c", code, options=PYTHON)
    assert done.stdout.splitlines()[-1:] == ["True"], done.stderr


def test_airflow_uses_the_database_by_tls_from_threads_and_coroutines(
    postgres: Postgres, images: Callable[[str], str]
) -> None:
    code = """
import asyncio
from sqlalchemy import text
from airflow.utils.session import create_session, create_session_async

ENCRYPTED = text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")

async def main():
    async with create_session_async() as session:
        return await session.scalar(ENCRYPTED)

with create_session() as session:
    print(session.scalar(ENCRYPTED), asyncio.run(main()))
"""
    postgres.change_password(postgres.folder, "plain")
    postgres.restart(kill=False)
    line = ["docker", "run", "--rm", *ALONE, *RESTRICTED, "--tmpfs=/tmp", LOGS]
    line += [f"--volume={postgres.folder}:/etc/service:ro"]
    # In the URL, sslmode is unknown to one of the two drivers; both read these variables.
    line += ["--env=PGSSLMODE=verify-full", "--env=PGSSLROOTCERT=/etc/service/tls/ca.pem"]
    url = f"postgresql+psycopg2://airflow:plain@localhost:{postgres.port}/airflow"
    line += [f"--env=AIRFLOW__DATABASE__SQL_ALCHEMY_CONN={url}", "--entrypoint=python", images("airflow"), "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.splitlines()[:1] == ["True True"], done.stdout + done.stderr
