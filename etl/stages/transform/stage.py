"""Stage 4: clean and classify readings, and turn those that Cassandra does not hold yet into rows.

The stage must compare all readings of a key, wherever they are in the run, in bounded memory. So it cleans readings
file by file, spills them into buckets by machine and day, and classifies them bucket by bucket.
"""

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from cassandra.cluster import Session

from etl.cassandra.checks import check_columns
from etl.cassandra.connection import connect
from etl.cassandra.watermarks import read_watermarks
from etl.errors import SettingsError
from etl.model.schemas import CHUNK_ROWS, DAY_MS, HOUR_MS, TIMESTAMP, TOUCHED, WATERMARKS, rows
from etl.model.tables import pipeline_tables
from etl.run.runner import Outcome, Work
from etl.run.workspace import FEW_ROWS, once
from etl.settings import CassandraSettings, TransformSettings
from etl.stages.transform.classify import (
    CONFLICTING,
    DUPLICATE,
    LATE_REJECTED,
    LOADED,
    MERGED,
    NO_WATERMARK,
    classify,
    first_of_keys,
)
from etl.stages.transform.clean import Times, clean, machine_numbers
from etl.stages.transform.letters import letters_of, superseded_letters
from etl.stages.transform.lookup import lookup_cells, lookup_rows, time_of
from etl.stages.transform.merge import merge, replaced
from etl.terminal import progress

_DETAILS = {
    CONFLICTING: ("conflicting", "a later reading of the same equipment ID and timestamp has other values"),
    LATE_REJECTED: ("late", "further behind the watermark of its machine than the allowed lateness"),
}
_ROW_REPLACED = "the stored row, replaced by a later reading with other values"
_VALUES_REPLACED = "values of the stored row, replaced by other values of a later reading"


@dataclass
class _Run:
    """The state that all buckets share."""

    work: Work
    session: Session
    allowed_lateness: int | None
    times: Times
    merges: bool = False
    machines: dict[str, int] = field(default_factory=dict)
    watermarks: dict[str, int] = field(default_factory=dict)
    newest: dict[int, int] = field(default_factory=dict)
    # Bit h is hour h of that machine and day.
    touched: dict[tuple[int, int], int] = field(default_factory=dict)
    # Conflicting and late rejected readings by bucket: file, row and class.
    lost: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int8]]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def transform(work: Work, settings: TransformSettings, cassandra: CassandraSettings) -> Outcome:
    """Clean and classify the readings of a run; write rows, watermarks, touched days and dead letters.

    Raises:
        SettingsError: a table or column is missing, or a measurement is required although readings come in parts.
        Unreachable: Cassandra does not answer.
    """
    merges = settings.partial == "merge"
    if merges:
        _refuse_required(work)
    lateness = None if settings.allowed_lateness is None else int(settings.allowed_lateness.total_seconds() * 1000)
    with connect(cassandra) as session:
        check_columns(session, pipeline_tables(work.measurements))
        run = _Run(work, session, lateness, Times(int(settings.oldest.timestamp() * 1000), _read_at(work)))
        run.merges = merges
        run.watermarks = _snapshot(work, session)
        for letters in work.input.tables("dead-letters"):
            work.output.write("dead-letters", letters)
        total = work.input.manifest.rows("readings")
        cleaned = _cleaned(run)
        buckets = [cleaned] if total <= CHUNK_ROWS else _buckets(cleaned, total)
        with progress("transformed", total) as advance:
            for bucket in buckets:
                advance(_finish_bucket(run, list(bucket)))
    _write_lost(run)
    _write_watermarks(run)
    return Outcome(_counts(run), work.input.manifest.summary.offsets)


def _refuse_required(work: Work) -> None:
    if required := [measurement.name for measurement in work.measurements.declared if measurement.required]:
        raise SettingsError(
            f"ETL_TRANSFORM_PARTIAL=merge: a part need not have {required[0]}, which the measurement file requires:"
            " remove `required` there, or use conflict"
        )


def _read_at(work: Work) -> int:
    """Return the time at which the records were read; the same for each attempt, so a retry classifies alike."""
    consumed = work.input.manifest.summary
    return int((datetime.fromisoformat(consumed.started).timestamp() + consumed.seconds) * 1000)


