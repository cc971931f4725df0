"""Which endpoints of a Service port this node may use: readiness, termination, hints, locality.

The reference's ``CategorizeEndpoints`` (section 1.B), as two pools. An endpoint's *traits* are all that a pool asks
for; which one it asks for depends on those that anybody in the whole Service has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairway.model.parts import Part, joined
from fairway.model.view import Backend, NodeSettings, Pool, Struct

READY, LAST_RESORT, HERE, LAST_RESORT_HERE = 1, 2, 4, 8
"""Ready; serving while it terminates; the same two of those on this node."""
FOR_NODE, FOR_ZONE = 16, 32
"""Ready, and hinted for this node; for its zone."""
NO_NODE_HINT, NO_ZONE_HINT = 64, 128
"""Ready, without a hint for any node; for any zone."""

NOBODY: frozenset[str] = frozenset()


class Candidate(Struct):
    """An endpoint before anybody decided whether to use it."""

    backend: Backend
    ready: bool
    serving: bool
    terminating: bool
    zones: frozenset[str] = NOBODY
    nodes: frozenset[str] = NOBODY

    @property
    def last_resort(self) -> bool:
        """Still serving while it terminates: used only when nothing is ready (KEP-1669)."""
        return self.serving and self.terminating

    def traits(self, settings: NodeSettings) -> int:
        local = self.backend.local
        if not self.ready:
            return (LAST_RESORT | LAST_RESORT_HERE * local) if self.last_resort else 0
        found = (READY | HERE) if local else READY
        found |= (FOR_NODE if settings.name in self.nodes else 0) if self.nodes else NO_NODE_HINT
        return found | ((FOR_ZONE if settings.zone in self.zones else 0) if self.zones else NO_ZONE_HINT)


class Group:
    """Candidates that change together: those of one EndpointSlice for one Service port.

    ``some`` are the traits that any of them has. What `chosen` gives is made once, so that two pools with the same
    group share it.
    """

    __slots__ = ("_chosen", "_traits", "candidates", "some")

    def __init__(self, candidates: Sequence[Candidate], settings: NodeSettings) -> None:
        self.candidates = candidates
        self._traits = [one.traits(settings) for one in candidates]
        self.some = 0
        for traits in set(self._traits):
            self.some |= traits
        self._chosen: dict[int, tuple[Backend, ...]] = {}

    def chosen(self, trait: int) -> tuple[Backend, ...]:
        """The backends of those that have it."""
        found = self._chosen.get(trait)
        if found is None:
            pairs = zip(self.candidates, self._traits, strict=True)
            found = self._chosen[trait] = Part([one.backend for one, traits in pairs if traits & trait])
        return found


class Pools(Struct):
    """The backends that clients may get. ``any_usable`` looks at the whole cluster, whatever the pools hold."""

    cluster: Sequence[Backend] = ()
    local: Sequence[Backend] = ()
    any_usable: bool = False

    def named(self, pool: Pool) -> Sequence[Backend]:
        return self.cluster if pool is Pool.CLUSTER else self.local


def categorize(groups: Iterable[Group], settings: NodeSettings, *, uses_cluster: bool, uses_local: bool) -> Pools:
    """The cluster pool and the local pool; a pool that no frontend uses stays empty.

    Hints narrow the cluster pool only. Each pool falls back by itself to serving, terminating endpoints.
    """
    these = list(groups)
    some = 0
    for one in these:
        some |= one.some
    cluster = _chosen(these, _near(some, settings) if some & READY else LAST_RESORT) if uses_cluster else ()
    local = _chosen(these, HERE if some & HERE else LAST_RESORT_HERE) if uses_local else ()
    any_usable = bool(some & (READY | LAST_RESORT)) if uses_local else bool(cluster)
    return Pools(cluster=cluster, local=local, any_usable=any_usable)


def _near(some: int, settings: NodeSettings) -> int:
    """The endpoints that hints assign to this node, else to its zone, else all that are ready.

    Hints count only if every ready endpoint has them and somebody is assigned to us: half-written hints must not
    starve a node (KEP-2433, KEP-3015).
    """
    if some & FOR_NODE and not some & NO_NODE_HINT:
        return FOR_NODE
    if settings.zone and some & FOR_ZONE and not some & NO_ZONE_HINT:
        return FOR_ZONE
    return READY


def _chosen(groups: list[Group], trait: int) -> Sequence[Backend]:
    return joined(one.chosen(trait) for one in groups if one.some & trait)
