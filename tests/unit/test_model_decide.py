"""Unit tests of `fairway.model.decide`."""

from __future__ import annotations

import pytest

from fairway.model.decide import client_of, decide, frontend_of
from fairway.model.packet import Packet, Verdict
from fairway.model.view import (
    Action,
    ActionKind,
    Backend,
    Client,
    Frontend,
    FrontendKey,
    FrontendKind,
    Key,
    NodeSettings,
    NodeView,
    Pool,
)

NODE = NodeSettings(
    name="node-1",
    addresses=("192.168.0.2", "10.0.1.1", "127.0.0.1"),
    pod_networks=("10.0.0.0/8",),
    service_networks=("172.30.0.0/16",),
)
HERE = Backend(address="10.0.1.5", port=8080, node="node-1", local=True)
THERE = Backend(address="10.0.2.5", port=8080, node="node-2")
SOMEWHERE = Backend(address="192.0.2.9", port=8080)
VIP = "172.30.0.41"


def frontend(
    address: str = VIP,
    port: int = 80,
    *,
    kind: FrontendKind = FrontendKind.CLUSTER_IP,
    outside: Action | None = None,
    source_ranges: tuple[str, ...] = (),
    cluster: tuple[Backend, ...] = (HERE, THERE, SOMEWHERE),
) -> Frontend:
    masqueraded = Action(kind=ActionKind.FORWARD, masquerade=True, because="because")
    return Frontend(
        kind=kind,
        address=address,
        protocol="TCP" if port else "",
        port=port,
        service=Key("shop", "web"),
        cluster=cluster,
        local=(HERE,),
        pod=Action(kind=ActionKind.FORWARD, because="because"),
        node=masqueraded,
        outside=outside or masqueraded,
        source_ranges=source_ranges,
    )


def refused(address: str) -> Frontend:
    refuse = Action(kind=ActionKind.REJECT, because="the Service has no such port")
    return Frontend(
        kind=FrontendKind.OTHER_PORTS,
        address=address,
        protocol="",
        port=0,
        service=Key("shop", "web"),
        pod=refuse,
        node=refuse,
        outside=refuse,
    )


def view(*frontends: Frontend, settings: NodeSettings = NODE) -> NodeView:
    return NodeView(settings=settings, frontends={one.key: one for one in frontends})


def packet(source: str, destination: str = VIP, port: int = 80, protocol: str = "TCP", local: bool = False) -> Packet:
    return Packet(source=source, destination=destination, port=port, protocol=protocol, local=local)


@pytest.mark.parametrize(
    "source, local, client",
    [
        ("10.0.1.5", False, Client.POD),
        ("10.0.2.5", False, Client.POD),
        ("192.0.2.1", False, Client.OUTSIDE),
        ("192.168.0.3", False, Client.OUTSIDE),
        ("192.168.0.2", True, Client.NODE),
        ("192.168.0.2", False, Client.NODE),
        ("10.0.1.1", True, Client.NODE),
        ("10.0.1.1", False, Client.NODE),
        ("192.0.2.1", True, Client.NODE),
    ],
    ids=[
        "a pod here",
        "a pod elsewhere",
        "somebody",
        "another node",
        "the node",
        "the node's address, arriving",
        "the node by its bridge, which lies in the pod network",
        "the bridge's address, arriving",
        "the node with a foreign source",
    ],
)
def test_the_kind_of_a_client(source: str, local: bool, client: Client) -> None:
    assert client_of(packet(source, local=local), NODE) is client


def test_without_pod_networks_nobody_is_a_pod() -> None:
    assert client_of(packet("10.0.1.5"), NodeSettings(name="node-1")) is Client.OUTSIDE


def test_delivery_names_every_backend_and_whose_address_it_sees() -> None:
    outcome = decide(view(frontend()), packet("10.0.9.9"))
    assert outcome.verdict is Verdict.DELIVER
    assert outcome.frontend == FrontendKey(VIP, "TCP", 80)
    assert [(one.backend, one.masquerade) for one in outcome.choices] == [
        (HERE, False),
        (THERE, False),
        (SOMEWHERE, False),
    ]
    assert all(one.masquerade for one in decide(view(frontend()), packet("192.0.2.1")).choices)


@pytest.mark.parametrize(
    "client, masqueraded",
    [(HERE, [HERE]), (THERE, []), (SOMEWHERE, [HERE, THERE, SOMEWHERE])],
    ids=["hairpin", "a backend elsewhere: its answer does not come by here", "outside, masqueraded anyway"],
)
def test_a_backend_that_reaches_itself_sees_the_node(client: Backend, masqueraded: list[Backend]) -> None:
    outcome = decide(view(frontend()), packet(client.address))
    assert [one.backend for one in outcome.choices if one.masquerade] == masqueraded


