"""Metrics of a finished stage, as a Prometheus textfile or pushed by OTLP/HTTP.

Each value describes the newest finished run, so all metrics are gauges. The textfile collector of Prometheus' node
exporter reads the textfile. OTLP/HTTP is for stages whose process is too short-lived to be scraped. The page serves the
same metrics from the ledger (`etl.page.metrics`).
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from etl.run.workspace import Manifest, Summary
from etl.settings import RunSettings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as PrometheusMetric

OTLP_PATH = "/v1/metrics"
PUSH_SECONDS = 10

log = structlog.get_logger("etl.metrics")


@dataclass(frozen=True)
class Metric:
    """A gauge. Its unit is also in its name, by Prometheus' convention; not every sample has all labels."""

    name: str
    help: str
    unit: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """One value of a metric."""

    metric: Metric
    value: float
    labels: dict[str, str] = field(default_factory=dict)


_STAGE = ("stage", "shard")
LAST_SUCCESS = Metric(
    "sensor_etl_last_success_timestamp_seconds", "Time of the last success of the stage.", "seconds since 1970", _STAGE
)
SECONDS = Metric("sensor_etl_seconds", "Duration of the stage.", "seconds", _STAGE)
READINGS = Metric("sensor_etl_readings", "Readings of the run, by class.", "readings", (*_STAGE, "class"))
RATE = Metric("sensor_etl_readings_per_second", "Readings of the run per second.", "readings per second", _STAGE)
LAG = Metric(
    "sensor_etl_lag_records",
    "Consumer lag at the start of the run; only of consume.",
    "records",
    (*_STAGE, "topic", "partition"),
)
STAGE_METRICS = (LAST_SUCCESS, SECONDS, READINGS, RATE, LAG)


def measure(summary: Summary) -> Iterator[Sample]:
    """Yield the samples of a stage, or of a shard of it, from its summary: values of `STAGE_METRICS`."""
    stage = {"stage": summary.stage} | ({"shard": str(summary.shard)} if summary.shards > 1 else {})
    ended = datetime.fromisoformat(summary.started).timestamp() + summary.seconds
    yield Sample(LAST_SUCCESS, ended, stage)
    yield Sample(SECONDS, summary.seconds, stage)
    for name, count in summary.counts.items():
        yield Sample(READINGS, count, {**stage, "class": name})
    if summary.seconds and summary.counts:
        yield Sample(RATE, max(summary.counts.values()) / summary.seconds, stage)
    # The next stages cover the same offsets; reporting them again would double-count.
    for part in summary.offsets if summary.stage == "consume" else ():
        labels = {**stage, "topic": part.topic, "partition": str(part.partition)}
        yield Sample(LAG, part.end + part.left - (part.begin if part.committed is None else part.committed), labels)


def publish_metrics(manifest: Manifest, settings: RunSettings) -> None:
    """Publish the metrics of a stage as set; a failure is only a warning, because the stage itself is done."""
    if not (settings.metrics_folder or settings.otlp_endpoint):
        return
    samples = list(measure(manifest.summary))
    if settings.metrics_folder:
        shard = f"_{manifest.summary.shard}" if manifest.summary.shards > 1 else ""
        path = settings.metrics_folder / f"sensor_etl_{manifest.summary.stage}{shard}.prom"
        with _warning(f"ETL_METRICS_FOLDER: {path} is not written"):
            write_textfile(samples, path)
    if settings.otlp_endpoint:
        with _warning("ETL_OTLP_ENDPOINT does not accept the metrics"):
            push(samples, settings.otlp_endpoint)


@contextmanager
def _warning(text: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ImportError, ValueError) as error:
        log.warning(text, error=str(error))


def write_textfile(samples: Iterable[Sample], path: Path) -> None:
    """Write samples in the Prometheus text format, atomically, so that no collector reads half a file.

    Raises:
        OSError: the file cannot be written.
    """
    from prometheus_client import write_to_textfile

    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry(samples))


def registry(samples: Iterable[Sample]) -> "CollectorRegistry":
    """Return samples as the client library of Prometheus writes them."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import GaugeMetricFamily

    families: dict[Metric, GaugeMetricFamily] = {}
    for sample in samples:
        metric = sample.metric
        family = families.setdefault(metric, GaugeMetricFamily(metric.name, metric.help))
        family.add_sample(metric.name, sample.labels, sample.value)
    collected = CollectorRegistry()
    collected.register(_Families(families.values()))
    return collected


@dataclass(frozen=True)
class _Families:
    """A collector of metrics that are already there."""

    families: Iterable["PrometheusMetric"]

    def collect(self) -> Iterable["PrometheusMetric"]:
        return self.families


def push(samples: list[Sample], endpoint: str) -> None:
    """Push samples to an OTLP/HTTP endpoint; append `/v1/metrics` unless it is there, as the specification requires.

    Raises:
        ImportError: the extra `otlp` is not installed.
        OSError: the endpoint does not accept them within `PUSH_SECONDS`.
    """
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
    from opentelemetry.sdk.resources import Resource

    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    url = endpoint.rstrip("/").removesuffix(OTLP_PATH) + OTLP_PATH
    # The usual periodic reader hides whether the push arrived.
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], Resource.create({"service.name": "sensor-etl"}), shutdown_on_exit=False)
    meter = provider.get_meter("etl")
    metrics = {sample.metric for sample in samples}
    gauges = {metric: meter.create_gauge(metric.name, description=metric.help) for metric in metrics}
    for sample in samples:
        gauges[sample.metric].set(sample.value, sample.labels)
    exporter = OTLPMetricExporter(endpoint=url, timeout=PUSH_SECONDS)
    try:
        data = reader.get_metrics_data()
        if data is None or exporter.export(data, timeout_millis=PUSH_SECONDS * 1000) is not MetricExportResult.SUCCESS:
            raise OSError("not accepted, or no answer in time")
    finally:
        exporter.shutdown()
        provider.shutdown()
