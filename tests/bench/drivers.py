"""What the Python driver does by itself with the same rows: prepared UNLOGGED batches, and single rows."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from threading import Semaphore
from typing import Any

import pyarrow as pa
from cassandra.cluster import Session
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, PreparedStatement
from cassandra.util import Date

from etl.model.measurements import read_measurements
from etl.model.tables import sensor_data
from etl.stages.load import columnar
from tests.bench.figures import Figure, measured, median
from tests.bench.place import Place, fresh_keyspace

BATCH_ROWS = (50, 100, 400)
IN_FLIGHT = 32
SINGLES_IN_FLIGHT = 128

Rows = list[tuple[Any, ...]]


def to_rows(table: pa.Table) -> Rows:
    """Turn rows (`readings.rows`) into what the driver binds, in the order of our own statement."""
    names = [*sensor_data(read_measurements(None)).columns, "write_time"]
    columns = []
    for name in names:
        column = table[name]
        if name == "day":
            columns.append([Date(day) for day in column.cast(pa.int32()).to_pylist()])
        elif name == "timestamp":
            columns.append(column.cast(pa.int64()).to_pylist())
        else:
            columns.append([UNSET_VALUE if value is None else value for value in column.to_pylist()])
    return list(zip(*columns, strict=True))


def prepare(session: Session) -> PreparedStatement:
    """Prepare the statement that load prepares."""
    columns = list(sensor_data(read_measurements(None)).columns)
    return columnar.insert(session, "sensor_data", columns)


def batches(place: Place, rows: Rows) -> list[Figure]:
    """Write in UNLOGGED batches of one partition each, of several sizes."""
    return [_repeat(place, f"driver's batches of {size}", rows, _batch_writer(size)) for size in BATCH_ROWS]


def singles(place: Place, rows: Rows) -> Figure:
    """Write row by row, many at once."""
    return _repeat(place, "driver's execute_concurrent_with_args", rows, _write_singles)


def _repeat(place: Place, name: str, rows: Rows, write: Callable[[Session, Rows], None]) -> Figure:
    def once() -> Figure:
        with fresh_keyspace() as session, measured(name, len(rows), place.only_cassandra) as figure:
            write(session, rows)
        return figure

    return median(once, place.both)


def _batch_writer(size: int) -> Callable[[Session, Rows], None]:
    def write(session: Session, rows: Rows) -> None:
        with BatchWriter(session) as writer:
            for batch in of_one_partition(rows, size):
                writer.send(batch)

    return write


def _write_singles(session: Session, rows: Rows) -> None:
    execute_concurrent_with_args(session, prepare(session), rows, SINGLES_IN_FLIGHT, raise_on_first_error=True)


def of_one_partition(rows: Rows, size: int) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Cut rows, sorted by partition, into batches."""
    for _, group in itertools.groupby(rows, key=lambda row: row[:2]):
        while batch := list(itertools.islice(group, size)):
            yield batch


class BatchWriter:
    """Keeps `IN_FLIGHT` batches under way."""

    def __init__(self, session: Session) -> None:
        """Prepare the statement."""
        self._session, self._statement = session, prepare(session)
        self._free = Semaphore(IN_FLIGHT)
        self._errors: list[Exception] = []

    def send(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Send a batch as soon as one of those before has been answered."""
        batch = BatchStatement(BatchType.UNLOGGED)
        for row in rows:
            batch.add(self._statement, row)
        self._free.acquire()
        self._session.execute_async(batch).add_callbacks(self._done, self._failed)

    def _done(self, _: object) -> None:
        self._free.release()

    def _failed(self, error: Exception) -> None:
        self._errors.append(error)
        self._free.release()

    def __enter__(self) -> "BatchWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for _batch in range(IN_FLIGHT):
            self._free.acquire()
        if self._errors:
            raise self._errors[0]
