"""The chart's resources for the operators, before an API server that knows them."""

import pytest

from images import cluster as kind
from images import crds, install
from images.command import run
from images.tools import tool
from tests.e2e.conftest import NAME

SETTINGS = [
    pytest.param([], id="defaults"),
    pytest.param(
        [
            "kafka.strimzi.replicas=3",
            "pipeline.schema.kafkaReplication=3",
            "kafka.strimzi.jvmOptions.-Xmx=512m",
            "cassandra.k8ssandra.size=3",
            "storageClass=standard",
            "commonLabels.plant=north",
            "imagePullSecrets[0].name=plant",
            "tolerations[0].operator=Exists",
        ],
        id="larger",
    ),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_field_is_accepted_by_strict_validation(cluster: str, settings: list[str]) -> None:
    kind.apply_crds(cluster)
    if not crds.k8ssandra():
        pytest.skip("K8ssandra's resource definitions are not there: ETL_SHARED names no folder with them")
    options = [f"--set={setting}" for setting in settings]
    chart = run(tool("helm"), "template", "defaults", str(install.CHART), "--namespace", install.NAMESPACE, *options)
    said = kind.kubectl(
        NAME,
        "--namespace",
        install.NAMESPACE,
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
        stdin=chart,
    )
    for resource in ("kafka.kafka.strimzi.io", "kafkanodepool", "kafkatopic", "kafkauser", "k8ssandracluster"):
        assert resource in said
