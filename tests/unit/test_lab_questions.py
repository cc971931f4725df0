"""What is asked of a cluster, and which answers are right."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.diagnose.cluster import Cluster, Networks, from_documents
from fairway.lab.cluster import node_document
from fairway.lab.probe import Answer
from fairway.lab.questions import Question, draws, problems, questions
from fairway.lab.topology import cluster as lab
from fairway.model.packet import Verdict

LAB = lab("t", 2)
PODS = (("web-a", "node-1", "10.244.1.2"), ("web-b", "node-2", "10.244.2.2"))


def pod(name: str, node: str, address: str) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [{"containerPort": 8080, "name": "http"}]}]},
        "status": {"podIP": address},
    }


def service(**spec: Any) -> dict[str, Any]:
    base = {"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80, "nodePort": spec.pop("nodePort", 0)}]}
    return {"kind": "Service", "metadata": {"name": "web"}, "spec": {**base, **spec}}


def slice_(*pods: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [address], "nodeName": node, "conditions": {"ready": True}} for _, node, address in pods
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def cluster(*documents: dict[str, Any]) -> Cluster:
    nodes = [node_document(node) for node in LAB.nodes]
    return from_documents([*nodes, *(pod(*one) for one in PODS), *documents], Networks(services=("10.96.0.0/16",)))


def asked(*documents: dict[str, Any]) -> list[Question]:
    return questions(cluster(*documents), LAB)


def answer(name: str, question: Question, client: str = "") -> Answer:
    return Answer("answered", name, f"{client or question.source}:40000", f"{question.source}:40000")


def test_a_cluster_ip_is_asked_from_a_pod_on_every_node() -> None:
    found = asked(service(), slice_(*PODS))
    assert [(one.place, one.source) for one in found] == [
        ("client-node-1", "10.244.1.254"),
        ("client-node-2", "10.244.2.254"),
    ]
    for one in found:
        assert (one.address, one.port, one.language, one.times) == ("10.96.0.7", 80, "http", draws(2))
        assert {target.pod for target, _ in one.targets} == {"web-a", "web-b"}


def test_a_node_port_is_asked_from_outside_on_every_node() -> None:
    found = [one for one in asked(service(type="NodePort", nodePort=30080), slice_(*PODS)) if one.place == "outside"]
    assert [(one.address, one.port) for one in found] == [("172.30.0.1", 30080), ("172.30.0.2", 30080)]
    assert all(hidden for one in found for _, hidden in one.targets)


def test_a_service_without_pods_must_refuse() -> None:
    found = asked(service())
    assert [one.outcome.verdict for one in found] == [Verdict.REJECT] * 2
    assert problems(found[0], [Answer("refused")] * 2) == []
    assert problems(found[0], [Answer("timed out")]) == [
        "client-node-1 to 10.96.0.7:80/TCP: it timed out, expected: refused"
    ]


def test_a_local_policy_means_each_node_its_own_pods() -> None:
    found = asked(service(internalTrafficPolicy="Local"), slice_(*PODS))
    assert [[target.pod for target, _ in one.targets] for one in found] == [["web-a"], ["web-b"]]


def test_a_headless_service_is_asked_at_its_pods() -> None:
    found = asked(service(clusterIP="None"), slice_(*PODS))
    assert {(one.kind, one.address, one.port) for one in found} == {
        ("headless", "10.244.1.2", 8080),
        ("headless", "10.244.2.2", 8080),
    }
    assert len(found) == 4


def test_backends_that_are_not_of_the_lab_are_not_asked() -> None:
    assert asked(service(), slice_(("other", "node-1", "192.0.2.77"))) == []


def test_right_answers_have_no_problem() -> None:
    (one, _) = asked(service(), slice_(*PODS))
    assert problems(one, [answer("web-a", one), answer("web-b", one)]) == []


@pytest.mark.parametrize(
    "answers, words",
    [
        (["timed out"], "timed out, expected an answer of web-a, web-b"),
        (["web-a", "web-c"], "web-c answered, which is none of web-a, web-b"),
        (["web-a", "web-a"], "web-b never answered in 2 connections"),
    ],
)
def test_wrong_answers_are_named(answers: list[str], words: str) -> None:
    (one, _) = asked(service(), slice_(*PODS))
    given = [answer(name, one) if name.startswith("web") else Answer("timed out") for name in answers]
    assert f"client-node-1 to 10.96.0.7:80/TCP: {words}" in problems(one, given)


def test_an_address_that_should_not_have_been_hidden_is_named() -> None:
    (one, _) = asked(service(), slice_(*PODS))
    (wrong,) = problems(one, [answer("web-a", one, "10.244.1.1"), answer("web-b", one)])
    assert wrong.endswith("web-a saw the address 10.244.1.1, expected ours")


def test_an_address_that_should_have_been_hidden_is_named() -> None:
    one = next(one for one in asked(service(type="NodePort", nodePort=30080), slice_(*PODS)) if one.place == "outside")
    found = problems(one, [answer("web-a", one), answer("web-b", one, "172.30.0.1")])
    assert found == ["outside to 172.30.0.1:30080/TCP: web-a saw the address 192.0.2.10, expected the node's"]


def test_affinity_must_keep_a_client_on_one_pod() -> None:
    (one, _) = asked(service(sessionAffinity="ClientIP"), slice_(*PODS))
    assert problems(one, [answer("web-a", one)] * 3) == []
    (wrong,) = problems(one, [answer("web-a", one), answer("web-b", one)])
    assert "in spite of sessionAffinity: ClientIP" in wrong


def test_enough_connections_show_every_backend_but_for_one_time_in_a_million() -> None:
    for backends in (2, 3, 5, 10):
        missed = backends * (1 - 1 / backends) ** draws(backends)
        assert missed <= 1e-6
    assert [draws(number) for number in (0, 1)] == [2, 2]
    assert draws(10_000) == 500
