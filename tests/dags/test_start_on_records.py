"""The watcher of the topics in a real triggerer, on a real broker, and the scheduler's decision to start runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from confluent_kafka import ConsumerGroupTopicPartitions, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy import func, select, update

from tests.dags.config import SETTINGS
from tests.dags.conftest import DAGS, Load

pytestmark = pytest.mark.usefixtures("database")

GROUP = "sensor-etl-watch"
TOPICS = ["arrivals", "arrivals-dead", "arrivals-events", "arrivals-of-meters"]
# Neither UTF-8 nor JSON.
MICRO_BATCH = b"\xff\xff\xff\xff\x00"


def wait_until(fact: Callable[[], Any], triggerer: subprocess.Popen[bytes]) -> Any:
    """Return a fact once it holds, if the triggerer lives so long; the time limit of the test ends it otherwise."""
    while not (found := fact()):
        assert triggerer.poll() is None, "the triggerer has ended"
        time.sleep(0.2)
    return found


def store_dags(load_dags: Load) -> None:
    """Write the DAGs into Airflow's database, as the DAG processor does again and again; none is paused."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    load_dags(startOnRecords=True, topics=TOPICS, params=SETTINGS["params"] | {"source": "topic"})
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=str(DAGS), bundle_path=DAGS, bundle_name="dags-folder")
    # A DAG that is paused, as a new one, has no watchers.
    for _ in range(2):
        sync_bag_to_db(bag, "dags-folder", None)
        with create_session() as session:
            session.execute(update(DagModel).values(is_paused=False))


@pytest.fixture
def admin(services: dict[str, str]) -> Iterator[AdminClient]:
    """An administrator of the broker, on which the topics exist."""
    client = AdminClient({"bootstrap.servers": services["ETL_KAFKA_BOOTSTRAP_SERVERS"]})
    for created in client.create_topics([NewTopic(topic, 4, 1) for topic in TOPICS]).values():
        created.result()
    yield client
    for deleted in client.delete_topics(TOPICS).values():
        deleted.result()


@pytest.fixture
def triggerer(
    load_dags: Load, services: dict[str, str], admin: AdminClient, tmp_path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A triggerer that watches the topics."""
    store_dags(load_dags)
    extra = {
        "bootstrap.servers": services["ETL_KAFKA_BOOTSTRAP_SERVERS"],
        "group.id": GROUP,
        "auto.offset.reset": "latest",
        "enable.auto.commit": False,
    }
    connection = {"AIRFLOW_CONN_SENSOR_ETL_KAFKA": json.dumps({"conn_type": "kafka", "extra": extra})}
    command = [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"]
    with (tmp_path / "triggerer.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | connection, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def send(services: dict[str, str], topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": services["ETL_KAFKA_BOOTSTRAP_SERVERS"]})
    for number in range(count):
        producer.produce(topic, MICRO_BATCH, key=f"press-{number}")
    producer.flush()


def arrivals() -> int:
    """How often the watcher has reported a record."""
    events = select(func.count(AssetEvent.id)).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
    with create_session() as session:
        found: int = session.scalar(events.where(AssetModel.name == "sensor_etl_records"))
    return found


def schedule_runs() -> list[str]:
    """Let the scheduler create the runs that are due; return the states of all runs that records have started."""
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.utils.sqlalchemy import prohibit_commit

    with create_session() as session:
        with prohibit_commit(session) as guard:
            SchedulerJobRunner(job=Job())._create_dagruns_for_dags(guard, session)
        runs = select(DagRun).where(DagRun.dag_id == "sensor_etl", DagRun.run_type == "asset_triggered")
        return sorted(str(run.state) for run in session.scalars(runs))


def end_runs() -> None:
    """As the scheduler does when the tasks of a run have ended."""
    with create_session() as session:
        for run in session.scalars(select(DagRun).where(DagRun.dag_id == "sensor_etl")):
            run.set_state("success")


@pytest.mark.timeout(600)
def test_records_start_one_run_at_a_time_when_they_come_in_bursts(
    triggerer: subprocess.Popen[bytes], services: dict[str, str], admin: AdminClient
) -> None:
    def arrive(topic: str) -> None:
        """Send bursts until one is noticed: the watcher begins at the end of the topics when it starts."""
        before = arrivals()
        wait_until(lambda: send(services, topic, 500) or arrivals() > before, triggerer)

    assert schedule_runs() == []
    arrive("arrivals")
    # Airflow queues the DAG a moment after it has stored the event.
    assert wait_until(schedule_runs, triggerer) == schedule_runs() == ["queued"]

    # Records of another topic, while that run is active: the next one begins when it has ended.
    arrive("arrivals-of-meters")
    assert schedule_runs() == ["queued"]
    end_runs()
    wait_until(lambda: schedule_runs() != ["success"], triggerer)
    assert schedule_runs() == schedule_runs() == ["queued", "success"]
    assert committed(admin) == {}


def committed(admin: AdminClient) -> dict[str, int]:
    """Offsets that the watcher has committed, by topic and partition."""
    offsets = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(GROUP)])[GROUP].result()
    return {f"{item.topic}-{item.partition}": item.offset for item in offsets.topic_partitions if item.offset >= 0}
