"""Alerts and dashboards of the chart: promtool tests the alerts, and a real Prometheus scrapes the page after a run."""

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from kafka import KafkaProducer

from etl.cassandra.store import Store
from etl.model.tables import EVENTS
from etl.page.metrics import METRICS
from tests.charts.conftest import CHART, Object, Render, Template, find
from tests.charts.prometheus import DASHBOARDS, Prometheus, expressions, require, scraping, until, write_rules
from tests.integration.conftest import running
from tests.integration.machine import Machine
from tests.integration.served import commanded, tables

HERE = Path(__file__).parent
RUNBOOK = {"metrics.prometheusRule.runbookUrl": "https://example.com/troubleshooting"}
ALERTS: dict[str, object] = {"metrics.prometheusRule.enabled": True, **RUNBOOK}
MONITORED: dict[str, object] = {**ALERTS, "metrics.serviceMonitor.enabled": True}
OF_PAGE = {"SensorEtlAnalysisLate", "SensorEtlMachineSilent", "SensorEtlSevereEvent"}
OF_STAGES = {"SensorEtlNoSuccessfulLoad", "SensorEtlLag", "SensorEtlDeadLetters"}
NAMES = {metric.name for metric in METRICS}


def alerts(objects: list[Object]) -> set[str]:
    (rules,) = find(objects, "PrometheusRule", "plant-sensor-etl")["spec"]["groups"]
    return {rule["alert"] for rule in rules["rules"]}


def covered(file: str) -> set[str]:
    cases = yaml.safe_load((HERE / file).read_text())["tests"]
    return {found["alertname"] for case in cases for found in case["alert_rule_test"] if found["exp_alerts"]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (ALERTS, OF_STAGES | OF_PAGE),
        (MONITORED, OF_STAGES | OF_PAGE | {"SensorEtlNoMetrics"}),
        ({**ALERTS, "page.enabled": False}, OF_STAGES),
    ],
)
def test_alerts_are_there_when_their_metrics_are(render: Render, values: dict[str, object], expected: set[str]) -> None:
    assert alerts(render(values)) == expected


@pytest.mark.parametrize(("file", "values"), [("alerts.test.yaml", ALERTS), ("monitor.test.yaml", MONITORED)])
def test_alerts_fire_when_promtool_feeds_them(
    render: Render, tmp_path: Path, file: str, values: dict[str, object]
) -> None:
    promtool = require("promtool")
    write_rules(render(values), tmp_path)
    shutil.copy(HERE / file, tmp_path)
    done = subprocess.run([promtool, "test", "rules", file], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_are_all_seen_to_fire_when_the_chart_has_more(render: Render) -> None:
    assert covered("alerts.test.yaml") | covered("monitor.test.yaml") == alerts(render(MONITORED))


def test_alerts_are_all_described_when_the_chart_has_more(render: Render) -> None:
    page = (CHART.parents[1] / "docs" / "metrics.md").read_text()
    assert set(re.findall(r"^\| `(SensorEtl\w+)`", page, re.MULTILINE)) == alerts(render(MONITORED))


def test_alerts_have_a_section_in_troubleshooting_when_the_chart_has_more(render: Render) -> None:
    (rules,) = find(
        render({**MONITORED, "metrics.prometheusRule.runbookUrl": ""}), "PrometheusRule", "plant-sensor-etl"
    )["spec"]["groups"]
    named = {rule["annotations"]["runbook_url"] for rule in rules["rules"]}
    home = yaml.safe_load((CHART / "Chart.yaml").read_text())["home"]
    page = "docs/troubleshooting.md"
    anchors = re.findall(r'<a id="([a-z-]+)"></a>', (CHART.parents[1] / page).read_text())
    assert named <= {f"{home}/blob/main/{page}#{anchor}" for anchor in anchors}


def test_expressions_name_metrics_that_exist(render: Render) -> None:
    rules = yaml.safe_dump(find(render(MONITORED), "PrometheusRule", "plant-sensor-etl")["spec"])
    texts = [rules, *(file.read_text() for file in DASHBOARDS)]
    named = {name for text in texts for name in re.findall(r"\bsensor_etl_\w+", text)} - {"sensor_etl"}
    assert named <= NAMES


def test_dashboards_show_every_metric_but_the_version() -> None:
    shown = {name for file in DASHBOARDS for text in expressions(file) for name in re.findall(r"sensor_etl_\w+", text)}
    assert NAMES - shown == {"sensor_etl_build_info"}


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_dashboard_has_no_panels_that_overlap(file: Path) -> None:
    panels = json.loads(file.read_text())["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_dashboards_carry_the_label_of_the_sidecar(render: Render) -> None:
    found = find(render({"metrics.dashboards.enabled": True}), "ConfigMap", "plant-sensor-etl-dashboards")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {name: json.loads(text) for name, text in found["data"].items()} == {
        file.name: json.loads(file.read_text()) for file in DASHBOARDS
    }


@pytest.mark.parametrize(
    ("kind", "value", "endpoints"),
    [
        ("ServiceMonitor", "serviceMonitor", "endpoints"),
        ("PodMonitor", "podMonitor", "podMetricsEndpoints"),
    ],
)
def test_monitor_selects_the_page_and_knows_its_password(render: Render, kind: str, value: str, endpoints: str) -> None:
    objects = render({f"metrics.{value}.enabled": True, "page.auth.existingSecret": "ours"})
    spec = find(objects, kind, "plant-sensor-etl-page")["spec"]
    target = find(objects, "Service", "plant-sensor-etl-page")
    if kind == "PodMonitor":
        target = find(objects, "Deployment", "plant-sensor-etl-page")["spec"]["template"]
    assert spec["selector"]["matchLabels"].items() <= target["metadata"]["labels"].items()
    (endpoint,) = spec[endpoints]
    assert (endpoint["path"], endpoint["port"]) == ("/metrics", "http")
    assert endpoint["basicAuth"]["password"] == {"name": "ours", "key": "password"}
    user = endpoint["basicAuth"]["username"]
    assert find(objects, "Secret", user["name"])["stringData"][user["key"]] == "viewer"


def test_monitor_needs_no_password_when_the_page_has_none(render: Render) -> None:
    objects = render({"metrics.podMonitor.enabled": True, "page.auth.enabled": False})
    (endpoint,) = find(objects, "PodMonitor", "plant-sensor-etl-page")["spec"]["podMetricsEndpoints"]
    assert "basicAuth" not in endpoint
    assert "page-username" not in str(objects)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"metrics.podMonitor.enabled": True, "metrics.serviceMonitor.enabled": True}, "podMonitor"),
        ({"metrics.podMonitor.enabled": True, "page.enabled": False}, "page.enabled"),
    ],
)
def test_monitors_that_do_not_fit_are_refused(template: Template, values: dict[str, object], named: str) -> None:
    done = template(values)
    assert done.returncode != 0
    assert named in done.stderr


