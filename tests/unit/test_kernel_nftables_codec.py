"""What is sent to nf_tables is read back as the same value."""

from __future__ import annotations

import pytest

from fairway.kernel import nftables_codec as codec
from fairway.kernel.nftables_expressions import register, word_of
from fairway.model.view import NodeSettings
from fairway.modes.nftables import expressions as e
from fairway.modes.nftables.ruleset import AFFINITY, DRAW, base
from fairway.modes.nftables.structure import structure
from fairway.modes.nftables.tables import FAMILIES, Chain, Family, Hook, Rule, Set

TABLES = base(
    NodeSettings(
        name="node", pod_interface="veth*", localhost_node_ports=True, answers_ping=("192.168.0.2", "2001:db8::2")
    )
)


def made(family: Family) -> list[Chain]:
    numbers = (3, 1_000_002, AFFINITY + 10800, AFFINITY + 300_090, DRAW + 3, DRAW + 1_000_002)
    return [chain for number in numbers for chain in structure(family, number).chains]


RULES = [
    pytest.param(family, chain.name, rule, id=f"{family} {chain.name} {index}")
    for family in FAMILIES
    for chain in (*TABLES[family].chains.values(), *made(family))
    for index, rule in enumerate(chain.rules)
]
SETS = [
    pytest.param(family, one, id=f"{family} {one.name}") for family in FAMILIES for one in TABLES[family].sets.values()
]


@pytest.mark.parametrize("family, chain, rule", RULES)
def test_a_rule_is_read_as_it_was_written(family: Family, chain: str, rule: Rule) -> None:
    body = codec.new_rule(family, "fairway", chain, rule, "").body
    assert codec.read_rule(body) == ("fairway", chain, rule)


@pytest.mark.parametrize("family, declared", SETS)
def test_a_set_is_read_as_it_was_written(family: Family, declared: Set) -> None:
    assert codec.read_set(codec.new_set(family, "fairway", declared, 1).body) == ("fairway", declared)


@pytest.mark.parametrize("hook", [None, Hook("nat", "output", -100), Hook("filter", "forward", 0)])
def test_a_chain_is_read_as_it_was_written(hook: Hook | None) -> None:
    chain = Chain("some", (), hook)
    assert codec.read_chain(codec.new_chain("ip", "fairway", chain).body) == ("fairway", chain)


def test_what_we_never_write_is_kept_as_unknown() -> None:
    counter = codec.new_rule("ip", "fairway", "x", Rule((e.Masquerade(),)), "").body.replace(b"masq\0", b"fwd!\0")
    (read,) = codec.read_rule(counter)[2].expressions
    assert isinstance(read, e.Unknown)
    assert read.name == "fwd!"
    with pytest.raises(ValueError, match="cannot be sent"):
        codec.new_rule("ip", "fairway", "x", Rule((read,)), "")


@pytest.mark.parametrize("word, kernel", [(-1, 0), (0, 1), (4, 2), (12, 4), (1, 9), (15, 23)])
def test_registers_have_the_kernels_numbers(word: int, kernel: int) -> None:
    assert register(word) == kernel
    assert word_of(kernel.to_bytes(4, "big")) == word
