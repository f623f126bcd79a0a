"""The ledger of runs in Cassandra: the summaries of stages."""

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from etl.cassandra.store import Found, Store, as_dicts, select
from etl.model.tables import RUNS
from etl.run.runner import STAGES
from etl.run.workspace import Range, Summary

_SUMMARY = [each.name for each in fields(Summary)]


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
            }
        )
        for row in as_dicts(_SUMMARY, [rows])
    ]
    return sorted(summaries, key=lambda summary: (STAGES.index(summary.stage), summary.shard))
