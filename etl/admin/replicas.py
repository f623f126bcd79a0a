"""Number of replicas that a cluster can hold, and topics and keyspaces with fewer. With one, a lost node loses data."""

from collections import Counter
from collections.abc import Iterator, Mapping

from cassandra.cluster import Session

from etl.kafka.client import Client

# More replicas make writes slower, and data no safer.
ENOUGH = 3
# Kafka stores committed offsets here; it creates the topic when the first group commits.
GROUPS_TOPIC = "__consumer_offsets"


def fitting(nodes: int) -> int:
    """Return how many replicas a number of nodes can hold."""
    return max(1, min(ENOUGH, nodes))


def nodes_by_datacenter(session: Session) -> dict[str, int]:
    """Return the number of nodes that a session knows by datacenter, up or down."""
    return dict(Counter(host.datacenter for host in session.cluster.metadata.all_hosts()))


def brokers(client: Client) -> int:
    """Return the number of brokers of a Kafka cluster.

    Raises:
        Unreachable: Kafka does not answer.
    """
    found = client.administer("Kafka", lambda admin: admin.describe_cluster()["brokers"])
    return sum(not broker.get("is_fenced", False) for broker in found)


def topic_replicas(client: Client, topic: str) -> int | None:
    """Return the smallest number of replicas of a topic's partitions, None if the topic is not visible.

    Raises:
        Unreachable: Kafka does not answer.
    """
    (found,) = client.administer(f"topic {topic}", lambda admin: admin.describe_topics([topic]))
    return min((len(partition["replica_nodes"]) for partition in found["partitions"]), default=None)


def thin_topics(found: Mapping[str, int | None], nodes: int) -> Iterator[str]:
    """Return lines about topics with fewer replicas than a cluster of this size could hold."""
    for topic, replicas in found.items():
        if replicas is not None and replicas < fitting(nodes):
            yield f"topic {topic} has {replicas} replica(s) on {nodes} brokers, which can hold {fitting(nodes)}"


def thin_keyspace(keyspace: str, replication: Mapping[str, str], nodes: Mapping[str, int]) -> Iterator[str]:
    """Return lines about datacenters in which a keyspace has fewer replicas than their nodes can hold.

    Datacenters without replication are left out on purpose. If the keyspace has more replicas than there are nodes,
    its rows cannot be read or written with a quorum if too many nodes are unavailable.
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
