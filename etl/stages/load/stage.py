"""Stage 5: publish dead letters, then write rows, watermarks and ledger, and commit the consumer-group offsets last.

All steps may be repeated from the start at any time: a row has its own write time, a dead letter is identified by its
origin, a watermark cannot move back, and offsets are committed only if they are still those at the begin of the run.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from cassandra.cluster import Session

from etl.cassandra.checks import check_columns
from etl.cassandra.connection import connect
from etl.cassandra.store import Store
from etl.errors import DeliveryError
from etl.kafka.client import Client
from etl.kafka.client import connect as connect_kafka
from etl.kafka.ports import open_producer
from etl.model.tables import RUNS, TOUCHED_DAYS, WATERMARKS, Table, pipeline_tables, sensor_data
from etl.run.dead_letters import publish
from etl.run.runner import Outcome, Work
from etl.run.topics import is_recreated
from etl.run.workspace import Manifest, Range, Summary, find, once, topics_of, versions
from etl.settings import CassandraSettings, KafkaSettings, LoadSettings
from etl.stages.load import columnar
from etl.terminal import progress

log = structlog.get_logger("etl.load")

# This file exists in the workspace once everything except the commit is done.
_COMMITTING = "committing"
_TOUCHED_AT_ONCE = 4_800

# Each reading is in exactly one of these classes; in the order of the balance.
CLASSES = ("loaded", "merged", "duplicate", "late_rejected", "conflicting", "rejected")


@dataclass
class Loading:
    """The state that the steps share; each step adds to `counts`."""

    work: Work
    session: Session
    client: Client
    cassandra: CassandraSettings
    settings: LoadSettings
    counts: dict[str, int]

    @property
    def manifest(self) -> Manifest:
        """The manifest of the input."""
        return self.work.input.manifest


def load(work: Work, settings: LoadSettings, cassandra: CassandraSettings, kafka: KafkaSettings) -> Outcome:
    """Publish the dead letters of a run, then write rows, watermarks and ledger, then commit the offsets.

    Raises:
        DeliveryError: the run does not balance, or the offsets of the group are not those at the begin of the run.
        SettingsError: a table, column, topic or right is missing.
        Unreachable: Kafka or Cassandra does not answer.
    """
    counts = balanced(work.input.manifest)
    with connect_kafka(kafka) as client, connect(cassandra) as session:
        check_columns(session, pipeline_tables(work.measurements))
        client.partitions(kafka.dead_letter_topic)
        loading = Loading(work, session, client, cassandra, settings, counts)
        if offsets_moved(loading):
            log.info("an earlier attempt has loaded everything and committed the offsets", run=work.workspace.run)
        else:
            for step in STEPS:
                step(loading)
    return Outcome(loading.counts, loading.manifest.summary.offsets)


def balanced(manifest: Manifest) -> dict[str, int]:
    """Check that each reading of a run is in exactly one class, by the counts and by the files; return the counts.

    Raises:
        DeliveryError: a reading is in no class or several; the message shows the sum.
    """
    counts = manifest.summary.counts
    consumed = counts["consumed"]
    classes = {name: counts.get(name, 0) for name in CLASSES}
    if consumed != sum(classes.values()):
        terms = " + ".join(f"{count} {name}" for name, count in classes.items())
        raise DeliveryError(f"run {manifest.run} does not balance: {consumed} consumed, but {terms}")
    before = [summary.counts["consumed"] for summary in manifest.history if summary.stage == "consume"]
    letters = sum(classes[name] for name in CLASSES if name not in ("loaded", "merged", "duplicate"))
    for what, expected, found in (
        ("consumed", before[-1] if before else consumed, consumed),
        # A row of parts with several write times has a line for each.
        ("rows", counts.get("writes", classes["loaded"]), manifest.rows("rows")),
        ("dead letters", letters, manifest.rows("dead-letters")),
        ("superseded", counts.get("superseded", 0), manifest.rows("superseded")),
    ):
        if expected != found:
            raise DeliveryError(f"run {manifest.run} does not balance: {expected} {what} counted, {found} found")
    return {
        "consumed": consumed,
        **classes,
        **{name: counts.get(name, 0) for name in ("late", "superseded")},
        **{name: counts[name] for name in ("writes",) if name in counts},
        "dead_letters": 0,
    }


def offsets_moved(loading: Loading) -> bool:
    """Return whether an earlier attempt of this run has already committed.

    Raises:
        DeliveryError: the offsets of the group are neither those at the begin nor those at the end of the run.
    """
    ranges = _same_topics(loading)
    targets = _targets(ranges)
    # Only an attempt that reached its last step can have committed.
    reached = find(loading.work.workspace, "load", _COMMITTING) is not None
    moved = []
    for topic in {part.topic for part in ranges}:
        committed = loading.client.committed(topic)
        for part in ranges:
            if part.topic != topic:
                continue
            now, target = committed.get(part.partition), targets[topic][part.partition]
            if now != part.committed and not (reached and now == target):
                raise DeliveryError(
                    f"another run has interfered: {topic}, partition {part.partition} is committed at {now}, and was at"
                    f" {part.committed} when this run began. Its loaded rows stay valid: start a new run"
                )
            moved.append(reached and now == target)
    return bool(moved) and all(moved)


def _same_topics(loading: Loading) -> list[Range]:
    """Return the ranges of the run without those of topics that were recreated since it began.

    Such a topic lacks the records of the run, and the group has other offsets there.
    """
    ranges = loading.manifest.summary.offsets
    gone = [topic for topic in topics_of(ranges) if is_recreated(loading.work.workspace, loading.client, topic)]
    if gone:
        log.warning("the topic was recreated since the run began: no offset is committed", topics=gone)
    return [part for part in ranges if part.topic not in gone]


def _targets(ranges: Iterable[Range]) -> dict[str, dict[int, int]]:
    """Return the offsets to commit; reading old records again does not move the group back."""
    targets: dict[str, dict[int, int]] = {}
    for part in ranges:
        targets.setdefault(part.topic, {})[part.partition] = max(part.end, part.committed or 0)
    return targets


def publish_dead_letters(loading: Loading) -> None:
    """Publish the rows that will be replaced and the dead letters of consume and transform.

    They come before the rows. Once a row is written, another run finds only this row, and the values that it has beaten
    would be nowhere else.
    """
    kinds = [kind for kind in ("superseded", "dead-letters") if loading.manifest.rows(kind)]
    if kinds:
        kafka = loading.client.settings
        letters = chain.from_iterable(map(loading.work.input.tables, kinds))
        with open_producer(kafka) as producer:
            loading.counts["dead_letters"] += publish(producer, kafka.dead_letter_topic, letters, loading.manifest.run)


def write_rows(loading: Loading) -> None:
    """Write the rows of the readings, in parts small enough to log the progress of a slow node."""
    work, total = loading.work, loading.manifest.rows("rows")
    with progress("load", total) as advance:

        def tables() -> Iterator[pa.Table]:
            for table in work.input.tables("rows"):
                for begin in range(0, table.num_rows, columnar.SLICE_ROWS):
                    part = table.slice(begin, columnar.SLICE_ROWS)
                    yield part
                    advance(part.num_rows)

        written = _write(loading, sensor_data(work.measurements), tables())
    if written.rows != total:
        raise DeliveryError(f"{written.rows} rows written of {total}")
    loading.counts["repeated_batches"] = written.retries


def write_touched(loading: Loading) -> None:
    """Write the touched days of the run with their hours, in addition to those of other attempts and shards."""
    update = (
        f'UPDATE "{TOUCHED_DAYS.name}" SET "hours" = "hours" + ?'  # noqa: S608
        ' WHERE "run" = ? AND "equipment_id" = ? AND "day" = ?'
    )
    run = loading.manifest.run
    parts = (
        [[set(row["hours"]), run, row["equipment_id"], row["day"]] for row in part.to_pylist()]
        for table in loading.work.input.tables("touched")
        for part in table.to_batches(max_chunksize=_TOUCHED_AT_ONCE)
    )
    Store(loading.session, loading.cassandra.timeout).change(update, parts)
    loading.counts["touched_days"] = loading.work.input.manifest.rows("touched")


def write_watermarks(loading: Loading) -> None:
    """Move the watermarks; each is its own write time, so the newest one wins in any order of writes."""

    def tables() -> Iterator[pa.Table]:
        for table in loading.work.input.tables("watermarks"):
            microseconds = pc.multiply(table["timestamp"].cast(pa.int64()), 1000)
            yield table.append_column("write_time", microseconds)

    _write(loading, WATERMARKS, tables())


def write_ledger(loading: Loading) -> None:
    """Write a row of `runs` for each stage of this shard; load itself with its state so far."""
    manifest, output = loading.manifest, loading.work.output
    own = Summary(
        stage=output.stage,
        attempt=output.name,
        started=datetime.fromtimestamp(output.started, UTC).isoformat(timespec="milliseconds"),
        seconds=round(time.time() - output.started, 3),
        counts=loading.counts,
        offsets=manifest.summary.offsets,
        versions=versions(),
        shard=loading.work.workspace.shard.index,
        shards=loading.work.workspace.shard.count,
    )
    summaries = [*manifest.history, manifest.summary, own]
    # All rows of a run have the same month, whenever its last stage ends.
    month = summaries[0].started[:7]
    rows = [
        {
            **vars(summary),
            "month": month,
            "run": manifest.run,
            "started": datetime.fromisoformat(summary.started),
            "offsets": json.dumps(summary.offsets, default=vars),
        }
        for summary in summaries
    ]
    Store(loading.session, loading.cassandra.timeout).write(RUNS, rows)


def commit_offsets(loading: Loading) -> None:
    """Commit the end of the run's ranges, unless another run did so in the meantime, or the topic was recreated."""
    if offsets_moved(loading):
        return
    once(loading.work.workspace, "load", _COMMITTING, lambda: b"{}")
    for topic, offsets in _targets(_same_topics(loading)).items():
        loading.client.commit(topic, offsets)


STEPS: tuple[Callable[[Loading], None], ...] = (
    publish_dead_letters,
    write_rows,
    write_touched,
    write_watermarks,
    write_ledger,
    commit_offsets,
)


def _write(loading: Loading, table: Table, tables: Iterator[pa.Table]) -> columnar.Written:
    return columnar.write(
        loading.session,
        columnar.insert(loading.session, table.name, list(table.columns)),
        tables,
        rows_per_batch=loading.settings.batch_rows,
        in_flight=loading.settings.concurrency,
        patience=loading.cassandra.timeout,
    )
