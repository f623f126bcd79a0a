"""Read and write rows by partition: each statement is prepared once, and partitions are read concurrently."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from cassandra.cluster import Session
from cassandra.query import BatchStatement, BatchType, PreparedStatement
from cassandra.util import Date

from etl.cassandra.cql import identifier
from etl.cassandra.retry import PATIENCE, gather, pages, retrying
from etl.cassandra.watermarks import PAGE_ROWS
from etl.model.tables import Table

Row = dict[str, Any]
Found = list[tuple[Any, ...]]

BATCH_ROWS = 24


@dataclass(frozen=True)
class Store:
    """A session in the keyspace, with the statements prepared in it so far; `patience` is seconds of retries.

    One object serves all threads. Its methods raise SettingsError if a table, a column or a right is missing, and
    Unreachable if Cassandra still fails after all retries.
    """

    session: Session
    patience: float = PATIENCE
    statements: dict[str, PreparedStatement] = field(default_factory=dict)

    def prepared(self, query: str) -> PreparedStatement:
        """Prepare a statement once."""
        if query not in self.statements:
            self.statements[query] = retrying(lambda: self.session.prepare(query), self.patience)
        return self.statements[query]

    def ask(self, query: str, keys: Iterable[Sequence[Any]]) -> Iterator[Found]:
        """Yield the rows of a statement for each key, in order."""
        statement = self.prepared(query)
        return gather(self.session, (statement.bind(key) for key in keys), patience=self.patience)

    def page_by_page(self, query: str, key: Sequence[Any] = ()) -> Iterator[Found]:
        """Yield the rows of one statement page by page."""
        statement = self.prepared(query).bind(key)
        statement.fetch_size = PAGE_ROWS
        return pages(self.session, statement, self.patience)

    def write(self, table: Table, rows: Iterable[Row]) -> None:
        """Write rows, each with all columns of the table; consecutive rows of a partition go into one batch."""
        parts = groupby(rows, lambda row: [row[name] for name in table.partition])
        self.change(insert(table), ([[row[name] for name in table.columns] for row in part] for _, part in parts))

    def change(self, query: str, parts: Iterable[Sequence[Sequence[Any]]]) -> None:
        """Execute an idempotent statement for each key, in batches of one partition (a part)."""
        statement = self.prepared(query)

        def batches() -> Iterator[BatchStatement]:
            for part in parts:
                for begin in range(0, len(part), BATCH_ROWS):
                    batch = BatchStatement(BatchType.UNLOGGED)
                    for key in part[begin : begin + BATCH_ROWS]:
                        batch.add(statement, key)
                    yield batch

        for _ in gather(self.session, batches(), patience=self.patience):
            pass

    def remove(self, table: Table, rows: Iterable[Row]) -> None:
        """Delete rows by primary key."""
        key = [*table.partition, *table.clustering]
        query = f'DELETE FROM "{table.name}" WHERE {_each_given(key)}'  # noqa: S608 - names from code
        for _ in self.ask(query, ([row[name] for name in key] for row in rows)):
            pass


def select(table: Table, columns: Iterable[str] = (), given: Iterable[str] = ()) -> str:
    """Return a SELECT of these columns (none: all) with conditions on other columns."""
    chosen = ", ".join(map(identifier, columns or table.columns))
    where = f" WHERE {_each_given(given)}" if given else ""
    return f'SELECT {chosen} FROM "{table.name}"{where}'  # noqa: S608 - names from code


def insert(table: Table, keyspace: str | None = None) -> str:
    """Return an INSERT of all columns, into the session's keyspace or another."""
    name = f'"{keyspace}"."{table.name}"' if keyspace else f'"{table.name}"'
    names, marks = ", ".join(map(identifier, table.columns)), ", ".join("?" * len(table.columns))
    return f"INSERT INTO {name} ({names}) VALUES ({marks})"  # noqa: S608 - names from code


def _each_given(names: Iterable[str]) -> str:
    return " AND ".join(f"{identifier(name)} = ?" for name in names)


def as_dicts(columns: Sequence[str], parts: Iterable[Found]) -> list[Row]:
    """Return rows as dictionaries by column, with Python's own types: aware times, days, dictionaries."""
    return [dict(zip(columns, map(_plain, row), strict=True)) for rows in parts for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, Date):
        return value.date()
    return dict(value) if isinstance(value, Mapping) else value
