"""Compare existing tables with the wanted ones."""

from cassandra.cluster import Session
from cassandra.metadata import TableMetadata

from etl.errors import SettingsError
from etl.model.tables import Table


def check_columns(session: Session, tables: list[Table]) -> None:
    """Check that these tables and their columns exist.

    Raises:
        SettingsError: a table or column is missing or has another type; the message names it and `etl schema`.
    """
    found = session.cluster.metadata.keyspaces[session.keyspace].tables
    for table in tables:
        if table.name not in found:
            raise SettingsError(f"keyspace {session.keyspace} has no table {table.name}: run `etl schema`")
        refuse_changes(table, found[table.name])
        if missing := [name for name in table.columns if name not in found[table.name].columns]:
            raise SettingsError(f"table {table.name} has no column {', '.join(missing)}: run `etl schema`")


def refuse_changes(table: Table, found: TableMetadata) -> None:
    """Check that an existing table has the right primary key, and its columns the right types.

    Raises:
        SettingsError: a column has another type, or the primary key other columns.
    """
    for name, column in found.columns.items():
        if name in table.columns and column.cql_type != table.columns[name]:
            raise SettingsError(
                f"column {name} of table {table.name} is {column.cql_type}, not {table.columns[name]}: a type cannot be"
                " changed, give the measurement another name"
            )
    key = [[column.name for column in columns] for columns in (found.partition_key, found.clustering_key)]
    if key != [table.partition, list(table.clustering)]:
        raise SettingsError(f"table {table.name} has another primary key: use a keyspace of its own")
