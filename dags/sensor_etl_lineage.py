"""Topics, files and tables that each task reads and writes, for OpenLineage. Names follow OpenLineage's conventions."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

# Namespace and name.
Dataset = tuple[str, str]


def datasets(settings: dict[str, Any]) -> dict[str, tuple[list[Dataset], list[Dataset]]]:
    """Return what each task reads and what it writes, by task.

    Args:
        settings: `dag.yaml`.
    """
    kafka, cassandra = settings["lineage"]["kafka"], settings["lineage"]["cassandra"]
    workspace = urlsplit(settings["lineage"]["workspace"])

    def topics(*names: str) -> list[Dataset]:
        return [(kafka, name) for name in names]

    def tables(*names: str) -> list[Dataset]:
        return [(cassandra, f"{settings['keyspace']}.{name}") for name in names]

    def files(stage: str) -> list[Dataset]:
        return [(f"{workspace.scheme}://{workspace.netloc}", f"{workspace.path}/{stage}".lstrip("/"))]

    readings, dead_letters, events, *more = settings["topics"]
    stages = {
        "generate": ([], files("generate")),
        "produce": (files("generate"), topics(readings)),
        "consume": (topics(readings, *more), files("consume")),
        "transform": (files("consume") + tables("sensor_data"), files("transform")),
        "load": (files("transform"), tables("sensor_data") + topics(dead_letters)),
        "analyze": (tables("sensor_data"), tables("machine_hours", "machine_days", "events") + topics(events)),
    }
    # Gateways fill the topic: the first two stages do nothing.
    idle = ["generate", "produce"] if settings["params"]["source"] == "topic" else []
    return stages | dict.fromkeys(idle, ([], []))


def lineage(reads: list[Dataset], writes: list[Dataset]) -> "OperatorLineage":
    """Return the datasets of a task as OpenLineage's provider takes them; an Airflow without it never asks for them."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset

    return OperatorLineage(
        inputs=[InputDataset(*dataset) for dataset in reads], outputs=[OutputDataset(*dataset) for dataset in writes]
    )
