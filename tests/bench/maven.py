"""Java programs of peers: fetched by Maven from what a `pom.xml` names, once, into `.cache/bench`."""

import hashlib
import subprocess
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "bench"


class NotToBeHadError(Exception):
    """A peer cannot be fetched or started here; its lines are left out with this reason."""


def fetch(pom: Path, goal: str) -> Path:
    """Return the folder with what `mvn <goal>` of the POM puts into `${output}`; the first time it is fetched.

    Raises:
        NotToBeHadError: Maven is missing or cannot fetch it.
    """
    folder = CACHE / f"{pom.stem}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}"
    if folder.exists():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    command = ["mvn", "-B", "-q", "-f", str(pom), goal, f"-Doutput={partial}"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError:
        raise NotToBeHadError("Maven is missing") from None
    if done.returncode:
        raise NotToBeHadError(f"Maven could not fetch {pom.name}: {done.stdout[-500:]}")
    partial.rename(folder)
    return folder
