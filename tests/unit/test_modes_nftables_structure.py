"""Chains on demand, and what a backend is remembered by."""

from __future__ import annotations

import pytest

from fairway.modes.nftables.ruleset import AFFINITY, AFFINITY_LOCAL, AFFINITY_NODE_PORT, DRAW, LOCAL
from fairway.modes.nftables.structure import identity, structure
from fairway.modes.nftables.tables import backend_bytes


@pytest.mark.parametrize(
    "number, chains",
    [
        (3, ["balance-3"]),
        (LOCAL + 2, ["balance-local-2"]),
        (DRAW + 3, ["draw-3"]),
        (DRAW + LOCAL + 2, ["draw-local-2"]),
        (AFFINITY + 10800, ["remember-10800", "affinity-10800"]),
        (AFFINITY + AFFINITY_LOCAL + 86400, ["remember-local-86400", "affinity-local-86400"]),
        (AFFINITY + AFFINITY_NODE_PORT + 1, ["remember-node-port-1", "affinity-node-port-1"]),
        (
            AFFINITY + AFFINITY_NODE_PORT + AFFINITY_LOCAL + 60,
            ["remember-local-node-port-60", "affinity-local-node-port-60"],
        ),
    ],
)
def test_a_number_has_its_chains(number: int, chains: list[str]) -> None:
    assert [chain.name for chain in structure("ip", number).chains] == chains


def test_an_identity_depends_on_the_backend_alone() -> None:
    one, other = (backend_bytes("10.244.1.2", port) for port in (80, 81))
    assert identity(one) == 0xB9F3731F  # what nodes have in their kernels: a new version must not forget their clients
    assert identity(one) != identity(other)


def test_no_two_backends_get_one_identity() -> None:
    backend = backend_bytes("10.244.1.2", 80)
    first = identity(backend)
    second = identity(backend, {first})
    assert len({first, second, identity(backend, {first, second})}) == 3
    assert second & 0xFFFF
    assert second >> 16
