"""The commands in the docs run: each page's blocks in order, on real services."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```bash([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = {
    page: [body for mark, body in _BLOCK.findall(page.read_text(encoding="utf-8")) if "not run here:" not in mark]
    for page in sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")], key=str)
}


@pytest.mark.parametrize("page", [page for page, blocks in PAGES.items() if blocks], ids=lambda page: page.name)
def test_docs_commands_end_well_when_they_are_run_in_order(
    page: Path, kafka: Any, cassandra: Any, topic: str, keyspace: str, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        **kafka.environment,
        **cassandra.environment,
        "ETL_KAFKA_TOPIC": topic,
        "ETL_KAFKA_DEAD_LETTER_TOPIC": f"{topic}-dead-letters",
        "ETL_KAFKA_GROUP": topic,
        "ETL_CASSANDRA_KEYSPACE": keyspace,
        "ETL_WORKSPACE_URL": str(tmp_path / "workspace"),
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
    }
    # Where `schema` is not shown again, it has been run before.
    if not PAGES[page][0].startswith("etl schema\n"):
        subprocess.run([shutil.which("etl", path=environment["PATH"]) or "etl", "schema"], env=environment, check=True)
    for block in PAGES[page]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
