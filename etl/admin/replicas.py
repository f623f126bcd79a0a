"""How many replicas a cluster can hold, and which keyspaces and topics have fewer. With one, a lost node loses data."""

from collections import Counter
from collections.abc import Iterator, Mapping

from cassandra.cluster import Session

from etl.kafka.client import Client

# More make writing slower and keep nothing safer.
ENOUGH = 3
# Where Kafka keeps how far groups have read; it makes it when the first group commits.
GROUPS_TOPIC = "__consumer_offsets"


def fitting(nodes: int) -> int:
    """Return how many replicas so many nodes can hold."""
    return max(1, min(ENOUGH, nodes))


def nodes_by_datacenter(session: Session) -> dict[str, int]:
    """Count the nodes of Cassandra that a session knows of, up or down."""
    return dict(Counter(host.datacenter for host in session.cluster.metadata.all_hosts()))


def brokers(client: Client) -> int:
    """Count the brokers that a cluster of Kafka has.

    Raises:
        Unreachable: Kafka does not answer.
    """
    found = client.administer("Kafka", lambda admin: admin.describe_cluster()["brokers"])
    return sum(not broker.get("is_fenced", False) for broker in found)


def topic_replicas(client: Client, topic: str) -> int | None:
    """Return how many replicas each partition of a topic has at least, None where the topic is not to be seen.

    Raises:
        Unreachable: Kafka does not answer.
    """
    (found,) = client.administer(f"topic {topic}", lambda admin: admin.describe_topics([topic]))
    return min((len(partition["replica_nodes"]) for partition in found["partitions"]), default=None)


def thin_topics(found: Mapping[str, int | None], nodes: int) -> Iterator[str]:
    """Say of which topics, by their replicas, a cluster of so many brokers could hold more."""
    for topic, replicas in found.items():
        if replicas is not None and replicas < fitting(nodes):
            yield f"topic {topic} has {replicas} replica(s) on {nodes} brokers, which can hold {fitting(nodes)}"


def thin_keyspace(keyspace: str, replication: Mapping[str, str], nodes: Mapping[str, int]) -> Iterator[str]:
    """Say of which datacenters, by their nodes, a keyspace with this replication has fewer replicas than they can hold.

    Datacenters that it leaves out are left out on purpose; where it wants more replicas than there are nodes, none of
    its rows can be read or written with a quorum once one node too many is away.
    """
    if replication.get("class", "").endswith("SimpleStrategy"):
        replication, nodes = (
            {"all datacenters": replication["replication_factor"]},
            {"all datacenters": sum(nodes.values())},
        )
    for name in sorted(nodes.keys() & replication.keys()):
        # "3/1" is three, one of them transient.
        wanted, there = int(replication[name].split("/")[0]), nodes[name]
        if wanted < (best := fitting(there)):
            yield f"keyspace {keyspace} has {wanted} replica(s) on {there} nodes of {name}, which can hold {best}"
        elif wanted > there:
            yield f"keyspace {keyspace} wants {wanted} replicas of {there} node(s) of {name}"
