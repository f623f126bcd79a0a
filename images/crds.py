"""Custom resource definitions of the operators: Strimzi's and K8ssandra's.

Strimzi's are made by its own generator, from Maven Central. No package registry has K8ssandra's: they are read from the
sub-folder `crds` of the folder that `ETL_SHARED` names (by default `../shared`).
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

from images.command import exclusive, run, step
from images.errors import PrerequisiteError
from images.paths import CACHE, IMAGES, ROOT

POM = IMAGES / "strimzi" / "pom.xml"
FOLDER = CACHE / "crds"
JAVA = 21
JVMS = Path("/usr/lib/jvm")
STRIMZI = {
    "kafka": "io.strimzi.api.kafka.model.kafka.Kafka",
    "kafkanodepool": "io.strimzi.api.kafka.model.nodepool.KafkaNodePool",
    "kafkatopic": "io.strimzi.api.kafka.model.topic.KafkaTopic",
    "kafkauser": "io.strimzi.api.kafka.model.user.KafkaUser",
}


def strimzi() -> list[Path]:
    """Return the files of those definitions of Strimzi that the chart uses; the first time they are generated.

    Raises:
        PrerequisiteError: Maven is missing, or a Java that is new enough.
        CommandError: They could not be generated.
    """
    folder = FOLDER / f"strimzi-{hashlib.sha256(POM.read_bytes()).hexdigest()[:16]}"
    with exclusive(FOLDER / "lock", "make Strimzi's resource definitions"):
        if not folder.exists():
            _generate(folder)
    return sorted(folder.glob("*.yaml"))


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


def _generate(folder: Path) -> None:
    if not shutil.which("mvn"):
        raise PrerequisiteError("Maven is needed for Strimzi's resource definitions: install it")
    java = _java()
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with step("make Strimzi's resource definitions"):
        run("mvn", "-B", "-q", "-f", POM, "dependency:copy-dependencies", f"-DoutputDirectory={partial / 'jars'}")
        run(
            *(java, "-cp", f"{partial / 'jars'}/*", "io.strimzi.crdgenerator.CrdGenerator", "--yaml"),
            *("--crd-api-version", "v1", "--api-versions", "v1", "--storage-version", "v1"),
            *(f"{name}={partial / kind}.yaml" for kind, name in STRIMZI.items()),
        )
    shutil.rmtree(partial / "jars")
    partial.rename(folder)


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
