"""`etl status` on the real services: lag, watermarks and the last runs, as they are stored."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

import pytest

from etl.admin.schema import create_schema
from etl.admin.status import Watermarks, read_status
from etl.cassandra.connection import connect
from etl.cassandra.store import Store
from etl.errors import SettingsError
from etl.kafka import client as kafka
from etl.kafka.ports import open_producer
from etl.model.measurements import read_measurements
from etl.run.ledger import LoadedRun, read_last_runs
from etl.run.workspace import Range, Summary
from etl.settings import CassandraSettings, KafkaSettings, SchemaSettings
from images import local

Parts = tuple[CassandraSettings, KafkaSettings]


@pytest.fixture
def parts(
    request: pytest.FixtureRequest, cassandra: local.Service, topic: str, keyspace: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Parts]:
    for service in (request.getfixturevalue("kafka"), cassandra):
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
    parts = (
        CassandraSettings(keyspace=keyspace),
        KafkaSettings(topic=topic, dead_letter_topic=f"{topic}-dead", group=topic),
    )
    list(create_schema(read_measurements(), SchemaSettings(partitions=2), *parts))
    return parts


def record_run(
    parts: Parts, run: str, stage: str, started: str, offsets: list[Range] | None = None, **shard: int
) -> Summary:
    counts = {"consumed": 3, "loaded": 3}
    summary = Summary(stage, "attempt", started, 1.5, counts, offsets or [], {"pyarrow": "26"}, **shard)
    with connect(parts[0]) as session:
        session.execute(
            "INSERT INTO runs (month, run, stage, attempt, started, seconds, counts, offsets, versions, shard, shards)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                started[:7],
                run,
                stage,
                summary.attempt,
                datetime.fromisoformat(started),
                summary.seconds,
                summary.counts,
                json.dumps([asdict(part) for part in summary.offsets]),
                summary.versions,
                summary.shard,
                summary.shards,
            ),
        )
    return summary


def test_status_is_empty_when_nothing_has_run(parts: Parts) -> None:
    status = read_status(*parts)

    assert [(lag.partition, lag.committed, lag.end, lag.lag) for lag in status.lags] == [
        (0, None, 0, 0),
        (1, None, 0, 0),
    ]
    assert status.watermarks == Watermarks(0, None, None)
    assert status.runs == []


def test_status_tells_the_lag_when_records_were_committed_in_part(parts: Parts) -> None:
    with open_producer(parts[1]) as producer:
        for number in range(20):
            producer.send(parts[1].topic, f"press-{number}".encode(), b"{}", [])
        producer.flush()
    with kafka.connect(parts[1]) as client:
        ends = {partition: span.end for partition, span in client.log_spans(parts[1].topic).items()}
        client.commit(parts[1].topic, {0: ends[0] - 2})

    lags = read_status(*parts).lags

    assert [(lag.committed, lag.end, lag.lag) for lag in lags] == [(ends[0] - 2, ends[0], 2), (None, ends[1], ends[1])]
    assert sum(ends.values()) == 20


def test_status_tells_the_span_of_watermarks_when_there_are_some(parts: Parts) -> None:
    with connect(parts[0]) as session:
        for number, machine in enumerate(["a", "b", "c"]):
            session.execute(
                "INSERT INTO watermarks (equipment_id, timestamp) VALUES (%s, %s)", (machine, number * 1000)
            )

    assert read_status(*parts).watermarks == Watermarks(
        3, datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)
    )


def test_status_lists_the_last_runs_newest_first_when_months_change(parts: Parts) -> None:
    ranges = [Range("readings", 0, None, 0, 3)]
    record_run(parts, "too-old", "consume", "2025-11-30T10:00:00.000+00:00")
    before = record_run(parts, "z", "consume", "2025-12-31T10:00:00.000+00:00")
    load = record_run(parts, "a", "load", "2026-01-02T10:05:00.000+00:00", ranges)
    consume = record_run(parts, "a", "consume", "2026-01-02T10:00:00.000+00:00", ranges)
    middle = record_run(parts, "m", "consume", "2026-01-01T10:00:00.000+00:00")
    now = datetime(2026, 1, 31, tzinfo=UTC)

    with connect(parts[0]) as session:
        runs = read_last_runs(Store(session), 5, now)
        assert read_last_runs(Store(session), 2, now) == runs[:2]

    assert runs == [LoadedRun("a", [consume, load]), LoadedRun("m", [middle]), LoadedRun("z", [before])]


def test_status_lists_each_shard_when_a_run_has_several(parts: Parts) -> None:
    started = "2026-01-02T10:00:00.000+00:00"
    shards = [record_run(parts, "a", "load", started, shard=shard, shards=3) for shard in (2, 0, 1)]
    consume = record_run(parts, "a", "consume", started, shard=1, shards=3)

    with connect(parts[0]) as session:
        (run,) = read_last_runs(Store(session), 5, datetime(2026, 1, 31, tzinfo=UTC))

    assert run.stages == [consume, *sorted(shards, key=lambda summary: summary.shard)]


def test_runs_of_an_older_version_are_listed_when_the_schema_is_upgraded(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(parts[0]) as session:
        session.execute("ALTER TABLE runs DROP unknown")
        session.execute("ALTER TABLE pipeline_health DROP more_lags")
    before = record_run(parts, "old", "consume", "2026-01-02T10:00:00.000+00:00")
    with pytest.raises(SettingsError, match=r"unknown.*run `etl schema`"):
        read_status(*parts)

    added = {finding.text for finding in create_schema(read_measurements(), SchemaSettings(partitions=2), *parts)}

    assert {"table runs: column unknown added", "table pipeline_health: column more_lags added"} <= added
    with connect(parts[0]) as session:
        assert read_last_runs(Store(session), 5, datetime(2026, 1, 31, tzinfo=UTC)) == [LoadedRun("old", [before])]


def test_status_names_what_to_do_when_a_table_is_missing(parts: Parts) -> None:
    with connect(parts[0]) as session:
        session.execute("DROP TABLE runs")

    with pytest.raises(SettingsError, match=r"runs.*run `etl schema`"):
        read_status(*parts)
