"""Networks as the kernel's sets take them."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from fairway.modes.nftables.networks import source_networks, spans


def ends(data: bytes) -> str:
    half = len(data) // 2
    return f"{ip_address(data[:half])}-{ip_address(data[half:])}"


@pytest.mark.parametrize(
    "networks, expected",
    [
        (["192.0.2.0/24"], ["192.0.2.0-192.0.2.255"]),
        (["192.0.2.7/32"], ["192.0.2.7-192.0.2.7"]),
        (["10.0.0.0/7"], ["10.0.0.0-10.255.255.255", "11.0.0.0-11.255.255.255"]),
        (["192.0.2.0/25", "192.0.2.128/25"], ["192.0.2.0-192.0.2.255"]),
        (["192.0.2.0/24", "192.0.0.0/16"], ["192.0.0.0-192.0.255.255"]),
        (["192.0.2.16/28", "192.0.2.0/28"], ["192.0.2.0-192.0.2.15", "192.0.2.16-192.0.2.31"]),
        (["0.0.0.0/0"], [f"{16 * n}.0.0.0-{16 * n + 15}.255.255.255" for n in range(16)]),
        (["255.255.255.252/30"], [f"255.255.255.{n}-255.255.255.{n}" for n in range(252, 256)]),
        (["fd00:2::/47"], [f"fd00:2{n}::-fd00:2:{m}:ffff:ffff:ffff:ffff:ffff" for n, m in (("", 0), (":1", 1))]),
        ([], []),
    ],
)
def test_source_ranges_are_blocks_of_a_length_that_is_looked_for(networks: list[str], expected: list[str]) -> None:
    assert [ends(one) for one in source_networks(networks)] == expected


def test_spans_neither_overlap_nor_touch() -> None:
    assert spans(["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8", "192.0.2.0/24"]) == [
        (10 << 24, 12 << 24, 4),
        (0xC0000200, 0xC0000300, 4),
    ]
