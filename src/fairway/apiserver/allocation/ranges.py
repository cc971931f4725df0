"""The ranges that Services get their addresses and node ports from, and the two bands of each.

::

    10.96.0.0/16    .0.1 ──────── .1.0  │ .1.1 ──────────────────────────── .255.254
                    lower band          │ upper band: chosen from first
                    (asked for by name) │

Who leaves the choice to the cluster gets an address of the upper band while there is one, so that the lower band
stays free for those who ask for a certain address (KEP-3070, KEP-3668).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address, ip_network

from fairway.apiserver.validation.formats import Network


@dataclass(frozen=True)
class Range:
    """Numbers from ``first`` to ``last``, the lower ``reserved`` of them given away last; ``name`` is for messages.

    ``key`` and ``revision`` are the object in the storage that it comes from, if it comes from one.
    """

    first: int
    last: int
    reserved: int
    name: str
    key: str = ""
    revision: int = 0

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    @property
    def bands(self) -> tuple[tuple[int, int], ...]:
        """(first, last) of the upper band and of the lower one, in the order they are given away."""
        border = self.first + self.reserved
        return tuple(band for band in ((border, self.last), (self.first, border - 1)) if band[0] <= band[1])


@dataclass(frozen=True)
class Ranges:
    """The address ranges of each family the cluster has, the primary first, and one range of node ports.

    A family may be without a range for a while: when its last ServiceCIDR is being deleted.
    """

    addresses: dict[str, tuple[Range, ...]]
    ports: Range

    @property
    def families(self) -> tuple[str, ...]:
        return tuple(self.addresses)

    @property
    def first_address(self) -> str:
        """The address of the API server's own Service, ``default/kubernetes``."""
        return str(ip_address(self.addresses[self.families[0]][0].first))

    @classmethod
    def parse(cls, cidrs: str = "10.96.0.0/16", ports: str = "30000-32767") -> Ranges:
        """``10.96.0.0/16,fd00:10:96::/112`` and ``30000-32767``; raises `ValueError` saying what would be right."""
        ranges: dict[str, tuple[Range, ...]] = {}
        for text in cidrs.split(","):
            network = _network(text.strip())
            family = f"IPv{network.version}"
            if family in ranges:
                raise ValueError(f"service CIDRs {cidrs!r}: at most one of each IP family, got two of {family}")
            ranges[family] = (address_range(network),)
        return cls(ranges, port_range(ports))


def address_range(network: Network) -> Range:
    """The usable addresses of a network: without its own address, and without the broadcast address of IPv4."""
    size = network.num_addresses
    last = int(network.broadcast_address) - (1 if isinstance(network, IPv4Network) else 0)
    return Range(int(network.network_address) + 1, last, _reserved(size, size // 16, 256), str(network))


def port_range(text: str) -> Range:
    """``30000-32767`` as a Range; raises `ValueError`."""
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= 65535):
        raise ValueError(f"node port range {text!r}: expected FIRST-LAST within 1-65535, such as 30000-32767")
    size = int(last) - int(first) + 1
    return Range(int(first), int(last), _reserved(size, size // 32, 128), text)


def _reserved(size: int, share: int, most: int) -> int:
    return 0 if size <= 16 else min(max(16, share), most)


def _network(text: str) -> Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"service CIDR {text!r}: {error}; expected a network such as 10.96.0.0/16") from None
    longest = 29 if network.version == 4 else 125
    if network.prefixlen > longest:
        raise ValueError(f"service CIDR {text!r}: too small, the prefix may be /{longest} at most")
    if network.version == 6 and network.prefixlen < 64:
        raise ValueError(f"service CIDR {text!r}: too large, the prefix of IPv6 must be /64 or longer")
    return network
