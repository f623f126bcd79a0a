"""A real Prometheus, with the alerts of the chart."""

import json
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests import programs
from tests.charts.conftest import CHART, Object, find

DASHBOARDS = sorted(CHART.glob("files/dashboards/*.json"))


def require(program: str) -> str:
    """Find `prometheus` or `promtool`; see `tests.programs.require`."""
    return programs.require(program, variable="PROMETHEUS_REQUIRED")


def write_rules(objects: list[Object], folder: Path) -> Path:
    """Write the rules of a PrometheusRule as Prometheus reads them."""
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(find(objects, "PrometheusRule", "plant-sensor-etl")["spec"]))
    return path


def expressions(dashboard: Path) -> list[str]:
    """All queries of a dashboard, for any namespace."""
    panels = json.loads(dashboard.read_text())["panels"]
    return [target["expr"].replace("$namespace", ".*") for panel in panels for target in panel.get("targets", [])]


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}") as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Object]:
        """The series of an expression now, each with `metric` and `value`."""
        found: list[Object] = self.ask("query", query=expression)["result"]
        return found

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"}


@contextmanager
def scraping(folder: Path, job: Object, rules: Path) -> Iterator[Prometheus]:
    """A server that scrapes a job each second."""
    program = require("prometheus")
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [job],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [program, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log)
    try:
        server = Prometheus(f"http://{address}")
        until(lambda: answers(server) and server.query("up == 1"), folder / "prometheus.log")
        yield server
    finally:
        process.terminate()
        process.wait()


def answers(server: Prometheus) -> bool:
    """Whether it serves its API yet."""
    try:
        urllib.request.urlopen(f"{server.url}/-/ready").close()
    except OSError:
        return False
    return True


def until(condition: Callable[[], Any], log: Path | None = None) -> None:
    """Wait until something holds; the time is only there to end a test that fails."""
    give_up = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < give_up, log.read_text() if log else "it never held"
        time.sleep(0.2)
