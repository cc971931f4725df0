"""IP addresses as text: canonical form, family, and membership in networks.

The model keeps addresses as canonical strings: they compare, hash and print at no cost, and 100,000 backends stay
small. Parsing happens once, at the border.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

IPv4, IPv6 = "IPv4", "IPv6"
FAMILIES = (IPv4, IPv6)
ANY = {IPv4: "0.0.0.0", IPv6: "::"}

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_THREE_OCTETS = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{2}}")
OCTETS = frozenset(map(str, range(256)))


def family_of(address: str) -> str:
    """``IPv4`` or ``IPv6`` of an address or a network in text form."""
    return IPv6 if ":" in address else IPv4


@lru_cache(maxsize=65536)
def is_network(text: str) -> bool:
    """Whether it is the first three octets of a canonical address; many addresses share them."""
    return _THREE_OCTETS.fullmatch(text) is not None


def canonical(text: str) -> str | None:
    """The one spelling of an address, or None if it is not one.

    IPv4 octets with leading zeros are read as decimal, as the reference does for objects that were stored before
    they were refused (reference, section 1.A, "sloppy"); an IPv4 address written as an IPv6 one is IPv4.
    """
    network, _, host = text.rpartition(".")
    if host in OCTETS and is_network(network):  # nearly all are, and parsing one takes twenty times as long
        return text
    if "%" in text:  # a zone means something on one machine only, and Python lets any text follow the sign
        return None
    try:
        address = ipaddress.ip_address(_without_leading_zeros(text))
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def canonical_network(text: str) -> str | None:
    """The one spelling of a network in CIDR form, host bits cleared, or None if it is not one."""
    address, slash, length = text.strip().partition("/")
    if not (slash and length.isascii() and length.isdigit()) or "%" in address:
        return None
    try:
        return str(ipaddress.ip_network(f"{_without_leading_zeros(address)}/{length}", strict=False))
    except ValueError:
        return None


def _without_leading_zeros(text: str) -> str:
    if ":" in text:
        return text
    return ".".join(octet.lstrip("0") or "0" if octet else octet for octet in text.split("."))


@lru_cache(maxsize=4096)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


_address = lru_cache(maxsize=4096)(ipaddress.ip_address)
"""Most are asked about with one network after the other."""


def contains(networks: Iterable[str], address: str) -> bool:
    """Whether one of the networks holds the address; other families never do."""
    parsed = _address(address)
    return any(parsed.version == (net := _network(one)).version and parsed in net for one in networks)


def of_family(texts: Iterable[str], family: str) -> tuple[str, ...]:
    """Those addresses or networks that belong to the family, in order."""
    return tuple(text for text in texts if family_of(text) == family)


def merged(networks: Iterable[str]) -> tuple[str, ...]:
    """The same addresses in as few networks as can be, none within another; what is no network is left out."""
    parsed = [_network(one) for text in networks if (one := canonical_network(text))]
    four = ipaddress.collapse_addresses(one for one in parsed if isinstance(one, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(one for one in parsed if isinstance(one, ipaddress.IPv6Network))
    return (*map(str, four), *map(str, six))


def is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
