"""Chains that are made when the first frontend needs them, and stay: nothing else ever changes the structure.

    balance-3          one of three: the number drawn goes along in the priority, and `deliver` looks the slot up

    affinity-10800 ──▶ remember-10800 ─▶ deliver-sticky   the client is known: its time begins anew; the backend it had
          │                 ▲                             (comes back if that one has left)
          ├─▶ choose ─vmap─▶ draw-3 ─▶ identify           it is not, or no longer: one of three, by its identity
          └─────────────────┘

A client's backend is remembered by an identity, not by its address: whether the identity is still one of the frontend's
backends is the same lookup that finds the address. So nobody has to look for the memories of a backend that leaves.

What is made here looks up no map that grows with the cluster: the kernel walks through all elements of a map for each
new chain with a lookup in it. `deliver`, `choose`, `identify` and `deliver-sticky` were there before any element.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from fairway.modes.nftables import expressions as e
from fairway.modes.nftables.expressions import Expression, Jump, Lookup, Verdict
from fairway.modes.nftables.ruleset import (
    ACTIONS,
    AFFINITY,
    AFFINITY_LOCAL,
    AFFINITY_NODE_PORT,
    DRAW,
    HASHED,
    LOCAL,
    Words,
    come_again,
    node_port_suffix,
    number_bytes,
    pool_suffix,
)
from fairway.modes.nftables.tables import Chain, Element, Family, Rule


class Structure(NamedTuple):
    """Chains, those that others lead to first, and the elements that lead to them."""

    chains: tuple[Chain, ...]
    elements: tuple[Element, ...]


@lru_cache(maxsize=4096)
def structure(family: Family, number: int) -> Structure:
    """What a number in `frontends` needs."""
    words = Words(family)
    if number >= DRAW:
        return _drawing(words, number - DRAW)
    if number >= AFFINITY:
        return _affinity(words, number - AFFINITY)
    return _balancing(words, number)


def _balancing(words: Words, number: int) -> Structure:
    """Draws the number of a slot, for `deliver`."""
    draw, name = _draws(words, number, "balance")
    rule = Rule((*draw, e.SetMeta(e.META_PRIORITY, words.frontend_end), Verdict(Jump(e.GOTO, "deliver"))))
    return Structure(
        (Chain(name, (rule,)),), tuple(Element(one, number_bytes(number), Jump(e.GOTO, name)) for one in ACTIONS)
    )


def _drawing(words: Words, number: int) -> Structure:
    """The same for `identify`."""
    draw, name = _draws(words, number, "draw")
    rule = Rule((*draw, e.SetMeta(e.META_PRIORITY, words.frontend_end), Verdict(Jump(e.GOTO, "identify"))))
    return Structure((Chain(name, (rule,)),), (Element("draws", number_bytes(number), Jump(e.GOTO, name)),))


def _draws(words: Words, number: int, verb: str) -> tuple[tuple[Expression, ...], str]:
    """How a slot's number is found, and the chain's name."""
    first = LOCAL if number > LOCAL else 0
    modulus = number - first
    pool = pool_suffix(bool(first))
    name = f"{verb}{pool}-hash-{modulus - HASHED}" if modulus > HASHED else f"{verb}{pool}-{modulus}"
    return words.draw(modulus, first), name


def _affinity(words: Words, which: int) -> Structure:
    """A node port has chains of its own: elsewhere the same number on the node's address is another frontend."""
    node_port, rest = divmod(which, AFFINITY_NODE_PORT)
    local, seconds = divmod(rest, AFFINITY_LOCAL)
    pool, to = pool_suffix(bool(local)), node_port_suffix(bool(node_port))
    client = words.client(node_port=bool(node_port))
    carried = words.frontend_end + words.address_end
    keep = e.Remember("affinity", 0, carried, seconds)
    forget = e.Remember("affinity", 0, carried, delete=True)
    priority = e.Meta(e.META_PRIORITY, carried)
    remember = Chain(
        f"remember{pool}{to}-{seconds}",
        (Rule((*client, priority, keep)), Rule((Verdict(Jump(e.GOTO, f"deliver-sticky{pool}{to}")),))),
    )
    known = (*client, Lookup("affinity", 0, 0), e.SetMeta(e.META_PRIORITY, 0), Verdict(Jump(e.JUMP, remember.name)))
    affinity = Chain(
        f"affinity{pool}{to}-{seconds}",
        (
            Rule(known),
            Rule((*client, priority, forget), "its backend has left"),
            Rule((Verdict(Jump(e.JUMP, f"choose{pool}")),)),
            Rule((Verdict(Jump(e.JUMP, remember.name)),)),
            come_again(),
        ),
    )
    number = number_bytes(AFFINITY + which)
    return Structure((remember, affinity), tuple(Element(one, number, Jump(e.GOTO, affinity.name)) for one in ACTIONS))
