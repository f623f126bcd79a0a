"""The commands in the docs run: each page's blocks in order, on real services, with the output beside them."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.commands import ROOT, Block, read_blocks, run

# It has a test of its own, which also opens the page.
TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = {
    page: [block for block in read_blocks(page) if "not run here:" not in block.mark]
    for page in sorted({ROOT / "README.md", *ROOT.glob("docs/*.md")} - {TUTORIAL}, key=str)
}
SCHEMA = Block("", "etl schema\n", None)


@pytest.mark.parametrize("page", [page for page, blocks in PAGES.items() if blocks], ids=lambda page: page.name)
def test_docs_commands_end_well_when_they_are_run_in_order(
    page: Path, kafka: Any, cassandra: Any, topic: str, keyspace: str, tmp_path: Path
) -> None:
    environment = {
        **kafka.environment,
        **cassandra.environment,
        "ETL_KAFKA_TOPIC": topic,
        "ETL_KAFKA_DEAD_LETTER_TOPIC": f"{topic}-dead-letters",
        "ETL_KAFKA_GROUP": topic,
        "ETL_CASSANDRA_KEYSPACE": keyspace,
        "ETL_WORKSPACE_URL": str(tmp_path / "workspace"),
    }
    # Where a page does not show `etl schema` again, it has been run before.
    shown = any("etl schema" in block.commands for block in PAGES[page])
    run([*([] if shown else [SCHEMA]), *PAGES[page]], environment)
