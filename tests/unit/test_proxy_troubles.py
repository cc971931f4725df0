"""Unit tests of `fairway.proxy.troubles`: every object is looked into, some day, and once."""

from __future__ import annotations

import msgspec

from fairway.model.view import Key
from fairway.objects.endpointslice import Endpoint, EndpointSlice
from fairway.objects.meta import ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from fairway.proxy.troubles import Troubles

WEB, SLICE = Key("shop", "web"), Key("shop", "web-1")
GOOD, ALSO_GOOD, BAD = (Endpoint(addresses=(one,)) for one in ("10.244.1.2", "10.244.1.3", "nonsense"))


def slice_(*endpoints: Endpoint) -> EndpointSlice:
    return EndpointSlice(metadata=ObjectMeta(namespace="shop", name="web-1"), endpoints=endpoints)


class Desk:
    """One Service with one slice, as a cache tells of it."""

    def __init__(self) -> None:
        self.troubles = Troubles()
        self.slice: EndpointSlice | None = None

    def put(self, new: EndpointSlice | None) -> None:
        self.troubles.put_slice(WEB, SLICE, new, self.slice)
        self.slice = new

    def found(self) -> list[str]:
        assert self.troubles.services() == ({WEB} if [*self.troubles.of(WEB)] else set())
        return [one.field for one in self.troubles.of(WEB)]


def test_a_wrong_endpoint_is_found_among_those_that_stay_wherever_it_comes_to_stand() -> None:
    desk = Desk()
    desk.put(slice_(GOOD, ALSO_GOOD))
    assert desk.found() == []
    desk.put(slice_(ALSO_GOOD, BAD, GOOD))
    assert desk.found() == ["endpoints[1].addresses[0]"]
    desk.put(slice_(ALSO_GOOD, GOOD, BAD))
    assert desk.found() == ["endpoints[2].addresses[0]"]
    desk.put(slice_(ALSO_GOOD, GOOD))
    assert desk.found() == []
    desk.put(slice_(BAD))
    desk.put(None)
    assert desk.found() == []


def test_endpoints_that_nobody_has_looked_into_yet_are_not_taken_for_good() -> None:
    desk = Desk()
    desk.put(slice_(GOOD))
    assert desk.found() == []
    desk.put(slice_(GOOD, BAD))
    desk.put(slice_(GOOD, BAD, ALSO_GOOD))
    assert desk.found() == ["endpoints[1].addresses[0]"]
    desk.put(slice_(BAD, GOOD, ALSO_GOOD))
    assert desk.found() == ["endpoints[0].addresses[0]"]


def test_the_same_endpoints_are_wrong_in_a_slice_of_another_family() -> None:
    desk = Desk()
    desk.put(slice_(GOOD))
    assert desk.found() == []
    desk.put(msgspec.structs.replace(slice_(GOOD), address_type="IPv6"))
    assert desk.found() == ["endpoints[0].addresses[0]"]


def test_the_newest_is_looked_into_soon_and_the_oldest_is_not_forgotten() -> None:
    troubles = Troubles()
    for number in range(10):
        spec = ServiceSpec(cluster_ip="nonsense", ports=(ServicePort(port=80),))
        key = Key("shop", f"s{number}")
        troubles.put_service(key, Service(metadata=ObjectMeta(namespace="shop", name=key.name), spec=spec))
    for _ in range(4):
        troubles.look()
    assert {one.name for one in troubles.changed} == {"s0", "s1", "s8", "s9"}
    assert len(troubles.services()) == 10
    assert not troubles.waiting
