"""Unit tests of `fairway.model.address`."""

from __future__ import annotations

import pytest

from fairway.model.address import canonical, canonical_network, contains, family_of, is_loopback, merged, of_family


@pytest.mark.parametrize(
    "text, address",
    [
        ("10.0.0.1", "10.0.0.1"),
        ("010.000.001.001", "10.0.1.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("FD00:0:0::1", "fd00::1"),
        ("::", "::"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:a00:1", "10.0.0.1"),
        ("fe80::1", "fe80::1"),
    ],
)
def test_an_address_has_one_spelling(text: str, address: str) -> None:
    assert canonical(text) == address


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0", "10.0.0.256", "10.0.0.1/32", "10..0.1", "web", "10.0.0.1 ", "0x0a.0.0.1", "fe80::1%eth0", "1::2::3"],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert canonical(text) is None


@pytest.mark.parametrize("text", ["fe80::1%} ; flush ruleset", "10.0.0.1\n", "10.0.0.1; drop", "٣.٣.٣.٣"])
def test_a_hostile_address_is_none(text: str) -> None:
    assert canonical(text) is None
    assert canonical_network(f"{text}/24") is None


@pytest.mark.parametrize(
    "text, network",
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        (" 10.0.0.0/8 ", "10.0.0.0/8"),
        ("010.000.000.000/8", "10.0.0.0/8"),
        ("FD00::1/64", "fd00::/64"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("10.0.0.1/32", "10.0.0.1/32"),
    ],
)
def test_a_network_has_one_spelling(text: str, network: str) -> None:
    assert canonical_network(text) == network


@pytest.mark.parametrize(
    "text", ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0.0/", "/8", "web/8", "::%1/64"]
)
def test_what_is_no_network_is_none(text: str) -> None:
    assert canonical_network(text) is None


def test_a_family_is_told_by_the_text() -> None:
    assert [family_of(one) for one in ("10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8")] == ["IPv4", "IPv4", "IPv6", "IPv6"]
    assert of_family(("10.0.0.1", "::1", "10.0.0.2"), "IPv4") == ("10.0.0.1", "10.0.0.2")


def test_networks_hold_addresses_of_their_own_family_only() -> None:
    networks = ("10.0.0.0/8", "fd00::/8")
    assert contains(networks, "10.255.0.1")
    assert contains(networks, "fd12::1")
    assert not contains(networks, "11.0.0.1")
    assert not contains(("0.0.0.0/0",), "::1")
    assert not contains((), "10.0.0.1")


def test_loopback_is_a_whole_network() -> None:
    assert [is_loopback(one) for one in ("127.0.0.1", "127.9.9.9", "::1", "10.0.0.1")] == [True, True, True, False]


def test_networks_are_merged_so_that_none_lies_within_another() -> None:
    texts = ["10.96.0.0/16", "fd00::/112", "10.96.4.0/24", "10.97.0.0/16", "nonsense", "10.200.0.0/24"]
    assert merged(texts) == ("10.96.0.0/15", "10.200.0.0/24", "fd00::/112")
    assert merged([]) == ()
