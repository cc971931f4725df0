"""Unit tests of `fairway.proxy.flows`."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKey, FrontendKind, Key, NodeSettings
from fairway.objects.endpointslice import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from fairway.objects.service import Service, ServicePort, ServiceSpec
from fairway.proxy.flows import Suspect, draining_endpoints, everything, stale, suspects

SETTINGS = NodeSettings(name="node-a", addresses=("127.0.0.1", "192.168.0.2"))
DNS = FrontendKey("10.96.0.10", "UDP", 53)
NODE_PORT = FrontendKey("0.0.0.0", "UDP", 30053)
ONE, TWO = "10.244.1.2", "10.244.1.3"


class Entry(NamedTuple):
    destination: str
    port: int
    reply_source: str
    reply_port: int


def frontend(*backends: str, key: FrontendKey = DNS) -> Frontend:
    forward = Action(kind=ActionKind.FORWARD)
    return Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address=key.address,
        protocol=key.protocol,
        port=key.port,
        service=Key("kube-system", "dns"),
        cluster=tuple(Backend(address=one, port=53) for one in backends),
        pod=forward,
        node=forward,
        outside=forward,
    )


def keep(*backends: str) -> frozenset[tuple[str, int]]:
    return frozenset((one, 53) for one in backends)


def nobody(one: Frontend) -> frozenset[tuple[str, int]]:
    """No backend of it is draining."""
    return keep()


@pytest.mark.reference("7.4 conntrack TestCleanStaleEntries")
@pytest.mark.parametrize(
    "old, new, expected",
    [
        (frontend(ONE), frontend(ONE, TWO), []),
        (frontend(ONE, TWO), frontend(ONE), [Suspect(DNS, keep(ONE))]),
        (frontend(), frontend(ONE), [Suspect(DNS, keep(ONE))]),
        (frontend(ONE), frontend(), [Suspect(DNS, keep())]),
        (None, frontend(ONE), [Suspect(DNS, keep(ONE))]),
        (frontend(ONE), None, [Suspect(DNS, keep())]),
    ],
    ids=["a backend more", "a backend less", "the first backend", "the last backend", "a new frontend", "deleted"],
)
def test_what_can_leave_stale_flows_behind(old: Frontend | None, new: Frontend | None, expected: list[Suspect]) -> None:
    assert suspects({DNS: old}, (), {DNS: new} if new else {}, nobody) == expected


def test_tcp_is_never_touched() -> None:
    key = FrontendKey("10.96.0.10", "TCP", 53)
    assert suspects({key: frontend(ONE, key=key)}, (), {}, nobody) == []
    assert everything({key: frontend(ONE, key=key)}, nobody) == []


@pytest.mark.reference("7.4 conntrack TestCleanStaleEntries")
def test_flows_to_what_is_gone_and_flows_past_the_service_are_stale_and_the_others_stay() -> None:
    to_one, to_two = Entry("10.96.0.10", 53, ONE, 53), Entry("10.96.0.10", 53, TWO, 53)
    untranslated = Entry("10.96.0.10", 53, "10.96.0.10", 53)
    elsewhere, other_port = Entry("10.96.0.11", 53, TWO, 53), Entry("10.96.0.10", 54, TWO, 53)
    flows = [to_one, to_two, untranslated, elsewhere, other_port]
    assert stale(flows, [Suspect(DNS, keep(ONE))], SETTINGS) == [to_two, untranslated]


@pytest.mark.reference("7.4 conntrack TestCleanStaleEntries")
def test_a_node_port_counts_on_this_nodes_addresses_only() -> None:
    here, elsewhere = Entry("192.168.0.2", 30053, TWO, 53), Entry("192.0.2.9", 30053, "192.0.2.9", 30053)
    assert stale([here, elsewhere], [Suspect(NODE_PORT, keep(ONE))], SETTINGS) == [here]


@pytest.mark.reference("7.4 TestServiceWithoutEndpoints")
def test_at_the_start_only_flows_to_nobody_known_are_stale() -> None:
    found = everything({DNS: frontend(ONE)}, nobody)
    good, bad = Entry("10.96.0.10", 53, ONE, 53), Entry("10.96.0.10", 53, TWO, 53)
    assert stale([good, bad], found, SETTINGS) == [bad]


def test_a_backend_that_drains_keeps_its_flows_until_it_is_gone() -> None:
    def two(one: Frontend) -> frozenset[tuple[str, int]]:
        return keep(TWO)

    now = {DNS: frontend(ONE)}
    assert suspects({DNS: frontend(ONE, TWO)}, (), now, two) == []
    assert everything(now, two) == [Suspect(DNS, keep(ONE, TWO))]
    assert suspects({}, [DNS], now, nobody) == [Suspect(DNS, keep(ONE))]


def test_draining_endpoints_are_those_of_udp_that_terminate_and_serve() -> None:
    ports = (ServicePort(name="dns", port=53, protocol="UDP"), ServicePort(name="dns-tcp", port=53))
    states = {"10.0.0.1": (True, True), "10.0.0.2": (True, False), "10.0.0.3": (False, True)}
    slice_ = EndpointSlice(
        ports=(EndpointPort(name="dns", port=5353, protocol="UDP"), EndpointPort(name="dns-tcp", port=5353)),
        endpoints=tuple(
            Endpoint(addresses=(address,), conditions=EndpointConditions(terminating=terminating, serving=serving))
            for address, (terminating, serving) in states.items()
        ),
    )
    service = Service(spec=ServiceSpec(ports=ports))
    assert draining_endpoints(service, [slice_]) == {("dns", "10.0.0.1", 5353)}
    assert draining_endpoints(Service(spec=ServiceSpec(ports=ports[1:])), [slice_]) == frozenset()
