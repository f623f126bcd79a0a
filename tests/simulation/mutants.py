"""Faults of the pipeline, each of which the schedules must find: `python -m tests.simulation.mutants`."""

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from etl.errors import DeliveryError
from etl.kafka import kafka_python
from etl.model.tables import WATERMARKS
from etl.run import workspace
from etl.run.workspace import topics_of
from etl.stages import consume
from etl.stages.load import sending
from etl.stages.load import stage as load
from etl.stages.transform import classify
from etl.stages.transform import stage as transform
from tests.quiet import quiet
from tests.simulation import schedule
from tests.simulation.judging import Violation
from tests.simulation.kafka import Broker, Consumer
from tests.simulation.schedule import simulate

MOST = 10_000
Patch = AbstractContextManager[Any]
# The functions as they are without a mutant.
consume_choose, consume_decode, look_up = consume._choose, consume.decode, transform._look_up
write_file, touch, write_rows = workspace._write, transform._touch, transform._write_rows


def _moved(name: str, before: str | None = None) -> Patch:
    """Move a step of load before another one, or to the end."""
    steps = [step for step in load.STEPS if step.__name__ != name]
    place = len(steps) if before is None else steps.index(getattr(load, before))
    return patch.object(load, "STEPS", (*steps[:place], getattr(load, name), *steps[place:]))


def _step(old: Callable[..., Any], new: Callable[..., Any]) -> Patch:
    return patch.object(load, "STEPS", tuple(new if step is old else step for step in load.STEPS))


def _classes(change: Callable[[Any], Any]) -> Patch:
    kept = transform.classify
    return patch.object(transform, "classify", lambda *given: change(kept(*given)))


def _watermarks_by_the_clock(loading: load.Loading) -> None:
    def tables() -> Any:
        for table in loading.work.input.tables("watermarks"):
            now = int(load.time.time() * 1_000_000)
            yield table.append_column("write_time", pa.repeat(pa.scalar(now, pa.int64()), table.num_rows))

    load._write(loading, WATERMARKS, tables())


def _commit_the_end(loading: load.Loading) -> None:
    load.commit_offsets(loading)
    for topic in topics_of(loading.manifest.summary.offsets):
        loading.client.commit(topic, {p: span.end for p, span in loading.client.log_spans(topic).items()})


def _begin_later(*given: Any) -> list[Any]:
    ranges = consume_choose(*given)
    return [replace(r, begin=min(r.begin + (r.committed is not None), r.end)) for r in ranges]


def _no_dead_letters(*given: Any) -> Any:
    decoded = consume_decode(*given)
    return decoded._replace(dead_letters=decoded.dead_letters.slice(0, 0))


def _stop_at_poison(*given: Any) -> Any:
    decoded = consume_decode(*given)
    if decoded.dead_letters.num_rows:
        raise DeliveryError("a record cannot be decoded")
    return decoded


def _look_up_below(run: Any, equipment: Any, timestamp: Any, watermark: Any) -> Any:
    return look_up(run, equipment, timestamp, watermark - 1)


def _forget(self: Any, pending: Any, _error: Exception) -> None:
    pending.done = True
    self.rows += pending.batch.rows


@contextmanager
def _manifest_first() -> Any:
    held: list[Any] = []

    def write(place: Any, path: str, data: bytes) -> None:
        if path.endswith(".parquet"):
            held.append((place, path, data))
            return
        write_file(place, path, data)
        if path.endswith(workspace.MANIFEST):
            while held:
                write_file(*held.pop(0))

    with patch.object(workspace, "_write", write):
        yield


@contextmanager
def _duplicates_are_not_touched() -> Any:
    kept, codes = transform.classify, []

    def classified(*given: Any) -> Any:
        classes = kept(*given)
        codes.append(classes.code)
        return classes

    def touched(run: Any, equipment: Any, timestamp: Any) -> None:
        if run.merges:
            touch(run, equipment, timestamp)
            return
        # The classes of the readings that the table will hold.
        there = codes[-1][np.isin(codes[-1], (classify.LOADED, classify.DUPLICATE))]
        touch(run, equipment[there == classify.LOADED], timestamp[there == classify.LOADED])

    with patch.object(transform, "classify", classified), patch.object(transform, "_touch", touched):
        yield


def _by_arrival(classes: Any) -> Any:
    classes.write_time[:] = int(load.time.time() * 1_000_000)
    return classes


