"""Dispatch trees: what a change does to them is what a new tree would be, and touches few chains."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.modes.iptables.tree import MOST_IN_A_LEAF, Line, Tree, Words, address_key, port_key

WORDS = Words("ip", "KUBE-SERVICES", "KUBE-IP-")
PORTS = Words("ip", "KUBE-NODEPORTS", "KUBE-NP-", ports=True)
KEYS = st.one_of(
    st.integers(0, 255).map(lambda n: address_key("10.96.0.0") + n),
    st.integers(0, 70000).map(lambda n: address_key("10.96.0.0") + n),
    st.integers(0, 2**32 - 1),
)


def line(key: int, order: str = "0") -> Line:
    return Line("nat", "KUBE-SERVICES", key, order, f"rule {key} {order}")


def tree(keys: set[int], words: Words = WORDS) -> Tree:
    return Tree(words, sorted(keys), {key: (line(key),) for key in keys})


@given(st.sets(KEYS, max_size=150), st.sets(KEYS, max_size=12), st.data())
def test_a_change_leads_to_the_tree_of_what_there_is_then(
    keys: set[int], coming: set[int], data: st.DataObject
) -> None:
    leaving = data.draw(st.sets(st.sampled_from(sorted(keys)), max_size=40)) if keys else set()
    before, after = tree(keys), tree((keys | coming) - (leaving - coming))
    change = before.changed([line(key) for key in leaving - coming], [line(key) for key in coming - keys])
    chains = dict(before.chains())
    for name, old, new in change.chains():
        assert chains.pop(name, None) == old
        if new is not None:
            chains[name] = new
    assert chains == dict(after.chains())
    change.accept()
    assert (before.keys, before.lines) == (after.keys, after.lines)


@given(st.sets(KEYS, max_size=150))
def test_every_line_is_where_its_key_leads(keys: set[int]) -> None:
    made = tree(keys)
    chains = dict(made.chains())
    held = [rule for rules in chains.values() for rule in rules if rule.startswith("rule ")]
    assert sorted(held) == sorted(line(key).rule for key in keys)
    linked = [rule.split()[-1] for rules in chains.values() for rule in rules if not rule.startswith("rule ")]
    assert sorted(linked) == sorted(set(chains) - {"KUBE-SERVICES"})
    assert max(map(len, chains)) <= 28


def test_a_second_line_of_a_known_key_changes_one_chain() -> None:
    made = tree({address_key("10.96.0.0") + n for n in range(1000)})
    key = address_key("10.96.0.7")
    differing = [name for name, old, new in made.changed([], [line(key, "1")]).chains() if old != new]
    assert len(differing) == 1


def test_one_more_address_among_thousands_changes_one_chain_or_splits_a_leaf() -> None:
    keys = {address_key("10.96.0.0") + 5 * n for n in range(5000)}
    made = tree(keys)
    differing = [name for name, old, new in made.changed([], [line(address_key("10.96.3.3"))]).chains() if old != new]
    assert 1 <= len(differing) <= 6


@pytest.mark.parametrize("count", [100, 1000, 10_000])
def test_the_way_through_the_chains_grows_with_the_logarithm(count: int) -> None:
    made = tree({address_key("10.96.0.0") + n for n in range(count)})
    chains = dict(made.chains())
    depth, longest = 0, max(map(len, chains.values()))
    level = ["KUBE-SERVICES"]
    while level:
        depth += 1
        level = [rule.split()[-1] for name in level for rule in chains[name] if not rule.startswith("rule ")]
    assert longest <= MOST_IN_A_LEAF
    assert 4 ** (depth - 2) * MOST_IN_A_LEAF <= count * 4


def test_ports_are_asked_for_by_protocol_and_range() -> None:
    keys = {port_key("tcp", 30000 + n) for n in range(40)} | {port_key("udp", 30000)}
    chains = dict(tree(keys, PORTS).chains())
    assert chains["KUBE-NODEPORTS"] == (
        "-p tcp -m tcp --dport 29952:30207 -j KUBE-NP-tcp-29952-30207",
        "-p udp -j KUBE-NP-udp",
    )


def test_the_chains_of_ipv6_have_hashes_for_names() -> None:
    words = Words("ip6", "KUBE-SERVICES", "KUBE-IP-")
    chains = dict(tree({address_key("fd00:96::") + n for n in range(40)}, words).chains())
    assert chains["KUBE-SERVICES"][0].startswith("-d fd00:96::/122 -j KUBE-IP-")
    assert max(map(len, chains)) <= 28
