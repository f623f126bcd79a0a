"""Metrics of a finished stage, as a Prometheus textfile or pushed by OTLP."""

from etl.settings import RunSettings
from etl.workspace import Manifest


def publish_metrics(manifest: Manifest, settings: RunSettings) -> None:
    """Publish what a stage did where the settings say so."""
