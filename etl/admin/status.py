"""`etl status`: how far the group is behind, how far the equipment has come, and what the last runs did."""

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow.compute as pc
from cassandra.cluster import Session

from etl.cassandra.connection import connect, read_watermarks
from etl.cassandra.store import Found, Store, as_dicts, select
from etl.model.tables import RUNS
from etl.run.runner import STAGES
from etl.run.workspace import Range, Summary
from etl.settings import CassandraSettings, KafkaSettings

if TYPE_CHECKING:
    from etl.kafka.client import Client


_SUMMARY = [each.name for each in fields(Summary)]


@dataclass(frozen=True)
class Lag:
    """How far the group is in one partition; `lag` is the number of offsets from there to the end."""

    partition: int
    committed: int | None
    end: int
    lag: int


@dataclass(frozen=True)
class Watermarks:
    """The newest loaded timestamps over all equipment; of no equipment, no time."""

    equipment: int
    oldest: datetime | None
    newest: datetime | None


@dataclass(frozen=True)
class LoadedRun:
    """A run in the ledger, its stages in order, and the shards of each."""

    run: str
    stages: list[Summary]


@dataclass(frozen=True)
class Status:
    """All of it."""

    lags: list[Lag]
    watermarks: Watermarks
    runs: list[LoadedRun]


def read_status(cassandra: CassandraSettings, kafka: KafkaSettings, runs: int = 5) -> Status:
    """Read lag, watermarks and the last runs, writing nothing.

    Raises:
        SettingsError: a topic or table is missing, or may not be read.
        Unreachable: Kafka or Cassandra does not answer.
    """
    # The page, which has no client of Kafka, reads the runs.
    from etl.kafka.client import connect as connect_kafka

    with connect_kafka(kafka) as client, connect(cassandra) as session:
        return Status(read_lags(client), read_span(session), read_last_runs(Store(session), runs))


def read_lags(client: "Client") -> list[Lag]:
    """Read how far the group is behind; where it has no offset, or one that is gone, it starts at the log's begin."""
    topic = client.settings.topic
    committed = client.committed(topic)
    return [
        Lag(partition, committed[partition], span.end, span.end - max(committed[partition] or 0, span.begin))
        for partition, span in client.log_spans(topic).items()
    ]


def read_span(session: Session) -> Watermarks:
    """Read the oldest and the newest watermark."""
    stamps = read_watermarks(session)["timestamp"]
    ends = pc.min_max(stamps).as_py()
    return Watermarks(len(stamps), ends["min"], ends["max"])


def read_last_runs(store: Store, count: int, now: datetime | None = None) -> list[LoadedRun]:
    """Read the last runs of this month and the one before, newest first."""
    begun = select(RUNS, ["month", "run", "started"], RUNS.partition)
    whole = select(RUNS, _SUMMARY, [*RUNS.partition, "run"])
    # Names of runs need not sort by time, so ask when they began before reading the few wanted.
    started: dict[tuple[str, str], datetime] = {}
    for rows in store.ask(begun, ([month] for month in _months(now or datetime.now(UTC)))):
        for month, run, at in rows:
            started[month, run] = min(at, started.get((month, run), at))
    last = sorted(started, key=started.__getitem__, reverse=True)[:count]
    found = store.ask(whole, last)
    return [LoadedRun(run, _summaries(rows)) for (_, run), rows in zip(last, found, strict=True)]


def _months(now: datetime) -> list[str]:
    """Name this month and the one before, as in column `month`."""
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
