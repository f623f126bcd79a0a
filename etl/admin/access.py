"""Access rights as data: `access.yaml`, and the ACLs and permissions that follow from it."""

from pathlib import Path
from typing import NamedTuple

import yaml

from etl.settings import KafkaSettings

Access = dict[str, dict[str, dict[str, list[str]]]]

# The operations that Kafka requires for each right: (resource, operation). READ and WRITE include DESCRIBE.
_KAFKA = {
    "write": [("itself", "WRITE")],
    "read": [("itself", "READ")],
    "see-offsets": [("itself", "DESCRIBE")],
    "read-offsets": [("itself", "DESCRIBE"), ("topic", "DESCRIBE"), ("more-topics", "DESCRIBE")],
    "commit-offsets": [("itself", "READ"), ("topic", "READ"), ("more-topics", "READ")],
    "join": [("itself", "READ")],
    "create-topics": [
        ("itself", "CREATE"),
        *(
            (topic, operation)
            for topic in ("topic", "dead-letters", "events")
            for operation in ("DESCRIBE", "DESCRIBE_CONFIGS")
        ),
    ],
}
# The permissions that Cassandra requires: all except the right to grant.
_CASSANDRA = {"read": {"SELECT"}, "modify": {"MODIFY"}, "everything": {"ALTER", "CREATE", "DROP", "MODIFY", "SELECT"}}


class Acl(NamedTuple):
    """An operation that Kafka allows on one resource: a topic, a group or the cluster, by its name."""

    resource: str
    name: str
    operation: str


def read_access() -> Access:
    """Return rights by stage, then by service (`kafka`, `cassandra`), then by resource."""
    access: Access = yaml.safe_load(Path(__file__).with_name("access.yaml").read_text(encoding="utf-8"))
    return access


def kafka_operations(stage: str) -> dict[str, list[str]]:
    """Return exactly the operations that a stage needs, by resource: `topic`, `more-topics` (each of them),
    `dead-letters`, `events`, `group`, `watch-group` (that of Airflow's watcher), `cluster`.
    """
    needed: dict[str, dict[str, None]] = {}
    for on, rights in read_access()[stage].get("kafka", {}).items():
        for right in rights:
            for resource, operation in _KAFKA[right]:
                needed.setdefault(on if resource == "itself" else resource, {})[operation] = None
    return {resource: list(operations) for resource, operations in needed.items()}


def kafka_acls(stage: str, settings: KafkaSettings) -> list[Acl]:
    """Return exactly the ACLs that a stage needs."""
    resources = {
        "topic": ("topic", [settings.topic]),
        "more-topics": ("topic", settings.topics[1:]),
        "dead-letters": ("topic", [settings.dead_letter_topic]),
        "events": ("topic", [settings.events_topic]),
        "group": ("group", [settings.group]),
        "watch-group": ("group", [f"{settings.group}-watch"]),
        "cluster": ("cluster", ["kafka-cluster"]),
    }
    return [
        Acl(resources[resource][0], name, operation)
        for resource, operations in kafka_operations(stage).items()
        for name in resources[resource][1]
        for operation in operations
    ]


def cassandra_permissions(stage: str, keyspace: str) -> dict[str, set[str]]:
    """Return exactly the permissions that a stage needs, by resource as Cassandra stores it: `data/KEYSPACE/TABLE`.

    `schema` has a right on all keyspaces (`data`), because it may have to create its keyspace.
    """
    rights = read_access()[stage].get("cassandra", {})
    if "keyspace" in rights:
        return {"data": {"CREATE"}, f"data/{keyspace}": _CASSANDRA["everything"]}
    return {
        f"data/{keyspace}/{table}": {permission for right in granted for permission in _CASSANDRA[right]}
        for table, granted in rights.items()
    }
