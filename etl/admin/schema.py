"""`etl schema`: create missing keyspace, tables and topics, with rights that no stage has. Idempotent."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from cassandra import Unauthorized
from cassandra.cluster import Session

from etl.admin.replicas import brokers, fitting, nodes_by_datacenter
from etl.admin.topics import create_topics
from etl.cassandra.checks import refuse_changes
from etl.cassandra.connection import connect
from etl.cassandra.retry import read_schema, retrying, server_message
from etl.cassandra.store import Store, insert
from etl.errors import SettingsError, Unreachable
from etl.kafka.client import connect as connect_kafka
from etl.model.catalogue import Machine, read_catalogue, synthetic_machines
from etl.model.measurements import Measurements
from etl.model.tables import EQUIPMENT, INSIGHT, Table, pipeline_tables
from etl.settings import CassandraSettings, KafkaSettings, SchemaSettings

Map = dict[str, str]


@dataclass(frozen=True)
class Finding:
    """One line for the operator about a created or found object; a warning if it differs from the settings."""

    text: str
    warning: bool = False


def create_schema(
    measurements: Measurements, settings: SchemaSettings, cassandra: CassandraSettings, kafka: KafkaSettings
) -> Iterator[Finding]:
    """Create missing keyspace, tables and topics, and load the catalogue; yield a finding for each.

    Nothing is dropped. Replication, TTL and compaction are fixed at creation: other existing values stay, with a
    warning.

    Raises:
        SettingsError: a setting cannot be used, a column has another type, or a right is missing.
        Unreachable: Kafka or Cassandra does not answer, or Cassandra's nodes do not agree on the schema.
    """
    with connect(cassandra, keyspace=False) as session, connect_kafka(kafka) as client:
        if "kafka_replication" not in settings.model_fields_set:
            settings = settings.model_copy(update={"kafka_replication": fitting(brokers(client))})
        for line in create_topics(client, settings):
            yield Finding(line, warning=not line.endswith(("created", "is there")))
        yield from create_tables(session, [*pipeline_tables(measurements), *INSIGHT], settings, cassandra)


def create_tables(
    session: Session, tables: list[Table], settings: SchemaSettings, cassandra: CassandraSettings
) -> Iterator[Finding]:
    """Create Cassandra's part of the schema for these tables, with a session in no keyspace."""
    synthetic = synthetic_machines(settings.made_up_machines)
    machines = read_catalogue(settings.catalogue_file) if settings.catalogue_file else synthetic
    replication = _map("ETL_SCHEMA_CASSANDRA_REPLICATION", settings.cassandra_replication)
    compaction = _map("ETL_SCHEMA_COMPACTION", settings.compaction)
    nodes = nodes_by_datacenter(session).get(cassandra.local_datacenter, 0)
    default = {"class": "NetworkTopologyStrategy", cassandra.local_datacenter: str(fitting(nodes))}
    yield from _keyspace(session, cassandra.keyspace, replication, default)
    read_schema(lambda: session.cluster.refresh_keyspace_metadata(cassandra.keyspace))
    for table in tables:
        # The other tables are small and must outlive the readings.
        options = (settings.ttl, compaction) if table.name == "sensor_data" else (0, {})
        yield from _table(session, cassandra.keyspace, table, *options)
    if machines:
        yield _equipment(session, cassandra.keyspace, machines)


def _map(variable: str, text: str) -> Map:
    """Parse a map in CQL or JSON."""
    if not text:
        return {}
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict) or "class" not in found:
        raise SettingsError(f"{variable}: expected a map with a class, such as {{'class': '...'}}, not {text}")
    return {str(key): str(value) for key, value in found.items()}


def _cql(options: Map) -> str:
    quoted = [[part.replace("'", "''") for part in option] for option in options.items()]
    return "{" + ", ".join(f"'{key}': '{value}'" for key, value in quoted) + "}"


def _differs(wanted: Map, found: Map) -> bool:
    """Return whether an option differs from the wanted one; classes are compared by their short names."""
    return any(found.get(key, "").rpartition(".")[2] != value.rpartition(".")[2] for key, value in wanted.items())


def _change(session: Session, statement: str) -> None:
    """Execute a change of the schema and wait until all nodes have it."""
    try:
        result = retrying(lambda: session.execute(statement))
    except SettingsError as error:
        if isinstance(error.__cause__, Unauthorized):
            raise
        raise SettingsError(f"Cassandra refuses `{statement}`: {server_message(error.__cause__)}") from error
    if not result.response_future.is_schema_agreed:
        raise Unreachable(
            "the nodes of Cassandra do not agree on the schema: see `nodetool describecluster`, try again"
        )


def _keyspace(session: Session, name: str, wanted: Map, default: Map) -> Iterator[Finding]:
    query = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s"
    found = retrying(lambda: session.execute(query, (name,)).one())
    if not found:
        _change(session, f'CREATE KEYSPACE IF NOT EXISTS "{name}" WITH replication = {_cql(wanted or default)}')
        yield Finding(f"keyspace {name}: created")
        return
    replication = dict(found[0])
    if _differs(wanted, replication):
        yield Finding(f"keyspace {name}: has replication {_cql(replication)}, which stays", warning=True)
    else:
        yield Finding(f"keyspace {name}: is there")


def _table(session: Session, keyspace: str, table: Table, ttl: int, compaction: Map) -> Iterator[Finding]:
    read_schema(lambda: session.cluster.refresh_table_metadata(keyspace, table.name))
    found = session.cluster.metadata.keyspaces[keyspace].tables.get(table.name)
    if not found:
        options = f" AND default_time_to_live = {ttl}" + (f" AND compaction = {_cql(compaction)}" if compaction else "")
        _change(session, f'CREATE TABLE IF NOT EXISTS "{keyspace}"."{table.name}" {table.definition}{options}')
        yield Finding(f"table {table.name}: created")
        return
    refuse_changes(table, found)
    missing = {name: cql_type for name, cql_type in table.columns.items() if name not in found.columns}
    for name, cql_type in missing.items():
        _change(session, f'ALTER TABLE "{keyspace}"."{table.name}" ADD IF NOT EXISTS "{name}" {cql_type}')
        yield Finding(f"table {table.name}: column {name} added")
    if not missing:
        yield Finding(f"table {table.name}: is there")
    yield from _fixed_options(table, found.options, ttl, compaction)


def _fixed_options(table: Table, found: dict[str, Any], ttl: int, compaction: Map) -> Iterator[Finding]:
    if found["default_time_to_live"] != ttl:
        yield Finding(f"table {table.name}: has a TTL of {found['default_time_to_live']} s, which stays", warning=True)
    if _differs(compaction, dict(found["compaction"])):
        yield Finding(
            f"table {table.name}: has compaction {_cql(dict(found['compaction']))}, which stays", warning=True
        )


def _equipment(session: Session, keyspace: str, machines: list[Machine]) -> Finding:
    rows = [[getattr(machine, name) for name in EQUIPMENT.columns] for machine in machines]
    for _ in Store(session).ask(insert(EQUIPMENT, keyspace), rows):
        pass
    return Finding(f"table {EQUIPMENT.name}: {len(rows)} machines written")
