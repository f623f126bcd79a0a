import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.airflow import Airflow
from tests.e2e.conftest import Kubectl
from tests.e2e.runs import start, wait_until
from tests.e2e.scenarios.conftest import Delivered
from tests.e2e.scenarios.faults import on_machine


@pytest.mark.long
def test_all_is_stored_when_the_volume_of_the_workspace_was_full(
    cluster: str, airflow: Airflow, kubectl: Kubectl, check_delivery: Delivered
) -> None:
    with small_volume(cluster, kubectl) as folder:
        run = start(airflow, "full")
        wait_until(lambda: run.task("generate")["try_number"] > 1, "generate is tried again", 600, pause=1)
        on_machine(cluster, "mount", "-o", "remount,size=1g", folder)
        assert run.wait() == "success"
        assert "No space left on device" in airflow.log(run.name, "generate", 1)
        check_delivery(run)


@contextmanager
def small_volume(cluster: str, kubectl: Kubectl) -> Iterator[str]:
    """Mount a small file system over the workspace, for the pods that start meanwhile; yield its folder."""
    claim = ("get", "persistentvolumeclaim", "sensor-etl-workspace", "--output=jsonpath={.spec.volumeName}")
    volume = json.loads(kubectl("get", "persistentvolume", kubectl(*claim), "--output=json"))["spec"]
    folder = str((volume.get("local") or volume["hostPath"])["path"])
    on_machine(cluster, "mount", "-t", "tmpfs", "-o", "size=256k,mode=0777", "workspace", folder)
    try:
        yield folder
    finally:
        # Its pods are gone, or keep it until they end.
        on_machine(cluster, "umount", "--lazy", folder)
