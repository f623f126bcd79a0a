"""What a cluster can hold, and what has less; tests/integration/admin/test_doctor.py asks real ones of one node."""

import pytest

from etl.admin.replicas import fitting, thin_keyspace, thin_topics

NETWORK = {"class": "org.apache.cassandra.locator.NetworkTopologyStrategy"}


@pytest.mark.parametrize(("nodes", "replicas"), [(0, 1), (1, 1), (2, 2), (3, 3), (4, 3), (100, 3)])
def test_cluster_holds_a_replica_on_each_node_and_three_at_most(nodes: int, replicas: int) -> None:
    assert fitting(nodes) == replicas


@pytest.mark.parametrize(("replicas", "nodes"), [(1, 1), (2, 2), (3, 3), (3, 9), (5, 9), (None, 3)])
def test_topic_is_not_named_when_it_has_what_its_brokers_hold(replicas: int | None, nodes: int) -> None:
    assert list(thin_topics({"readings": replicas}, nodes)) == []


@pytest.mark.parametrize(("replicas", "nodes", "better"), [(1, 2, 2), (1, 3, 3), (2, 5, 3)])
def test_topic_is_named_when_its_brokers_could_hold_more(replicas: int, nodes: int, better: int) -> None:
    (line,) = thin_topics({"readings": replicas, "events": 3}, nodes)
    assert line == f"topic readings has {replicas} replica(s) on {nodes} brokers, which can hold {better}"


@pytest.mark.parametrize(
    ("replication", "nodes"),
    [
        (NETWORK | {"north": "1"}, {"north": 1}),
        (NETWORK | {"north": "3"}, {"north": 7}),
        # A datacenter that it leaves out is left out on purpose.
        (NETWORK | {"north": "3"}, {"north": 3, "south": 3}),
        ({"class": "SimpleStrategy", "replication_factor": "2"}, {"north": 2}),
        ({"class": "org.apache.cassandra.locator.LocalStrategy"}, {"north": 3}),
        (NETWORK | {"north": "3/1"}, {"north": 3}),
    ],
)
def test_keyspace_is_not_named_when_it_has_what_its_nodes_hold(
    replication: dict[str, str], nodes: dict[str, int]
) -> None:
    assert list(thin_keyspace("sensors", replication, nodes)) == []


@pytest.mark.parametrize(
    ("replication", "nodes", "says"),
    [
        (NETWORK | {"north": "1"}, {"north": 3}, "has 1 replica(s) on 3 nodes of north, which can hold 3"),
        (NETWORK | {"north": "1"}, {"north": 2}, "has 1 replica(s) on 2 nodes of north, which can hold 2"),
        (NETWORK | {"north": "3", "south": "2"}, {"north": 3, "south": 3}, "has 2 replica(s) on 3 nodes of south"),
        (
            {"class": "org.apache.cassandra.locator.SimpleStrategy", "replication_factor": "1"},
            {"north": 1, "south": 2},
            "has 1 replica(s) on 3 nodes of all datacenters",
        ),
        (NETWORK | {"north": "3"}, {"north": 1}, "wants 3 replicas of 1 node(s) of north"),
    ],
)
def test_keyspace_is_named_when_its_nodes_hold_another_number(
    replication: dict[str, str], nodes: dict[str, int], says: str
) -> None:
    (line,) = thin_keyspace("sensors", replication, nodes)
    assert line.startswith("keyspace sensors ")
    assert says in line
