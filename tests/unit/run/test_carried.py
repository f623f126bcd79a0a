"""State that a stage leaves for later runs."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from etl.run.carried import begin_with, leave
from etl.run.workspace import WHOLE, Shard, Workspace, begin, commit, open_workspace


def joined(states: Iterable[bytes]) -> bytes:
    return b"+".join(states)


def run(workspace: Workspace, name: str, state: bytes, shard: Shard = WHOLE, finished: bool = True) -> bytes:
    """Consume once; return the state that the run begins with."""
    own = replace(workspace, run=name, shard=shard)
    before = begin_with(own, "consume", "births", joined)
    attempt = begin(own, "consume")
    leave(attempt, "births", state)
    if finished:
        commit(attempt, "hash", {}, [], None)
    return before


def test_run_begins_with_the_states_of_runs_before_when_they_have_finished(tmp_path: Path) -> None:
    workspace = open_workspace(str(tmp_path), "run")
    assert run(workspace, "run-1", b"a") == b""
    assert run(workspace, "run-2", b"b", Shard(0, 2)) == b"a"
    assert run(workspace, "run-2", b"c", Shard(1, 2)) == b"a"
    assert run(workspace, "run-3", b"failed", finished=False) == b"a+b+c"
    assert run(workspace, "run-4", b"d") == b"a+b+c"


def test_attempts_of_a_run_begin_with_the_same_state_when_another_run_ends_between_them(tmp_path: Path) -> None:
    workspace = open_workspace(str(tmp_path), "run")
    run(workspace, "run-1", b"a")
    assert run(workspace, "run-2", b"failed", finished=False) == b"a"
    run(workspace, "run-3", b"b")
    assert run(workspace, "run-2", b"c") == b"a"
