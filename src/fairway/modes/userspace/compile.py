"""A frontend becomes listeners, and the frontend that leads to them."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fairway.model.view import (
    BALANCINGS,
    RANDOM,
    ROUND_ROBIN,
    Action,
    ActionKind,
    Frontend,
    Pool,
)
from fairway.modes.userspace.program import ListenerKey, Listening

__all__ = ["Ports", "carried_frontend", "listeners_of"]

Ports = Callable[[ListenerKey], int]
"""Where a listener is: the same port for the same key as long as anything leads to it."""


def listeners_of(frontend: Frontend, ports: Ports) -> tuple[Listening, ...]:
    """One for each pool that some client is led to and that has anybody in it."""
    relaying = frontend.relaying
    if relaying is None:
        return ()
    actions = (frontend.pod, frontend.node, frontend.outside)
    used = {one.pool for one in actions if one.kind is ActionKind.FORWARD}
    return tuple(
        Listening(
            key=(key := ListenerKey(frontend.key, pool)),
            port=ports(key),
            service=frontend.service,
            service_port=frontend.service_port,
            backends=backends,
            balancing=frontend.balancing if frontend.balancing in BALANCINGS else ROUND_ROBIN,
            affinity_seconds=frontend.affinity_seconds,
            relaying=relaying,
            cuts=frontend.cuts_connections,
        )
        for pool in Pool
        if pool in used and (backends := frontend.pool(pool))
    )


def carried_frontend(frontend: Frontend, listeners: tuple[Listening, ...]) -> Frontend:
    """The frontend as the carrier is to see it: each pool is its listener, which chooses and remembers."""
    pools = {one.key.pool: (one.backend,) for one in listeners}
    return msgspec.structs.replace(
        frontend,
        cluster=pools.get(Pool.CLUSTER, ()),
        local=pools.get(Pool.LOCAL, ()),
        pod=_unmasked(frontend.pod),
        node=_unmasked(frontend.node),
        outside=_unmasked(frontend.outside),
        affinity_seconds=0,
        balancing=RANDOM,
        scheduler="",
        relaying=None,
    )


def _unmasked(action: Action) -> Action:
    # The relay must see who comes: for affinity, limits and the access log.
    return msgspec.structs.replace(action, masquerade=False) if action.masquerade else action
