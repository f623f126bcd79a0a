"""The script that names what `make up` lacks on a machine."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.images.conftest import write_program

PREREQUISITES = Path(__file__).parents[3] / "images" / "prerequisites"
# What the script itself takes, which every system has.
PLAIN = ("bash", "env", "dirname", "sed")
INSTALLED = ("python3.11", "mvn", "java", "docker", "dockerd", "containerd", "runc", "iptables", "jq", "mmdebstrap")


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a system without anything, and without a registry in reach."""
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in PLAIN:
        (folder / name).symlink_to(shutil.which(name) or "")
    write_program(folder, "timeout", "exit 1")
    # A copy of the script, since tools may have been built beside the real one.
    (tmp_path / "images").mkdir()
    shutil.copy(PREREQUISITES, tmp_path / "images")
    return {"PATH": str(folder)}


def prerequisites(tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "images" / "prerequisites"
    return subprocess.run([script], env=environment, capture_output=True, text=True, check=False)


def test_everything_missing_is_named_at_once_when_there_is_nothing(tmp_path: Path, bare: dict[str, str]) -> None:
    done = prerequisites(tmp_path, bare)
    assert (done.returncode, done.stdout) == (2, "")
    title, install, go = done.stderr.splitlines()
    assert title == "make up needs what is not there:"
    assert install.split()[:3] == ["apt-get", "install", "--no-install-recommends"]
    assert set(install.split()[3:]) == {
        *("python3.11", "python3.11-venv", "maven", "openjdk-17-jdk-headless", "docker.io", "containerd", "runc"),
        *("iptables", "jq", "mmdebstrap"),
    }
    assert "Go 1.26" in go
    assert go.endswith("to build kind, kubectl, helm, the node image")


@pytest.mark.parametrize("missing", [*INSTALLED, "go"])
def test_only_what_is_missing_is_named(tmp_path: Path, bare: dict[str, str], missing: str) -> None:
    folder = Path(bare["PATH"])
    for name in (*INSTALLED, "go"):
        if name != missing:
            answer = {"docker": "test ${1#image} = $1", "go": "echo go1.26.8"}
            write_program(folder, name, answer.get(name, "exit 0"))
    # A daemon that answers needs nothing of what would start one.
    is_needless = missing in ("dockerd", "containerd", "runc", "iptables", "jq")
    done = prerequisites(tmp_path, bare)
    if is_needless:
        assert (done.returncode, done.stderr) == (0, "")
        return
    package = {"mvn": "maven", "java": "openjdk-17-jdk-headless", "docker": "docker.io", "go": "Go 1.26"}
    assert done.returncode == 2
    assert package.get(missing, missing) in done.stderr
    assert "mmdebstrap" not in done.stderr or missing in ("mmdebstrap", "docker")


@pytest.mark.parametrize("version", ["go1.19.8", ""])
def test_go_is_named_when_it_is_too_old_to_build(tmp_path: Path, bare: dict[str, str], version: str) -> None:
    for name in INSTALLED:
        write_program(Path(bare["PATH"]), name, "test $1 != images")
    write_program(Path(bare["PATH"]), "go", f"echo {version}")
    done = prerequisites(tmp_path, bare)
    assert done.returncode == 2
    assert "Go 1.26" in done.stderr
    assert "apt-get" not in done.stderr


def test_nothing_is_built_from_sources_when_a_registry_answers(tmp_path: Path, bare: dict[str, str]) -> None:
    folder = Path(bare["PATH"])
    for name in {*INSTALLED, "timeout", "kind", "kubectl", "helm"} - {"mmdebstrap"}:
        (folder / name).unlink(missing_ok=True)
        write_program(folder, name, "test $1 != image")
    done = prerequisites(tmp_path, bare)
    assert (done.returncode, done.stderr) == (0, "")