def _snapshot(work: Work, session: Session) -> dict[str, int]:
    """Read the watermarks only once per run, so that a retry classifies against the same watermarks."""

    def stored() -> bytes:
        sink = pa.BufferOutputStream()
        table = read_watermarks(session)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    table = pa.ipc.open_stream(once(work.workspace, "transform", "watermarks.arrow", stored)).read_all()
    return dict(zip(table["equipment_id"].to_pylist(), table["timestamp"].cast(pa.int64()).to_pylist(), strict=True))


def _cleaned(run: _Run) -> Iterator[pa.Table]:
    """Clean the input file by file; write rejected readings as dead letters."""
    source, output, measurements = run.work.input, run.work.output, run.work.measurements
    for number, name in enumerate(source.manifest.names("readings")):
        readings = source.read(name)
        good, rejected = clean(readings, measurements, run.machines, run.times)
        run.counts["rejected"] += rejected.num_rows
        if rejected.num_rows:
            records = source.read(name.replace("readings", "records"))
            lost = readings.take(rejected["row"])
            output.write("dead-letters", letters_of(run.work, lost, records, rejected["reason"], rejected["detail"]))
        yield good.append_column("file", pa.array(np.full(good.num_rows, number, dtype=np.int32)))


def _buckets(tables: Iterable[pa.Table], total: int) -> Iterator[Iterator[pa.Table]]:
    """Split readings into buckets that fit into memory; all readings of a key are in the same one."""
    with tempfile.TemporaryDirectory(prefix="etl-") as folder:
        yield from _spill(tables, Path(folder), DAY_MS, total)


