"""Unit tests of `fairway.controllers.scheduler`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from fairway.controllers.scheduler import Spread, needs_node, owner_uid, place
from fairway.objects.cluster import Node, Pod
from fairway.objects.meta import Key
from tests.unit.cluster_parts import node, pod

OWNER = {
    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r", "controller": True}]
}
LINUX = {"kubernetes.io/os": "linux", "beta.kubernetes.io/os": "linux"}


def waiting(name: str = "p", *, meta: dict[str, Any] | None = None, **spec: Any) -> Pod:
    return pod(name, node="", meta=meta or {}, spec=spec, status={"phase": "Pending"})


def test_pods_of_one_owner_are_spread_evenly() -> None:
    given, spread = [node("n1"), node("n2"), node("n3")], Spread()
    spread.put(Key("shop", "other"), "someone", "n1")
    placed: Counter[str] = Counter()
    for number in range(7):
        one = waiting(f"p{number}", meta=OWNER)
        where = place(one, given, spread).node
        spread.put(one.key, owner_uid(one), where)
        placed[where] += 1
    assert placed == {"n1": 2, "n2": 3, "n3": 2}


def test_the_order_of_nodes_does_not_matter() -> None:
    given = [node("n2"), node("n1"), node("n3")]
    assert place(waiting(), given, Spread()).node == place(waiting(), given[::-1], Spread()).node == "n1"


def test_a_pod_counts_where_it_was_put_last() -> None:
    spread, key = Spread(), Key("shop", "p")
    spread.put(key, "o", "n1")
    spread.put(key, "o", "n2")
    assert (spread.load("o", "n1"), spread.load("o", "n2")) == ((0, 0), (1, 1))
    spread.remove(key)
    spread.remove(key)
    assert spread.load("o", "n2") == (0, 0)
    assert spread.node_of(key) == ""


@pytest.mark.parametrize(
    "spec, nodes, message",
    [
        ({}, [], "no nodes available to schedule pods"),
        ({}, [node("n1", unschedulable=True)], "0/1 nodes are available: 1 node(s) were unschedulable."),
        ({}, [node("n1", ready=False)], "0/1 nodes are available: 1 node(s) were not ready."),
        (
            {"nodeSelector": {"disk": "ssd"}},
            [node("n1", labels={"disk": "hdd"}), node("n2"), node("n3", unschedulable=True)],
            "0/3 nodes are available: 1 node(s) were unschedulable, "
            "2 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            {},
            [node("n1", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])],
            "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}.",
        ),
    ],
)
def test_a_pod_that_fits_nowhere_is_told_why(spec: dict[str, Any], nodes: list[Node], message: str) -> None:
    found = place(waiting(**spec), nodes, Spread())
    assert (found.node, found.message) == ("", message)


@pytest.mark.parametrize(
    "toleration, fits",
    [
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], fits: bool) -> None:
    tainted = node("n1", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}])
    assert bool(place(waiting(tolerations=[toleration]), [tainted], Spread()).node) is fits


def test_a_preferred_taint_keeps_nobody_out() -> None:
    tainted = node("n1", taints=[{"key": "gpu", "effect": "PreferNoSchedule"}])
    assert place(waiting(), [tainted], Spread()).node == "n1"


@pytest.mark.parametrize("label", LINUX)
def test_the_well_known_labels_select_nodes(label: str) -> None:
    given = [node("n1"), node("n2", labels=LINUX)]
    assert place(waiting(nodeSelector={label: "linux"}), given, Spread()).node == "n2"


@pytest.mark.parametrize(
    "given, expected",
    [
        (waiting(), True),
        (waiting(nodeName="n1"), False),
        (waiting(schedulerName="default-scheduler"), True),
        (waiting(schedulerName="another"), False),
        (waiting(meta={"deletionTimestamp": "2026-01-02T03:04:05Z"}), False),
        (pod("p", node="", status={"phase": "Failed"}), False),
    ],
)
def test_who_needs_a_node(given: Pod, expected: bool) -> None:
    assert needs_node(given) is expected
