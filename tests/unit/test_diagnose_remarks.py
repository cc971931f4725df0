"""Unit tests of `fairway.diagnose.remarks`: why an endpoint is not asked, and whose an unserved address is."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from fairway.diagnose.cluster import Cluster, Networks, from_documents
from fairway.diagnose.explain import verdict_lines
from fairway.diagnose.journey import Journey, travel
from fairway.diagnose.places import find_start, find_target
from fairway.diagnose.remarks import remarks
from fairway.model.packet import ICMP
from fairway.objects.codec import Document, read_yaml

NODES = """
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: east}}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 172.30.0.1}]}
---
kind: Node
metadata: {name: n2}
spec: {podCIDR: 10.244.2.0/24}
status: {addresses: [{type: InternalIP, address: 172.30.0.2}]}
"""
READY: dict[str, Any] = {"ready": True}
LEAVING = {"ready": False, "serving": True, "terminating": True}
GONE = {"ready": False, "serving": False, "terminating": True}
UNREADY = {"ready": False, "serving": True}


def web(annotations: dict[str, str] | None = None, labels: dict[str, str] | None = None, **spec: Any) -> Document:
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    return {
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations, "labels": labels},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.7", "ports": ports, **spec},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7", "ipMode": "Proxy"}, {"ip": "203.0.113.8"}]}},
    }


def at(node: int, number: int, conditions: Document = READY, **hints: Any) -> Document:
    hinted = {"hints": hints} if hints else {}
    return {"addresses": [f"10.244.{node}.{number}"], "nodeName": f"n{node}", "conditions": conditions, **hinted}


def slice_(*endpoints: Document, port: str = "http", labels: dict[str, str] | None = None) -> Document:
    named = {"kubernetes.io/service-name": "web", **(labels or {})}
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": "web-a", "namespace": "shop", "labels": named},
        "addressType": "IPv4",
        "ports": [{"name": port, "port": 8080}],
        "endpoints": list(endpoints),
    }


def cluster(*documents: Document) -> Cluster:
    return from_documents([*read_yaml(NODES), *documents], Networks(services=("10.96.0.0/16",)))


def journey(told: Cluster, to: str, start: str = "10.244.1.99") -> Journey:
    target = find_target(told, to, None)
    return travel(told, find_start(told, start, target, None), target, "nftables")


def said(told: Cluster, to: str = "shop/web", start: str = "10.244.1.99") -> list[str]:
    return list(remarks(journey(told, to, start).hops[-1], told))


def named(name: str) -> list[Document]:
    return [{"name": name}]


@pytest.mark.parametrize(
    "endpoints, expected",
    [
        ([at(1, 2), at(2, 2)], []),
        ([at(1, 2), at(2, 2, UNREADY), at(2, 3, GONE)], ["1 not ready; 1 terminating, and serves no more"]),
        ([at(1, 2), at(2, 2, LEAVING)], ["1 terminating, while others are ready"]),
        (
            [at(1, 2, forZones=named("east")), at(2, 2, forZones=named("west")), at(2, 3, forZones=named("west"))],
            ["2 hinted for other zones than east"],
        ),
        ([at(1, 2, forNodes=named("n1")), at(2, 2, forNodes=named("n2"))], ["1 hinted for other nodes than n1"]),
        ([at(1, 2, forZones=named("east")), at(2, 2)], []),
    ],
)
def test_endpoints_that_are_not_asked_are_counted_by_reason(endpoints: list[Document], expected: list[str]) -> None:
    assert said(cluster(web(), slice_(*endpoints))) == [f"not asked: {one}" for one in expected]


def test_the_last_resort_is_called_so() -> None:
    assert said(cluster(web(), slice_(at(1, 2, LEAVING), at(2, 2, GONE)))) == [
        "nobody is ready: who still serves while it terminates is asked",
        "not asked: 1 terminating, and serves no more",
    ]
    local = cluster(web(internalTrafficPolicy="Local"), slice_(at(1, 2, LEAVING), at(2, 2)))
    assert said(local) == [
        "nobody on this node is ready: who still serves while it terminates is asked",
        "not asked: 1 on other nodes",
    ]


def test_who_weighs_nothing_is_not_asked() -> None:
    told = cluster(web({"fairway.dev/weights": "node/n2=0"}), slice_(at(1, 2), at(2, 2)))
    assert said(told) == ["not asked: 1 of weight 0, while others weigh more"]


def test_who_is_elsewhere_is_not_asked_by_a_local_policy() -> None:
    local = web(internalTrafficPolicy="Local", externalTrafficPolicy="Local")
    assert said(cluster(local, slice_(at(2, 2), at(2, 3)))) == ["not asked: 2 on other nodes"]
    from_outside = said(cluster(local, slice_(at(1, 2), at(2, 2))), "172.30.0.1:30080", "192.0.2.1")
    assert from_outside == ["not asked: 1 on other nodes"]


def test_a_client_that_source_ranges_keep_out_is_told_nothing_of_endpoints() -> None:
    guarded = web(loadBalancerSourceRanges=["198.51.100.0/24"])
    assert said(cluster(guarded, slice_(at(1, 2), at(2, 2, UNREADY))), "203.0.113.8:80") == []


def test_a_client_whose_address_picks_is_told_of_how_many() -> None:
    told = cluster(web({"fairway.dev/balancing": "hash"}), slice_(at(1, 2), at(2, 2)))
    picked = "delivered to the one of 2 backends that the client's address picks: internalTrafficPolicy=Cluster"
    assert picked in list(verdict_lines(journey(told, "shop/web"), told))


@pytest.mark.parametrize(
    "slices, words",
    [
        ([], "there is no EndpointSlice of shop/web for IPv4"),
        ([slice_()], "its EndpointSlices have no endpoints: no pod fits the selector, or nobody has written any"),
        ([slice_(at(1, 2), port="https")], "none of its EndpointSlices has a port 'http' (TCP)"),
        ([slice_(at(1, 2, UNREADY))], "not asked: 1 not ready"),
    ],
)
def test_why_nobody_is_there(slices: list[Document], words: str) -> None:
    assert said(cluster(web(), *slices)) == [words]


def test_slices_that_are_only_for_headless_services_are_named() -> None:
    label = "service.kubernetes.io/headless"
    assert said(cluster(web(), slice_(at(1, 2), labels={label: ""}))) == [
        f"not asked: the endpoints of EndpointSlice shop/web-a, which has the label {label}"
    ]


@pytest.mark.parametrize(
    "to, words",
    [
        (
            "203.0.113.7:80",
            "a load balancer of Service shop/web with ipMode Proxy: the balancer itself is to see these",
        ),
        ("203.0.113.8:81", "an address of Service shop/web, which has no such port"),
    ],
)
def test_an_address_that_is_not_served_has_an_owner_all_the_same(to: str, words: str) -> None:
    (found,) = said(cluster(web(), slice_(at(1, 2))), to)
    assert found.startswith(f"{to.partition(':')[0]} is {words}")


def test_another_proxys_service_is_told_by_its_label() -> None:
    label = "service.kubernetes.io/service-proxy-name"
    told = cluster(web(labels={label: "other"}), slice_(at(1, 2)))
    assert said(told, "10.96.0.7:80") == [
        f"10.96.0.7 is an address of Service shop/web, which its label {label} leaves to another proxy"
    ]


def test_external_ips_behind_a_closed_gate_are_told() -> None:
    told = cluster(web(externalIPs=["198.51.100.9"]), slice_(at(1, 2)))
    told.told["n1"] = replace(told.settings("n1"), external_ips=False)
    (found,) = said(told, "198.51.100.9:80")
    assert found.endswith("an external IP of Service shop/web, and the feature gate AllowServiceExternalIPs is closed")


@pytest.mark.parametrize(
    "to, spec, words",
    [
        ("203.0.113.8", {"loadBalancerSourceRanges": ["10.0.0.0/8"]}, "no pings are answered for a Service with load"),
        ("198.51.100.9", {"externalIPs": ["198.51.100.9"]}, "pings of external IPs are for whoever has the address"),
    ],
)
def test_why_an_address_answers_no_ping_is_told(to: str, spec: dict[str, Any], words: str) -> None:
    told = cluster(web(**spec), slice_(at(1, 2)))
    without = "this node answers no pings (--answer-ping)"
    assert _of_ping(told, to).startswith(f"{to} is an address of Service shop/web: {without}")
    told.told["n1"] = replace(told.settings("n1"), answers_ping=("172.30.0.1",))
    assert _of_ping(told, to).startswith(f"{to} is an address of Service shop/web: {words}")


def _of_ping(told: Cluster, to: str) -> str:
    target = find_target(told, to, ICMP)
    (found,) = remarks(travel(told, find_start(told, "10.244.1.99", target, None), target).hops[-1], told)
    return found


def test_an_address_that_takes_no_node_ports_is_told() -> None:
    told = cluster(web(), slice_(at(1, 2)))
    told.told["n1"] = replace(told.settings("n1"), addresses=("172.30.0.1", "10.244.1.1"))
    assert said(told, "10.244.1.1:30080") == [
        "30080 is a node port of shop/web:http; on n1 node ports are at: 172.30.0.1"
    ]


def test_nobodys_address_has_no_remark() -> None:
    assert said(cluster(web(), slice_(at(1, 2))), "10.96.200.1:80") == []
    assert said(cluster(web(), slice_(at(1, 2))), "shop/web:81") == []
