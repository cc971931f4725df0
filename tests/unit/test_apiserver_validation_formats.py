"""What names, ports, addresses and quantities may look like."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from fairway.apiserver.validation import formats

GOOD: list[tuple[Callable[[str], list[str]], list[str]]] = [
    (formats.dns_label, ["a", "a-b", "3scale", "x" * 63]),
    (formats.dns_label_1035, ["a", "a-3"]),
    (formats.dns_subdomain, ["a", "a.b-c.d", "1.2", "x" * 63 + "." + "y" * 63]),
    (formats.qualified_name, ["app", "example.com/app", "A.b_c-9", "kubernetes.io/service-name"]),
    (formats.label_value, ["", "a", "A.b_c-9", "x" * 63]),
    (formats.port_name, ["http", "a", "p2p", "x" * 15]),
    (formats.percent, ["0%", "25%", "150%"]),
    (formats.address, ["10.0.0.1", "::1", "2001:db8::ffff", "2001:DB8::1"]),
    (formats.network, ["10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::/64", "10.0.0.1/32"]),
]


@pytest.mark.parametrize("check, text", [(check, text) for check, texts in GOOD for text in texts])
def test_what_is_right_has_no_problems(check: Callable[[str], list[str]], text: str) -> None:
    assert check(text) == []


BAD: list[tuple[Callable[[str], list[str]], str, str]] = [
    (formats.dns_label, "", "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'"),
    (formats.dns_label, "a\n", "a lowercase RFC 1123 label"),
    (formats.dns_label, "ä", "a lowercase RFC 1123 label"),
    (formats.dns_label, "x" * 64, "must be no more than 63 bytes"),
    (formats.dns_label_1035, "3a", "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start"),
    (formats.dns_subdomain, "a..b", "a lowercase RFC 1123 subdomain must consist of"),
    (formats.dns_subdomain, "a." * 130 + "a", "must be no more than 253 bytes"),
    (formats.qualified_name, "/app", "prefix part must be non-empty"),
    (formats.qualified_name, "example.com/", "name part must be non-empty"),
    (formats.qualified_name, "A_b/app", "prefix part a lowercase RFC 1123 subdomain must"),
    (formats.qualified_name, "a b", "name part must consist of alphanumeric characters, '-', '_' or '.'"),
    (formats.qualified_name, "a/b/c", "a qualified name must consist of alphanumeric characters"),
    (formats.label_value, "-a", "a valid label must be an empty string or consist of"),
    (formats.port_name, "80", "must contain at least one letter (a-z)"),
    (formats.port_name, "a--b", "must not contain consecutive hyphens"),
    (formats.port_name, "-a", "must not begin or end with a hyphen"),
    (formats.port_name, "A", "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
    (formats.percent, "25", "a valid percent string must be a numeric string followed by an ending '%'"),
    (formats.address, "10.0.0", "must be a valid IP address"),
    (formats.address, "fe80::1%eth0", "must be a valid IP address"),
    (formats.address, " 10.0.0.1", "must be a valid IP address"),
    (formats.address, "010.0.0.1", "must not have leading 0s"),
    (formats.address, "::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
    (formats.network, "10.0.0.0", "must be a valid CIDR value"),
    (formats.network, "10.0.0.0/33", "must be a valid CIDR value"),
    (formats.network, "10.0.0.0/255.0.0.0", "must be a valid CIDR value"),
    (formats.network, "10.0.0.0/08", "must not have leading 0s in prefix length"),
    (formats.network, "10.1.0.0/8", "must not have bits set beyond the prefix length"),
]


@pytest.mark.parametrize("check, text, words", BAD)
def test_what_is_wrong_is_named(check: Callable[[str], list[str]], text: str, words: str) -> None:
    assert any(problem.startswith(words) for problem in check(text)), check(text)


def test_an_example_is_given_as_kubernetes_gives_it() -> None:
    assert formats.dns_label("A") == [
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
        "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    ]


@pytest.mark.parametrize("number, right", [(0, False), (1, True), (65535, True), (65536, False), (-1, False)])
def test_port_numbers(number: int, right: bool) -> None:
    assert (formats.port_number(number) == []) is right


@pytest.mark.parametrize(
    "text, amount",
    [
        ("1", Decimal(1)),
        ("100m", Decimal("0.1")),
        ("1Gi", Decimal(2**30)),
        ("1.5k", Decimal(1500)),
        ("1e3", Decimal(1000)),
        ("2E", Decimal(2 * 10**18)),
        (".5", Decimal("0.5")),
        ("-1", Decimal(-1)),
        ("3n", Decimal("0.000000003")),
        (2, Decimal(2)),
        (0.5, Decimal("0.5")),
    ],
)
def test_quantities(text: str | float, amount: Decimal) -> None:
    assert formats.parse_quantity(text) == amount


@pytest.mark.parametrize("text", ["", "a", "1 Gi", "1gi", "1e", "--1", "1Gi\n", "٣"])
def test_what_is_no_quantity(text: str) -> None:
    assert formats.parse_quantity(text) is None


@pytest.mark.parametrize("text, family", [("10.0.0.1", "IPv4"), ("::1", "IPv6"), ("fd00::/64", "IPv6"), ("x", "")])
def test_the_family_shows(text: str, family: str) -> None:
    assert formats.family(text) == family
