"""The files that a release publishes, in `dist` as `make package` left them: what they hold, and that they install."""

import os
import subprocess
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from images.build import VERSION, uv
from images.paths import ROOT

WHEEL = ROOT / "dist" / f"sensor_etl-{VERSION}-py3-none-any.whl"
SOURCES = ROOT / "dist" / f"sensor_etl-{VERSION}.tar.gz"


def files_of_the_package() -> set[str]:
    tracked = subprocess.run(["git", "ls-files", "etl"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(tracked.stdout.split())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a new environment with the wheel and the extra `generate`."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([uv(), "venv", "--quiet", "--python=3.11", folder], check=True)
    install = [uv(), "pip", "install", "--quiet", f"--python={folder}/bin/python", f"{WHEEL}[generate]"]
    subprocess.run(install, check=True)
    return folder / "bin"


def run(*command: str | Path, **variables: str) -> str:
    """Run a command far from the sources, without settings of this machine, and return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ETL_", "PYTHON"))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept | variables, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_holds_the_package_and_nothing_else() -> None:
    names = {name for name in ZipFile(WHEEL).namelist() if ".dist-info/" not in name}
    assert names == files_of_the_package()
    assert {"etl/py.typed", "etl/model/measurements.yaml", "etl/page/assets/page.js"} <= names


def test_source_archive_holds_what_a_build_needs() -> None:
    with tarfile.open(SOURCES) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files_of_the_package() <= names
    own = {name for name in names if not name.startswith("etl/")}
    assert own == {"CHANGELOG.md", "LICENSE", "README.md", "PKG-INFO", "pyproject.toml", ".gitignore"}


@pytest.mark.parametrize("command", [["etl"], ["sensor-etl"], ["python", "-m", "etl"]], ids=" ".join)
def test_installed_command_explains_itself(installed: Path, command: list[str]) -> None:
    assert "\n  generate " in run(installed / command[0], *command[1:], "--help")


def test_installed_command_generates_readings(installed: Path, tmp_path: Path) -> None:
    settings = {"ETL_WORKSPACE_URL": str(tmp_path), "ETL_RUN_ID": "first", "ETL_GENERATE_MACHINES": "2"}
    run(installed / "etl", "generate", **settings)
    assert list(tmp_path.rglob("*.parquet"))


def test_command_explains_itself_when_only_the_base_is_there(tmp_path: Path) -> None:
    # What `uvx sensor-etl --help` does with a published wheel.
    assert "\n  generate " in run(uv(), "tool", "run", "--python=3.11", "--from", WHEEL, "sensor-etl", "--help")


def test_type_checker_sees_the_types(installed: Path, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("from etl.model.measurements import read_measurements\nnumber: str = read_measurements()\n")
    command = [str(ROOT / ".venv/bin/mypy"), f"--python-executable={installed}/python", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert 'expression has type "Measurements"' in done.stdout
