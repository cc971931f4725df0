"""Unit tests of `fairway.lab.follow`: what happened to real connections, held against the prediction."""

from __future__ import annotations

import pytest

from fairway.diagnose.cluster import Cluster, Networks, from_documents
from fairway.diagnose.explain import explain
from fairway.diagnose.journey import Journey, travel
from fairway.diagnose.places import find_start, find_target
from fairway.lab.follow import place_names, surprises
from fairway.lab.probe import Answer, Result
from fairway.lab.questions import Target
from fairway.lab.topology import cluster as lab_of
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
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: NodePort, clusterIP: 10.96.0.7, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30080}]}
---
kind: Service
metadata: {name: idle, namespace: shop}
spec: {clusterIP: 10.96.0.8, ports: [{port: 80}]}
---
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.1.5], nodeName: n1}]
"""
CLIENT = "10.244.1.6"
BOTH = """
kind: EndpointSlice
metadata: {name: web-y, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.2.5], nodeName: n2}]
"""
WEB = [(Target("web-1", "n1", "line"), False)]


@pytest.fixture
def cluster() -> Cluster:
    return from_documents(read_yaml(OBJECTS), Networks(services=("10.96.0.0/16",)))


def journey(cluster: Cluster, to: str, start: str = CLIENT) -> Journey:
    target = find_target(cluster, to, None)
    return travel(cluster, find_start(cluster, start, target, None), target, "nftables")


def test_an_answer_of_the_right_pod_is_no_surprise(cluster: Cluster) -> None:
    answer = Answer("answered", "web-1", f"{CLIENT}:4711")
    assert surprises(journey(cluster, "shop/web"), WEB, [answer]) == []


@pytest.mark.parametrize(
    "answer, words",
    [
        (Answer("answered", "other-1", f"{CLIENT}:4711"), "other-1 answered, which is none of web-1"),
        (Answer("answered", "web-1", "10.244.1.1:4711"), "web-1 saw the address 10.244.1.1, expected ours"),
        (Answer("timed out"), "timed out, expected an answer of web-1"),
    ],
)
def test_anything_else_is_one(cluster: Cluster, answer: Answer, words: str) -> None:
    assert surprises(journey(cluster, "shop/web"), WEB, [answer]) == [words]


def test_a_port_where_nobody_listens_points_at_the_target_port(cluster: Cluster) -> None:
    found = surprises(journey(cluster, "shop/web"), [], [Answer("refused")])
    assert found == ["refused: it is delivered, but no container listens on port 8080; is targetPort right?"]


def test_an_answer_that_cannot_come_back_is_foreseen_as_silence(cluster: Cluster) -> None:
    assert surprises(journey(cluster, "n2:30080"), [], [Answer("timed out")]) == []
    assert surprises(journey(cluster, "n2:30080"), [], [Answer("refused")]) == ["it refused, foreseen: timed out"]


def test_silence_is_foreseen_where_some_answers_cannot_come_back() -> None:
    both = from_documents(read_yaml(f"{OBJECTS}---{BOTH}"), Networks(services=("10.96.0.0/16",)))
    near = [(Target("web-2", "n2", "line"), False)]
    answer = Answer("answered", "web-2", f"{CLIENT}:4711")
    assert surprises(journey(both, "n2:30080"), near, [Answer("timed out"), answer]) == []
    assert surprises(journey(both, "n2:30080"), near, [Answer("refused")]) == ["refused, expected an answer of web-2"]


@pytest.mark.parametrize("port, foreseen", [("80/udp", "refused"), ("80/tcp", "timed out")])
def test_a_nodes_own_datagram_that_is_dropped_fails_at_once(cluster: Cluster, port: str, foreseen: Result) -> None:
    unallocated = journey(cluster, f"10.96.0.99:{port}", "n1")
    assert surprises(unallocated, [], [Answer(foreseen)]) == []
    assert surprises(unallocated, [], [Answer("unreachable")]) == [f"it unreachable, foreseen: {foreseen}"]
    assert ("operation not permitted" in explain(unallocated, cluster)) is (foreseen == "refused")


def test_nobody_there_must_refuse(cluster: Cluster) -> None:
    assert surprises(journey(cluster, "shop/idle"), [], [Answer("refused")]) == []
    assert surprises(journey(cluster, "shop/idle"), [], [Answer("timed out")]) == ["it timed out, foreseen: refused"]


def test_the_labs_own_clients_have_names() -> None:
    names = place_names(lab_of("lab", 2))
    assert names == {"outside": "192.0.2.10", "client-node-1": "10.244.1.254", "client-node-2": "10.244.2.254"}
