import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from images import cluster as kind
from images.errors import ServiceError
from tests.e2e.airflow import Airflow
from tests.e2e.conftest import Kubectl
from tests.e2e.runs import running_pod, start, wait_until
from tests.e2e.scenarios.conftest import Delivered
from tests.e2e.scenarios.faults import on_machine

MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
ASIDE = "/etc/kubernetes/kube-apiserver.yaml"
SECONDS = 20


@pytest.mark.long
def test_all_is_stored_when_the_api_server_of_kubernetes_is_away(
    cluster: str, airflow: Airflow, kubectl: Kubectl, check_delivery: Delivered
) -> None:
    run = start(airflow, "away")
    running_pod(kubectl, run.name, "consume")
    with without_api_server(cluster):
        time.sleep(SECONDS)
    assert run.wait() == "success"
    check_delivery(run)


@contextmanager
def without_api_server(cluster: str) -> Iterator[None]:
    """Let the kubelet stop the API server, and start it again at the end."""
    on_machine(cluster, "mv", MANIFEST, ASIDE)
    try:
        wait_until(lambda: not answers(cluster), "the API server is away", 120)
        yield
    finally:
        on_machine(cluster, "mv", ASIDE, MANIFEST)
        wait_until(lambda: answers(cluster), "the API server is back", 180)


def answers(cluster: str) -> bool:
    try:
        kind.kubectl(cluster, "get", "--raw=/readyz", "--request-timeout=5s")
    except ServiceError:
        return False
    return True
