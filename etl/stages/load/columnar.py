"""Write Arrow tables into Cassandra as native-protocol batches that numpy lays out whole.

The driver binds and serialises value by value, in Python. Here a slice of rows becomes the entries of BATCH messages at
once: `layout` scatters each column to the places of its values, `messages` cuts the entries into batches, `sending`
keeps a bounded number of them under way. Connections, routing, framing and timeouts stay the driver's.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Session
from cassandra.query import PreparedStatement

from etl.cassandra.retry import IN_FLIGHT, PATIENCE, retrying
from etl.stages.load.messages import Encoding, bound_batches, encoded_messages, encoding, target_of
from etl.stages.load.sending import Sender

# Rows are encoded in slices of about this much Arrow data, so that memory stays bounded and slices fit into caches.
SLICE_ROWS = 16_384
SLICE_BYTES = 4 * 2**20


class Written(NamedTuple):
    """The counts of a write."""

    rows: int = 0
    batches: int = 0
    retries: int = 0
    bytes: int = 0


def insert(session: Session, table: str, columns: Sequence[str]) -> PreparedStatement:
    """Prepare the INSERT of these columns with a bound write time.

    Args:
        session: a session in the keyspace.
        table: name of the table.
        columns: names of the columns, as in the tables to write.

    Raises:
        SettingsError: the table, a column or a right is missing.
        Unreachable: no node answers.
    """
    names = ", ".join(f'"{column}"' for column in columns)
    marks = ", ".join("?" * len(columns))
    # With its keyspace in the statement, it has the same ID in any keyspace of a connection.
    cql = f'INSERT INTO "{session.keyspace}"."{table}" ({names}) VALUES ({marks}) USING TIMESTAMP ?'  # noqa: S608
    return retrying(lambda: session.prepare(cql))


# Eight parameters, five of them optional limits; its docstring makes it long.
def write(
    session: Session,
    statement: PreparedStatement,
    tables: Iterable[pa.Table],
    *,
    rows_per_batch: int = 400,
    bytes_per_batch: int = 64 * 1024,
    in_flight: int = IN_FLIGHT,
    patience: float = PATIENCE,
    profile: Any = EXEC_PROFILE_DEFAULT,
) -> Written:
    """Write every row of these tables as UNLOGGED batches of one partition each.

    Rows of one partition should follow each other: a batch ends if the partition key changes. A row with its own write
    time may be written any number of times, so a batch is retried after temporary errors.

    Args:
        session: an open session.
        statement: a prepared INSERT, for example of `insert`. Its consistency level, if set, overrides the profile's.
        tables: tables with a column of the same name for each bind marker; the marker of USING TIMESTAMP takes
            `write_time` (int64, microseconds since 1970). The optional boolean column `replaces` determines how missing
            values are written: true = as null, which deletes a stored value; false, null or no such column = unset,
            which creates no tombstone.
        rows_per_batch: most rows in a batch.
        bytes_per_batch: most bytes of entries in a batch; a larger row is sent alone.
        in_flight: most batches in flight, including those that wait for a retry.
        patience: seconds from the first failure of a batch to giving up.
        profile: the driver's execution profile: consistency, request timeout, load balancing.

    Raises:
        SettingsError: the table, a column or a right is missing, or a column has another type.
        Unreachable: a batch was not accepted within `patience`.
        ValueError: the partition key or the write time of a row is null.
    """
    table = target_of(statement)
    sender = Sender(session, table, in_flight, patience, profile)
    schema: pa.Schema | None = None
    batches: Encoding = bound_batches
    with encoded_messages(session):
        for rows in _slices(tables):
            if rows.schema != schema:
                schema, batches = rows.schema, encoding(table, rows, session.cluster.protocol_version)
            for batch in batches(table, rows, rows_per_batch, bytes_per_batch):
                sender.send(batch)
        sender.drain()
    return Written(sender.rows, sender.batches, sender.retries, sender.bytes)


def _slices(tables: Iterable[pa.Table | pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Split tables into record batches that need little memory."""
    for table in tables:
        if not table.num_rows:
            continue
        whole = pa.Table.from_batches([table]) if isinstance(table, pa.RecordBatch) else table
        for index, field in enumerate(whole.schema):
            # pandas, for example, creates other types of text.
            if pa.types.is_large_string(field.type) or pa.types.is_dictionary(field.type):
                whole = whole.set_column(index, field.name, whole.column(index).cast(pa.string()))
        rows = max(1, min(SLICE_ROWS, SLICE_BYTES * whole.num_rows // max(1, whole.nbytes)))
        yield from whole.combine_chunks().to_batches(max_chunksize=rows)
