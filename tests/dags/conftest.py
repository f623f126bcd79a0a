"""These tests need Airflow, which has an environment of its own (docs/dag.md); elsewhere they are not collected."""

import os
import tempfile
from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("airflow") else ["test_*.py"]

# Airflow reads its settings when it is first imported.
os.environ |= {
    "AIRFLOW_HOME": (home := tempfile.mkdtemp(prefix="airflow-")),
    "AIRFLOW__CORE__DAGS_FOLDER": os.path.join(os.path.dirname(__file__), "..", "..", "dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
}
