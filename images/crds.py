"""Custom resource definitions of the operators whose resources the chart creates.

Strimzi's are made by its own generator, from Maven Central. No package registry has K8ssandra's: they are read from the
sub-folder `crds` of the folder that `ETL_SHARED` names (by default `../shared`). Those of the Prometheus operator are
made from its types. Others are files of Go modules.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from images.command import exclusive, run, step
from images.errors import CommandError, PrerequisiteError
from images.paths import CACHE, IMAGES, ROOT
from images.without_registry.golang import ENVIRONMENT

POM = IMAGES / "strimzi" / "pom.xml"
MONITORING = IMAGES / "monitoring"
FOLDER = CACHE / "crds"
JAVA = 21
JVMS = Path("/usr/lib/jvm")
STRIMZI = {
    "kafka": "io.strimzi.api.kafka.model.kafka.Kafka",
    "kafkanodepool": "io.strimzi.api.kafka.model.nodepool.KafkaNodePool",
    "kafkatopic": "io.strimzi.api.kafka.model.topic.KafkaTopic",
    "kafkauser": "io.strimzi.api.kafka.model.user.KafkaUser",
}


@dataclass(frozen=True)
class GoModule:
    """A Go module that has a definition as a file: module@version, its checksum, and the path of the file in it."""

    module: str
    checksum: str
    file: str


# By API group.
MODULES = {
    "cert-manager.io": GoModule(
        "github.com/cert-manager/cert-manager@v1.21.2",
        "h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68=",
        "deploy/crds/cert-manager.io_certificates.yaml",
    ),
    "external-secrets.io": GoModule(
        "github.com/external-secrets/external-secrets@v0.16.2",
        "h1:iNY+gIgSyL5higXTfnz+hdPCaiB/43UiHLqE7HBpj68=",
        "config/crds/bases/external-secrets.io_externalsecrets.yaml",
    ),
    "gateway.networking.k8s.io": GoModule(
        "sigs.k8s.io/gateway-api@v1.6.3",
        "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc=",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
    "trust.cert-manager.io": GoModule(
        "github.com/cert-manager/trust-manager@v0.25.0",
        "h1:nGtkHH9wEacI5uACdsq8wqCKWsCw1PMrwHPJcrUFUXA=",
        "deploy/crds/trust.cert-manager.io_bundles.yaml",
    ),
}


def strimzi() -> list[Path]:
    """Return the files of those definitions of Strimzi that the chart uses; the first time they are generated.

    Raises:
        PrerequisiteError: Maven is missing, or a Java that is new enough.
        CommandError: They could not be generated.
    """
    return _generated("strimzi", POM, "make Strimzi's resource definitions", _generate_strimzi)


def k8ssandra() -> list[Path]:
    """Return the files of K8ssandra's definitions; none if `ETL_SHARED` is not set and the default folder has none.

    Raises:
        PrerequisiteError: `ETL_SHARED` is set, and its folder has no definitions.
    """
    folder = Path(os.environ.get("ETL_SHARED", ROOT.parent / "shared")) / "crds"
    files = sorted(folder.glob("*.yaml"))
    if not files and "ETL_SHARED" in os.environ:
        raise PrerequisiteError(f"no resource definitions in {folder}: see ETL_SHARED")
    if not files:
        print("K8ssandra's resource definitions are skipped: ETL_SHARED names no folder with them", file=sys.stderr)
    return files


def of_module(group: str) -> list[Path]:
    """Return the file of an API group of `MODULES`; Go fetches its module the first time.

    Raises:
        PrerequisiteError: Go is missing.
        CommandError: The module cannot be fetched, or has another checksum.
    """
    wanted = MODULES[group]
    _require_go(group)
    found = json.loads(run("go", "mod", "download", "-json", wanted.module, cwd=IMAGES))
    if found["Sum"] != wanted.checksum:
        raise CommandError(f"{wanted.module} has the checksum {found['Sum']}, not {wanted.checksum}")
    return [Path(found["Dir"]) / wanted.file]


def monitoring() -> list[Path]:
    """Return the files of the Prometheus operator's definitions; the first time they are generated.

    Raises:
        PrerequisiteError: Go is missing.
        CommandError: They could not be generated.
    """
    what = "make the Prometheus operator's resource definitions"
    return _generated("monitoring", MONITORING / "go.sum", what, _generate_monitoring)


def _generated(name: str, pinned: Path, what: str, generate: Callable[[Path], None]) -> list[Path]:
    """Return the files that `generate` writes into a folder; it runs once for each content of the file `pinned`."""
    folder = FOLDER / f"{name}-{hashlib.sha256(pinned.read_bytes()).hexdigest()[:16]}"
    with exclusive(FOLDER / "lock", what):
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            with step(what):
                generate(partial)
            partial.rename(folder)
    return sorted(folder.glob("*.yaml"))


def _generate_monitoring(folder: Path) -> None:
    _require_go("monitoring.coreos.com")
    types = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
    run(
        *("go", "tool", "controller-gen", "crd:crdVersions=v1,ignoreUnexportedFields=true"),
        *(f"paths={types}", f"output:crd:dir={folder}"),
        cwd=MONITORING,
        environment=ENVIRONMENT,
    )


def _require_go(group: str) -> None:
    if not shutil.which("go"):
        raise PrerequisiteError(f"Go 1.26 or newer is needed for the resource definitions of {group}: install it")


def _generate_strimzi(folder: Path) -> None:
    if not shutil.which("mvn"):
        raise PrerequisiteError("Maven is needed for Strimzi's resource definitions: install it")
    java = _java()
    folder.mkdir(parents=True)
    run("mvn", "-B", "-q", "-f", POM, "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'jars'}")
    run(
        *(java, "-cp", f"{folder / 'jars'}/*", "io.strimzi.crdgenerator.CrdGenerator", "--yaml"),
        *("--crd-api-version", "v1", "--api-versions", "v1", "--storage-version", "v1"),
        *(f"{name}={folder / kind}.yaml" for kind, name in STRIMZI.items()),
    )
    shutil.rmtree(folder / "jars")


def _java() -> Path:
    """Return the path of a Java that is new enough for the generator; that of the services is too old."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    if found := shutil.which("java"):
        homes.append(Path(found).resolve().parent.parent)
    for home in [*homes, *sorted(JVMS.glob("*"))]:
        release = home / "release"
        if release.exists() and _major(release.read_text()) >= JAVA:
            return home / "bin" / "java"
    raise PrerequisiteError(f"Java {JAVA} or newer is needed for Strimzi's resource definitions: install it in {JVMS}")


def _major(release: str) -> int:
    for line in release.splitlines():
        key, _, value = line.partition("=")
        if key == "JAVA_VERSION":
            return int(value.strip('"').split(".")[0])
    return 0
