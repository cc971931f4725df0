"""What is sent to nf_tables is read back as the same value."""

from __future__ import annotations

import pytest

from fairway.kernel import nftables_codec as codec
from fairway.kernel.nfnetlink import BODY
from fairway.kernel.nftables_expressions import register, word_of
from fairway.model.view import NodeSettings
from fairway.modes.nftables import expressions as e
from fairway.modes.nftables.ruleset import AFFINITY, DRAW, base
from fairway.modes.nftables.structure import structure
from fairway.modes.nftables.tables import FAMILIES, Chain, Element, Family, Hook, Rule, Set

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


ELEMENTS = [
    pytest.param("frontends", Element("frontends", bytes(range(12)), b"\3\0\0\0", "shop/web:http"), id="comment"),
    pytest.param("slots", Element("slots", bytes(range(16)), bytes(range(8))), id="data"),
    pytest.param("actions", Element("actions", b"\3\0\0\0", e.Jump(e.GOTO, "balance-3")), id="jump"),
    pytest.param("actions", Element("actions", b"\0\0\0\0", e.Jump(e.DROP)), id="drop"),
    pytest.param("cluster-ips", Element("cluster-ips", b"\x0a\x60\0\7"), id="no data"),
    pytest.param("source-ranges", Element("source-ranges", bytes(range(20))), id="five fields"),
]


@pytest.mark.parametrize("name, element", ELEMENTS)
def test_an_element_is_read_as_it_was_written(name: str, element: Element) -> None:
    declared = TABLES["ip"].sets[name]
    (request,) = codec.new_elements("ip", "fairway", declared, [element])
    assert codec.read_elements(request.body) == ("fairway", name, [(element, False)])


def test_intervals_are_joined_whatever_their_order() -> None:
    networks = [Element("pod-networks", b"\x0a\0\0\0\x0b\0\0\0"), Element("pod-networks", b"\xff\0\0\0")]
    (request,) = codec.new_elements("ip", "fairway", TABLES["ip"].sets["pod-networks"], networks)
    read = codec.read_elements(request.body)[2]
    assert list(codec.join_intervals(reversed(read))) == networks


def test_many_elements_are_split_into_messages_that_fit() -> None:
    declared = TABLES["ip"].sets["slots"]
    elements = [Element("slots", number.to_bytes(16, "big"), bytes(8)) for number in range(5000)]
    requests = list(codec.new_elements("ip", "fairway", declared, elements))
    assert len(requests) > 1
    assert all(BODY + len(one.body) < 65536 for one in requests)
    assert [one for request in requests for one, _ in codec.read_elements(request.body)[2]] == elements


def test_no_elements_are_no_messages() -> None:
    assert not list(codec.new_elements("ip", "fairway", TABLES["ip"].sets["slots"], []))


def test_a_pointer_into_a_message_names_the_element() -> None:
    declared = TABLES["ip"].sets["cluster-ips"]
    elements = [Element("cluster-ips", bytes((10, 96, 0, n))) for n in range(4)]
    (request,) = codec.new_elements("ip", "fairway", declared, elements)
    assert request.pointer is not None
    assert request.pointer(request.body, request.body.index(bytes((10, 96, 0, 2)))) == "{ 10.96.0.2 }"
    assert request.pointer(request.body, None) == "{ 4 elements }"