def _not_lifted(classes: Any) -> Any:
    classes.write_time[:] -= classes.write_time % 1000
    return classes


def _never_null(classes: Any) -> Any:
    classes.replaces[:] = False
    return classes


def _as_wholes(run: Any, *given: Any) -> Any:
    code = transform._finish_whole(run, *given)
    run.counts["writes"] += int((code == classify.LOADED).sum())
    return code


def _with_nulls(run: Any, lines: Any, times: Any, replaces: Any) -> None:
    write_rows(run, lines, times, replaces | run.merges)


MUTANTS: dict[str, Callable[[], Patch]] = {
    "offsets are committed before the rows are written": lambda: _moved("commit_offsets", before="write_rows"),
    "watermarks are written before the rows": lambda: _moved("write_watermarks", before="write_rows"),
    "dead letters are published after the rows": lambda: _moved("publish_dead_letters", before="write_touched"),
    "dead letters are published after the commit": lambda: _moved("publish_dead_letters"),
    "touched days are not written": lambda: patch.object(
        load, "STEPS", tuple(step for step in load.STEPS if step is not load.write_touched)
    ),
    "rows have the time of the write as write time": lambda: _classes(_by_arrival),
    "readings of one millisecond have the same write time": lambda: _classes(_not_lifted),
    "the manifest is written before its files": _manifest_first,
    "offsets are not compared": lambda: patch.object(load, "offsets_moved", lambda _: False),
    "the record time does not count": lambda: patch.object(
        classify, "ORDER", ["partition", "offset", "index", "record_time"]
    ),
    "a reading at the watermark counts as new": lambda: patch.object(transform, "_look_up", _look_up_below),
    "bad records are dropped": lambda: patch.object(consume, "decode", _no_dead_letters),
    "a bad record stops its partition": lambda: patch.object(consume, "decode", _stop_at_poison),
    "aborted transactions are read": lambda: patch.object(Broker, "consumer", lambda self, **_: Consumer(self, False)),
    "a row that replaces another one keeps its values": lambda: _classes(_never_null),
    "a batch that failed is not sent again": lambda: patch.object(sending.Sender, "_send_later", _forget),
    "writes and reads wait for one replica": lambda: patch.object(
        schedule, "CASSANDRA", schedule.CASSANDRA.model_copy(update={"consistency": "ONE"})
    ),
    "a watermark has the time of the write as write time": lambda: _step(
        load.write_watermarks, _watermarks_by_the_clock
    ),
    "nobody waits for confirmations of dead letters": lambda: patch.object(
        kafka_python.PythonProducer, "flush", lambda self: None
    ),
    "the end of the log is committed": lambda: _step(load.commit_offsets, _commit_the_end),
    "partitions of two topics have the same number": lambda: patch.object(
        consume, "_numbered", lambda decoded, _: decoded
    ),
    "reading begins after the committed offset": lambda: patch.object(consume, "_choose", _begin_later),
    "late readings are rejected": lambda: patch.object(
        schedule, "TRANSFORM", schedule.TRANSFORM.model_copy(update={"allowed_lateness": timedelta(0)})
    ),
    "the analysis does not hear of rows that were there already": _duplicates_are_not_touched,
    "a part replaces its row": lambda: patch.object(transform, "_finish_parts", _as_wholes),
    "a part deletes the values that it lacks": lambda: patch.object(transform, "_write_rows", _with_nulls),
}


def found(name: str, most: int = MOST) -> tuple[int, str] | None:
    """Return the first seed whose schedule finds a mutant, and how; None if none of them does."""
    quiet()
    for seed in range(most):
        with MUTANTS[name]():
            try:
                simulate(seed)
            except Violation as violation:
                return seed, str(violation).splitlines()[0]
    return None


def main() -> None:
    """Look for each mutant, and say which schedule found it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--most", type=int, default=MOST, help="schedules for each mutant")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    given = parser.parse_args()
    survivors = 0
    with ProcessPoolExecutor(given.jobs) as pool:
        names = list(MUTANTS)
        for name, at in zip(names, pool.map(found, names, [given.most] * len(names)), strict=True):
            survivors += at is None
            print(f"{name}: " + (f"NOT FOUND in {given.most:,} schedules" if at is None else at[1]), flush=True)
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} mutants found")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
