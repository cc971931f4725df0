"""Endpoints that are kept from change to change: what did not change is the very same, what contradicts is settled."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fairway.model.endpoints import Endpoints
from fairway.model.parts import difference
from fairway.model.resolve import resolve_endpoints
from fairway.model.view import Backend, Key, NodeSettings
from fairway.objects.endpointslice import SERVICE_NAME_LABEL, Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from fairway.objects.meta import ObjectMeta
from fairway.objects.service import Service, ServicePort, ServiceSpec
from tests.steps import steps

KEY = Key("shop", "cart")
NODE = NodeSettings(name="node-1")
SERVICE = Service(
    metadata=ObjectMeta(namespace=KEY.namespace, name=KEY.name),
    spec=ServiceSpec(cluster_ip="10.96.0.7", ports=(ServicePort(port=80, protocol="TCP"),)),
)


def slice_of(name: str, *hosts: int, terminating: bool = False, node: str | None = None) -> EndpointSlice:
    conditions = EndpointConditions(ready=not terminating, serving=True, terminating=terminating)
    return EndpointSlice(
        metadata=ObjectMeta(namespace="shop", name=name, labels={SERVICE_NAME_LABEL: "cart"}),
        ports=(EndpointPort(name="", port=8080),),
        endpoints=tuple(
            Endpoint(addresses=(f"10.244.1.{host}",), conditions=conditions, node_name=node) for host in hosts
        ),
    )


def slice6_of(name: str, *hosts: int) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(namespace="shop", name=name, labels={SERVICE_NAME_LABEL: "cart"}),
        address_type="IPv6",
        ports=(EndpointPort(name="", port=8080),),
        endpoints=tuple(Endpoint(addresses=(f"fd00::{host:x}",)) for host in hosts),
    )


def pool(endpoints: Endpoints) -> Sequence[Backend]:
    return resolve_endpoints(SERVICE, endpoints, NODE)[0].cluster


def places(backends: Sequence[Backend]) -> list[str]:
    return [f"{one.slice} {one.address}" for one in backends]


def test_a_slice_that_changes_leaves_the_parts_of_all_others_the_very_same() -> None:
    kept = Endpoints([slice_of("a", 1, 2), slice_of("b", 3, 4), slice_of("c", 5)])
    before = pool(kept)
    kept.put("b", slice_of("b", 4))
    gone, come = difference(before, pool(kept))
    assert [places(part) for part in gone] == [["b 10.244.1.3"]]
    assert come == ()


def test_an_address_in_two_slices_is_there_once_and_comes_back_when_the_better_one_goes() -> None:
    kept = Endpoints([slice_of("a", 1, 2), slice_of("b", 2, 3, terminating=True), slice_of("c", 9)])
    assert places(pool(kept)) == ["a 10.244.1.1", "a 10.244.1.2", "c 10.244.1.9"]
    kept.put("a", slice_of("a", 1, terminating=True))
    kept.put("c", None)
    assert places(pool(kept)) == ["a 10.244.1.1", "b 10.244.1.2", "b 10.244.1.3"]


def test_slices_that_come_first_and_go_last_are_no_special_case() -> None:
    kept = Endpoints()
    assert places(pool(kept)) == []
    kept.put("b", slice_of("b", 2))
    assert places(pool(kept)) == ["b 10.244.1.2"]
    kept.put("a", slice_of("a", 1))
    assert places(pool(kept)) == ["a 10.244.1.1", "b 10.244.1.2"]
    kept.put("a", None)
    kept.put("b", None)
    assert places(pool(kept)) == []


def test_a_change_of_one_family_leaves_the_pool_of_the_other_the_very_same() -> None:
    both = msgspec.structs.replace(SERVICE.spec, cluster_ips=("10.96.0.7", "fd00:96::7"))
    service = Service(metadata=SERVICE.metadata, spec=both)
    kept = Endpoints([slice_of("a", 1), slice_of("b", 2), slice6_of("c", 1), slice6_of("d", 2)])
    before = {one.address: one.cluster for one in resolve_endpoints(service, kept, NODE) if one.port}
    kept.put("a", slice_of("a", 3))
    after = {one.address: one.cluster for one in resolve_endpoints(service, kept, NODE) if one.port}
    assert after["fd00:96::7"] is before["fd00:96::7"]
    assert places(after["10.96.0.7"]) == ["a 10.244.1.3", "b 10.244.1.2"]


def test_slices_that_all_have_the_same_endpoints_cost_as_much_as_they_have() -> None:
    def taken(hosts: int) -> int:
        return steps(lambda: pool(Endpoints([slice_of(name, *range(hosts), node=name) for name in "abc"])))

    assert taken(80) < 3 * taken(40)


def test_slices_with_long_lists_of_ports_of_their_own_are_read_once_each() -> None:
    def taken(ports: int) -> int:
        service = Service(
            metadata=SERVICE.metadata,
            spec=ServiceSpec(
                cluster_ip="10.96.0.7", ports=tuple(ServicePort(name=f"p{n}", port=n + 1) for n in range(ports))
            ),
        )
        slices = [
            msgspec.structs.replace(
                slice_of(f"s{host}", host), ports=tuple(EndpointPort(name=f"p{n}", port=8000 + n) for n in range(ports))
            )
            for host in range(20)
        ]
        return steps(lambda: resolve_endpoints(service, Endpoints(slices), NODE))

    assert taken(80) < 3 * taken(40)
