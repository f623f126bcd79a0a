"""The chart as Helm renders it."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from images.tools import BIN, tool
from images.without_registry.programs import build_chart_checks

CHART = Path(__file__).parents[2] / "charts" / "sensor-etl"
SMALL = CHART / "values-small.yaml"

Object = dict[str, Any]
Render = Callable[..., list[Object]]
Template = Callable[..., subprocess.CompletedProcess[str]]


def deep(values: dict[str, object]) -> Object:
    """Turn {"a.b": 1} into {"a": {"b": 1}}."""
    nested: Object = {}
    for path, value in values.items():
        *parents, last = path.split(".")
        inner = nested
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = value
    return nested


@pytest.fixture(scope="session")
def helm() -> Path:
    return Path(tool("helm"))


@pytest.fixture(scope="session")
def checks() -> dict[str, Path]:
    """kubeconform and kube-score by name."""
    return build_chart_checks(BIN)


@pytest.fixture(scope="session")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of schemas by version of Kubernetes, and `custom` for those of the operators."""
    from tests.charts.schemas import write_all_schemas

    return write_all_schemas(tmp_path_factory.mktemp("schemas"))


@pytest.fixture(scope="session")
def template_anew(helm: Path) -> Template:
    """Render with values, given as {"a.b": value}, on top of a file of values."""

    def run(values: dict[str, object] | None = None, *, file: Path | None = None) -> subprocess.CompletedProcess[str]:
        files = ["--values", str(file)] if file else []
        command = [helm, "template", "plant", str(CHART), "--namespace", "lines", *files, "--values", "-"]
        given = json.dumps(deep(values or {}))
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def template(template_anew: Template) -> Template:
    """The same, but what has been rendered before is not rendered again."""
    rendered: dict[str, subprocess.CompletedProcess[str]] = {}

    def run(values: dict[str, object] | None = None, *, file: Path | None = None) -> subprocess.CompletedProcess[str]:
        key = f"{file} {values}"
        if key not in rendered:
            rendered[key] = template_anew(values, file=file)
        return rendered[key]

    return run


@pytest.fixture(scope="session")
def render(template: Template) -> Render:
    """The objects that are rendered."""

    def run(values: dict[str, object] | None = None, *, file: Path | None = None) -> list[Object]:
        done = template(values, file=file)
        assert done.returncode == 0, done.stderr
        return [found for found in yaml.load_all(done.stdout, yaml.CSafeLoader) if found]

    return run


def find(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of a kind and a name."""
    (found,) = [item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and pod (metadata, spec) of everything that runs, those that the DAG starts included."""
    for item in objects:
        name = item["metadata"]["name"]
        if item["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield f"{item['kind']} {name}", item["spec"]["template"]
        elif item["kind"] == "Pod":
            yield f"Pod {name}", item
        elif item["kind"] == "ConfigMap" and name.endswith("-dag"):
            for file, text in item["data"].items():
                if file != "dag.yaml":
                    yield f"template {file}", yaml.safe_load(text)


def containers(pod: Object) -> list[Object]:
    """All containers of a pod, those that come first included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
