"""Which endpoints of a Service port this node may use: readiness, termination, hints, locality.

The reference's ``CategorizeEndpoints`` (section 1.B), as two pools. An endpoint's *traits* are all that a pool asks
for; which one it asks for depends on those that anybody in the whole Service has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from fairway.model.parts import Part, joined
from fairway.model.view import Backend, NodeSettings, Struct
from fairway.objects.endpointslice import Endpoint, EndpointHints

READY, LAST_RESORT, HERE, LAST_RESORT_HERE = 1, 2, 4, 8
"""Ready; serving while it terminates; the same two of those on this node."""
FOR_NODE, FOR_ZONE = 16, 32
"""Ready, and hinted for this node; for its zone."""
NO_NODE_HINT, NO_ZONE_HINT = 64, 128
"""Ready, without a hint for any node; for any zone."""
SERVING, TERMINATING = 256, 512
"""What no pool asks for, but who is the better one of two with the same address."""

Candidate = tuple[Backend, int]
"""An endpoint before anybody decided whether to use it, with its traits."""


def traits_of(endpoint: Endpoint, local: bool, settings: NodeSettings) -> int:
    """``local`` says whether it is on this node."""
    told = endpoint.conditions
    traits = _OF_CONDITIONS[told.ready, told.serving, told.terminating, local]
    return traits if endpoint.hints is None or not traits & READY else _hinted(traits, endpoint.hints, settings)


def _of_conditions(ready: bool, serving: bool, terminating: bool, local: bool) -> int:
    """Without hints. Who still serves while it terminates is used when nothing is ready (KEP-1669)."""
    known = SERVING * serving | TERMINATING * terminating
    if ready:
        return known | READY | HERE * local | NO_NODE_HINT | NO_ZONE_HINT
    return known | LAST_RESORT | LAST_RESORT_HERE * local if serving and terminating else known


_TOLD = (None, False, True)
_OF_CONDITIONS = {
    (ready, serving, terminating, local): _of_conditions(
        ready is not False, serving is not False, terminating is True, local
    )
    for ready, serving, terminating, local in product(_TOLD, _TOLD, _TOLD, (False, True))
}


def _hinted(traits: int, hints: EndpointHints, settings: NodeSettings) -> int:
    if hints.for_nodes:
        here = any(one.name == settings.name for one in hints.for_nodes)
        traits = traits & ~NO_NODE_HINT | FOR_NODE * here
    if hints.for_zones:
        here = any(one.name == settings.zone for one in hints.for_zones)
        traits = traits & ~NO_ZONE_HINT | FOR_ZONE * here
    return traits


class Group:
    """Candidates that change together: those of one EndpointSlice for one Service port.

    ``some`` are the traits that any of them has. What `chosen` gives is made once, so that two pools with the same
    group share it; ``made`` has what was, by trait.
    """

    __slots__ = ("_candidates", "made", "some")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self.some = 0
        for traits in {traits for _, traits in candidates}:
            self.some |= traits
        self.made: dict[int, tuple[Backend, ...]] = {}

    def chosen(self, trait: int) -> tuple[Backend, ...]:
        """The backends of those that have it."""
        found = self.made.get(trait)
        if found is None:
            found = self.made[trait] = Part([backend for backend, traits in self._candidates if traits & trait])
        return found


class Pools(Struct):
    """The backends that clients may get. ``any_usable`` looks at the whole cluster, whatever the pools hold."""

    cluster: Sequence[Backend] = ()
    local: Sequence[Backend] = ()
    any_usable: bool = False


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
    """Of a Service with a thousand slices, all but one have been asked before."""
    return joined([one.made.get(trait) or one.chosen(trait) for one in groups if one.some & trait])
