"""The chart as it was: the newest tagged one before this commit, else that of the first commit whose chart comes up."""

import tarfile
from pathlib import Path

from images import cluster as kind
from images import install
from images.build import VERSION
from images.command import run, step
from images.errors import CommandError

ROOT = Path(__file__).parents[2]
CHART = "charts/sensor-etl"
# Before it a broker could not reach itself by TLS, and the scheduler had no right to see the schema Job's end.
FIRST = "5a4fdf6"


def why_not(cluster: str) -> str:
    """Return why no earlier chart can be upgraded from, empty if one can."""
    if install.helm(cluster, "list", "--all", "--short", f"--filter=^{install.RELEASE}$"):
        return "the release was there already: `make down` removes it with its cluster"
    try:
        shallow = _git("rev-parse", "--is-shallow-repository")
    except CommandError:
        return "there is no history to take an earlier chart from"
    return "a shallow clone has no earlier chart" if shallow == "true" else ""


def install_earlier(cluster: str, folder: Path) -> None:
    """Unpack the earlier chart into a folder and install it with today's images, as far as an upgrade finds it all.

    Its passwords, certificates, topics, tables and databases are there then; Airflow itself is not waited for.
    """
    tags = _git("tag", "--merged=HEAD", "--no-contains=HEAD", "--sort=-version:refname").split()
    commit = (tags or [FIRST])[0]
    with step(f"install the chart of {commit}"):
        _git("archive", f"--output={folder / 'chart.tar'}", commit, CHART)
        with tarfile.open(folder / "chart.tar") as archive:
            archive.extractall(folder, filter="data")
        values = (f"--values={folder / CHART / 'values-small.yaml'}", f"--set=image.tag={VERSION}")
        install.helm(cluster, "install", install.RELEASE, str(folder / CHART), *values)
        jobs = [f"job/{install.RELEASE}-{job}-1" for job in ("schema", "airflow-migration")]
        kind.kubectl(
            cluster, "-n", install.NAMESPACE, "wait", "--for=condition=complete", f"--timeout={install.TIMEOUT}", *jobs
        )


def _git(*arguments: str) -> str:
    return run("git", *arguments, cwd=ROOT)
