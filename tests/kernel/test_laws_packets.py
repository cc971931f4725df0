"""The first law with a real kernel: whatever the Services are, packets end as the model says.

The clusters are those of the other laws, moved onto the scenarios' stage, so that whoever is a backend really answers.
Each is loaded as a change of the one before it. The cases are the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fairway.conform.scenario import (
    NODE_AT,
    PLACES,
    POD_NETWORKS,
    SERVICE_NETWORKS,
    STAGE,
    Expectation,
    addresses_of,
)
from fairway.conform.stage import Journey, Stage, built
from fairway.lab.running import RunningNetwork
from fairway.lab.topology import Topology
from fairway.model.address import ANY, family_of
from fairway.model.decide import decide
from fairway.model.packet import Outcome, Packet, Verdict
from fairway.model.resolve import resolve
from fairway.model.view import FrontendKey, NodeSettings, NodeView
from fairway.modes.registry import MODES
from fairway.objects.endpointslice import Endpoint, EndpointHints, EndpointSlice, ForNode, ForZone
from tests.kernel.modes import HERE
from tests.laws.strategies import NODES, TARGET_PORTS, ZONES, Cluster, clusters

pytestmark = pytest.mark.kernel

PACKETS = 6
_NODE_NAMES = dict(zip(NODES, (node.name for node in STAGE.nodes), strict=True))
_ZONE_NAMES = dict(zip(ZONES, (node.zone for node in STAGE.nodes), strict=False))
_PORTS = dict(zip(TARGET_PORTS, (8080, 5353), strict=True))
_NODE_OF = {address: place.node for name, place in PLACES.items() if name != "outside" for address in place.addresses}


@pytest.fixture(scope="module", params=HERE)
def stage(request: pytest.FixtureRequest, make_network: Callable[[Topology], RunningNetwork]) -> Iterator[Stage]:
    with built(make_network(STAGE), MODES[request.param]) as made:
        yield made


class Case:
    """What each node should do, and packets with how they end then."""

    def __init__(self, views: Mapping[str, NodeView], lines: list[Expectation]) -> None:
        self.views = views
        self.lines = lines

    def __repr__(self) -> str:
        return ", ".join(f"{line.packet} {line.verdict}" for line in self.lines)


@st.composite
def _cases(draw: st.DrawFn) -> Case:
    cluster = draw(clusters(least=3))
    views = _views(cluster, masquerade_all=draw(st.booleans()), detects_pods=draw(st.booleans()))
    return Case(views, [draw(_lines(views)) for _ in range(PACKETS)])


def _views(cluster: Cluster, *, masquerade_all: bool, detects_pods: bool) -> Mapping[str, NodeView]:
    slices = {key: tuple(map(_on_stage, some)) for key, some in cluster.slices.items()}
    return {
        node.name: resolve(
            cluster.services.values(),
            slices,
            NodeSettings(
                name=node.name,
                zone=node.zone,
                addresses=(*addresses_of(node), "127.0.0.1", "::1"),
                pod_networks=POD_NETWORKS if detects_pods else (),
                service_networks=SERVICE_NETWORKS,
                masquerade_all=masquerade_all,
            ),
        )
        for node in STAGE.nodes
    }


def _on_stage(slice_: EndpointSlice) -> EndpointSlice:
    """The same slice with the stage's nodes, zones and ports; a backend runs where its address is."""
    return msgspec.structs.replace(
        slice_,
        ports=tuple(msgspec.structs.replace(one, port=_PORTS[one.port]) for one in slice_.ports or () if one.port),
        endpoints=tuple(map(_endpoint_on_stage, slice_.endpoints or ())),
    )


def _endpoint_on_stage(one: Endpoint) -> Endpoint:
    node = _NODE_OF.get(one.addresses[0]) if one.node_name else None
    if one.hints is None:
        return msgspec.structs.replace(one, node_name=node)
    zones = tuple(ForZone(name=_ZONE_NAMES[zone.name]) for zone in one.hints.for_zones or ())
    nodes = tuple(ForNode(name=_NODE_NAMES[name.name]) for name in one.hints.for_nodes or ())
    return msgspec.structs.replace(one, node_name=node, hints=EndpointHints(for_zones=zones, for_nodes=nodes))


def _keys(view: NodeView) -> st.SearchStrategy[FrontendKey]:
    """Mostly frontends with somebody behind them; also the others, and one that nobody has."""
    alive = sorted(key for key, one in view.frontends.items() if one.cluster or one.local)
    nobodys = [FrontendKey("10.96.200.1", "TCP", 80), FrontendKey("fd00:10:96:200::1", "TCP", 80)]
    anything = st.sampled_from([*sorted(view.frontends), *nobodys])
    return st.one_of(*([st.sampled_from(alive)] * 4 if alive else []), anything)


@st.composite
def _lines(draw: st.DrawFn, views: Mapping[str, NodeView]) -> Expectation:
    """A packet from anybody on the stage to a frontend, or nearly to one, and how the model says it ends."""
    client = draw(st.sampled_from(sorted(PLACES)))
    key = draw(_keys(views[PLACES[client].node]))
    family = family_of(key.address)
    nodes = [address for address in sorted(NODE_AT) if family_of(address) == family]
    destination = draw(st.sampled_from(nodes)) if key.address == ANY[family] else key.address
    protocol = key.protocol if key.protocol in ("TCP", "UDP") else draw(st.sampled_from(["TCP", "UDP"]))
    place = PLACES[client]
    packet = Packet(
        source=place.facing(destination),
        destination=destination,
        protocol=protocol,
        port=key.port or 4321,
        local=place.local,
    )
    line = Expectation("law", client, packet, Verdict.PASS, frozenset())
    outcome = line.journey(lambda node, one: decide(views[node], one))
    verdict, backends = outcome.essence
    return Expectation("law", client, packet, verdict, backends)


def _answers_find_their_way(stage: Stage, views: Mapping[str, NodeView], line: Expectation) -> bool:
    """Whether what a backend answers comes back through the node that chose it.

    It does if that node put its own address on the packet, or runs the client or the backend. Otherwise the answer
    takes a shorter way, past the node that could translate it: what the policy asks for, and nobody's program.
    """
    journey = Journey(stage.mode, views)
    outcome: Outcome = line.journey(journey.answer)
    here = {name for name, place in PLACES.items() if place.node == journey.node and name != "outside"}
    near = {address for name in here for address in PLACES[name].addresses}
    return all(c.masquerade or line.packet.source in near or c.backend.address in near for c in outcome.choices)


# Not shrunk: each attempt would be real packets, and the first report has the trace of the packet that went wrong.
@settings(max_examples=40, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(case=_cases())
def test_packets_end_as_the_model_says(stage: Stage, case: Case) -> None:
    assert stage.load(case.views, as_change=True) == []
    lines = [line for line in case.lines if _answers_find_their_way(stage, case.views, line)]
    assert stage.check(case.views, lines) == []
