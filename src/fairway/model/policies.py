"""What each kind of client gets at a frontend: the traffic policies, as three rows (reference, section 1.C).

    policy, who may be used ──▶ pod │ node │ outside        a pool, masqueraded or not; refused; dropped

There are few such tables, and all frontends share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from fairway.model.view import Action, ActionKind, Client, Pool

_CLIENTS = (Client.POD, Client.NODE, Client.OUTSIDE)


class Actions(NamedTuple):
    """Of the three kinds of clients, and whose pools that takes."""

    pod: Action
    node: Action
    outside: Action
    uses_cluster: bool
    uses_local: bool

    @classmethod
    def of(cls, actions: Sequence[Action]) -> Actions:
        """Of each `Client`, in order."""
        pod, node, outside = actions
        pools = {one.pool for one in actions if one.kind is ActionKind.FORWARD}
        return cls(pod, node, outside, Pool.CLUSTER in pools, Pool.LOCAL in pools)


NOBODY_BEHIND = Action(kind=ActionKind.REJECT, because="no ready endpoint")


class _Forward(NamedTuple):
    """To a pool if anybody is in it; otherwise what the reference's section 1.C says about its emptiness."""

    usable: bool
    """Whether anybody at all may be used."""
    here: bool
    """Whether anybody on this node may be."""

    def to(self, pool: Pool, masquerade: bool, policy: str) -> Action:
        if not self.usable:
            return NOBODY_BEHIND
        if pool is Pool.LOCAL and not self.here:
            return Action(kind=ActionKind.DROP, because=f"{policy}: no ready endpoint on this node")
        return Action(kind=ActionKind.FORWARD, pool=pool, masquerade=masquerade, because=policy)


@lru_cache(maxsize=256)
def at_cluster_ip(usable: bool, here: bool, is_local: bool, masquerade_all: bool, detects: bool) -> Actions:
    """At the cluster IP. ``is_local`` is the policy; ``detects`` whether pods can be told from other clients."""
    forward, pool = _Forward(usable, here), Pool.LOCAL if is_local else Pool.CLUSTER
    policy = "internalTrafficPolicy=Local" if is_local else "internalTrafficPolicy=Cluster"
    seen = {client: masquerade_all or (detects and client is not Client.POD) for client in _CLIENTS}
    return Actions.of([forward.to(pool, masquerade, policy) for masquerade in seen.values()])


@lru_cache(maxsize=256)
def elsewhere(usable: bool, here: bool, is_local: bool, detects: bool) -> Actions:
    """At all other addresses."""
    forward = _Forward(usable, here)
    if not is_local:
        return Actions.of([forward.to(Pool.CLUSTER, True, "externalTrafficPolicy=Cluster")] * 3)
    outside = forward.to(Pool.LOCAL, False, "externalTrafficPolicy=Local, from outside")
    # Pods and the node itself are answered as if their packet had gone out to the balancer and come back, so the
    # policy, which is about keeping an outside client's address, does not bind them (reference, section 1.C).
    node = forward.to(Pool.CLUSTER, True, "externalTrafficPolicy=Local, from the node itself")
    pod = forward.to(Pool.CLUSTER, False, "externalTrafficPolicy=Local, from a pod") if detects else outside
    return Actions.of([pod, node, outside])


@lru_cache(maxsize=256)
def through_relay(actions: Actions) -> Actions:
    """Whoever is relayed is a client of the relay, and the backend's client is this node."""
    return Actions.of([_as_node(one) for one in actions[:3]])


def _as_node(action: Action) -> Action:
    return msgspec.structs.replace(action, masquerade=True) if action.kind is ActionKind.FORWARD else action
