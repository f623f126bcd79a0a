"""These tests need Airflow, which has an environment of its own (docs/dag.md); elsewhere they are not collected."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dags.config import PODS, SETTINGS

ROOT = Path(__file__).parents[2]
DAGS = ROOT / "dags"
# The environment of the stages, not that of Airflow.
PYTHON = ROOT / ".venv" / "bin" / "python"

collect_ignore_glob = [] if find_spec("airflow") else ["test_*.py"]

# Airflow reads its settings when it is first imported.
os.environ |= {
    "AIRFLOW_HOME": (home := tempfile.mkdtemp(prefix="airflow-")),
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    # Each test stores DAGs of its own.
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": f"{home}/lineage", "append": True}),
}
LINEAGE = Path(home) / "lineage"

Load = Callable[..., Any]


@pytest.fixture
def load_dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Reads all DAGs with settings that differ from the usual ones as given, and without some of the pods."""
    from airflow.dag_processing.dagbag import BundleDagBag

    def load(without: str = "", **settings: object) -> Any:
        shutil.copytree(PODS, tmp_path, dirs_exist_ok=True)
        (tmp_path / "dag.yaml").write_text(yaml.safe_dump(SETTINGS | settings))
        if without:
            (tmp_path / f"{without}.yaml").unlink()
        monkeypatch.setenv("SENSOR_ETL_DAG_CONFIG", str(tmp_path))
        # Airflow reads each file in a process of its own.
        for module in ("sensor_etl_config", "sensor_etl_lineage"):
            monkeypatch.delitem(sys.modules, module, raising=False)
        bag = BundleDagBag(dag_folder=str(DAGS), bundle_path=DAGS)
        assert bag.import_errors == {}
        return bag.dags

    return load


@pytest.fixture
def load_dag(load_dags: Load) -> Load:
    """Reads the DAG of the stages."""
    return lambda **settings: load_dags(**settings)["sensor_etl"]


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings that reach both, with topics and tables."""
    folder = tmp_path_factory.mktemp("services")
    local = [PYTHON, "-m", "images", "local"]
    printed = subprocess.run([*local, "up", "--dir", folder], check=True, capture_output=True, text=True, cwd=ROOT)
    settings = dict(line.removeprefix("export ").split("=", 1) for line in printed.stdout.splitlines())
    try:
        subprocess.run([PYTHON, "-m", "etl", "schema"], check=True, capture_output=True, env=os.environ | settings)
        yield settings
    finally:
        subprocess.run([*local, "down", "--dir", folder], check=True, capture_output=True, cwd=ROOT)


@pytest.fixture(scope="session")
def database() -> None:
    """Airflow's tables."""
    from airflow.utils.db import initdb

    initdb()


def variables(manifest: Any) -> dict[str, str]:
    """The variables of its container; of two of one name the last counts."""
    return {item.name: item.value for item in manifest.spec.containers[0].env}