def test_a_hairpin_of_a_backend_whose_node_nobody_knows() -> None:
    keeps = Action(kind=ActionKind.FORWARD, pool=Pool.CLUSTER, because="x")
    outcome = decide(view(frontend(outside=keeps)), packet(SOMEWHERE.address))
    assert [one.backend for one in outcome.choices if one.masquerade] == [SOMEWHERE]


def test_a_client_gets_the_pool_of_its_row() -> None:
    local = Action(kind=ActionKind.FORWARD, pool=Pool.LOCAL, because="x")
    outcome = decide(view(frontend(outside=local)), packet("192.0.2.1"))
    assert [(one.backend, one.masquerade) for one in outcome.choices] == [(HERE, False)]


@pytest.mark.parametrize("kind, verdict", [(ActionKind.REJECT, Verdict.REJECT), (ActionKind.DROP, Verdict.DROP)])
def test_a_row_that_refuses_says_why(kind: ActionKind, verdict: Verdict) -> None:
    outcome = decide(view(frontend(outside=Action(kind=kind, because="nobody there"))), packet("192.0.2.1"))
    assert (outcome.verdict, outcome.because, outcome.choices) == (verdict, "nobody there", ())
    assert outcome.frontend == FrontendKey(VIP, "TCP", 80)


@pytest.mark.parametrize(
    "source, verdict",
    [("192.0.2.1", Verdict.DELIVER), ("192.0.2.129", Verdict.DROP), ("10.0.1.5", Verdict.DROP)],
)
def test_source_ranges_come_before_everything(source: str, verdict: Verdict) -> None:
    guarded = frontend("203.0.113.1", kind=FrontendKind.LOAD_BALANCER, source_ranges=("192.0.2.0/25",))
    outcome = decide(view(guarded), packet(source, "203.0.113.1"))
    assert outcome.verdict is verdict


def test_who_may_not_connect_does_not_learn_that_nobody_is_there() -> None:
    nobody = Action(kind=ActionKind.REJECT, because="nobody")
    ranges = ("192.0.2.0/25",)
    guarded = frontend("203.0.113.1", kind=FrontendKind.LOAD_BALANCER, source_ranges=ranges, outside=nobody)
    assert decide(view(guarded), packet("192.0.2.1", "203.0.113.1")).verdict is Verdict.REJECT
    assert decide(view(guarded), packet("192.0.2.129", "203.0.113.1")).verdict is Verdict.DROP


@pytest.mark.parametrize(
    "destination, taken",
    [("192.168.0.2", True), ("10.0.1.1", True), ("127.0.0.1", False), ("192.168.0.3", False), ("192.0.2.1", False)],
)
def test_which_addresses_answer_on_a_node_port(destination: str, taken: bool) -> None:
    node_port = frontend("0.0.0.0", 30080, kind=FrontendKind.NODE_PORT)
    outcome = decide(view(node_port), packet("192.0.2.1", destination, 30080))
    assert outcome.verdict is (Verdict.DELIVER if taken else Verdict.PASS)


def test_a_frontends_own_address_comes_before_a_node_port() -> None:
    node_port = frontend("0.0.0.0", 80, kind=FrontendKind.NODE_PORT)
    own = frontend("192.168.0.2", 80, kind=FrontendKind.EXTERNAL_IP)
    assert frontend_of(view(node_port, own), packet("192.0.2.1", "192.168.0.2")) == own


def test_a_known_address_refuses_an_unknown_port_and_protocol() -> None:
    one = view(frontend(), refused(VIP))
    for port, protocol in ((81, "TCP"), (80, "UDP"), (80, "SCTP")):
        outcome = decide(one, packet("10.0.1.5", port=port, protocol=protocol))
        assert (outcome.verdict, outcome.because) == (Verdict.REJECT, "the Service has no such port")


def test_an_address_of_the_service_network_that_nobody_has_is_dropped() -> None:
    outcome = decide(view(frontend()), packet("10.0.1.5", "172.30.99.99"))
    assert (outcome.verdict, outcome.frontend) == (Verdict.DROP, None)
    assert outcome.because == "an address of the Service network that no Service has"


def test_everything_else_passes() -> None:
    for destination in ("192.0.2.1", "10.0.1.5", "192.168.0.2"):
        assert decide(view(frontend()), packet("10.0.9.9", destination)).verdict is Verdict.PASS
    nothing = NodeSettings(name="node-1")
    assert decide(view(settings=nothing), packet("10.0.9.9", "172.30.0.9")).verdict is Verdict.PASS
