"""Unit tests of `fairway.diagnose.journey`: from node to node, and whether the answer comes back."""

from __future__ import annotations

import pytest

from fairway.diagnose.cluster import Cluster, Networks, from_documents
from fairway.diagnose.explain import document, explain
from fairway.diagnose.journey import Journey, travel
from fairway.diagnose.places import find_start, find_target
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
metadata: {name: web-1, namespace: shop}
spec: {nodeName: n1}
status: {phase: Running, podIP: 10.244.1.5}
---
kind: Pod
metadata: {name: tool, namespace: shop}
spec: {nodeName: n1}
status: {phase: Running, podIP: 10.244.1.6}
---
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.7
  externalTrafficPolicy: Local
  ports: [{name: http, port: 80, nodePort: 30080}]
---
kind: Service
metadata: {name: idle, namespace: shop}
spec: {clusterIP: 10.96.0.8, ports: [{port: 80}]}
---
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.244.1.5], nodeName: n1, targetRef: {kind: Pod, namespace: shop, name: web-1}}
"""


@pytest.fixture
def cluster() -> Cluster:
    return from_documents(read_yaml(OBJECTS), Networks(services=("10.96.0.0/16",)))


def journey(cluster: Cluster, start: str, to: str) -> Journey:
    target = find_target(cluster, to, None)
    return travel(cluster, find_start(cluster, start, target, None), target, "nftables")


def test_a_cluster_ip_is_settled_on_the_clients_own_node(cluster: Cluster) -> None:
    found = journey(cluster, "tool", "shop/web")
    assert [hop.node for hop in found.hops] == ["n1"]
    assert found.reaches
    assert "10.244.1.5:8080  pod shop/web-1 on n1  sees the client's address 10.244.1.6" in explain(found, cluster)


def test_another_nodes_port_is_settled_there(cluster: Cluster) -> None:
    found = journey(cluster, "tool", "n2:30080")
    assert [(hop.node, str(hop.outcome.verdict)) for hop in found.hops] == [("n1", "pass"), ("n2", "deliver")]


def test_each_node_is_walked_in_the_mode_its_proxy_says(cluster: Cluster) -> None:
    cluster.modes["n2"] = "iptables"
    target = find_target(cluster, "n2:30080", None)
    found = travel(cluster, find_start(cluster, "tool", target, None), target)
    chains = [{step.where for step in hop.trace.steps} for hop in found.hops]
    assert "ip fairway prerouting" in chains[0]
    assert "nat KUBE-NODEPORTS" in chains[1]


def test_an_answer_that_takes_another_way_is_told(cluster: Cluster) -> None:
    """n2 rewrites without masquerading, web-1 answers its neighbour directly: what real clusters do, too."""
    found = journey(cluster, "tool", "n2:30080")
    assert not found.reaches
    assert "answers directly, not through n2" in explain(found, cluster)


def test_nobody_there_is_refused_and_says_why(cluster: Cluster) -> None:
    found = journey(cluster, "tool", "shop/idle")
    assert not found.reaches
    assert "refused at once (the client sees: connection refused): no ready endpoint" in explain(found, cluster)


def test_an_outside_client_at_a_node_without_a_local_backend_gets_no_answer(cluster: Cluster) -> None:
    found = journey(cluster, "192.0.2.10", "n2:30080")
    assert str(found.outcome.verdict) == "drop"
    assert "no ready endpoint on this node" in explain(found, cluster)


@pytest.mark.parametrize(
    "to, words",
    [
        ("10.244.1.5:8080", "routed to pod shop/web-1 on n1"),
        ("n2:31000", "taken by node n2: whatever listens there on tcp 31000 answers"),
        ("10.244.2.77:80", "routed into the pod network, where no pod has this address"),
        ("192.0.2.1:80", "routed out of the cluster"),
    ],
)
def test_what_is_for_no_service_goes_where_routes_lead(cluster: Cluster, to: str, words: str) -> None:
    assert words in explain(journey(cluster, "tool", to), cluster)


def test_the_document_holds_every_step_with_its_origin(cluster: Cluster) -> None:
    found = document(journey(cluster, "tool", "shop/web"), cluster)
    assert found["verdict"] == "deliver"
    origins = [step["origin"] for step in found["hops"][0]["steps"]]
    assert "Service shop/web spec.ports[0]" in origins
    assert found["hops"][0]["backends"] == [
        {
            "address": "10.244.1.5",
            "port": 8080,
            "node": "n1",
            "target": "Pod shop/web-1",
            "masquerade": False,
            "weight": 1,
        }
    ]


def test_declared_service_networks_count_instead_of_the_flag(cluster: Cluster) -> None:
    assert cluster.settings("n1").service_networks == ("10.96.0.0/16",)
    declared = (
        "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: a}, spec: {cidrs: [10.7.0.0/24]}}"
    )
    more = from_documents([*read_yaml(OBJECTS), *read_yaml(declared)], Networks(services=("10.96.0.0/16",)))
    assert more.settings("n1").service_networks == ("10.7.0.0/24",)
