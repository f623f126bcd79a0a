from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etl.errors import DeliveryError
from etl.run.topics import begin_with_topic, is_recreated
from etl.run.workspace import open_workspace


def broker(topic_id: str) -> Any:
    return SimpleNamespace(topic_id=lambda _: topic_id)


def test_run_goes_on_when_its_topic_is_the_same(tmp_path: Path) -> None:
    workspace = open_workspace(str(tmp_path), "run")
    for _ in range(2):
        begin_with_topic(workspace, broker("one"), "readings")
    assert not is_recreated(workspace, broker("one"), "readings")


def test_run_reads_no_other_topic_when_its_own_was_recreated(tmp_path: Path) -> None:
    workspace = open_workspace(str(tmp_path), "run")
    begin_with_topic(workspace, broker("one"), "readings")
    with pytest.raises(DeliveryError, match="topic readings was recreated since run run began"):
        begin_with_topic(workspace, broker("two"), "readings")
    assert is_recreated(workspace, broker("two"), "readings")


def test_topic_counts_as_the_same_when_an_older_version_began_the_run(tmp_path: Path) -> None:
    assert not is_recreated(open_workspace(str(tmp_path), "run"), broker("two"), "readings")
