"""The jars of Kafka and Cassandra, which Maven resolves from their `pom.xml`."""

import fcntl
import hashlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from images.command import tail
from images.errors import PrerequisiteError
from images.paths import CACHE, IMAGES

FOLDER = CACHE / "jars"


def resolve(name: str, pom: Path | None = None) -> Path:
    """Return the folder with the jars of `kafka` or `cassandra`, or of another POM; Maven fetches them the first time.

    Raises:
        PrerequisiteError: Maven is missing or could not fetch them.
    """
    pom = pom or IMAGES / name / "pom.xml"
    jars = FOLDER / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}"
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.exists():
            _fetch(name, pom, jars)
    return jars


def _fetch(name: str, pom: Path, jars: Path) -> None:
    if not shutil.which("mvn"):
        raise PrerequisiteError(f"Maven is needed to fetch {name}: install it, or put mvn on the PATH")
    print(f"fetching {name} with Maven, this once", file=sys.stderr)
    partial = jars.with_name(f"{jars.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = ["mvn", "-B", "-q", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise PrerequisiteError(f"Maven could not fetch {name} ({shlex.join(command)}):\n{tail(done.stdout)}")
    partial.rename(jars)
