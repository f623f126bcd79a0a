"""The audit: known vulnerabilities of the locked Python packages, and whether each SBOM fits its lock file.

`uv audit` looks the packages up in a database on the internet. `audit.yaml` lists the accepted vulnerabilities, each
with a reason. Debian packages and jars are listed in the SBOMs, and not looked up.
"""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from images import sbom
from images.build import uv
from images.errors import CommandError, PrerequisiteError, ServiceError
from images.names import NAMES, PYTHON
from images.paths import IMAGES, ROOT

ALLOWED = IMAGES / "audit.yaml"
PROJECTS = (ROOT, IMAGES / "airflow")
# Messages of uv if the database does not answer.
_AWAY = re.compile(r"Request failed|error sending request|requires network access|status code [45]\d\d")
_PURL = re.compile(r"pkg:(pypi|deb|maven)/\S+@\S+")


def allowed(path: Path = ALLOWED) -> dict[str, str]:
    """Return the reasons of the accepted vulnerabilities, by ID.

    Raises:
        PrerequisiteError: an entry has no ID, package or reason.
    """
    entries: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    for entry in entries:
        if not all(entry.get(key) for key in ("id", "package", "reason")):
            raise PrerequisiteError(f"{path.name}: {entry}: each entry needs id, package and reason")
    return {entry["id"]: entry["reason"] for entry in entries}


def audit_lock(project: Path, *options: str) -> str:
    """Look up the packages of a project's uv.lock, and return one line with the result.

    Args:
        project: folder of the project.
        options: further options of `uv audit`.

    Raises:
        ServiceError: a package has a known vulnerability that is not accepted; the message holds uv's report.
        CommandError: uv failed.
    """
    ignored = [f"--ignore={name}" for name in allowed()]
    command = [uv(), "audit", "--frozen", "--no-progress", "--color=never"]
    command += ["--preview-features=audit-command", "--project", str(project), *ignored, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    name = f"{project.name if project != ROOT else 'package'}: {len(_locked(project))} locked packages"
    if done.returncode and _AWAY.search(done.stderr):
        return f"{name} not looked up, because the database of vulnerabilities does not answer"
    if done.returncode == 1:
        raise ServiceError(f"{name} with known vulnerabilities:\n{done.stdout.strip()}")
    if done.returncode:
        raise CommandError(f"uv audit of {project} failed: {done.stderr.strip()}")
    return f"{name} without known vulnerabilities, {len(ignored)} accepted"


def audit_sboms() -> str:
    """Check the SBOMs of the images, and return one line with the result.

    Raises:
        ServiceError: an SBOM names a package without a version or origin, or in another version than the lock file.
    """
    names = [name for name in NAMES if (sbom.FOLDER / f"{name}.cdx.json").exists()]
    problems = [f"{name}: {problem}" for name in names for problem in _problems(name)]
    if problems:
        raise ServiceError("\n".join(["SBOMs that do not fit:", *problems]))
    absent = len(NAMES) - len(names)
    return f"SBOMs: {len(names)} fit their images" + (
        f", {absent} not there (`make images` writes them)" * bool(absent)
    )


def _problems(name: str) -> Iterator[str]:
    components = json.loads((sbom.FOLDER / f"{name}.cdx.json").read_text())["components"]
    if not components:
        yield "it names no package"
    locked = _locked(IMAGES / "airflow" if name == "airflow" else ROOT) if name in PYTHON else set()
    for component in components:
        package = (component.get("name"), component.get("version"))
        origin = _PURL.match(component.get("purl") or "")
        if not all(package) or not origin:
            yield f"{package} has no version or no origin"
        elif origin[1] == "pypi" and package not in locked:
            yield f"{' '.join(package)} is not in uv.lock"


def _locked(project: Path) -> set[tuple[str, str]]:
    packages = tomllib.loads((project / "uv.lock").read_text())["package"]
    return {(package["name"], package["version"]) for package in packages if "version" in package}
