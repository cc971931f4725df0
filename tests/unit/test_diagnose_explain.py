"""Unit tests of `fairway.diagnose.explain`: a journey in words, whatever the objects are called."""

from __future__ import annotations

from textwrap import dedent

from fairway.diagnose.cluster import Networks, from_documents
from fairway.diagnose.explain import explain, problems
from fairway.diagnose.journey import travel
from fairway.diagnose.places import find_start, find_target
from fairway.objects.codec import Document, read_yaml

HOSTILE = r"""
kind: Node
metadata: {name: "n1\e[31m"}
spec: {podCIDR: 10.244.1.0/24}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
kind: Service
metadata: {name: "web\e[2J\nrefused at once", namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80, name: "p\r"}], internalTrafficPolicy: "Lo\e[3mcal"}
---
kind: EndpointSlice
metadata: {name: "web-\e[1m1", namespace: shop, labels: {kubernetes.io/service-name: "web\e[2J\nrefused at once"}}
addressType: IPv4
ports: [{port: 8080, name: "p\r"}]
endpoints: [{addresses: [10.244.1.4], nodeName: "n1\e[31m", targetRef: {kind: Pod, namespace: x, name: "y\nz"}}]
"""


def test_names_in_a_file_add_no_line_and_do_nothing_to_the_terminal() -> None:
    cluster = from_documents(read_yaml(HOSTILE), Networks(services=("10.96.0.0/16",)))
    target = find_target(cluster, "10.96.0.1:80", None)
    journey = travel(cluster, find_start(cluster, "198.51.100.1", target, None), target)
    lines = explain(journey, cluster).split("\n")
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith("refused")]
    assert "  10.244.1.4:8080  pod x/y?z on n1?[31m  sees node n1?[31m's address" in lines


def test_of_a_service_it_is_told_what_another_one_took_from_it() -> None:
    def service(name: str, address: str) -> Document:
        ports = [{"port": 80}]
        spec = {"clusterIP": address, "ports": ports, "externalIPs": ["198.51.100.7"]}
        return {"kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}

    node = {"kind": "Node", "metadata": {"name": "n1"}, "spec": {"podCIDR": "10.244.1.0/24"}}
    everybody = [node, *(service(name, f"10.96.0.{number}") for number, name in enumerate("abc", 1))]
    cluster = from_documents(everybody, Networks(services=("10.96.0.0/16",)))
    target = find_target(cluster, "shop/b", None)
    journey = travel(cluster, find_start(cluster, "198.51.100.1", target, "n1"), target)
    assert problems(journey, cluster) == [
        "Service shop/b: spec.externalIPs[0]: 198.51.100.7:80/TCP is shop/a's already"
    ]


def test_of_a_manifest_what_the_api_would_fill_in_is_filled_in() -> None:
    written = """
    kind: Service
    metadata: {name: web}
    spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
    ---
    kind: EndpointSlice
    metadata: {name: web-a, labels: {kubernetes.io/service-name: web}}
    addressType: IPv4
    ports: [{port: 8080}]
    endpoints: [{addresses: [10.244.1.4]}]
    """
    ((key, slices),) = from_documents(read_yaml(dedent(written)), Networks()).slices.items()
    assert str(key) == "default/web"
    assert [one.name for found in slices for one in found.ports or ()] == [""]


def test_a_client_that_keeps_its_backend_is_told_for_how_long() -> None:
    written = """
    kind: Node
    metadata: {name: n1}
    spec: {podCIDR: 10.244.1.0/24}
    ---
    kind: Service
    metadata: {name: web}
    spec: {clusterIP: 10.96.0.1, ports: [{port: 80}], sessionAffinity: ClientIP}
    ---
    kind: EndpointSlice
    metadata: {name: web-a, labels: {kubernetes.io/service-name: web}}
    addressType: IPv4
    ports: [{port: 8080}]
    endpoints: [{addresses: [10.244.1.4]}, {addresses: [10.244.1.5]}]
    """
    cluster = from_documents(read_yaml(dedent(written)), Networks())
    target = find_target(cluster, "web", None)
    journey = travel(cluster, find_start(cluster, "198.51.100.1", target, "n1"), target)
    kept = "delivered to one of 2 backends, drawn at random and kept for 10800 s (sessionAffinity)"
    assert [line for line in explain(journey, cluster).split("\n") if line.startswith(kept)]
