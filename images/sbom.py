"""The software bill of materials of an image, as CycloneDX: `.cache/images/<name>.cdx.json`.

It has three sources: dpkg inside the image for Debian packages, `uv export` of uv.lock for Python packages, and Maven's
CycloneDX plugin for jars. Libraries inside a wheel or a jar are not listed.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from images.command import run
from images.paths import CACHE

FOLDER = CACHE / "images"
MAVEN_PLUGIN = "org.cyclonedx:cyclonedx-maven-plugin:2.9.1:makeBom"
# One line per package. The runtime of Java is cut out of a package that is not installed itself.
LIST_DEBIAN = "dpkg-query -W -f '${Package} ${Version} ${Architecture}\\n'; cat /opt/java/package 2>/dev/null || true"


def is_current(name: str, image_id: str) -> bool:
    """Return whether the SBOM that exists describes this image ID."""
    path = _path(name)
    return path.exists() and bool(json.loads(path.read_text())["metadata"]["component"]["bom-ref"] == image_id)


def write(name: str, tag: str, image_id: str, components: Iterable[dict[str, Any]]) -> None:
    """Write the SBOM of an image."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": tag, "bom-ref": image_id}},
        "components": list(components),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    partial = _path(name).with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1))
    partial.replace(_path(name))


def debian(tag: str) -> list[dict[str, Any]]:
    """Return the Debian packages of an image, as CycloneDX components."""
    lines = run("docker", "run", "--rm", "--network=none", "--entrypoint=sh", tag, "-c", LIST_DEBIAN).splitlines()
    return [
        {
            "type": "library",
            "name": package,
            "version": version,
            "purl": f"pkg:deb/debian/{package}@{version}?arch={architecture}&distro=bookworm",
        }
        for package, version, architecture in map(str.split, lines)
    ]


def python(uv: str | Path, project: Path, extras: Iterable[str]) -> list[dict[str, Any]]:
    """Return the Python packages in a project's uv.lock, with these extras and without its groups."""
    wanted = [f"--extra={extra}" for extra in extras]
    return _components(
        run(uv, "export", "--quiet", "--frozen", "--no-dev", "--format=cyclonedx1.5", "--project", project, *wanted)
    )


def java(pom: Path) -> list[dict[str, Any]]:
    """Return the jars to which a pom.xml resolves."""
    with tempfile.TemporaryDirectory() as folder:
        # The plugin writes into the folder of the pom.
        shutil.copy(pom, folder)
        run("mvn", "-B", "-q", MAVEN_PLUGIN, "-DoutputFormat=json", "-DincludeTestScope=false", cwd=Path(folder))
        return _components(Path(folder, "target", "bom.json").read_text())


def _path(name: str) -> Path:
    return FOLDER / f"{name}.cdx.json"


def _components(document: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(document)["components"]
    return found
