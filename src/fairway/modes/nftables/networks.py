"""Networks as the kernel's sets take them: as intervals, and as blocks of few lengths that are found by their ends.

    10.0.0.0/7   spans            10.0.0.0 … 12.0.0.0
                 source_networks  10.0.0.0 . 10.255.255.255, 11.0.0.0 . 11.255.255.255

The kernel copies a set of intervals over several fields as a whole for each change of it: 70 ms with 4,000 elements
(Linux 6.18). Who may use a frontend is therefore in a set without an order, which is asked once for each length.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

SOURCE_LENGTHS = 4
"""The networks of `source-ranges` have a multiple of so many bits; another one is several of the next length."""


def spans(networks: Iterable[str]) -> list[tuple[int, int, int]]:
    """Networks as intervals that neither overlap nor touch, as the kernel wants them: first, after, bytes."""
    found = sorted(
        (int(n.network_address), int(n.broadcast_address) + 1, n.max_prefixlen // 8) for n in map(_network, networks)
    )
    merged: list[tuple[int, int, int]] = []
    for first, after, size in found:
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], after), size)
        else:
            merged.append((first, after, size))
    return merged


def source_networks(ranges: Iterable[str]) -> Iterator[bytes]:
    """What stands in `source-ranges` for some networks of one family: each a first and a last address."""
    for first, after, size in spans(ranges):
        while first < after:
            host = min((after - first).bit_length() - 1, size * 8 - SOURCE_LENGTHS)
            if first:
                host = min(host, (first & -first).bit_length() - 1)
            count = 1 << host // SOURCE_LENGTHS * SOURCE_LENGTHS
            yield first.to_bytes(size, "big") + (first + count - 1).to_bytes(size, "big")
            first += count


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)
