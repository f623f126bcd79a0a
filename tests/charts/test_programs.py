"""The programs that the chart mounts into pods of Airflow, run as they are run there."""

import json
import runpy
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from tests.charts.conftest import CHART, SMALL, Render, containers, find, pods

PROGRAMS = CHART / "files" / "airflow"


def run(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    runpy.run_path(str(PROGRAMS / name), run_name="__main__")


def test_passwords_are_written_for_the_user_of_the_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "username").write_text("admin")
    (tmp_path / "password").write_text('a"b')
    run(monkeypatch, "write_passwords.py", str(tmp_path), str(tmp_path / "passwords.json"))
    assert json.loads((tmp_path / "passwords.json").read_text()) == {"admin": 'a"b'}


def test_connection_to_kafka_has_the_secrets_of_its_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "etl_kafka_password").write_text('a"b\n')
    (secrets / "kafka.crt").write_text("certificate")
    monkeypatch.setenv("KAFKA_CONFIG", '{"group.id": "sensor-etl-watch"}')
    run(monkeypatch, "write_connections.py", str(secrets), str(tmp_path / "connections.json"))
    extra = {"group.id": "sensor-etl-watch", "sasl.password": 'a"b'}
    assert json.loads((tmp_path / "connections.json").read_text()) == {
        "sensor_etl_kafka": {"conn_type": "kafka", "extra": extra}
    }


def test_job_is_waited_for_until_it_has_succeeded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, str]] = []

    class Jobs:
        def read_namespaced_job(self, name: str, namespace: str) -> SimpleNamespace:
            asked.append((name, namespace))
            return SimpleNamespace(status=SimpleNamespace(succeeded=1 if len(asked) == 13 else None))

    package = ModuleType("kubernetes")
    package.client = SimpleNamespace(BatchV1Api=Jobs)  # type: ignore[attr-defined]
    package.config = SimpleNamespace(load_incluster_config=lambda: None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kubernetes", package)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    run(monkeypatch, "wait_for_job.py", "lines", "plant-schema-1")
    assert set(asked) == {("plant-schema-1", "lines")}
    assert capsys.readouterr().out.splitlines() == [
        "waiting for job plant-schema-1: 0 s",
        "waiting for job plant-schema-1: 20 s",
        "job plant-schema-1 has succeeded",
    ]


def test_programs_are_mounted_where_they_are_run(render: Render) -> None:
    objects = render({"pipeline.startOnRecords": True, "pipeline.params.source": "topic"}, file=SMALL)
    programs = find(objects, "ConfigMap", "plant-sensor-etl-airflow-programs")["data"]
    assert programs == {file.name: file.read_text() for file in PROGRAMS.glob("*.py")}
    run_by: dict[str, set[str]] = {}
    for name, pod in pods(objects):
        for container in containers(pod):
            probe = container.get("livenessProbe", {}).get("exec", {}).get("command", [])
            started = {word for word in [*container.get("command", []), *probe] if word.startswith("/opt/programs/")}
            mounted = "/opt/programs" in {mount["mountPath"] for mount in container.get("volumeMounts", [])}
            assert mounted == bool(started), (name, container["name"])
            run_by |= {word.rpartition("/")[2]: {name} for word in started}
    assert run_by.keys() == programs.keys()


@pytest.mark.parametrize("file", [None, SMALL], ids=["operators", "standalone"])
def test_no_pod_has_a_program_in_its_command(render: Render, file: Path | None) -> None:
    for name, pod in pods(render(file=file)):
        commands = [(item.get("command"), item.get("livenessProbe")) for item in containers(pod)]
        assert "import" not in yaml.safe_dump(commands), name
