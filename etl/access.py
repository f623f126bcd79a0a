"""Who may touch what, as data: `access.yaml`, and the grants and ACLs that follow from it."""

from pathlib import Path
from typing import NamedTuple

import yaml

from etl.settings import KafkaSettings

Access = dict[str, dict[str, dict[str, list[str]]]]

# What Kafka asks for each right: (resource, operation); READ and WRITE include DESCRIBE.
_KAFKA = {
    "write": [("itself", "WRITE")],
    "read": [("itself", "READ")],
    "read-offsets": [("itself", "DESCRIBE"), ("topic", "DESCRIBE")],
    "commit-offsets": [("itself", "READ"), ("topic", "READ")],
    "create-topics": [
        ("itself", "CREATE"),
        *((topic, operation) for topic in ("topic", "dead-letters") for operation in ("DESCRIBE", "DESCRIBE_CONFIGS")),
    ],
}
_CASSANDRA = {"read": "SELECT", "modify": "MODIFY"}


class Acl(NamedTuple):
    """An operation that Kafka allows on one resource: a topic, a group or the cluster, by its name."""

    resource: str
    name: str
    operation: str


def read_access() -> Access:
    """Return rights by stage, then by service (`kafka`, `cassandra`), then by what they are on."""
    access: Access = yaml.safe_load(Path(__file__).with_name("access.yaml").read_text(encoding="utf-8"))
    return access


def kafka_acls(stage: str, settings: KafkaSettings) -> list[Acl]:
    """Return the ACLs that a stage needs, no more."""
    resources = {
        "topic": ("topic", settings.topic),
        "dead-letters": ("topic", settings.dead_letter_topic),
        "group": ("group", settings.group),
        "cluster": ("cluster", "kafka-cluster"),
    }
    needed = [
        Acl(*resources[on if resource == "itself" else resource], operation)
        for on, rights in read_access()[stage].get("kafka", {}).items()
        for right in rights
        for resource, operation in _KAFKA[right]
    ]
    return list(dict.fromkeys(needed))


def cassandra_grants(stage: str, role: str, keyspace: str) -> list[str]:
    """Return the CQL statements that give a role what a stage needs, no more; keyspace and tables must be there.

    `schema` needs the right to create a keyspace: Cassandra gives all rights on it to the role that created it.
    """
    rights = read_access()[stage].get("cassandra", {})
    if "keyspace" in rights:
        return [f'GRANT CREATE ON ALL KEYSPACES TO "{role}"']
    return [
        f'GRANT {_CASSANDRA[right]} ON TABLE "{keyspace}"."{table}" TO "{role}"'
        for table, granted in rights.items()
        for right in granted
    ]
