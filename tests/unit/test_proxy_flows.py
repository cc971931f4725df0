"""Unit tests of `fairway.proxy.flows`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from fairway.model.parts import Parts
from fairway.model.view import (
    Action,
    ActionKind,
    Backend,
    Frontend,
    FrontendKey,
    FrontendKind,
    Key,
    NodeSettings,
    Relaying,
)
from fairway.objects.endpointslice import (
    WEIGHT_ANNOTATION,
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
)
from fairway.objects.meta import ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from fairway.proxy.flows import (
    Node,
    Questions,
    Serving,
    Spot,
    Suspect,
    everything,
    is_uneven,
    lingering_endpoints,
    questions,
    serving_endpoints,
    stale,
    suspects,
)
from tests.unit.memory_mode import MemoryFlow

SETTINGS = NodeSettings(name="node-a", addresses=("127.0.0.1", "192.168.0.2", "192.168.0.3", "2001:db8::2"))
DNS = FrontendKey("10.96.0.10", "UDP", 53)
WEB = FrontendKey("10.96.0.10", "TCP", 53)
NODE_PORT = FrontendKey("0.0.0.0", "UDP", 30053)
HERE, THERE = FrontendKey("192.168.0.2", "UDP", 30053), FrontendKey("192.168.0.3", "UDP", 30053)
ONE, TWO = "10.244.1.2", "10.244.1.3"


def frontend(*backends: str, key: FrontendKey = DNS, local: tuple[str, ...] = (), cuts: bool = False) -> Frontend:
    forward = Action(kind=ActionKind.FORWARD)
    return Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address=key.address,
        protocol=key.protocol,
        port=key.port,
        service=Key("kube-system", "dns"),
        cluster=tuple(Backend(address=one, port=53) for one in backends),
        local=tuple(Backend(address=one, port=53) for one in local),
        pod=forward,
        node=forward,
        outside=forward,
        cuts_connections=cuts,
    )


def at(*backends: str) -> frozenset[tuple[str, int]]:
    return frozenset((one, 53) for one in backends)


def node(
    *frontends: Frontend,
    lingering: Mapping[FrontendKey, frozenset[tuple[str, int]]] | None = None,
    relayed: frozenset[tuple[str, int]] = frozenset(),
) -> Node:
    found, known = lingering or {}, {one.key: one for one in frontends}
    return Node(known, lambda one: found.get(one.key, frozenset()), SETTINGS, lambda key: relayed)


@pytest.mark.reference("7.4 conntrack TestCleanStaleEntries")
@pytest.mark.parametrize(
    "old, new, expected",
    [
        (frontend(ONE), frontend(ONE, TWO), []),
        (frontend(ONE, TWO), frontend(ONE), [Suspect(DNS, at(ONE), at(TWO))]),
        (frontend(ONE), frontend(TWO), [Suspect(DNS, at(TWO), at(ONE))]),
        (frontend(), frontend(ONE), [Suspect(DNS, at(ONE))]),
        (frontend(ONE), frontend(), [Suspect(DNS, at(), at(ONE))]),
        (None, frontend(ONE), [Suspect(DNS, at(ONE))]),
        (frontend(ONE), None, [Suspect(DNS, at(), at(ONE))]),
        (frontend(ONE, local=(TWO,)), frontend(local=(TWO,)), [Suspect(DNS, at(TWO), at(ONE))]),
    ],
    ids=["one more", "one less", "replaced", "the first", "the last", "new", "deleted", "kept to this node"],
)
def test_what_can_leave_stale_flows_behind(old: Frontend | None, new: Frontend | None, expected: list[Suspect]) -> None:
    assert suspects({DNS: old}, (), node(*(one for one in (new,) if one))) == expected


@pytest.mark.reference("7.4 conntrack TestCleanStaleEntries")
def test_connections_are_left_alone_unless_their_service_wants_them_cut() -> None:
    both, fewer = frontend(ONE, TWO, key=WEB), frontend(ONE, key=WEB)
    assert suspects({WEB: both}, (), node(fewer)) == []
    assert suspects({WEB: both}, (), node()) == []
    assert everything(node(fewer).frontends, node(fewer)) == []
    cutting = (
        msgspec.structs.replace(both, cuts_connections=True),
        msgspec.structs.replace(fewer, cuts_connections=True),
    )
    assert suspects({WEB: cutting[0]}, (), node(cutting[1])) == [Suspect(WEB, at(ONE), at(TWO))]
    assert suspects({WEB: cutting[0]}, (), node()) == [Suspect(WEB, at(), at(ONE, TWO))]
    assert suspects({WEB: both}, (), node(cutting[0])) == [Suspect(WEB, at(ONE, TWO))]
    assert suspects({WEB: cutting[0]}, (), node(fewer)) == []


@pytest.mark.reference("7.4 conntrack TestCleanStaleEntries")
def test_a_node_port_is_this_nodes_addresses_but_for_those_that_somebody_else_takes() -> None:
    port, other = frontend(ONE, key=NODE_PORT), frontend(TWO, key=HERE)
    assert suspects({NODE_PORT: None}, (), node(port)) == [Suspect(HERE, at(ONE)), Suspect(THERE, at(ONE))]
    assert suspects({NODE_PORT: None}, (), node(port, other)) == [Suspect(THERE, at(ONE))]
    assert suspects({HERE: other}, (), node(port)) == [Suspect(HERE, at(ONE), at(TWO))]


def test_a_relay_takes_all_flows_over_and_gives_them_back() -> None:
    listener = frozenset({("169.254.77.77", 40000)})
    kernels, relayed = frontend(ONE, TWO), msgspec.structs.replace(frontend(ONE, TWO), relaying=Relaying())
    now = node(relayed, relayed=listener)
    assert suspects({DNS: kernels}, (), now) == [Suspect(DNS, listener)]
    assert suspects({DNS: None}, (), now) == [Suspect(DNS, listener)]
    assert everything(now.frontends, now) == [Suspect(DNS, listener)]
    assert suspects({DNS: relayed}, (), node(kernels)) == [Suspect(DNS, at(ONE, TWO))]
    assert suspects({DNS: relayed}, (), node()) == [Suspect(DNS, frozenset())]


def test_a_relay_looks_after_backends_that_leave_and_after_connections_itself() -> None:
    relayed = msgspec.structs.replace(frontend(ONE, TWO), relaying=Relaying())
    fewer = msgspec.structs.replace(relayed, cluster=relayed.cluster[:1])
    assert suspects({DNS: relayed}, (), node(fewer)) == []
    cutting = msgspec.structs.replace(frontend(ONE, key=WEB), cuts_connections=True)
    web = msgspec.structs.replace(cutting, relaying=Relaying())
    assert suspects({WEB: cutting}, (), node(web)) == []
    assert suspects({WEB: web}, (), node(cutting)) == []


def test_a_backend_that_lingers_keeps_its_flows_until_it_is_gone() -> None:
    now = node(frontend(ONE), lingering={DNS: at(TWO)})
    assert suspects({DNS: frontend(ONE, TWO)}, (), now) == []
    assert everything(now.frontends, now) == [Suspect(DNS, at(ONE, TWO))]
    assert suspects({}, [DNS], node(frontend(ONE))) == [Suspect(DNS, at(ONE))]


def test_what_was_not_dealt_with_is_added_to_what_comes_after_it() -> None:
    first, second = Suspect(DNS, at(TWO), at(ONE)), Suspect(DNS, at(ONE), at(TWO, "10.244.1.4"))
    assert second.after(first) == Suspect(DNS, at(ONE), at(TWO, "10.244.1.4"))
    assert second.after(Suspect(DNS, at(TWO))) == Suspect(DNS, at(ONE))
    assert second.after(None) == second


@pytest.mark.reference("7.4 TestPerformanceCleanStaleEntries")
def test_the_kernel_is_asked_the_fewest_questions() -> None:
    spot = Spot("UDP", "10.96.0.10", 53)
    assert questions([Suspect(DNS, at(), at(ONE))]) == Questions([spot], [])
    gone = [replace_backend(spot, one) for one in (ONE, TWO)]
    assert questions([Suspect(DNS, at("10.244.1.9"), at(TWO, ONE))]) == Questions(gone, [])
    assert questions([Suspect(DNS, at(ONE))]) == Questions([], [spot])
    many = [
        Suspect(FrontendKey("10.96.0.10", protocol, port), at()) for protocol in ("UDP", "TCP") for port in range(5)
    ]
    assert questions(many) == Questions([], [Spot("UDP"), Spot("TCP")])


def replace_backend(spot: Spot, backend: str) -> Spot:
    return spot._replace(backend=(backend, 53))


@pytest.mark.reference("7.4 conntrack TestCleanStaleEntries")
def test_flows_to_what_is_gone_and_flows_past_the_service_are_stale_and_the_others_stay() -> None:
    to_one, to_two = MemoryFlow("UDP", *DNS[::2], ONE, 53), MemoryFlow("UDP", *DNS[::2], TWO, 53)
    untranslated = MemoryFlow("UDP", *DNS[::2], *DNS[::2])
    elsewhere, other_port = MemoryFlow("UDP", "10.96.0.11", 53, TWO, 53), MemoryFlow("UDP", DNS.address, 54, TWO, 53)
    connection = to_two._replace(protocol="TCP")
    flows = [to_one, to_two, untranslated, elsewhere, other_port, connection]
    assert stale(flows, [Suspect(DNS, at(ONE))]) == [to_two, untranslated]


@pytest.mark.reference("7.4 TestServiceWithoutEndpoints")
def test_at_the_start_only_flows_to_nobody_known_are_stale() -> None:
    found = everything([DNS], node(frontend(ONE)))
    good, bad = MemoryFlow("UDP", *DNS[::2], ONE, 53), MemoryFlow("UDP", *DNS[::2], TWO, 53)
    assert stale([good, bad], found) == [bad]


PORTS = (ServicePort(name="dns", port=53, protocol="UDP"), ServicePort(name="dns-tcp", port=53))
SERVICE = Service(spec=ServiceSpec(ports=PORTS))


def slice_of(**endpoints: Endpoint) -> EndpointSlice:
    ports = (EndpointPort(name="dns", port=53, protocol="UDP"), EndpointPort(name="dns-tcp", port=53, protocol="TCP"))
    return EndpointSlice(ports=ports, endpoints=tuple(endpoints.values()))


def endpoint(address: str, node_name: str | None = None, **conditions: bool) -> Endpoint:
    return Endpoint(addresses=(address,), node_name=node_name, conditions=EndpointConditions(**conditions))


def test_endpoints_serve_whether_they_are_ready_or_terminating() -> None:
    found = slice_of(
        ready=endpoint(ONE, "node-a", ready=True),
        leaving=endpoint(TWO, ready=False, serving=True, terminating=True),
        gone=endpoint("10.244.1.4", ready=False, serving=False, terminating=True),
        starting=endpoint("10.244.1.5", ready=False, serving=False),
    )
    here, leaving = Serving("UDP", "dns", (ONE, 53), True), Serving("UDP", "dns", (TWO, 53), False)
    assert list(serving_endpoints(SERVICE, [found], "node-a", cuts=False)) == [here, leaving]
    every = set(serving_endpoints(SERVICE, [found], "node-a", cuts=True))
    assert every == {
        one._replace(protocol=p, port_name=n)
        for one in (here, leaving)
        for p, n in (("UDP", "dns"), ("TCP", "dns-tcp"))
    }


def test_what_serves_outside_of_a_pool_lingers_unless_a_policy_keeps_clients_to_this_node() -> None:
    serving = [Serving("UDP", "dns", (ONE, 53), True), Serving("UDP", "dns", (TWO, 53), False)]
    named = msgspec.structs.replace(frontend(ONE), port_name="dns")
    assert lingering_endpoints(serving, [named]) == {serving[1]}
    kept_here = msgspec.structs.replace(frontend(local=(ONE,)), port_name="dns")
    assert lingering_endpoints(serving, [kept_here]) == frozenset()
    assert lingering_endpoints(serving, [msgspec.structs.replace(named, protocol="TCP")]) == frozenset()


@pytest.mark.parametrize(
    "one, uneven",
    [
        (endpoint(ONE), False),
        (endpoint(ONE, ready=False, serving=False), False),
        (endpoint(ONE, ready=False, serving=True, terminating=True), True),
        (Endpoint(addresses=(ONE,), hints=EndpointHints()), True),
    ],
    ids=["ready", "neither ready nor serving", "terminating", "for some clients"],
)
def test_a_slice_is_uneven_when_somebody_who_serves_may_be_missing_in_a_pool(one: Endpoint, uneven: bool) -> None:
    slice_ = slice_of(ready=endpoint(TWO), one=one)
    assert is_uneven(slice_) is uneven
    weighted = ObjectMeta(annotations={WEIGHT_ANNOTATION: "3"})
    assert is_uneven(msgspec.structs.replace(slice_, metadata=weighted))


def test_backends_that_only_come_need_no_look_at_the_others() -> None:
    first, more = (Backend(address=ONE, port=53),), (Backend(address=TWO, port=53),)
    few = msgspec.structs.replace(frontend(), cluster=Parts([first, more]))
    many = msgspec.structs.replace(frontend(), cluster=Parts([first, (*more, Backend(address="10.244.1.9", port=53))]))
    assert suspects({DNS: few}, (), node(many)) == []
    assert suspects({DNS: many}, (), node(few)) == [Suspect(DNS, at(ONE, TWO), at("10.244.1.9"))]
