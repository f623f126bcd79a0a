"""The ledger of runs in Cassandra: the summaries of stages."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import zip_longest

from etl.cassandra.store import Found, Store, as_dicts, select
from etl.model.tables import RUNS
from etl.run.runner import STAGES
from etl.run.workspace import Range, Summary

_SUMMARY = [each.name for each in fields(Summary)]
# Fields without a mapping that are named of a run: a gateway may send any number.
_MOST_SHOWN = 8


@dataclass(frozen=True)
class LoadedRun:
    """A run in the ledger: its stages in order, and the shards of each."""

    run: str
    stages: list[Summary]


def read_last_runs(store: Store, count: int, now: datetime | None = None) -> list[LoadedRun]:
    """Return the last runs of this month and the previous one, newest first."""
    begun = select(RUNS, ["month", "run", "started"], RUNS.partition)
    whole = select(RUNS, _SUMMARY, [*RUNS.partition, "run"])
    # Names of runs may not sort by time, so read their start times before the rows of the wanted ones.
    started: dict[tuple[str, str], datetime] = {}
    for rows in store.ask(begun, ([month] for month in _months(now or datetime.now(UTC)))):
        for month, run, at in rows:
            started[month, run] = min(at, started.get((month, run), at))
    last = sorted(started, key=started.__getitem__, reverse=True)[:count]
    found = store.ask(whole, last)
    return [LoadedRun(run, _summaries(rows)) for (_, run), rows in zip(last, found, strict=True)]


def unmapped(runs: Sequence[LoadedRun]) -> list[str]:
    """Return for each run, newest first, the fields that no mapping names, with their counts; empty if there are none.

    Fields that the run before did not have are new; those that it alone had are gone. Nothing is before the last one.
    """
    fields = [_unknown(run) for run in runs]
    return [_shown(own, before) for own, before in zip_longest(fields, fields[1:])]


def _shown(fields: Counter[str], before: Counter[str] | None) -> str:
    parts = [f"{name} {count:,}" for name, count in fields.most_common(_MOST_SHOWN)]
    if len(fields) > _MOST_SHOWN:
        parts.append(f"{len(fields) - _MOST_SHOWN} more fields")
    if before is not None:
        for word, names in (("new", fields.keys() - before.keys()), ("gone", before.keys() - fields.keys())):
            parts += [f"{word}: {' '.join(sorted(names)[:_MOST_SHOWN])}"] if names else []
    return ", ".join(parts)


def _unknown(run: LoadedRun) -> Counter[str]:
    total: Counter[str] = Counter()
    for stage in run.stages:
        total.update(stage.unknown)
    return total


def _months(now: datetime) -> list[str]:
    """Return this month and the previous one, as in column `month`."""
    return [f"{day:%Y-%m}" for day in (now, now.replace(day=1) - timedelta(days=1))]


def _summaries(rows: Found) -> list[Summary]:
    summaries = [
        Summary(
            **{
                **row,
                "started": row["started"].isoformat(timespec="milliseconds"),
                "counts": row["counts"] or {},
                "offsets": [Range(**part) for part in json.loads(row["offsets"])],
                "versions": row["versions"] or {},
                "unknown": row["unknown"] or {},
            }
        )
        for row in as_dicts(_SUMMARY, [rows])
    ]
    return sorted(summaries, key=lambda summary: (STAGES.index(summary.stage), summary.shard))
