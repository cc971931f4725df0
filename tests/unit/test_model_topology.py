"""Unit tests of `fairway.model.topology`: each row of the reference's TestCategorizeEndpoints (section 7.1).

An endpoint is written ``name`` or ``name:mark,mark``:
    here         runs on the node that looks, node-1 in zone-a
    unready      not ready, not serving, not terminating
    terminating  serving while it terminates
    gone         terminates and no longer serves
    zone-a …     hinted for that zone; node-1 … hinted for that node
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_

import pytest

from fairway.model.topology import any_here, any_usable, cluster_pool, local_pool, traits_of
from fairway.model.view import Backend, NodeSettings
from fairway.objects.endpointslice import Endpoint, EndpointConditions, EndpointHints, ForNode, ForZone

HERE = NodeSettings(name="node-1", zone="zone-a")
NO_ZONE = NodeSettings(name="node-1")
OTHER_ZONE = NodeSettings(name="node-1", zone="zone-x")
STATES = {
    "ready": (True, True, False),
    "unready": (False, False, False),
    "terminating": (False, True, True),
    "gone": (False, False, True),
}


def candidate(text: str, settings: NodeSettings) -> tuple[Backend, int]:
    name, _, words = text.partition(":")
    marks = set(words.split(",")) if words else set()
    state = next((mark for mark in marks if mark in STATES), "ready")
    ready, serving, terminating = STATES[state]
    local = "here" in marks
    zones = tuple(ForZone(name=mark) for mark in marks if mark.startswith("zone-"))
    nodes = tuple(ForNode(name=mark) for mark in marks if mark.startswith("node-"))
    endpoint = Endpoint(
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hints=EndpointHints(for_zones=zones, for_nodes=nodes),
    )
    backend = Backend(address=name, port=80, node="node-1" if local else "node-9", local=local)
    return backend, traits_of(endpoint, local, settings)


@dataclass(frozen=True)
class Row:
    """``internal`` and ``external`` are the traffic policies; external is None when nobody outside can reach it."""

    name: str
    endpoints: str
    cluster: str
    local: str = ""
    any_usable: bool = True
    internal: str = "Cluster"
    external: str | None = None
    node: NodeSettings = HERE

    @property
    def uses_cluster(self) -> bool:
        return self.internal == "Cluster" or self.external is not None

    @property
    def uses_local(self) -> bool:
        return "Local" in (self.internal, self.external)


ZONED = "a:zone-a b:zone-b c:zone-b d:zone-a"
ROWS = [
    Row("all endpoints have hints, the node has a zone label and its zone has endpoints", ZONED, "a d"),
    Row(
        "externalTrafficPolicy: Local, topology ignored for Local endpoints",
        "a:zone-a b:zone-b,here c:zone-b d:zone-a",
        "a d",
        "b",
        external="Local",
    ),
    Row(
        "internalTrafficPolicy: Local, topology ignored for Local endpoints",
        "a:zone-a b:zone-b,here c:zone-b,here d:zone-a",
        "a d",
        "b c",
        internal="Local",
        external="Cluster",
    ),
    Row("empty node labels", ZONED, "a b c d", node=NO_ZONE),
    Row("empty zone label", "a:zone-a b:zone-a", "a b", node=NO_ZONE),
    Row("node in different zone, no endpoint filtering", ZONED, "a b c d", node=OTHER_ZONE),
    Row("unready endpoint", "a:zone-a b:zone-b c:zone-b d:zone-a,unready", "a"),
    Row(
        "only unready endpoints in same zone (should not filter)",
        "a:zone-a,unready b:zone-b c:zone-b d:zone-a,unready",
        "b c",
    ),
    Row("missing hints, no filtering applied", "a:zone-a b:zone-b c d:zone-a", "a b c d"),
    Row("an unready endpoint without hints does not disable filtering", "a:zone-a b:zone-b c:unready", "a"),
    Row("multiple hints per endpoint", "a:zone-a b:zone-b c:zone-b,zone-c d:zone-a,zone-c", "a d"),
    Row("multiple hints per endpoint, another zone", "a:zone-a b:zone-b,zone-x c:zone-x", "b c", node=OTHER_ZONE),
    Row("PreferSameNode available", "a:zone-a,node-1 b:zone-a,node-2 c:zone-b,node-1 d:zone-a,node-2", "a c"),
    Row(
        "PreferSameNode ignored if some endpoints unhinted",
        "a:zone-a,node-1 b:zone-a c:zone-b d:zone-a,node-2",
        "a b d",
    ),
    Row("PreferSameNode falls back to PreferSameZone if no endpoint for node", "a:zone-a,node-2 b:zone-b,node-3", "a"),
    Row("PreferSameNode without any zone falls back to all", "a:node-2 b:node-3", "a b"),
    Row(
        "conflicting topology and localness require merging allEndpoints",
        "a:zone-a b:zone-b,here",
        "a",
        "b",
        internal="Cluster",
        external="Local",
    ),
    Row("internalTrafficPolicy: Local, with empty endpoints", "", "", any_usable=False, internal="Local"),
    Row("internalTrafficPolicy: Local, but all endpoints are remote", "a b", "", "", internal="Local"),
    Row("internalTrafficPolicy: Local, all endpoints are local", "a:here b:here", "", "a b", internal="Local"),
    Row("internalTrafficPolicy: Local, some endpoints are local", "a:here b", "", "a", internal="Local"),
    Row("Cluster traffic policy, endpoints not Ready", "a:unready b:unready", "", any_usable=False),
    Row("Cluster traffic policy, some endpoints are Ready", "a:unready b", "b"),
    Row("Cluster traffic policy, all endpoints are terminating", "a:terminating b:terminating,here", "a b"),
    Row("Cluster traffic policy, terminating endpoints that no longer serve", "a:gone b:terminating", "b"),
    Row(
        "Cluster traffic policy, terminating endpoints ignore hints", "a:terminating,zone-b b:terminating,zone-a", "a b"
    ),
    Row("iTP: Local, eTP: Cluster, some endpoints local", "a:here b", "a b", "a", internal="Local", external="Cluster"),
    Row("iTP: Cluster, eTP: Local, some endpoints local", "a:here b", "a b", "a", external="Local"),
    Row("iTP: Local, eTP: Local, some endpoints local", "a:here b", "a b", "a", internal="Local", external="Local"),
    Row("iTP: Local, eTP: Local, all endpoints remote", "a b", "a b", "", internal="Local", external="Local"),
    Row(
        "iTP: Local, eTP: Local, all endpoints remote and terminating",
        "a:terminating b:terminating",
        "a b",
        "",
        internal="Local",
        external="Local",
    ),
    Row(
        "iTP: Cluster, eTP: Local, with terminating endpoints",
        "a b:terminating,here c:terminating",
        "a",
        "b",
        external="Local",
    ),
    Row("a ready local endpoint beats a terminating one", "a:here b:terminating,here", "a", "a", external="Local"),
    Row("externalTrafficPolicy ignored if not externally accessible", "a:here b", "a b", ""),
    Row("no cluster endpoints for iTP:Local internal-only service", "a:here b c:here", "", "a c", internal="Local"),
    Row("iTP: Local, only unusable endpoints", "a:unready,here b:gone", "", "", any_usable=False, internal="Local"),
    Row("empty endpoints when no service endpoints exist", "", "", any_usable=False),
    Row("single endpoint not ready, not serving, not terminating", "a:unready", "", any_usable=False),
]


@dataclass(frozen=True)
class Listed:
    """Candidates as they are written down."""

    candidates: list[tuple[Backend, int]]

    @property
    def some(self) -> int:
        return reduce(or_, (traits for _, traits in self.candidates), 0)

    def chosen(self, trait: int) -> tuple[Backend, ...]:
        return tuple(backend for backend, traits in self.candidates if traits & trait)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_the_pools_and_who_may_be_used_at_all(row: Row) -> None:
    candidates = Listed([candidate(text, row.node) for text in row.endpoints.split()])
    if row.uses_cluster:
        assert " ".join(one.address for one in cluster_pool(candidates, row.node)) == row.cluster
    if row.uses_local:
        assert " ".join(one.address for one in local_pool(candidates)) == row.local
        assert any_here(candidates) is bool(row.local)
    assert any_usable(candidates) is row.any_usable
