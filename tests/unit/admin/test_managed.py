"""Services that only speak Cassandra's protocol are known by name, and their limits are compared with the settings."""

import pytest

from etl.admin.managed import by_name, limits, refused_settings
from etl.settings import CassandraSettings, LoadSettings


@pytest.mark.parametrize(
    ("cluster", "hosts", "service"),
    [
        ("Amazon Keyspaces", "proxy.plant", "Amazon Keyspaces"),
        ("", "cassandra.eu-central-1.amazonaws.com", "Amazon Keyspaces"),
        ("", "vpce-0a1b.cassandra.eu-central-1.amazonaws.com.", "Amazon Keyspaces"),
        ("", "10.0.0.1, CASSANDRA-FIPS.us-west-2.api.aws", "Amazon Keyspaces"),
        ("", "cassandra.cn-north-1.amazonaws.com.cn", "Amazon Keyspaces"),
        ("cndb", "0a1b-eu-central-1.db.astra.datastax.com", "Astra"),
        ("sensor-etl", "cassandra.plant", None),
        ("Test Cluster", "ec2-1-2-3-4.eu-central-1.compute.amazonaws.com", None),
        ("keyspaces", "cassandra", None),
    ],
)
def test_service_is_known_when_the_cluster_or_a_host_has_its_name(
    cluster: str, hosts: str, service: str | None
) -> None:
    assert by_name(cluster, hosts) == service


@pytest.mark.parametrize(
    ("service", "consistency", "rows", "said"),
    [
        ("Amazon Keyspaces", "LOCAL_QUORUM", 30, []),
        ("Amazon Keyspaces", "LOCAL_QUORUM", 31, ["ETL_LOAD_BATCH_ROWS"]),
        ("Amazon Keyspaces", "QUORUM", 400, ["QUORUM", "ETL_LOAD_BATCH_ROWS"]),
        ("Astra", "LOCAL_QUORUM", 400, []),
        ("Astra", "LOCAL_ONE", 400, ["LOCAL_ONE"]),
        ("Astra", "EACH_QUORUM", 400, []),
    ],
)
def test_settings_are_named_when_the_service_would_refuse_a_write(
    service: str, consistency: str, rows: int, said: list[str]
) -> None:
    cassandra = CassandraSettings(consistency=consistency)
    refused = refused_settings(service, cassandra, LoadSettings(batch_rows=rows))  # type: ignore[arg-type]
    found = list(map(str, refused))
    assert len(found) == len(said)
    assert all(word in line for word, line in zip(said, found, strict=True))


@pytest.mark.parametrize("service", ["Amazon Keyspaces", "Astra"])
def test_limits_name_the_commands_that_do_not_work_when_the_service_is_managed(service: str) -> None:
    text = " ".join(limits(service))  # type: ignore[arg-type]
    assert all(f"`etl {command}`" in text for command in ("schema", "grant", "superuser"))