def _spill(tables: Iterable[pa.Table], folder: Path, span_ms: int, total: int) -> Iterator[Iterator[pa.Table]]:
    """Spill readings into files by machine and time span, and yield one file after the other.

    A file that is still too large is split again by shorter spans.
    """
    paths = [folder / f"{span_ms}-{number}.arrow" for number in range(-(-total * 5 // (CHUNK_ROWS * 4)))]
    sizes = np.zeros(len(paths), dtype=np.int64)
    with ExitStack() as stack:
        writers: dict[int, pa.RecordBatchWriter] = {}
        for table in tables:
            spans = table["timestamp"].to_numpy() // span_ms
            # Any hash of both works; the multiplier is the 32-bit golden ratio.
            bucket = ((table["equipment"].to_numpy() * 2654435761 + spans) % len(paths)).astype(np.uint16)
            order = np.argsort(bucket, kind="stable")
            table = table.take(order).combine_chunks()
            counts = np.bincount(bucket, minlength=len(paths))
            for number in np.flatnonzero(counts).tolist():
                if number not in writers:
                    writers[number] = stack.enter_context(pa.ipc.new_file(str(paths[number]), table.schema))
                start = int(counts[:number].sum())
                writers[number].write_table(table.slice(start, int(counts[number])))
            sizes += counts
    for path, size in zip(paths, sizes, strict=True):
        if size > 2 * CHUNK_ROWS and span_ms > 1:
            inner = folder / path.stem
            inner.mkdir()
            yield from _spill(_unspill(path), inner, max(span_ms // 24, 1), int(size))
        elif size:
            yield _unspill(path)


def _unspill(path: Path) -> Iterator[pa.Table]:
    with pa.ipc.open_file(str(path)) as reader:
        for number in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(number)])
    path.unlink()


def _finish_bucket(run: _Run, parts: list[pa.Table]) -> int:
    """Classify the readings of a bucket, write its rows, and return its number of readings."""
    if not any(part.num_rows for part in parts):
        return 0
    table = _sorted(pa.concat_tables(parts))
    names = list(run.machines)
    equipment, timestamp = table["equipment"].to_numpy(), table["timestamp"].to_numpy()
    codes, machine = np.unique(equipment, return_inverse=True)
    known = [run.watermarks.get(names[code], NO_WATERMARK) for code in codes]
    watermark = np.array(known, dtype=np.int64)[machine]
    readings = _frame(table.append_column("watermark", pa.array(watermark)))
    stored = _look_up(run, equipment, timestamp, watermark)
    code = (_finish_parts if run.merges else _finish_whole)(run, readings, stored)
    lost = (code == CONFLICTING) | (code == LATE_REJECTED)
    if lost.any():
        run.lost.append((readings["file"].to_numpy()[lost], readings["row"].to_numpy()[lost], code[lost]))
    for name, number in (
        ("loaded", LOADED),
        ("merged", MERGED),
        ("duplicate", DUPLICATE),
        ("conflicting", CONFLICTING),
        ("late_rejected", LATE_REJECTED),
    ):
        run.counts[name] += int((code == number).sum())
    return len(readings)


def _finish_whole(run: _Run, readings: pd.DataFrame, stored: pd.DataFrame) -> npt.NDArray[np.int8]:
    """Classify readings, each of which is a whole row, and write the rows; return the classes."""
    values = [*run.work.measurements.names, "quality"]
    classes = classify(readings, stored, values, run.allowed_lateness)
    loaded = classes.code == LOADED
    # Stored rows may come from an unfinished run, which would not report its touched days.
    there = loaded | (classes.code == DUPLICATE)
    _touch(run, readings["equipment"].to_numpy()[there], readings["timestamp"].to_numpy()[there])
    kept = readings if loaded.all() else readings[loaded]
    _write_rows(run, kept, classes.write_time[loaded], classes.replaces[loaded])
    superseded = np.flatnonzero(classes.beaten_by >= 0)
    if len(superseded):
        winners = readings.take(classes.beaten_by[superseded])
        _write_superseded(run, stored.take(superseded), winners, _ROW_REPLACED)
    run.counts["late"] += int(classes.late.sum())
    return classes.code


def _finish_parts(run: _Run, readings: pd.DataFrame, stored: pd.DataFrame) -> npt.NDArray[np.int8]:
    """Classify readings that may be parts of a row, and write the values that the rows lack; return the classes."""
    names = run.work.measurements.names
    merged = merge(readings, stored, names, run.allowed_lateness)
    equipment, timestamp = readings["equipment"].to_numpy(), readings["timestamp"].to_numpy()
    # A conflicting part may have other values that its row holds.
    there = merged.code != LATE_REJECTED
    _touch(run, equipment[there], timestamp[there])
    position = merged.writes["position"].to_numpy()
    lines = merged.writes.assign(equipment=equipment[position], timestamp=timestamp[position])
    _write_rows(run, lines, lines["write_time"].to_numpy(), np.zeros(len(lines), dtype=bool))
    if len(merged.beaten):
        beaten, by = replaced(stored, merged.beaten, names)
        _write_superseded(run, beaten, readings.take(by), _VALUES_REPLACED)
    run.counts["late"] += int(merged.late.sum())
    run.counts["writes"] += len(lines)
    return merged.code


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(use_threads=table.num_rows > FEW_ROWS, ignore_metadata=True)
    return frame


def _sorted(readings: pa.Table) -> pa.Table:
    """Sort by (equipment, timestamp), faster if both fit into one integer."""
    equipment, timestamp = readings["equipment"].to_numpy(), readings["timestamp"].to_numpy()
    first, span = timestamp.min(), int(timestamp.max()) - int(timestamp.min()) + 1
    order: npt.NDArray[np.int64]
    if int(equipment.max() + 1) * span < 2**62:
        order = np.argsort(equipment * span + (timestamp - first), kind="stable")
    else:
        order = np.lexsort((timestamp, equipment))
    return readings.combine_chunks().take(pa.array(order))


def _look_up(
    run: _Run, equipment: npt.NDArray[np.int64], timestamp: npt.NDArray[np.int64], watermark: npt.NDArray[np.int64]
) -> pd.DataFrame:
    """Read the stored rows of sorted keys at or below their watermark."""
    wanted = first_of_keys(equipment, timestamp) & (timestamp <= watermark)
    names = run.work.measurements.names
    times = ["write_time", *(map(time_of, names) if run.merges else ())]
    if not wanted.any():
        return pd.DataFrame(columns=["equipment", "timestamp", *names, "quality", *times])
    table = pa.table(
        {
            "equipment_id": pa.array(list(run.machines), pa.string()).take(pa.array(equipment[wanted])),
            "timestamp": pa.array(timestamp[wanted]).cast(TIMESTAMP),
        }
    )
    found = (lookup_cells if run.merges else lookup_rows)(run.session, run.work.measurements, table)
    return _frame(
        pa.table(
            {
                "equipment": machine_numbers(found["equipment_id"], run.machines),
                "timestamp": found["timestamp"].cast(pa.int64()),
                **{name: found[name] for name in names},
                # Of a row of parts, a missing text is not the same as an empty one.
                "quality": found["quality"] if run.merges else found["quality"].fill_null(""),
                **{name: found[name] for name in times},
            }
        )
    )


def _write_rows(
    run: _Run, loaded: pd.DataFrame, write_time: npt.NDArray[np.int64], replaces: npt.NDArray[np.bool_]
) -> None:
    if loaded.empty:
        return
    equipment, timestamp = loaded["equipment"].to_numpy(), loaded["timestamp"].to_numpy()
    days = timestamp // DAY_MS
    schema = rows(run.work.measurements)
    columns = {
        "equipment_id": pa.array(list(run.machines), pa.string()).take(pa.array(equipment)),
        "day": pa.array(days.astype(np.int32)).cast(pa.date32()),
        "timestamp": pa.array(timestamp).cast(TIMESTAMP),
        "quality": pa.array(loaded["quality"], pa.string()),
        "write_time": pa.array(write_time),
        "replaces": pa.array(replaces),
    }
    columns |= {name: pa.array(loaded[name], schema.field(name).type) for name in run.work.measurements.names}
    table = pa.table([columns[name] for name in schema.names], schema=schema)
    for start in range(0, table.num_rows, CHUNK_ROWS):
        run.work.output.write("rows", table.slice(start, CHUNK_ROWS))

    last = np.flatnonzero(np.r_[equipment[1:] != equipment[:-1], True])
    for code, newest in zip(equipment[last].tolist(), timestamp[last].tolist(), strict=True):
        run.newest[code] = max(newest, run.newest.get(code, newest))


def _touch(run: _Run, equipment: npt.NDArray[np.int64], timestamp: npt.NDArray[np.int64]) -> None:
    """Add the hours of readings (sorted by equipment and timestamp) that the table will hold."""
    if not len(equipment):
        return
    days, hours = timestamp // DAY_MS, timestamp % DAY_MS // HOUR_MS
    first_of_day = np.flatnonzero(np.r_[True, (equipment[1:] != equipment[:-1]) | (days[1:] != days[:-1])])
    bits = np.bitwise_or.reduceat(1 << hours, first_of_day)
    for code, day, own in zip(
        equipment[first_of_day].tolist(), days[first_of_day].tolist(), bits.tolist(), strict=True
    ):
        run.touched[code, day] = run.touched.get((code, day), 0) | own


def _write_superseded(run: _Run, stored: pd.DataFrame, winners: pd.DataFrame, detail: str) -> None:
    letters = superseded_letters(run.work, list(run.machines), stored, winners, detail)
    run.work.output.write("superseded", letters)
    run.counts["superseded"] += letters.num_rows


def _write_lost(run: _Run) -> None:
    """Write the dead letters of conflicting and late rejected readings, one input file at a time."""
    if not run.lost:
        return
    file, row, code = (np.concatenate(parts) for parts in zip(*run.lost, strict=True))
    order = np.lexsort((row, file))
    source = run.work.input
    names = source.manifest.names("readings")
    for at in np.split(order, np.flatnonzero(np.diff(file[order])) + 1):
        name = names[file[at[0]]]
        readings = source.read(name).take(pa.array(row[at]))
        records = source.read(name.replace("readings", "records"))
        reasons, details = (pa.array(texts) for texts in zip(*(_DETAILS[each] for each in code[at]), strict=True))
        run.work.output.write("dead-letters", letters_of(run.work, readings, records, reasons, details))


def _write_watermarks(run: _Run) -> None:
    """Write the watermarks after the load, and its touched days."""
    names = list(run.machines)
    moved = {
        names[code]: newest
        for code, newest in sorted(run.newest.items())
        if newest > run.watermarks.get(names[code], NO_WATERMARK)
    }
    columns = [pa.array(list(moved), pa.string()), pa.array(list(moved.values()), pa.int64()).cast(TIMESTAMP)]
    if moved:
        run.work.output.write("watermarks", pa.table(columns, schema=WATERMARKS))
    touched = sorted(run.touched)
    columns = [
        pa.array([names[code] for code, _ in touched], pa.string()),
        pa.array([day for _, day in touched], pa.int32()).cast(pa.date32()),
        pa.array([[hour for hour in range(24) if run.touched[pair] >> hour & 1] for pair in touched], TOUCHED.types[2]),
    ]
    if touched:
        run.work.output.write("touched", pa.table(columns, schema=TOUCHED))


def _counts(run: _Run) -> dict[str, int]:
    before = run.work.input.manifest.summary.counts
    names = ["loaded", "merged", "duplicate", "late_rejected", "conflicting", "rejected", "late", "superseded"]
    if run.merges:
        names.append("writes")
    counts = {name: run.counts[name] for name in names}
    counts["rejected"] += before.get("rejected", 0)
    return {"consumed": before["consumed"], **counts}
