"""The made-up cluster is what an API server would have sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairway.bench.programming import percentiles
from fairway.bench.shape import NODE, SERVICE_NETWORK, Shape
from fairway.model.address import contains
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.networking import ServiceCIDR, service_cidrs
from fairway.objects.service import Service


def items(shape: Shape, plural: str) -> list[Any]:
    return list(msgspec.json.decode(shape.lists()[plural])["items"])


def test_each_service_has_its_address_and_its_backends() -> None:
    shape = Shape(services=3, backends=2)
    services = [msgspec.convert(one, Service) for one in items(shape, "services")]
    slices = [msgspec.convert(one, EndpointSlice) for one in items(shape, "endpointslices")]
    assert [one.spec.cluster_ip for one in services] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert [one.service_name for one in slices] == [one.metadata.name for one in services]
    addresses = [endpoint.addresses[0] for one in slices for endpoint in one.endpoints or ()]
    assert addresses == [f"10.128.0.{number}" for number in range(6)]
    assert [one["metadata"]["name"] for one in items(shape, "nodes")] == [NODE]


def test_many_backends_are_parted_as_the_controller_parts_them() -> None:
    slices = items(Shape(services=1, backends=250), "endpointslices")
    assert [len(one["endpoints"]) for one in slices] == [100, 100, 50]


def test_changes_take_a_backend_away_and_bring_it_back() -> None:
    events = [msgspec.json.decode(line) for line in Shape(services=5, backends=3).changes(4)]
    assert [len(one["object"]["endpoints"]) for one in events] == [2, 3, 2, 3]
    names = [one["object"]["metadata"]["name"] for one in events]
    assert names[0] == names[1] != names[2] == names[3]
    assert [one["object"]["metadata"]["resourceVersion"] for one in events] == ["2", "3", "4", "5"]


@pytest.mark.parametrize("services, backends", [(0, 1), (1, 0), (1 << 23, 1), (100_000, 100)])
def test_a_shape_that_cannot_be_is_refused(services: int, backends: int) -> None:
    with pytest.raises(ValueError, match=r"at least one Service|more than the 4194304 addresses"):
        Shape(services, backends)


def test_percentiles_are_measured_values() -> None:
    assert percentiles([number / 1000 for number in range(100, 0, -1)]) == {"p50": 0.051, "p99": 0.1, "max": 0.1}


def test_a_toggle_takes_all_backends_of_a_service_and_gives_them_back() -> None:
    shape = Shape(services=5, backends=3)
    toggles = list(shape.toggles(4))
    assert [(number, back) for number, back, _ in toggles] == [
        (0, False),
        (0, True),
        (7919 % 5, False),
        (7919 % 5, True),
    ]
    endpoints = [len(msgspec.json.decode(event)["object"]["endpoints"]) for _, _, event in toggles]
    assert endpoints == [0, 3, 0, 3]


def test_backends_that_do_not_fit_into_one_event_cannot_be_toggled() -> None:
    with pytest.raises(ValueError, match="at most 100 backends"):
        list(Shape(services=1, backends=101).toggles(2))


def test_addresses_are_those_that_the_objects_say() -> None:
    shape = Shape(services=5, backends=3)
    services = msgspec.json.decode(shape.lists()["services"])["items"]
    assert shape.address(4) == services[4]["spec"]["clusterIP"]
    assert shape.backend_address(4) == shape.slice(4)["endpoints"][0]["addresses"][0]


def test_the_network_of_services_is_declared_and_holds_them_all() -> None:
    shape = Shape(services=3, backends=1)
    declared = [msgspec.convert(one, ServiceCIDR) for one in items(shape, "servicecidrs")]
    assert list(service_cidrs(declared)) == [SERVICE_NETWORK]
    assert all(contains((SERVICE_NETWORK,), shape.address(number)) for number in range(3))
