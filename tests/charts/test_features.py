"""Each feature of the chart has a values file in `ci/`: what it renders fits the schemas, without a cluster."""

import functools
import importlib.resources
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from images import crds
from images.errors import PrerequisiteError
from images.without_registry.programs import KUBERNETES
from tests.charts.conftest import CHART, SMALL, Object, Render, pods

FEATURES = sorted(CHART.glob("ci/*-values.yaml"))
FILES = [CHART / "values.yaml", SMALL, *FEATURES]
NAMES = [file.name.removesuffix(".yaml").removesuffix("-values") for file in FILES]
# The oldest Kubernetes of the chart, and the one that the cluster of the tests has.
OLDEST = yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"]
VERSIONS = [found for text in (OLDEST, KUBERNETES) for found in re.findall(r"^\D*(\d+\.\d+)", text)]
SCHEMAS = Path(str(importlib.resources.files("kubernetes_validate"))) / "kubernetes-json-schema"
OPERATORS = {
    "kafka.strimzi.io": crds.strimzi,
    "k8ssandra.io": crds.k8ssandra,
    "monitoring.coreos.com": crds.monitoring,
    **{group: functools.partial(crds.of_module, group) for group in crds.MODULES},
}
# Of extraObjects.
KINDS_OF_EXAMPLES = {"Bundle", "ExternalSecret"}


def group(item: Object) -> str:
    """API group of an object; empty for those of the core."""
    name, slash, _ = str(item["apiVersion"]).rpartition("/")
    return name if slash else ""


def everything(objects: list[Object]) -> Iterator[Object]:
    """All objects, with the pods that the DAGs start."""
    yield from objects
    for name, pod in pods(objects):
        if name.startswith("template"):
            yield pod


@functools.cache
def definitions(version: str) -> Registry[Any]:
    """The definitions that the schemas of a version of Kubernetes refer to; strict ones, without further properties."""
    text = (SCHEMAS / f"v{version}.0-local-strict" / "_definitions.json").read_text()
    return (Resource(json.loads(text), DRAFT202012) @ Registry()).crawl()


@functools.cache
def validator(version: str, kind: str, api_version: str) -> Draft202012Validator:
    """The validator of a kind, whose file has only the first part of the API group in its name."""
    short = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    text = (SCHEMAS / f"v{version}.0-local-strict" / f"{kind.lower()}-{short}.json").read_text()
    return Draft202012Validator(json.loads(text), registry=definitions(version))


def closed(schema: Any) -> Any:
    """Refuse properties that a custom resource does not have, as the strict validation of the API server does."""
    if not isinstance(schema, dict):
        return [closed(item) for item in schema] if isinstance(schema, list) else schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        return {"additionalProperties": False, **inner}
    return inner


def validators(files: list[Path]) -> dict[tuple[str, str], Draft202012Validator]:
    """Validators of custom resources, by API version and kind."""
    return {
        (f"{spec['group']}/{version['name']}", spec["names"]["kind"]): Draft202012Validator(
            closed(version["schema"]["openAPIV3Schema"])
        )
        for file in files
        for spec in [yaml.load(file.read_text(), yaml.CSafeLoader)["spec"]]
        for version in spec["versions"]
    }


@pytest.fixture(scope="session", params=OPERATORS)
def custom(request: pytest.FixtureRequest) -> tuple[str, dict[tuple[str, str], Draft202012Validator]]:
    """The API group of an operator, and the validators of its resources."""
    try:
        files = OPERATORS[request.param]()
    except PrerequisiteError as missing:
        pytest.skip(str(missing))
    if not files:
        pytest.skip("ETL_SHARED names no folder with the operator's resource definitions")
    return request.param, validators(files)


@pytest.mark.parametrize("file", FEATURES, ids=NAMES[2:])
def test_feature_is_linted_without_a_complaint(helm: Path, file: Path) -> None:
    command = [helm, "lint", "--strict", "--quiet", str(CHART), "--values", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_feature_gives_objects_that_kubernetes_takes(render: Render, file: Path) -> None:
    objects = [item for item in everything(render(file=file)) if group(item) not in OPERATORS]
    assert len(objects) > 20
    for item in objects:
        for version in VERSIONS:
            validator(version, item["kind"], item["apiVersion"]).validate(item)


# Some definitions are generated the first time.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_feature_gives_resources_that_the_operator_takes(
    render: Render, file: Path, custom: tuple[str, dict[tuple[str, str], Draft202012Validator]]
) -> None:
    operator, known = custom
    for item in render(file=file):
        if group(item) == operator:
            known[item["apiVersion"], item["kind"]].validate(item)


def test_features_have_a_resource_of_each_operator(render: Render) -> None:
    assert {group(item) for file in FILES for item in render(file=file)} >= OPERATORS.keys()


def test_features_cover_every_template_and_every_section(render: Render) -> None:
    kinds = {item["kind"] for file in FILES for item in render(file=file)} - KINDS_OF_EXAMPLES
    named = set(re.findall(r"^kind: (\w+)$", "".join(f.read_text() for f in CHART.glob("templates/**/*.*")), re.M))
    assert kinds == named
    sections = {key for file in FEATURES for key in yaml.safe_load(file.read_text())}
    # Alike in all features, or seen in the others.
    assert yaml.safe_load((CHART / "values.yaml").read_text()).keys() - sections == {"nameOverride"}
