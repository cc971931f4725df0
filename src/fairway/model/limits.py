"""What one Service may ask of a node, and what no Service can: nobody's objects shall cost others theirs."""

from __future__ import annotations

import re
from functools import lru_cache

from fairway.model.address import OCTETS, canonical, is_network

MOST_FRONTENDS = 10_000
"""Addresses times ports of one Service. Kubernetes' own limit is the size of an object."""
MOST_BACKENDS = 400_000
"""Endpoints times ports of one Service: the ports after the last that has room refuse their clients."""
MOST_RANGES = 100_000
"""Source ranges times load-balancer addresses times ports of one Service: the ranges after that let nobody in."""
LONGEST_AFFINITY = 86_400
"""Seconds; the API accepts no more."""

# 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/3; ::, ::1, fe80::/10, ff00::/8: Kubernetes accepts none of them.
_SPECIAL_IPV4 = r"0\.|127\.|169\.254\.|2(?:2[4-9]|[345]\d)\."
_SPECIAL = re.compile(rf"{_SPECIAL_IPV4}|::1?$|fe[89ab]|ff")


def is_special(address: str) -> bool:
    """Whether a canonical address means something else than one machine among others.

    A Service on the unspecified address would take every node's ports, one on a loopback address its own processes'.
    """
    return _SPECIAL.match(address) is not None


def is_usual(text: str) -> bool:
    """Whether it is an IPv4 address in its one spelling, and not special; nearly all are. Else ask `usable`."""
    network, _, host = text.rpartition(".")
    return host in OCTETS and _is_usual_network(network)


@lru_cache(maxsize=65536)
def _is_usual_network(text: str) -> bool:
    return is_network(text) and not is_special(f"{text}.1")


def usable(text: str) -> str | None:
    """The one spelling of an address that an endpoint or a Service may have; None of what is none, or special."""
    if is_usual(text):
        return text
    address = canonical(text)
    return None if address is None or is_special(address) else address


def ports_with_room(endpoints: int) -> int:
    """How many ports of a Service with so many endpoints have them all."""
    return MOST_BACKENDS // max(1, endpoints)


def ranges_with_room(frontends: int) -> int:
    """How many source ranges count of a Service that has so many frontends they are about."""
    return MOST_RANGES // max(1, frontends)


def is_port(number: int) -> bool:
    return 0 < number < 65536
