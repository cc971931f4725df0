"""What a node may write beyond its role: its own Node, its own Lease, nobody else's.

A role cannot say "your own", so this comes after it, as Kubernetes' NodeRestriction does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fairway.apiserver.access.roles import NODE_PREFIX, NODES
from fairway.apiserver.access.rules import Attributes

LEASE_NAMESPACE = "kube-node-lease"
_READS = ("get", "list", "watch")


def node_of(user: str, groups: Iterable[str]) -> str | None:
    """The node that a user is, None for everybody else. Empty for a member of nodes that does not say which it is."""
    if NODES not in groups:
        return None
    return user.removeprefix(NODE_PREFIX) if user.startswith(NODE_PREFIX) else ""


def refused(node: str, asked: Attributes) -> str:
    """Why a node may not do what its role allows, empty when it may. ``asked.name`` is of the object, also at creation.

    A write of several objects at once has no name, and so is refused.
    """
    rule = _RULES.get((asked.group, asked.resource))
    if rule and not node and asked.verb not in _READS:
        return f'could not determine node from user: its name has to be "{NODE_PREFIX}" and the name of a node'
    return rule(node, asked) if rule else ""


def _own_node(node: str, asked: Attributes) -> str:
    if asked.verb in _READS or asked.name == node:
        return ""
    return f'node "{node}" is not allowed to modify node "{asked.name}"'


def _own_lease(node: str, asked: Attributes) -> str:
    if asked.namespace != LEASE_NAMESPACE:
        return f'can only access leases in the "{LEASE_NAMESPACE}" system namespace'
    if asked.name != node:
        return "can only access node lease with the same name as the requesting node"
    return ""


_RULES: dict[tuple[str, str], Callable[[str, Attributes], str]] = {
    ("", "nodes"): _own_node,
    ("coordination.k8s.io", "leases"): _own_lease,
}
