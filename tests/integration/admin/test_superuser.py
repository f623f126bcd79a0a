"""`etl superuser` on a node that nobody has touched yet."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from etl.cassandra.connection import connect
from etl.errors import SettingsError
from images import local
from tests.integration.conftest import end
from tests.integration.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """The command of the administrator to be; the node may still be starting."""
    users = {"plant": f"it's {secrets.token_hex(8)}"}
    node = local.launch(
        "cassandra", tmp_path, heap="1g", java_options=local.QUICK_START, users=users, die_with_parent=True
    )
    yield Machine(node.environment)
    end(node)


def test_default_superuser_is_shut_out_when_another_takes_its_place(machine: Machine) -> None:
    first, second = machine.etl("superuser", "--wait", "60"), machine.etl("superuser")
    assert first.returncode == 0, first.stderr
    assert "superuser plant: made" in first.stdout
    assert "superuser plant: is there" in second.stdout
    with connect(machine.cassandra, keyspace=False) as session:
        session.execute("CREATE ROLE other WITH LOGIN = true")
    default = machine.cassandra.model_copy(update={"username": "cassandra"})
    with (
        pytest.raises(SettingsError),
        connect(default.model_copy(update={"password": SecretStr("cassandra")}), keyspace=False),
    ):
        pass
    wrong = machine.etl("superuser", ETL_CASSANDRA_PASSWORD="another")
    assert wrong.returncode == 2, wrong.stdout
