"""Namespaces and Nodes: what they may say, and what may not change."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.validation import cluster
from fairway.objects.codec import Document


def node(**spec: Any) -> Document:
    return {"metadata": {"name": "node-1"}, "spec": spec}


WRONG: list[tuple[Document, str, str]] = [
    (node(podCIDR="x", podCIDRs=["x"]), "spec.podCIDRs[0]", 'Invalid value: "x": must be a valid CIDR value'),
    (node(podCIDR="10.0.0.0/24", podCIDRs=["10.1.0.0/24"]), "spec.podCIDRs", "Invalid value: "),
    (
        node(podCIDR="10.0.0.0/24", podCIDRs=["10.0.0.0/24", "10.1.0.0/24"]),
        "spec.podCIDRs",
        'Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one CIDR for each IP family',
    ),
    (node(taints=[{"key": "a b", "effect": "NoSchedule"}]), "spec.taints[0].key", 'Invalid value: "a b": name part'),
    (node(taints=[{"key": "a"}]), "spec.taints[0].effect", "Required value"),
    (node(taints=[{"key": "a", "effect": "Never"}]), "spec.taints[0].effect", 'Unsupported value: "Never"'),
    (node(taints=[{"key": "a", "effect": "NoExecute"}] * 2), "spec.taints[1]", "Duplicate value: "),
]


@pytest.mark.parametrize("document, path, words", WRONG)
def test_a_wrong_node_is_told_which_field(document: Document, path: str, words: str) -> None:
    errors = {error.path: error.body for error in cluster.validate_node(document)}
    assert errors.get(path, "").startswith(words), errors


def test_a_node_of_two_families_is_valid() -> None:
    spec = {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24", "fd00::/64"], "unschedulable": True}
    assert cluster.validate_node(node(**spec, taints=[{"key": "a/b", "value": "c", "effect": "NoExecute"}])) == []


def test_pod_networks_and_provider_are_set_once() -> None:
    old = node(podCIDR="10.0.0.0/24", podCIDRs=["10.0.0.0/24"], providerID="a")
    assert cluster.validate_node_update(old, node()) == []
    errors = [str(error) for error in cluster.validate_node_update(node(providerID="b"), old)]
    assert errors == [
        'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid',
        'spec.providerID: Forbidden: node updates may not change providerID except from "" to valid',
    ]


def test_an_address_of_a_node_is_listed_once() -> None:
    address = {"type": "InternalIP", "address": "192.0.2.1"}
    changed = node() | {"status": {"addresses": [address, address]}}
    assert [error.path for error in cluster.validate_node_status(changed, node())] == ["status.addresses[1]"]


def test_the_name_of_a_namespace_is_a_label() -> None:
    assert cluster.validate_namespace({"metadata": {"name": "shop"}}) == []
    assert [error.path for error in cluster.validate_namespace({"metadata": {"name": "a.b"}})] == ["metadata.name"]


def lease(**spec: Any) -> Document:
    return {"metadata": {"name": "node-1", "namespace": "kube-node-lease"}, "spec": spec}


WRONG_LEASES = [
    (lease(leaseDurationSeconds=0), "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"),
    (lease(leaseTransitions=-1), "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"),
    (lease(preferredHolder="a"), "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"),
    (lease(strategy="a b"), 'spec.strategy: Invalid value: "a b": name part must consist of'),
]


@pytest.mark.parametrize("document, words", WRONG_LEASES)
def test_a_wrong_lease_is_told_which_field(document: Document, words: str) -> None:
    (error,) = cluster.validate_lease(document)
    assert str(error).startswith(words)


def test_a_lease_may_be_held_or_free() -> None:
    assert cluster.validate_lease(lease()) == []
    assert cluster.validate_lease(lease(holderIdentity="a", leaseDurationSeconds=15, leaseTransitions=0)) == []
