"""Chains on demand."""

from __future__ import annotations

import pytest

from fairway.modes.nftables.expressions import Lookup
from fairway.modes.nftables.ruleset import AFFINITY, AFFINITY_LOCAL, AFFINITY_NODE_PORT, DRAW, HASHED, LOCAL
from fairway.modes.nftables.structure import structure


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


@pytest.mark.parametrize("number", [3, HASHED + 1021, DRAW + 3, AFFINITY + 60, AFFINITY + AFFINITY_NODE_PORT + 60])
def test_what_comes_later_looks_up_no_map_that_grows_with_the_cluster(number: int) -> None:
    """The kernel walks through all elements of a map for each new chain with a lookup in it."""
    rules = [rule for chain in structure("ip", number).chains for rule in chain.rules]
    looked_up = {one.set for rule in rules for one in rule.expressions if isinstance(one, Lookup)}
    assert looked_up <= {"affinity"}
