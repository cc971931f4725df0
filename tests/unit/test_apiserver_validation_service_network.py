"""ServiceCIDRs and IPAddresses: what they may say, and what may not change."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.apiserver.validation import service_network
from fairway.objects.codec import Document


def cidr(*cidrs: str) -> Document:
    return {"metadata": {"name": "extra"}, "spec": {"cidrs": list(cidrs)}}


def address(name: str = "10.96.0.7", **parent: Any) -> Document:
    reference = {"resource": "services", "namespace": "shop", "name": "cart", **parent}
    return {"metadata": {"name": name}, "spec": {"parentRef": reference}}


CIDRS: list[tuple[Document, str]] = [
    (cidr(), "spec.cidrs: Required value: at least one CIDR required"),
    (
        cidr("10.0.0.0/24", "10.1.0.0/24", "fd00::/64"),
        'spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24","fd00::/64"]: may only hold up to 2 values',
    ),
    (cidr("10.0.0.0/24", "10.1.0.0/24"), 'spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no'),
    (cidr("x"), 'spec.cidrs[0]: Invalid value: "x": must be a valid CIDR value'),
    (cidr("10.0.0.1/24"), 'spec.cidrs[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix'),
    (cidr("FD00::/64"), 'spec.cidrs[0]: Invalid value: "FD00::/64": must be in canonical form ("fd00::/64")'),
    (cidr("fd00::/48"), 'spec.cidrs[0]: Invalid value: "fd00::/48": shortest allowed prefix length for service CIDR'),
    (cidr("10.0.0.0/31"), 'spec.cidrs[0]: Invalid value: "10.0.0.0/31": must have room for at least one address'),
]
ADDRESSES: list[tuple[Document, str]] = [
    (address("010.0.0.1"), 'metadata.name: Invalid value: "010.0.0.1": ParseAddr("010.0.0.1"): unable to parse IP'),
    (address("FD00::1"), 'metadata.name: Invalid value: "FD00::1": must be a canonical format IP address'),
    ({"metadata": {"name": "10.0.0.1"}, "spec": {}}, "spec.parentRef: Required value"),
    (address(resource=""), "spec.parentRef.resource: Required value"),
    (address(name="10.0.0.1") | {"spec": {"parentRef": {"resource": "s"}}}, "spec.parentRef.name: Required value"),
    (address(resource="a/b"), "spec.parentRef.resource: Invalid value: \"a/b\": may not contain '/'"),
    (address(namespace=".."), "spec.parentRef.namespace: Invalid value: \"..\": may not be '..'"),
    (address(group="A"), 'spec.parentRef.group: Invalid value: "A": a lowercase RFC 1123 subdomain'),
]


@pytest.mark.parametrize("document, words", CIDRS, ids=range(len(CIDRS)))
@pytest.mark.reference("5.5 cidr validation", "5.5 range")
def test_a_wrong_service_cidr_is_told_which_field(document: Document, words: str) -> None:
    (error,) = service_network.validate_service_cidr(document)
    assert str(error).startswith(words)


@pytest.mark.parametrize("document, words", ADDRESSES, ids=range(len(ADDRESSES)))
def test_a_wrong_address_is_told_which_field(document: Document, words: str) -> None:
    (error,) = service_network.validate_ip_address(document)
    assert str(error).startswith(words)


@pytest.mark.parametrize("cidrs", [("10.0.0.0/30",), ("fd00::/127",), ("10.0.0.0/8", "fd00::/64")])
def test_a_service_cidr_has_one_network_or_one_of_each_family(cidrs: tuple[str, ...]) -> None:
    assert service_network.validate_service_cidr(cidr(*cidrs)) == []


@pytest.mark.reference("5.5 cidr validation")
def test_a_service_cidr_may_only_gain_a_second_family() -> None:
    one, two = cidr("10.0.0.0/24"), cidr("10.0.0.0/24", "fd00::/64")
    assert service_network.validate_service_cidr_update(two, one) == []
    (lost,) = service_network.validate_service_cidr_update(one, two)
    assert str(lost) == 'spec.cidrs: Invalid value: ["10.0.0.0/24"]: field is immutable'
    (moved,) = service_network.validate_service_cidr_update(cidr("10.1.0.0/24", "fd00::/64"), one)
    assert str(moved) == 'spec.cidrs[0]: Invalid value: "10.1.0.0/24": field is immutable'


@pytest.mark.reference("5.5 address object")
def test_an_address_stays_with_whom_it_was_given_to() -> None:
    assert service_network.validate_ip_address_update(address(), address()) == []
    (error,) = service_network.validate_ip_address_update(address(name="x"), address(name="10.96.0.7"))
    assert error.path == "metadata.name"
    (error,) = service_network.validate_ip_address_update(address(resource="other"), address())
    assert (error.path, error.detail) == ("spec.parentRef", "field is immutable")
