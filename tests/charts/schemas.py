"""Validate objects by kubeconform against the schemas of Kubernetes and of the operators, without a cluster."""

import functools
import importlib.resources
import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from images import crds
from images.errors import PrerequisiteError
from images.without_registry.programs import KUBERNETES
from tests.charts.conftest import CHART, Object, pods

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


def everything(objects: list[Object]) -> Iterator[Object]:
    """All objects, with the pods that the DAGs start."""
    yield from objects
    for name, pod in pods(objects):
        if name.startswith("template"):
            yield pod


def write_all_schemas(folder: Path) -> dict[str, Path]:
    """Write folders of schemas by version of Kubernetes, and `custom` for those of the operators."""
    folders = {name: folder / name for name in (*VERSIONS, "custom")}
    for made in folders.values():
        made.mkdir()
    for version in VERSIONS:
        write_schemas(version, folders[version])
    for definitions in OPERATORS.values():
        with suppress(PrerequisiteError):
            write_custom_schemas(definitions(), folders["custom"])
    return folders


def write_schemas(version: str, folder: Path) -> None:
    """Write the schemas of a version of Kubernetes, strict ones, so that they refer to each other as files."""
    for file in (SCHEMAS / f"v{version}.0-local-strict").glob("*.json"):
        text = file.read_text().replace('"/api/_definitions.json#', '"_definitions.json#')
        (folder / file.name).write_text(re.sub(r',\s*"\$id": "[^"]*"', "", text))


def write_custom_schemas(files: Iterable[Path], folder: Path) -> None:
    """Write the schemas of resource definitions."""
    for file in files:
        spec = yaml.load(file.read_text(), yaml.CSafeLoader)["spec"]
        for version in spec["versions"]:
            name = f"{spec['group']}-{spec['names']['kind'].lower()}-{version['name']}.json"
            (folder / name).write_text(json.dumps(closed(version["schema"]["openAPIV3Schema"])))


def closed(schema: Any) -> Any:
    """Refuse properties that a custom resource does not have, as the strict validation of the API server does."""
    if not isinstance(schema, dict):
        return [closed(item) for item in schema] if isinstance(schema, list) else schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        return {"additionalProperties": False, **inner}
    return inner


def validate(program: Path, files: list[Path], schemas: list[Path]) -> str:
    """Validate files of objects by kubeconform, and return its complaints; empty if there are none.

    Kinds of operators whose definitions this machine does not have are left out.
    """
    names = ("{{.ResourceKind}}{{.KindSuffix}}", "{{.Group}}-{{.ResourceKind}}-{{.ResourceAPIVersion}}")
    places = [f"-schema-location={folder}/{name}.json" for folder, name in zip(schemas, names, strict=True)]
    missing = [] if any(schemas[1].glob("k8ssandra.io-*")) else ["-skip=K8ssandraCluster"]
    command = [program, "-strict", *missing, *places, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""


def write_objects(objects: Iterable[Object], path: Path) -> Path:
    path.write_text(yaml.dump_all(objects, Dumper=yaml.CSafeDumper))
    return path
