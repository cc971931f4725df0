"""The shape of a lab is a value that contradicts itself nowhere."""

from __future__ import annotations

import msgspec
import pytest

from fairway.lab.errors import LabError
from fairway.lab.topology import LabNode, LabPod, Topology, cluster, ipv6, ipv6_network, prefix


def test_a_cluster_numbers_its_nodes_and_spreads_them_over_zones() -> None:
    made = cluster("lab", 4)
    assert [node.name for node in made.nodes] == ["node-1", "node-2", "node-3", "node-4"]
    assert [node.zone for node in made.nodes] == ["zone-a", "zone-b", "zone-c", "zone-a"]
    assert made.nodes[1] == LabNode("node-2", "172.30.0.2", "10.244.2.0/24", "zone-b")
    assert made.nodes[1].gateway == "10.244.2.1"


def test_pods_get_the_next_address_of_their_node() -> None:
    made = cluster("lab", 2, [("a", "node-1"), ("b", "node-2"), ("c", "node-1")])
    assert [pod.address for pod in made.pods] == ["10.244.1.2", "10.244.2.2", "10.244.1.3"]


def test_an_ipv6_address_goes_with_each_ipv4_address() -> None:
    assert ipv6("10.244.1.3") == "fd00:10:244:1::3"
    assert ipv6("172.30.0.254") == "fd00:172:30::254"
    assert ipv6_network("10.244.1.0/24") == "fd00:10:244:1::/64"
    assert ipv6_network("10.244.0.0/16") == "fd00:10:244::/48"


def test_the_namespaces_of_one_lab_cannot_be_taken_for_those_of_another() -> None:
    one, other = cluster("a"), cluster("a-node-1")
    names = {one.router, one.outside, one.node_namespace("node-1"), one.pod_namespace(LabPod("x", "node-1", "", "y"))}
    assert names == {"fw-a.router", "fw-a.outside", "fw-a.node-1", "fw-a.y.x"}
    assert not any(name.startswith(other.prefix) for name in names)
    assert not other.node_namespace("node-1").startswith(prefix("a"))


def test_a_pod_with_the_longest_name_fits_into_the_limits_of_the_kernel() -> None:
    first, second = (LabPod("p" * 252 + end, "node-1", "10.244.1.2", "n" * 63) for end in "ab")
    topology = cluster("l" * 32)
    assert len(topology.pod_namespace(first)) <= 255
    assert topology.pod_namespace(first) != topology.pod_namespace(second)
    assert len(first.link) <= 15
    assert first.link != second.link


def test_a_topology_survives_being_written_down() -> None:
    made = cluster("lab", 3, [("a", "node-1")])
    assert msgspec.json.decode(msgspec.json.encode(made), type=Topology) == made


@pytest.mark.parametrize("name", ["", "Lab", "a.b", "../x", "-a", "a-", "a" * 33, "a b", "a\n"])
def test_a_name_that_cannot_be_part_of_a_path_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="cannot be the name of a lab"):
        cluster(name)


@pytest.mark.parametrize("nodes", [0, -1, 101])
def test_a_number_of_nodes_that_does_not_fit_is_refused(nodes: int) -> None:
    with pytest.raises(LabError, match="between 1 and 100 nodes"):
        cluster("lab", nodes)


def test_a_node_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(LabError, match="no node 'node-9' in the lab lab; its nodes are node-1, node-2"):
        cluster("lab", 2, [("a", "node-9")])


def test_contradictions_are_refused() -> None:
    base = cluster("lab", 2, [("a", "node-1")])
    with pytest.raises(LabError, match="same pod: default/a"):
        base.with_pods(LabPod("a", "node-2", "10.244.2.9"))
    with pytest.raises(LabError, match=r"same pod address: 10\.244\.1\.2"):
        base.with_pods(LabPod("b", "node-1", "10.244.1.2"))
    with pytest.raises(LabError, match=r"10\.244\.2\.9 is not in 10\.244\.1\.0/24"):
        base.with_pods(LabPod("b", "node-1", "10.244.2.9"))
    with pytest.raises(LabError, match=r"same pod address: 10\.244\.1\.254"):
        base.with_pods(LabPod("b", "node-1", "10.244.1.254"))
    with pytest.raises(LabError, match="'router' cannot be the name of a node"):
        Topology("lab", (LabNode("router", "172.30.0.1", "10.244.1.0/24", "z"),))
    with pytest.raises(LabError, match="not the router's"):
        Topology("lab", (LabNode("n", "172.30.0.254", "10.244.1.0/24", "z"),))
    with pytest.raises(LabError, match="must be part of"):
        Topology("lab", (LabNode("n", "172.30.0.1", "10.9.1.0/24", "z"),))
