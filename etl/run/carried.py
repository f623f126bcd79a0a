"""State that a stage of one run leaves for the same stage of later runs, in the workspace.

It counts once the stage has succeeded, since it is part of the attempt's output. All attempts of a run begin with the
same state.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

import pyarrow as pa

from etl.errors import DeliveryError
from etl.run.workspace import Attempt, Source, Workspace, find_manifests, once


def begin_with(workspace: Workspace, stage: str, kind: str, merge: Callable[[Iterable[bytes]], bytes]) -> bytes:
    """Return the merged states that earlier runs left, oldest first; the first attempt of this run decides which."""
    return once(workspace, stage, f"{kind}.state", lambda: merge(_left(workspace, stage, kind)))


def _left(workspace: Workspace, stage: str, kind: str) -> Iterator[bytes]:
    for manifest in find_manifests(workspace, stage):
        of_run = replace(workspace, run=manifest.run, shard=manifest.summary.part)
        with suppress(DeliveryError):  # the run is being pruned; newer ones have the state, too
            for table in Source(of_run, manifest).tables(kind):
                yield from table["state"].to_pylist()


def leave(attempt: Attempt, kind: str, state: bytes) -> None:
    """Write the state at the end of an attempt."""
    attempt.write(kind, pa.table({"state": pa.array([state], pa.binary())}))
