"""Unit tests of `fairway.apiserver.access.node`: a node's own, and nobody else's."""

from __future__ import annotations

import pytest

from fairway.apiserver.access.node import node_of, refused
from fairway.apiserver.access.rules import Attributes

LEASE = ("coordination.k8s.io", "leases", "")


@pytest.mark.parametrize(
    "user, groups, node",
    [
        ("system:node:a", ("system:nodes",), "a"),
        ("system:node:a", ("staff",), None),
        ("ann", ("system:nodes",), ""),
        ("ann", (), None),
    ],
)
def test_who_is_a_node(user: str, groups: tuple[str, ...], node: str | None) -> None:
    assert node_of(user, groups) == node


@pytest.mark.parametrize(
    "asked, words",
    [
        (Attributes("get", "", "nodes", name="b"), ""),
        (Attributes("list", "", "nodes"), ""),
        (Attributes("patch", "", "nodes", "status", name="a"), ""),
        (Attributes("patch", "", "nodes", "status", name="b"), 'node "a" is not allowed to modify node "b"'),
        (Attributes("create", "", "nodes", name="a"), ""),
        (Attributes("create", "", "nodes"), 'node "a" is not allowed to modify node ""'),
        (Attributes("deletecollection", "", "nodes"), 'node "a" is not allowed to modify node ""'),
        (Attributes("update", *LEASE, "kube-node-lease", "a"), ""),
        (
            Attributes("update", *LEASE, "kube-node-lease", "b"),
            "can only access node lease with the same name as the requesting node",
        ),
        (
            Attributes("update", *LEASE, "default", "a"),
            'can only access leases in the "kube-node-lease" system namespace',
        ),
        (Attributes("create", "", "events", "", "default"), ""),
        (Attributes("list", "", "services"), ""),
    ],
)
def test_a_node_writes_its_own(asked: Attributes, words: str) -> None:
    assert refused("a", asked) == words


def test_a_node_without_a_name_writes_no_node_and_no_lease() -> None:
    for asked in (Attributes("create", "", "nodes"), Attributes("create", *LEASE, "kube-node-lease")):
        assert refused("", asked).startswith("could not determine node from user")
