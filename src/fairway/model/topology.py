"""Which endpoints of a Service port this node may use: readiness, termination, hints, locality.

The reference's ``CategorizeEndpoints`` (section 1.B), as two pools. An endpoint's *traits* are all that a pool asks
for; which one it asks for depends on those that anybody in the whole Service has.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Protocol

from fairway.model.view import Backend, NodeSettings
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


class Candidates(Protocol):
    """All endpoints of one Service port in one family."""

    @property
    def some(self) -> int:
        """The traits that any of them has."""

    def chosen(self, trait: int) -> Sequence[Backend]:
        """The backends of those that have it, sorted; the same object each time."""


def any_usable(candidates: Candidates) -> bool:
    """Whether anybody in the whole cluster may be used, whatever the pools hold."""
    return bool(candidates.some & (READY | LAST_RESORT))


def any_here(candidates: Candidates) -> bool:
    """Whether anybody on this node may be used."""
    return bool(candidates.some & (HERE | LAST_RESORT_HERE))


def cluster_pool(candidates: Candidates, settings: NodeSettings) -> Sequence[Backend]:
    """Of the whole cluster: the endpoints that hints assign to this node, else to its zone, else all that are ready.

    Hints count only if every ready endpoint has them and somebody is assigned to us: half-written hints must not
    starve a node (KEP-2433, KEP-3015). When nobody is ready: those that still serve while they terminate.
    """
    some = candidates.some
    if not some & READY:
        return candidates.chosen(LAST_RESORT)
    if some & FOR_NODE and not some & NO_NODE_HINT:
        return candidates.chosen(FOR_NODE)
    if settings.zone and some & FOR_ZONE and not some & NO_ZONE_HINT:
        return candidates.chosen(FOR_ZONE)
    return candidates.chosen(READY)


def local_pool(candidates: Candidates) -> Sequence[Backend]:
    """Of this node, whatever hints say; falls back by itself to serving, terminating endpoints."""
    return candidates.chosen(HERE if candidates.some & HERE else LAST_RESORT_HERE)
