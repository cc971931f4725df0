"""Unit tests of `fairway.proxy.cache`."""

from __future__ import annotations

from msgspec.structs import replace

from fairway.model.view import FrontendKey, NodeSettings
from fairway.objects.endpointslice import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from fairway.objects.meta import Key, ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from fairway.proxy.cache import Batch, Cache, Cause
from tests.steps import steps

SETTINGS = NodeSettings(name="node-a", pod_networks=("10.244.0.0/16",))
FRONTEND = FrontendKey("10.96.0.7", "TCP", 80)
OTHERS = FrontendKey("10.96.0.7", "", 0)


def service(name: str = "cart", version: str = "1", **labels: str) -> Service:
    return Service(
        metadata=ObjectMeta(namespace="shop", name=name, resource_version=version, labels=labels or None),
        spec=ServiceSpec(cluster_ip="10.96.0.7", ports=(ServicePort(port=80),)),
    )


def slice_(*addresses: str, of: str = "cart", name: str = "cart-1") -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(namespace="shop", name=name, labels={"kubernetes.io/service-name": of}),
        endpoints=tuple(Endpoint(addresses=(one,)) for one in addresses),
        ports=(EndpointPort(name="", port=8080),),
    )


def cause(kind: str = "Service", seen: float = 0.0) -> Cause:
    return Cause(kind, Key("shop", "cart"), "1", seen)


def put(cache: Cache, one: Service | EndpointSlice) -> Batch:
    if isinstance(one, Service):
        cache.put_service(one.key, one, cause())
    else:
        cache.put_slice(one.key, one, cause("EndpointSlice"))
    return cache.take()


def backends(cache: Cache) -> list[str]:
    return [str(one) for one in cache.frontends[FRONTEND].cluster]


def test_endpoints_that_come_before_their_service_are_kept_for_it() -> None:
    cache = Cache(SETTINGS)
    assert not put(cache, slice_("10.244.1.2")).before
    assert put(cache, service()).before == {FRONTEND: None, OTHERS: None}
    assert backends(cache) == ["10.244.1.2:8080"]


def test_a_change_of_metadata_alone_changes_no_frontend_but_leaves_its_cause() -> None:
    cache = Cache(SETTINGS)
    put(cache, service())
    batch = put(cache, service(version="2", team="blue"))
    assert batch.before == {}
    assert batch.causes == [cause()]


def test_a_slice_that_moves_to_another_service_changes_both() -> None:
    cache = Cache(SETTINGS)
    put(cache, service())
    put(cache, slice_("10.244.1.2"))
    put(cache, slice_("10.244.1.2", of="web"))
    assert backends(cache) == []


def test_a_slice_of_no_service_is_nobodys_business() -> None:
    cache = Cache(SETTINGS)
    one = EndpointSlice(metadata=ObjectMeta(namespace="shop", name="stray"))
    assert not cache.put_slice(one.key, one, cause("EndpointSlice"))
    assert not cache.dirty


def test_a_deleted_service_takes_its_frontends_along() -> None:
    cache = Cache(SETTINGS)
    put(cache, service())
    held = cache.frontends[FRONTEND]
    cache.put_service(Key("shop", "cart"), None, cause())
    assert cache.take().before[FRONTEND] == held
    assert cache.frontends == {}


def test_what_slices_say_of_a_port_that_the_next_service_of_that_name_has_not_is_no_trouble() -> None:
    cache, key = Cache(SETTINGS), Key("shop", "cart")
    put(cache, service())
    for name, node in (("cart-1", "node-a"), ("cart-2", "node-b")):
        endpoint = Endpoint(addresses=("10.244.1.2",), node_name=node)
        put(cache, replace(slice_(name=name), endpoints=(endpoint,)))
    assert len([*cache.troubles.of(key)]) == 1
    cache.put_service(key, None, cause())
    cache.take()
    renamed = ServiceSpec(cluster_ip="10.96.0.7", ports=(ServicePort(port=80, name="http"),))
    put(cache, replace(service(), spec=renamed))
    assert backends(cache) == []
    assert not cache.troubles.services()


