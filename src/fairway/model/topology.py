"""Which endpoints of a Service port this node may use: readiness, termination, hints, locality.

The reference's ``CategorizeEndpoints`` (section 1.B), as two pools.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairway.model.view import Backend, NodeSettings, Pool, Struct


class Candidate(Struct):
    """An endpoint before anybody decided whether to use it."""

    backend: Backend
    ready: bool
    serving: bool
    terminating: bool
    zones: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()

    @property
    def last_resort(self) -> bool:
        """Still serving while it terminates: used only when nothing is ready (KEP-1669)."""
        return self.serving and self.terminating


class Pools(Struct):
    """The backends that clients may get. ``any_usable`` looks at the whole cluster, whatever the pools hold."""

    cluster: tuple[Backend, ...] = ()
    local: tuple[Backend, ...] = ()
    any_usable: bool = False

    def named(self, pool: Pool) -> tuple[Backend, ...]:
        return self.cluster if pool is Pool.CLUSTER else self.local


def categorize(
    candidates: Sequence[Candidate], settings: NodeSettings, *, uses_cluster: bool, uses_local: bool
) -> Pools:
    """The cluster pool and the local pool; a pool that no frontend uses stays empty.

    Hints narrow the cluster pool only. Each pool falls back by itself to serving, terminating endpoints.
    """
    ready = [one for one in candidates if one.ready]
    cluster: list[Candidate] = []
    local: list[Candidate] = []
    if uses_cluster:
        cluster = _near(ready, settings) or [one for one in candidates if one.last_resort]
    if uses_local:
        local = [one for one in ready if one.backend.local]
        local = local or [one for one in candidates if one.backend.local and one.last_resort]
    any_usable = bool(cluster) if not uses_local else any(one.ready or one.last_resort for one in candidates)
    return Pools(cluster=_backends(cluster), local=_backends(local), any_usable=any_usable)


def _near(ready: list[Candidate], settings: NodeSettings) -> list[Candidate]:
    """The endpoints that hints assign to this node, else to its zone, else all.

    Hints count only if every ready endpoint has them and somebody is assigned to us: half-written hints must not
    starve a node (KEP-2433, KEP-3015).
    """
    if ready and all(one.nodes for one in ready):
        here = [one for one in ready if settings.name in one.nodes]
        if here:
            return here
    if ready and settings.zone and all(one.zones for one in ready):
        return [one for one in ready if settings.zone in one.zones] or ready
    return ready


def _backends(candidates: Iterable[Candidate]) -> tuple[Backend, ...]:
    return tuple(one.backend for one in candidates)
