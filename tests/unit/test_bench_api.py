"""The objects that the benchmark of the API is made of."""

from __future__ import annotations

from fairway.bench.api import ENDPOINTS_A_SLICE, endpointslice, service


def test_ten_thousand_slices_have_a_hundred_thousand_addresses() -> None:
    slices = [endpointslice(number) for number in range(10_000)]
    addresses = {address for one in slices for endpoint in one["endpoints"] for address in endpoint["addresses"]}
    assert len(addresses) == 10_000 * ENDPOINTS_A_SLICE


def test_a_slice_belongs_to_the_service_of_its_number() -> None:
    label = endpointslice(7)["metadata"]["labels"]["kubernetes.io/service-name"]
    assert label == service(7)["metadata"]["name"]
