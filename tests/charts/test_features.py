"""Each feature of the chart has a values file in `ci/`: what it renders fits the schemas, without a cluster."""

import copy
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.charts.conftest import CHART, SMALL, Object, Render, containers, find, pods
from tests.charts.schemas import OPERATORS, VERSIONS, everything, validate, write_objects

FEATURES = sorted(CHART.glob("ci/*-values.yaml"))
FILES = [CHART / "values.yaml", SMALL, *FEATURES]
NAMES = [file.name.removesuffix(".yaml").removesuffix("-values") for file in FILES]
# Of extraObjects.
KINDS_OF_EXAMPLES = {"Bundle", "ExternalSecret"}


def group(item: Object) -> str:
    """API group of an object; empty for those of the core."""
    name, slash, _ = str(item["apiVersion"]).rpartition("/")
    return name if slash else ""


@pytest.mark.parametrize("file", FEATURES, ids=NAMES[2:])
def test_feature_is_linted_without_a_complaint(helm: Path, file: Path) -> None:
    command = [helm, "lint", "--strict", "--quiet", str(CHART), "--values", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# Some definitions are generated the first time.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", VERSIONS)
def test_features_give_objects_that_kubernetes_and_operators_take(
    render: Render, checks: dict[str, Path], schemas: dict[str, Path], tmp_path: Path, version: str
) -> None:
    rendered = {name: list(everything(render(file=file))) for name, file in zip(NAMES, FILES, strict=True)}
    assert min(map(len, rendered.values())) > 20
    files = [write_objects(objects, tmp_path / f"{name}.yaml") for name, objects in rendered.items()]
    # All files at once, because a run reads the schemas once.
    assert validate(checks["kubeconform"], files, [schemas[version], schemas["custom"]]) == ""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["Deployment", "ServiceMonitor"])
def test_object_is_refused_when_it_has_a_property_that_its_schema_lacks(
    render: Render, checks: dict[str, Path], schemas: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    item = copy.deepcopy(find(render(file=CHART / "ci" / "metrics-values.yaml"), kind, "plant-sensor-etl-page"))
    item["spec"]["selektor"] = {}
    file = write_objects([item], tmp_path / "object.yaml")
    assert "selektor" in validate(checks["kubeconform"], [file], [schemas[VERSIONS[0]], schemas["custom"]])


def test_features_have_a_resource_of_each_operator(render: Render) -> None:
    assert {group(item) for file in FILES for item in render(file=file)} >= OPERATORS.keys()


def test_features_cover_every_template_and_every_section(render: Render) -> None:
    kinds = {item["kind"] for file in FILES for item in render(file=file)} - KINDS_OF_EXAMPLES
    named = set(re.findall(r"^kind: (\w+)$", "".join(f.read_text() for f in CHART.glob("templates/**/*.*")), re.M))
    assert kinds == named
    sections = {key for file in FEATURES for key in yaml.safe_load(file.read_text())}
    # Alike in all features, or seen in the others.
    assert yaml.safe_load((CHART / "values.yaml").read_text()).keys() - sections == {"nameOverride"}


def test_catalogue_of_charts_hears_of_all_images(render: Render) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    listed = {item["image"] for item in yaml.safe_load(chart["annotations"]["artifacthub.io/images"])}
    objects = render({"image.registry": "ghcr.io"}, file=SMALL)
    assert listed == {container["image"] for _, pod in pods(objects) for container in containers(pod)}


def test_catalogue_of_charts_hears_of_changes_licence_and_links() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    found = {name.removeprefix("artifacthub.io/"): yaml.safe_load(text) for name, text in chart["annotations"].items()}
    assert found["license"] == "Apache-2.0"
    assert all(item["kind"] in ("added", "changed", "fixed", "removed", "security") for item in found["changes"])
    urls = [item["url"] for item in (*found["links"], *found["changes"][0]["links"])]
    assert all((CHART.parents[1] / url.removeprefix(f"{chart['home']}/blob/main/")).exists() for url in urls)