def test_of_two_services_with_one_address_the_first_by_name_has_it_and_the_other_inherits() -> None:
    cache = Cache(SETTINGS)
    put(cache, service("web"))
    put(cache, service("cart"))
    assert cache.frontends[FRONTEND].service.name == "cart"
    assert [str(one) for one in cache.troubles.of(Key("shop", "web"))] == [
        "Service shop/web: spec.ports[0]: 10.96.0.7:80/TCP is shop/cart's already",
        "Service shop/web: spec.clusterIPs: 10.96.0.7 (other ports) is shop/cart's already",
    ]
    cache.put_service(Key("shop", "cart"), None, cause())
    cache.take()
    assert not cache.troubles.services()
    assert cache.frontends[FRONTEND].service.name == "web"


def test_a_change_of_the_loser_changes_nothing() -> None:
    cache = Cache(SETTINGS)
    put(cache, service("cart"))
    put(cache, service("web"))
    assert put(cache, slice_("10.244.1.9", of="web", name="web-1")).before == {}


def test_a_loser_is_told_by_the_field_that_asks_now() -> None:
    cache = Cache(SETTINGS)
    put(cache, service("cart"))
    put(cache, service("web"))
    ports = (ServicePort(name="other", port=81), ServicePort(port=80))
    put(cache, replace(service("web"), spec=ServiceSpec(cluster_ip="10.96.0.7", ports=ports)))
    assert {one.field for one in cache.troubles.of(Key("shop", "web"))} == {"spec.clusterIPs", "spec.ports[1]"}


def test_one_more_that_asks_for_what_many_ask_for_costs_no_more_than_the_first() -> None:
    def claimed(rivals: int) -> int:
        cache = Cache(SETTINGS)
        for number in range(rivals):
            put(cache, service(f"a{number:03}"))
        return steps(lambda: put(cache, service("web")))

    assert claimed(100) < 2 * claimed(2)


def test_what_changed_and_changed_back_before_anybody_looked_is_no_change() -> None:
    cache = Cache(SETTINGS)
    put(cache, service())
    cache.put_slice(Key("shop", "cart-1"), slice_("10.244.1.2"), cause("EndpointSlice"))
    cache.put_slice(Key("shop", "cart-1"), None, cause("EndpointSlice"))
    assert cache.take().before == {}


def test_other_settings_look_at_every_service_again() -> None:
    cache = Cache(SETTINGS)
    put(cache, service())
    put(cache, slice_("10.244.1.2"))
    assert not cache.put_settings(SETTINGS)
    assert cache.put_settings(NodeSettings(name="node-a"))
    assert cache.dirty
    batch = cache.take()
    assert batch.rebased
    assert set(batch.before) == {FRONTEND}  # without pod networks nothing is masqueraded


def test_merged_batches_remember_the_oldest_state() -> None:
    cache = Cache(SETTINGS)
    first = put(cache, service())
    first.add(put(cache, slice_("10.244.1.2")))
    assert first.before == {FRONTEND: None, OTHERS: None}
    assert [one.kind for one in first.causes] == ["Service", "EndpointSlice"]


def test_a_udp_backend_that_lingered_and_left_is_told_of_though_no_frontend_changes() -> None:
    def dns(*draining: str) -> EndpointSlice:
        ready = (Endpoint(addresses=("10.244.1.2",)),)
        gone = EndpointConditions(ready=False, serving=True, terminating=True)
        leaving = tuple(Endpoint(addresses=(one,), conditions=gone) for one in draining)
        meta = slice_(of="dns", name="dns-1").metadata
        return EndpointSlice(
            metadata=meta, endpoints=ready + leaving, ports=(EndpointPort(name="", port=53, protocol="UDP"),)
        )

    cache, key = Cache(SETTINGS), FrontendKey("10.96.0.10", "UDP", 53)
    spec = ServiceSpec(cluster_ip="10.96.0.10", ports=(ServicePort(port=53, protocol="UDP"),))
    put(cache, Service(metadata=ObjectMeta(namespace="shop", name="dns"), spec=spec))
    put(cache, dns("10.244.1.3"))
    assert cache.lingering(cache.frontends[key]) == {("10.244.1.3", 53)}
    batch = put(cache, dns())
    assert (batch.before, batch.deserted) == ({}, {key})
    assert cache.lingering(cache.frontends[key]) == frozenset()
