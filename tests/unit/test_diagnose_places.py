"""Unit tests of `fairway.diagnose.places`: names as people type them."""

from __future__ import annotations

import pytest

from fairway.diagnose.cluster import Cluster, Networks, from_documents
from fairway.diagnose.places import Target, UnknownPlace, find_start, find_target
from fairway.objects.codec import read_yaml

OBJECTS = """
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 172.30.0.1}]}
---
kind: Node
metadata: {name: n2}
spec: {podCIDR: 10.244.2.0/24}
status: {addresses: [{type: InternalIP, address: 172.30.0.2}]}
---
kind: Pod
metadata: {name: cart-7c9-x2k, namespace: shop}
spec: {nodeName: n1}
status: {phase: Running, podIP: 10.244.1.5}
---
kind: Pod
metadata: {name: waiting, namespace: shop}
status: {phase: Pending}
---
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: 10.96.0.7, ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]}
---
kind: Service
metadata: {name: cart, namespace: test}
spec: {clusterIP: 10.96.0.8, ports: [{port: 80}]}
---
kind: Service
metadata: {name: database, namespace: shop}
spec: {clusterIP: None, ports: [{port: 5432}]}
---
kind: Service
metadata: {name: catalogue, namespace: shop}
spec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}
"""
HTTP = Target("service shop/cart", "10.96.0.7", 80, "TCP")


@pytest.fixture
def cluster() -> Cluster:
    return from_documents(read_yaml(OBJECTS), Networks(services=("10.96.0.0/16",)))


@pytest.mark.parametrize(
    "text, address, port, protocol",
    [
        ("shop/cart", "10.96.0.7", 80, "TCP"),
        ("shop/cart:http", "10.96.0.7", 80, "TCP"),
        ("shop/cart:dns", "10.96.0.7", 53, "UDP"),
        ("shop/cart:53", "10.96.0.7", 53, "UDP"),
        ("svc/catalogue", "10.96.0.9", 80, "TCP"),
        ("shop/cart:81", "10.96.0.7", 81, "TCP"),
        ("10.96.0.7:53/udp", "10.96.0.7", 53, "UDP"),
        ("n2:30080", "172.30.0.2", 30080, "TCP"),
        ("[fd00::1]:80", "fd00::1", 80, "TCP"),
    ],
)
def test_a_target_is_found(cluster: Cluster, text: str, address: str, port: int, protocol: str) -> None:
    found = find_target(cluster, text, None)
    assert (found.address, found.port, found.protocol) == (address, port, protocol)


@pytest.mark.parametrize(
    "text, message",
    [
        ("cart", "several Services are called 'cart': shop/cart, test/cart; say which"),
        ("shop/database", "Service shop/database has no cluster IP: it is headless"),
        ("shop/cart:https", "Service shop/cart has no port 'https'; it has: http, dns"),
        ("shop/crat", "no Service, node or address 'shop/crat'; did you mean shop/cart"),
        ("10.96.0.7", "'10.96.0.7' needs a port"),
        ("10.96.0.7:0", "port 0 is not between 1 and 65535"),
    ],
)
def test_a_wrong_target_says_what_would_be_right(cluster: Cluster, text: str, message: str) -> None:
    with pytest.raises(UnknownPlace) as caught:
        find_target(cluster, text, None)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text, address, node, local",
    [
        ("cart-7c9-x2k", "10.244.1.5", "n1", False),
        ("shop/cart", "10.244.1.5", "n1", False),
        ("cart", "10.244.1.5", "n1", False),
        ("10.244.1.5", "10.244.1.5", "n1", False),
        ("n2", "172.30.0.2", "n2", True),
        ("172.30.0.2", "172.30.0.2", "n2", True),
        ("192.0.2.10", "192.0.2.10", "n1", False),
    ],
)
def test_a_start_is_found(cluster: Cluster, text: str, address: str, node: str, local: bool) -> None:
    found = find_start(cluster, text, HTTP, None)
    assert (found.address, found.node, found.local) == (address, node, local)


def test_an_outside_client_comes_in_by_the_node_it_addresses(cluster: Cluster) -> None:
    found = find_start(cluster, "192.0.2.10", Target("n2", "172.30.0.2", 30080, "TCP"), None)
    assert found.node == "n2"


def test_an_outside_client_comes_in_by_the_node_that_was_named(cluster: Cluster) -> None:
    assert find_start(cluster, "192.0.2.10", HTTP, "n2").node == "n2"


@pytest.mark.parametrize(
    "text, via, message",
    [
        ("waiting", None, "pod shop/waiting has no node or no address yet (phase Pending)"),
        ("crat-7c9-x2k", None, "no pod or node 'crat-7c9-x2k'; did you mean cart-7c9-x2k"),
        ("192.0.2.10", "n9", "no node 'n9'; nodes are: n1, n2"),
    ],
)
def test_a_wrong_start_says_what_would_be_right(cluster: Cluster, text: str, via: str | None, message: str) -> None:
    with pytest.raises(UnknownPlace) as caught:
        find_start(cluster, text, HTTP, via)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text, address",
    [("shop/cart/icmp", "10.96.0.7"), ("10.96.0.99/icmp", "10.96.0.99"), ("n2/icmp", "172.30.0.2")],
)
def test_a_ping_needs_no_port(cluster: Cluster, text: str, address: str) -> None:
    found = find_target(cluster, text, None)
    assert (found.address, found.port, found.protocol) == (address, 0, "ICMP")


def test_a_headless_service_has_nothing_to_ping(cluster: Cluster) -> None:
    with pytest.raises(UnknownPlace, match="no cluster IP to ping"):
        find_target(cluster, "shop/database", "icmp")


def test_a_cluster_ip_that_is_written_in_an_old_form_is_the_one_that_is_served() -> None:
    spec = "spec: {clusterIP: 010.96.0.9, ports: [{port: 80}]}"
    old = from_documents(read_yaml(f"kind: Service\nmetadata: {{name: old, namespace: shop}}\n{spec}"), Networks())
    assert find_target(old, "old", None) == Target("service shop/old", "10.96.0.9", 80, "TCP")
    assert find_target(old, "old", "icmp").address == "10.96.0.9"


def test_a_cluster_ip_that_is_none_is_told() -> None:
    spec = "spec: {clusterIP: 10.96.0.999, ports: [{port: 80}]}"
    wrong = from_documents(read_yaml(f"kind: Service\nmetadata: {{name: odd, namespace: shop}}\n{spec}"), Networks())
    with pytest.raises(UnknownPlace, match=r"Service shop/odd has no address: its cluster IP is '10.96.0.999'"):
        find_target(wrong, "odd", None)
