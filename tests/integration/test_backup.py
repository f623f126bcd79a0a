"""Backup and restore, by the commands of the docs: a snapshot of real tables, and what came after it from the topic."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from etl.cassandra.connection import connect
from images import jars, local
from images.paths import IMAGES
from tests.integration.commands import ROOT, Block, program, read_blocks, run
from tests.integration.machine import Machine

PAGE = ROOT / "docs" / "backup.md"
NAME = "test_pipeline_goes_on_when_a_snapshot_is_restored"
QUERIES = {
    "rows": "SELECT * FROM sensor_data",
    "write times": "SELECT equipment_id, timestamp, writetime(voltage) FROM sensor_data",
    "watermarks": "SELECT * FROM watermarks",
    "runs": "SELECT run FROM runs",
}


@pytest.fixture
def nodetool(cassandra: local.Service, tmp_path: Path) -> str:
    """A folder for the PATH with the nodetool of the node's own version."""
    options = f"@{IMAGES}/cassandra/jvm.options -cp '{jars.resolve('cassandra')}/*' -Duser.home={tmp_path}"
    tool = "org.apache.cassandra.tools.NodeTool"
    return program(tmp_path, "nodetool", f"java {options} {tool} -p {cassandra.ports['jmx_port']}")


def commands() -> tuple[Block, Block, Block]:
    """Those to back up, to restore, and to catch up."""
    back_up, restore, catch_up = (block for block in read_blocks(PAGE) if block.mark.endswith(f"{NAME} runs it"))
    return back_up, restore, catch_up


def stored(machine: Machine) -> dict[str, list[Any]]:
    with connect(machine.cassandra) as session:
        return {name: sorted(session.execute(query), key=str) for name, query in QUERIES.items()}


def load(machine: Machine, run_id: str, start: str) -> None:
    done = machine.etl("run", "--run", run_id, ETL_GENERATE_START=start)
    assert done.returncode == 0, done.stderr


def test_pipeline_goes_on_when_a_snapshot_is_restored(
    machine: Machine, cassandra: local.Service, nodetool: str, tmp_path: Path
) -> None:
    keyspace = machine.environment["ETL_CASSANDRA_KEYSPACE"]
    back_up, restore, catch_up = commands()
    load(machine, "before", "2026-01-05T06:00:00Z")
    environment = {
        **machine.environment,
        "PATH": nodetool,
        "TABLES": str(cassandra.directory / "data" / "data" / keyspace),
        "BACKUP": str(tmp_path / "backup"),
        "BEFORE_THE_SNAPSHOT": datetime.now(UTC).isoformat(),
    }
    run([back_up], environment)
    load(machine, "after", "2026-01-05T07:00:00Z")
    wanted = stored(machine)
    with connect(machine.cassandra) as session:
        session.execute(f"DROP KEYSPACE {keyspace}")

    run([restore], environment)
    restored = stored(machine)
    assert 0 < len(restored["rows"]) < len(wanted["rows"])
    assert set(restored["runs"]) == {("before",)}

    run([catch_up], environment)
    found = stored(machine)
    del found["runs"], wanted["runs"]
    assert found == wanted
    load(machine, "later", "2026-01-05T08:00:00Z")
    assert machine.counts("later", "load")["loaded"] == len(wanted["rows"]) - len(restored["rows"])
