"""Services that speak Cassandra's protocol but refuse some statements: their limits that concern this pipeline.

Keyspaces: https://docs.aws.amazon.com/keyspaces/latest/devguide/functional-differences.html
Astra: https://docs.datastax.com/en/astra-db-serverless/databases/database-limits.html
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

from cassandra.cluster import Session

from etl.cassandra.retry import retrying
from etl.errors import SettingsError
from etl.settings import CassandraSettings, LoadSettings

Managed = Literal["Amazon Keyspaces", "Astra"]

KEYSPACES_BATCH_ROWS = 30
_HOSTS: dict[str, Managed] = {
    r"(^|\.)cassandra(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)$": "Amazon Keyspaces",
    r"\.db\.astra(-[a-z]+)?\.datastax\.com$": "Astra",
}
# Facts that no setting changes.
_FACTS: dict[Managed, tuple[str, ...]] = {
    "Amazon Keyspaces": (
        "load writes with USING TIMESTAMP, which needs client-side timestamps on each table and a time within the last"
        " two days: older records, such as a backlog or a replay, are refused",
        "`etl schema`: tables become active later than its statements end, so run it until it reports no change; a TTL"
        " has to be enabled for the table, and compaction is ignored",
        "`etl grant` and `etl superuser` do not work, since rights are IAM policies: log in with service-specific"
        " credentials",
    ),
    "Astra": (
        "`etl schema` cannot create the keyspace: create it in Astra's portal; replication and compaction are ignored",
        "`etl grant` and `etl superuser` do not work: create roles and tokens in Astra's portal",
    ),
}


def managed_service(session: Session, settings: CassandraSettings, patience: float) -> Managed | None:
    """Return the managed service behind a session, None for Cassandra itself.

    The name of the cluster tells Keyspaces, the driver's handshake Astra, whatever the address; else a public address.

    Raises:
        Unreachable: Cassandra does not answer.
    """
    if settings.secure_connect_bundle or session.cluster.metadata.dbaas:
        return "Astra"
    found: Any = retrying(lambda: session.execute("SELECT cluster_name FROM system.local").one(), patience)
    return by_name(str(found[0]) if found else "", settings.contact_points)


def by_name(cluster: str, contact_points: str) -> Managed | None:
    """Return the managed service that has this name of a cluster, or one of these comma-separated hosts."""
    if cluster == "Amazon Keyspaces":
        return "Amazon Keyspaces"
    hosts = [host.strip().lower().rstrip(".") for host in contact_points.split(",")]
    return next((service for name, service in _HOSTS.items() if any(re.search(name, host) for host in hosts)), None)


def refused_settings(service: Managed, cassandra: CassandraSettings, load: LoadSettings) -> Iterator[SettingsError]:
    """Yield an error for each setting with which the service would refuse a write."""
    if service == "Amazon Keyspaces":
        if cassandra.consistency != "LOCAL_QUORUM":
            yield _refused(cassandra.consistency)
        if load.batch_rows > KEYSPACES_BATCH_ROWS:
            yield SettingsError(f"it takes at most {KEYSPACES_BATCH_ROWS} rows in a batch: set ETL_LOAD_BATCH_ROWS")
    elif cassandra.consistency in ("ONE", "LOCAL_ONE"):
        yield _refused(cassandra.consistency)


def _refused(consistency: str) -> SettingsError:
    return SettingsError(f"it takes no write with {consistency}: set ETL_CASSANDRA_CONSISTENCY=LOCAL_QUORUM")


def limits(service: Managed) -> tuple[str, ...]:
    """Return a line for each limit that no setting changes."""
    return _FACTS[service]
