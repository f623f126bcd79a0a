"""The watermark of every machine."""

import pyarrow as pa
from cassandra.cluster import Session
from cassandra.query import SimpleStatement

from etl.cassandra.retry import PATIENCE, pages
from etl.model.schemas import TIMESTAMP, WATERMARKS

PAGE_ROWS = 5_000


def read_watermarks(session: Session, patience: float = PATIENCE) -> pa.Table:
    """Read the watermark of every machine (schema `schemas.WATERMARKS`), page by page."""
    query = SimpleStatement(
        'SELECT "equipment_id", toUnixTimestamp("timestamp") FROM "watermarks"', fetch_size=PAGE_ROWS
    )
    batches = []
    for rows in pages(session, query, patience):
        if rows:
            equipment, stamps = zip(*rows, strict=True)
            columns = [pa.array(equipment, pa.string()), pa.array(stamps, pa.int64()).cast(TIMESTAMP)]
            batches.append(pa.record_batch(columns, schema=WATERMARKS))
    table = pa.Table.from_batches(batches, schema=WATERMARKS)
    return table.filter(table["timestamp"].is_valid()) if table["timestamp"].null_count else table
