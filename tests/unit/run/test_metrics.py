import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import structlog
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from prometheus_client.parser import text_string_to_metric_families

from etl.run.metrics import LAG, RATE, STAGE_METRICS, measure, publish_metrics
from etl.run.workspace import Manifest, Range, Summary
from etl.settings import RunSettings

MANIFEST = Manifest(
    run="run-1",
    summary=Summary(
        stage="consume",
        attempt="a",
        started="2026-01-05T06:00:00.000+00:00",
        seconds=2.0,
        counts={"consumed": 1000, "rejected": 10},
        offsets=[Range("readings", 0, 5, 5, 25), Range("readings", 1, None, 3, 7, 3), Range("readings", 2, 9, 0, 9)],
        versions={},
    ),
    measurements="hash",
    files=[],
)
VALUES = {
    ("sensor_etl_last_success_timestamp_seconds", ("consume",)): 1767592802.0,
    ("sensor_etl_seconds", ("consume",)): 2.0,
    ("sensor_etl_readings", ("consumed", "consume")): 1000.0,
    ("sensor_etl_readings", ("rejected", "consume")): 10.0,
    ("sensor_etl_readings_per_second", ("consume",)): 500.0,
    ("sensor_etl_lag_records", ("0", "consume", "readings")): 20.0,
    ("sensor_etl_lag_records", ("1", "consume", "readings")): 7.0,
    ("sensor_etl_lag_records", ("2", "consume", "readings")): 0.0,
}


class Collector(HTTPServer):
    """Takes OTLP/HTTP pushes; answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.requests: list[tuple[str, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append((self.path, body))
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def settings(**given: object) -> RunSettings:
    return RunSettings(run_id="run-1", **given)  # type: ignore[arg-type]


def textfile_values(path: Path) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(path.read_text())
    return {(s.name, tuple(v for _, v in sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def pushed_values(body: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    values = {}
    for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.gauge.data_points:
                    labels = sorted((pair.key, pair.value.string_value) for pair in point.attributes)
                    values[metric.name, tuple(v for _, v in labels)] = point.as_double or float(point.as_int)
    return values


def test_nothing_is_published_when_nothing_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    publish_metrics(MANIFEST, settings())
    assert not list(tmp_path.iterdir())


def test_textfile_holds_every_value_when_its_folder_is_set(tmp_path: Path) -> None:
    publish_metrics(MANIFEST, settings(metrics_folder=tmp_path / "new"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sensor_etl_consume.prom"]
    assert textfile_values(tmp_path / "new" / "sensor_etl_consume.prom") == VALUES


def test_textfile_is_replaced_when_written_again(tmp_path: Path) -> None:
    (tmp_path / "sensor_etl_consume.prom").write_text("stale 1\n")
    publish_metrics(MANIFEST, settings(metrics_folder=tmp_path))
    assert textfile_values(tmp_path / "sensor_etl_consume.prom") == VALUES


def test_lag_is_told_by_consume_alone_when_later_stages_cover_the_same_offsets() -> None:
    load = replace(MANIFEST.summary, stage="load")
    assert [sample.value for sample in measure(MANIFEST.summary) if sample.metric is LAG] == [20, 7, 0]
    assert not [sample for sample in measure(load) if sample.metric is LAG]


def test_shards_keep_apart_when_a_run_has_several(tmp_path: Path) -> None:
    for shard in range(2):
        summary = replace(MANIFEST.summary, shard=shard, shards=2)
        publish_metrics(replace(MANIFEST, summary=summary), settings(metrics_folder=tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"sensor_etl_consume_0.prom", "sensor_etl_consume_1.prom"}
    values = textfile_values(tmp_path / "sensor_etl_consume_1.prom")
    assert values["sensor_etl_seconds", ("1", "consume")] == 2.0


@pytest.mark.parametrize("path", ["", "/", "/v1/metrics"])
def test_every_value_arrives_when_an_endpoint_is_set(collector: Collector, path: str) -> None:
    publish_metrics(MANIFEST, settings(otlp_endpoint=collector.url + path))
    ((path, body),) = collector.requests
    assert path == "/v1/metrics"
    assert pushed_values(body) == VALUES
    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    attributes = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
    assert attributes["service.name"] == "sensor-etl"


def test_failure_is_a_warning_when_the_endpoint_refuses(collector: Collector) -> None:
    collector.status = 400
    with structlog.testing.capture_logs() as logs:
        publish_metrics(MANIFEST, settings(otlp_endpoint=collector.url))
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert "ETL_OTLP_ENDPOINT" in logs[0]["event"]


def test_failure_is_a_warning_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.run.metrics.PUSH_SECONDS", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with structlog.testing.capture_logs() as logs:
        publish_metrics(MANIFEST, settings(otlp_endpoint=f"http://127.0.0.1:{port}"))
    assert [entry["log_level"] for entry in logs] == ["warning"]


@pytest.mark.parametrize("endpoint", ["nowhere", "http://", "http://[::1"])
def test_failure_is_a_warning_when_the_endpoint_is_no_url(endpoint: str) -> None:
    with structlog.testing.capture_logs() as logs:
        publish_metrics(MANIFEST, settings(otlp_endpoint=endpoint))
    assert [entry["log_level"] for entry in logs] == ["warning"]


def test_textfile_is_written_when_the_push_fails(tmp_path: Path, collector: Collector) -> None:
    collector.status = 400
    publish_metrics(MANIFEST, settings(otlp_endpoint=collector.url, metrics_folder=tmp_path))
    assert textfile_values(tmp_path / "sensor_etl_consume.prom") == VALUES


def test_push_arrives_when_the_textfile_cannot_be_written(tmp_path: Path, collector: Collector) -> None:
    (tmp_path / "file").write_text("in the way")
    with structlog.testing.capture_logs() as logs:
        publish_metrics(MANIFEST, settings(otlp_endpoint=collector.url, metrics_folder=tmp_path / "file"))
    assert [entry["log_level"] for entry in logs] == ["warning"]
    assert len(collector.requests) == 1


def test_rate_is_left_out_when_a_stage_took_no_time() -> None:
    summary = Summary("generate", "a", "2026-01-05T06:00:00.000+00:00", 0.0, {"generated": 5}, [], {})
    assert RATE not in [sample.metric for sample in measure(summary)]


def test_samples_have_declared_labels_when_a_shard_is_measured() -> None:
    samples = list(measure(replace(MANIFEST.summary, shard=1, shards=2)))
    assert {sample.metric for sample in samples} == set(STAGE_METRICS)
    assert all(set(sample.labels) == set(sample.metric.labels) for sample in samples)
