"""Look up the stored rows of readings, in statements of one partition each."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from cassandra.cluster import Session
from cassandra.query import BoundStatement
from cassandra.util import Date

from etl.cassandra.retry import PATIENCE, gather, retrying
from etl.model.measurements import Measurements
from etl.model.schemas import DAY_MS, TIMESTAMP

# A range of keys is read in one statement if it looks dense, and abandoned at this multiple of the wanted rows.
RANGE_KEYS = 1_000
RANGE_EXCESS = 4
IN_KEYS = 100


def time_of(name: str) -> str:
    """Return the column with the write time of a measurement; no measurement has such a name."""
    return f"{name} write time"


def lookup_cells(
    session: Session, measurements: Measurements, wanted: pa.Table, patience: float = PATIENCE
) -> pa.Table:
    """Look up the stored rows among wanted keys, as `lookup_rows`, with a write time of each cell.

    Returns:
        As `lookup_rows`, with a column `time_of` for each measurement. A write time is -1 if there is no value.
    """
    values = {field.name: (f'"{field.name}"', field.type) for field in measurements.fields}
    values |= {time_of(name): (f'WRITETIME("{name}")', pa.int64()) for name in measurements.names}
    values |= {"quality": ('"quality"', pa.string()), "write_time": ('WRITETIME("quality")', pa.int64())}
    found = _ask(session, values, wanted, patience)
    for name in ("write_time", *map(time_of, measurements.names)):
        at = found.schema.get_field_index(name)
        found = found.set_column(at, name, found[name].fill_null(-1))
    return found


def lookup_rows(session: Session, measurements: Measurements, wanted: pa.Table, patience: float = PATIENCE) -> pa.Table:
    """Look up the stored rows among wanted keys.

    Args:
        session: a session in the keyspace.
        measurements: the columns to read.
        wanted: equipment_id (string) and timestamp (ms, UTC), sorted by both; at most one chunk of readings.
        patience: seconds of retries of a statement.

    Returns:
        equipment_id, timestamp, the measurements, quality, and write_time (int64, microseconds), sorted as wanted.

    Raises:
        Unreachable: Cassandra still fails after all retries.
        SettingsError: a table, column or right is missing.
    """
    values = {field.name: (f'"{field.name}"', field.type) for field in measurements.fields}
    values |= {"quality": ('"quality"', pa.string()), "write_time": ('WRITETIME("quality")', pa.int64())}
    found = _ask(session, values, wanted, patience)
    unknown = pc.is_null(found["write_time"])
    if not pc.any(unknown).as_py():
        return found
    # Only rows of other writers lack the quality cell.
    times = {name: (f'WRITETIME("{name}")', pa.int64()) for name in measurements.names}
    cells = _ask(session, times, found.filter(unknown).select(["equipment_id", "timestamp"]), patience)
    newest = pc.max_element_wise(pa.scalar(0, pa.int64()), *(cells[name] for name in measurements.names))
    keys = cells.select(["equipment_id", "timestamp"]).append_column("newest", newest)
    joined = found.join(keys, ["equipment_id", "timestamp"]).sort_by(
        [("equipment_id", "ascending"), ("timestamp", "ascending")]
    )
    write_time = pc.coalesce(joined["write_time"], joined["newest"], pa.scalar(0, pa.int64()))
    return joined.drop_columns(["newest", "write_time"]).append_column("write_time", write_time)


@dataclass(frozen=True)
class _Piece:
    """Wanted timestamps (ms, ascending) within one partition, for one statement."""

    equipment: str
    day: int
    stamps: list[int]
    as_range: bool


def _ask(session: Session, values: dict[str, tuple[str, pa.DataType]], wanted: pa.Table, patience: float) -> pa.Table:
    """Select values (name: CQL, type) of the wanted keys; return them with equipment_id and timestamp."""
    select = (
        f'SELECT toUnixTimestamp("timestamp"), {", ".join(cql for cql, _ in values.values())} FROM "sensor_data"'  # noqa: S608
        ' WHERE "equipment_id" = ? AND "day" = ? AND "timestamp" '
    )
    schema = pa.schema([("equipment_id", pa.string()), ("timestamp", TIMESTAMP)])
    for name, (_, type_) in values.items():
        schema = schema.append(pa.field(name, type_))
    among = retrying(lambda: session.prepare(f"{select}IN ?"), patience)
    within = retrying(lambda: session.prepare(f'{select}>= ? AND "timestamp" <= ? LIMIT ?'), patience)

    def statement(piece: _Piece) -> BoundStatement:
        key = (piece.equipment, Date(piece.day))
        if piece.as_range:
            return within.bind((*key, piece.stamps[0], piece.stamps[-1], RANGE_EXCESS * len(piece.stamps)))
        return among.bind((*key, piece.stamps))

    def answers(pieces: list[_Piece]) -> Iterator[pa.RecordBatch]:
        found = gather(session, map(statement, pieces), patience=patience)
        for piece, rows in zip(pieces, found, strict=True):
            if piece.as_range and len(rows) >= RANGE_EXCESS * len(piece.stamps):
                yield from answers([replace(part, as_range=False) for part in _cut(piece, IN_KEYS)])
            elif rows:
                yield _batch(piece, rows, schema)

    return pa.Table.from_batches(answers(list(_pieces(wanted))), schema=schema).combine_chunks()


def _pieces(wanted: pa.Table) -> Iterator[_Piece]:
    """Group wanted keys by machine and day, and split each group into pieces for one statement each."""
    if not wanted.num_rows:
        return
    equipment = wanted["equipment_id"].combine_chunks()
    stamps = wanted["timestamp"].cast(pa.int64()).to_numpy()
    days = stamps // DAY_MS
    changes = (days[1:] != days[:-1]) | pc.not_equal(equipment[1:], equipment[:-1]).to_numpy(zero_copy_only=False)
    starts = [0, *(np.flatnonzero(changes) + 1).tolist(), len(stamps)]
    for start, end in pairwise(starts):
        for first in range(start, end, RANGE_KEYS):
            part = np.unique(stamps[first : min(first + RANGE_KEYS, end)])
            piece = _Piece(equipment[start].as_py(), int(days[start]), part.tolist(), _dense(part))
            yield from _cut(piece, RANGE_KEYS if piece.as_range else IN_KEYS)


def _dense(stamps: np.ndarray[Any, np.dtype[np.int64]]) -> bool:
    """Estimate from the spacing of the wanted rows whether a range holds few other rows.

    Keys that are picked at random, or that have a hole between them, have most gaps far below the mean gap.
    """
    gaps = np.diff(stamps)
    return len(stamps) > IN_KEYS // 4 and bool(gaps.mean() <= 2 * np.quantile(gaps, 0.1))


def _cut(piece: _Piece, size: int) -> Iterator[_Piece]:
    for first in range(0, len(piece.stamps), size):
        yield replace(piece, stamps=piece.stamps[first : first + size])


def _batch(piece: _Piece, rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    asked = set(piece.stamps)
    kept = sorted((row for row in rows if row[0] in asked), key=itemgetter(0))
    columns = list(zip(*kept, strict=True)) or [()] * (len(schema) - 1)
    stamps = pa.array(columns[0], pa.int64()).cast(TIMESTAMP)
    values = [pa.array(column, schema.field(2 + i).type) for i, column in enumerate(columns[1:])]
    return pa.record_batch([pa.repeat(piece.equipment, len(kept)), stamps, *values], schema=schema)
