"""Unit tests of `fairway.proxy.telling`: what is wrong, as Events, once for as long as it lasts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from fairway.client.asgi import AsgiTransport
from fairway.client.events import Write
from fairway.client.http import Client
from fairway.client.recorder import Recorders
from fairway.model.problems import Problem
from fairway.model.view import Key
from fairway.objects.cluster import Node
from fairway.objects.meta import ObjectMeta
from fairway.objects.service import Service
from fairway.proxy.telling import COMPONENT, Telling, budget
from fairway.runtime.clock import FakeClock
from fairway.runtime.retry import Backoff, Patience
from tests.unit.scripted_server import ScriptedServer

CART = Key("shop", "cart")
SERVICE = Service(metadata=ObjectMeta(namespace="shop", name="cart", uid="u1", resource_version="7"))
WRONG = Problem(service=CART, field="spec.externalIPs[0]", message="'10.0.0.300' is no IP address")
IN_SLICE = Problem(service=CART, field="endpoints[3]", message="'::1' is no address", slice="cart-x2b")


class Kept(Recorders):
    """Keeps what would be written."""

    def __init__(self, clock: FakeClock) -> None:
        client = Client(AsgiTransport(ScriptedServer()))
        super().__init__(client, Patience(Backoff(), clock), budget(clock.now()))
        self.kept: list[Write] = []

    def put(self, write: Write) -> None:
        self.kept.append(write)

    @property
    def notes(self) -> list[str]:
        return [one.document["note"] for one in self.kept]


@dataclass
class Desk:
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        services = {CART: SERVICE}
        self.recorders = Kept(self.clock)
        self.telling = Telling("node-1", services.get)
        self.telling.recorder = self.recorders.of(COMPONENT, self.telling.instance)


def test_a_problem_is_an_event_of_its_service_with_node_field_and_slice() -> None:
    desk = Desk()
    desk.telling.noticed("NotServed", WRONG)
    desk.telling.noticed("NotServed", IN_SLICE)
    assert desk.recorders.notes == [
        "node node-1: spec.externalIPs[0]: '10.0.0.300' is no IP address",
        "node node-1: EndpointSlice cart-x2b, endpoints[3]: '::1' is no address",
    ]
    written: dict[str, Any] = desk.recorders.kept[0].document
    assert written["regarding"] == {
        "kind": "Service",
        "apiVersion": "v1",
        "namespace": "shop",
        "name": "cart",
        "uid": "u1",
        "resourceVersion": "7",
    }
    assert (written["type"], written["reason"], written["reportingController"]) == ("Warning", "NotServed", COMPONENT)


def test_the_reason_is_the_events_and_what_comes_again_is_a_series() -> None:
    desk = Desk()
    desk.telling.noticed("NotServed", WRONG)
    desk.telling.noticed("KernelRefused", IN_SLICE)
    assert [one.document["reason"] for one in desk.recorders.kept] == ["NotServed", "KernelRefused"]
    desk.telling.noticed("NotServed", WRONG)
    assert desk.recorders.kept[-1].document["series"]["count"] == 2


def test_a_service_that_is_gone_has_nobody_to_tell() -> None:
    desk = Desk()
    other = Problem(service=Key("shop", "other"), field="", message="wrong")
    desk.telling.noticed("NotServed", other)
    assert desk.recorders.kept == []


def test_a_health_check_port_that_cannot_be_had_and_the_start_are_told_as_by_the_reference() -> None:
    desk = Desk()
    desk.telling.check_port_failed(CART, "cannot listen")
    desk.telling.started(Node(metadata=ObjectMeta(name="node-1", uid="n1")))
    reasons = [(one.document["reason"], one.document["regarding"]["kind"]) for one in desk.recorders.kept]
    assert reasons == [("FailedToStartServiceHealthcheck", "Service"), ("Starting", "Node")]


@pytest.mark.parametrize("seconds, left", [(0.0, 0), (25.0, 2)])
def test_ten_thousand_broken_services_are_fifty_events_and_then_one_every_ten_seconds(
    seconds: float, left: int
) -> None:
    bucket = budget(0.0)
    assert sum(bucket.take(0.0) for _ in range(10_000)) == 50
    assert sum(bucket.take(seconds) for _ in range(10_000)) == left


def test_a_service_that_nobody_can_read_is_told_by_its_name_and_one_without_a_name_is_not() -> None:
    desk = Desk()
    for name in ("odd", ""):
        key = Key("shop", name)
        desk.telling.unread = {key: Service(metadata=ObjectMeta(namespace="shop", name=name))}.get
        desk.telling.unreadable(Problem(service=key, field="spec.ports", message="expected array, got str"))
    assert desk.recorders.notes == ["node node-1: spec.ports: expected array, got str"]
    assert desk.recorders.kept[0].document["regarding"]["name"] == "odd"