@pytest.fixture(scope="module")
def prometheus(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It scrapes the page after a run with a record that is no reading, and after the analysis."""
    require("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    with running("kafka", tmp_path_factory) as kafka, running("cassandra", tmp_path_factory) as cassandra:
        password = secrets.token_urlsafe(16)
        start = datetime.now(UTC) - timedelta(seconds=600)
        machine = Machine(
            {
                **kafka.environment,
                **cassandra.environment,
                "ETL_WORKSPACE_URL": str(folder / "workspace"),
                "ETL_GENERATE_MACHINES": "3",
                "ETL_GENERATE_START": start.isoformat(),
                "ETL_GENERATE_DURATION": "600",
                "ETL_PAGE_USERNAME": "viewer",
                "ETL_PAGE_PASSWORD": password,
            }
        )
        with tables(machine.environment) as session, commanded(machine.environment) as (url, _):
            run_and_analyze(machine)
            Store(session).write(EVENTS, [open_event(start)])
            job = {
                "job_name": "plant-sensor-etl-page",
                "basic_auth": {"username": "viewer", "password": password},
                "static_configs": [{"targets": [url.removeprefix("http://")], "labels": {"namespace": "lines"}}],
            }
            with scraping(folder, job, write_rules(render(MONITORED), folder)) as server:
                yield server


def run_and_analyze(machine: Machine) -> None:
    """A run with a record that is no reading, and its analysis."""
    assert machine.etl("schema").returncode == 0
    with KafkaProducer(bootstrap_servers=machine.kafka.bootstrap_servers) as producer:
        producer.send(machine.kafka.topic, b"no reading").get(30)
    for command in ("run", "analyze"):
        done = machine.etl(command)
        assert done.returncode == 0, done.stderr


def open_event(start: datetime) -> dict[str, object]:
    """An event that continues."""
    return dict.fromkeys(EVENTS.columns) | {
        "day": start.date(),
        "event_id": f"{start:%Y-%m-%dT%H:%M:%SZ}_fan-0001_overheating",
        "equipment_id": "fan-0001",
        "kind": "overheating",
        "severity": "severe",
        "start": start,
        "evidence": "as written by a test",
        "found": start,
    }


def test_prometheus_has_every_metric_when_it_scrapes_the_page_after_a_run(prometheus: Prometheus) -> None:
    found = {name for name in prometheus.ask("label/__name__/values") if name.startswith("sensor_etl_")}
    assert found == NAMES


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_panels_show_something_when_prometheus_scrapes_the_page_after_a_run(prometheus: Prometheus, file: Path) -> None:
    assert [text for text in expressions(file) if not prometheus.query(text)] == []


def test_alerts_fire_when_the_run_left_dead_letters_and_an_event_is_open(prometheus: Prometheus) -> None:
    until(lambda: "SensorEtlDeadLetters" in prometheus.firing())
    until(lambda: "SensorEtlSevereEvent" in prometheus.firing())
    assert prometheus.firing() == {"SensorEtlDeadLetters", "SensorEtlSevereEvent"}
    (rejected,) = prometheus.query('sensor_etl_readings{stage="load", class="rejected"}')
    assert float(rejected["value"][1]) == 1
