"""Unit tests of `fairway.proxy.node`."""

from __future__ import annotations

import pytest

from fairway.objects.cluster import Node, NodeAddress, NodeSpec, NodeStatus
from fairway.objects.meta import ObjectMeta
from fairway.objects.networking import ServiceCIDR, ServiceCIDRSpec
from fairway.proxy.configuration import Configuration, configure
from fairway.proxy.flags import Flags
from fairway.proxy.node import doubts, primary_addresses, settings_of

LOCAL = ("127.0.0.1", "192.168.0.2", "10.244.1.1", "::1", "fe80::1", "2001:db8::2")


def configuration(**flags: object) -> Configuration:
    return configure(Flags(**{"cluster_cidr": "10.244.0.0/16", **flags}), "node-a")  # type: ignore[arg-type]


def node(*addresses: tuple[str, str], pod_cidr: str = "") -> Node:
    return Node(
        metadata=ObjectMeta(name="node-a", labels={"topology.kubernetes.io/zone": "east"}),
        spec=NodeSpec(pod_cidr=pod_cidr),
        status=NodeStatus(addresses=tuple(NodeAddress(type=kind, address=one) for kind, one in addresses)),
    )


HERE = node(("Hostname", "node-a"), ("ExternalIP", "198.51.100.7"), ("InternalIP", "192.168.0.2"))


@pytest.mark.reference("7.4 TestNewNodeManager, TestNodeManagerOnNodeChange")
@pytest.mark.reference("7.4 Test_platformApplyDefaults")
def test_the_node_object_gives_the_zone_and_the_primary_address() -> None:
    found = settings_of(configuration(), HERE, LOCAL)
    assert found.name == "node-a"
    assert found.zone == "east"
    assert found.node_port_addresses == ("192.168.0.2",)
    assert found.pod_networks == ("10.244.0.0/16",)


def declared(*cidrs: str) -> ServiceCIDR:
    return ServiceCIDR(spec=ServiceCIDRSpec(cidrs=cidrs))


def test_service_networks_are_what_the_api_declares_and_the_flag_where_it_declares_none() -> None:
    told = configuration(service_cluster_ip_range="10.1.0.0/16")
    assert settings_of(told, HERE, LOCAL).service_networks == ("10.1.0.0/16",)
    several = [declared("10.96.0.0/16", "fd00::/112"), declared("10.96.0.0/12"), declared("10.200.0.0/24")]
    assert settings_of(told, HERE, LOCAL, several).service_networks == ("10.96.0.0/12", "10.200.0.0/24", "fd00::/112")


def test_link_local_addresses_do_not_count() -> None:
    assert "fe80::1" not in settings_of(configuration(), HERE, LOCAL).addresses


def test_the_order_of_interfaces_does_not_matter() -> None:
    assert settings_of(configuration(), HERE, LOCAL) == settings_of(configuration(), HERE, LOCAL[::-1])


@pytest.mark.reference("7.4 TestNewNodeManager, TestNodeManagerOnNodeChange")
def test_without_a_node_object_there_is_no_zone_and_no_node_port() -> None:
    found = settings_of(configuration(), None, LOCAL)
    assert found.zone == ""
    assert found.node_port_addresses == ()
    assert [one.partition(":")[0] for one in doubts(configuration(), None)] == [
        "the API has no Node node-a",
        "Node node-a has no address in its status",
    ]


@pytest.mark.reference("7.4 Test_detectNodeIPs")
def test_internal_addresses_come_before_external_ones_and_loopback_never_counts() -> None:
    assert primary_addresses(HERE) == ("192.168.0.2",)
    both = node(("InternalIP", "127.0.0.1"), ("ExternalIP", "198.51.100.7"), ("InternalIP", "2001:db8::2"))
    assert primary_addresses(both) == ("198.51.100.7", "2001:db8::2")


@pytest.mark.reference("7.4 Test_getLocalDetectors")
def test_node_cidr_reads_the_pod_networks_from_the_node() -> None:
    told = configuration(detect_local_mode="NodeCIDR")
    assert settings_of(told, node(pod_cidr="10.244.1.7/24"), LOCAL).pod_networks == ("10.244.1.0/24",)
    assert settings_of(told, None, LOCAL).pod_networks == ()
    assert any("no spec.podCIDRs" in one for one in doubts(told, HERE))


@pytest.mark.reference("7.4 TestGetNodeIPs, TestContainsIPv4Loopback, MapIPs/CIDRsByIPFamily")
def test_node_port_networks_choose_among_local_addresses() -> None:
    told = configuration(nodeport_addresses="192.168.0.0/16,127.0.0.0/8,2001:db8::/32")
    assert settings_of(told, HERE, LOCAL).node_port_addresses == ("192.168.0.2", "2001:db8::2")


@pytest.mark.reference("7.4 TestGetNodeIPs, TestContainsIPv4Loopback, MapIPs/CIDRsByIPFamily")
def test_zero_networks_of_both_families_mean_every_address() -> None:
    assert settings_of(configuration(nodeport_addresses="0.0.0.0/0,::/0"), None, LOCAL).node_port_addresses is None
    only_four = settings_of(configuration(nodeport_addresses="0.0.0.0/0"), None, LOCAL)
    assert only_four.node_port_addresses == ("10.244.1.1", "192.168.0.2")


def test_pings_are_answered_by_an_address_that_this_machine_has() -> None:
    told = configuration(answer_ping=True)
    assert settings_of(told, HERE, LOCAL).answers_ping == ("192.168.0.2", "2001:db8::2")
    elsewhere = node(("InternalIP", "192.168.0.99"))
    assert settings_of(told, elsewhere, LOCAL).answers_ping == ("10.244.1.1", "2001:db8::2")
    assert settings_of(told, None, ("127.0.0.1", "::1")).answers_ping == ()
    assert settings_of(configuration(), HERE, LOCAL).answers_ping == ()


def test_localhost_takes_node_ports_on_request_whatever_else_does() -> None:
    for addresses in ("primary", "192.168.0.0/24", "0.0.0.0/0,::/0"):
        told = configuration(localhost_nodeports=True, nodeport_addresses=addresses)
        found = settings_of(told, HERE, LOCAL)
        assert found.takes_node_ports("127.0.0.1")
        assert found.takes_node_ports("192.168.0.2")
        assert not found.takes_node_ports("::1")


def test_pods_that_are_told_by_interface_need_no_networks() -> None:
    told = configuration(cluster_cidr="", detect_local_mode="BridgeInterface", pod_bridge_interface="cni0")
    found = settings_of(told, HERE, LOCAL)
    assert (found.pod_interface, found.pod_networks) == ("cni0", ())
    assert found.detects_pods("IPv4")
    assert found.detects_pods("IPv6")
    assert doubts(told, HERE) == []


def test_a_complete_node_leaves_no_doubts() -> None:
    assert doubts(configuration(), HERE) == []
