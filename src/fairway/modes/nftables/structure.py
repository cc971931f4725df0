"""Chains that are made when the first frontend needs them, and stay: nothing else ever changes the structure.

    balance-3          one of three: the number drawn goes along in the priority, and `deliver` looks the slot up

    affinity-10800 ──▶ remember-10800     the client is known: its time begins anew; the backend it had
          │                 ▲             (comes back if that one has left)
          ├─vmap─▶ draw-3   │             it is not, or no longer: one of three, by its identity
          └─────────────────┘

A client's backend is remembered by an identity, not by its address: whether the identity is still one of the frontend's
backends is the same lookup that finds the address. So nobody has to look for the memories of a backend that leaves.
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
    dispatch,
    number_bytes,
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
    """Draws the number of a slot. It does not look the slot up itself: the kernel walks through all elements of a map
    for each new chain with a lookup in it, and there are as many slots as backends."""
    draw, name = _draws(words, number, "balance")
    rule = Rule((*draw, e.SetMeta(e.META_PRIORITY, words.frontend_end), Verdict(Jump(e.GOTO, "deliver"))))
    return Structure(
        (Chain(name, (rule,)),), tuple(Element(one, number_bytes(number), Jump(e.GOTO, name)) for one in ACTIONS)
    )


def _drawing(words: Words, number: int) -> Structure:
    """Draws a backend and leaves its identity in the packet's priority."""
    number_drawn, name = _draws(words, number, "draw")
    draw = (
        *number_drawn,
        Lookup("sticky-slots", 0, 0),
        e.SetMeta(e.META_PRIORITY, 0),
        Verdict(Jump(e.RETURN)),
    )
    rules = (Rule((*words.frontend(), *draw)), Rule((*words.node_port(), *draw)))
    return Structure((Chain(name, rules),), (Element("draws", number_bytes(number), Jump(e.JUMP, name)),))


def _draws(words: Words, number: int, verb: str) -> tuple[tuple[Expression, ...], str]:
    """How a slot's number is found, and the chain's name."""
    first = LOCAL if number > LOCAL else 0
    modulus = number - first
    pool = "-local" if first else ""
    name = f"{verb}{pool}-hash-{modulus - HASHED}" if modulus > HASHED else f"{verb}{pool}-{modulus}"
    return words.draw(modulus, first), name


def _affinity(words: Words, which: int) -> Structure:
    """A node port has chains of its own: elsewhere the same number on the node's address is another frontend."""
    node_port, rest = divmod(which, AFFINITY_NODE_PORT)
    local, seconds = divmod(rest, AFFINITY_LOCAL)
    pool = "-local" if local else ""
    suffix = f"{pool}{'-node-port' if node_port else ''}-{seconds}"
    frontend = words.node_port() if node_port else words.frontend()
    client = (*frontend, words.source(words.frontend_end))
    carried = words.frontend_end + words.address_end
    keep = e.Remember("affinity", 0, carried, seconds)
    forget = e.Remember("affinity", 0, carried, delete=True)
    priority = e.Meta(e.META_PRIORITY, carried)
    remember = Chain(
        f"remember{suffix}",
        (
            Rule((*client, priority, keep)),
            Rule((*frontend, *words.deliver(f"sticky-backends{pool}")), "the priority is read before it is set"),
        ),
    )
    known = (*client, Lookup("affinity", 0, 0), e.SetMeta(e.META_PRIORITY, 0), Verdict(Jump(e.JUMP, remember.name)))
    affinity = Chain(
        f"affinity{suffix}",
        (
            Rule(known),
            Rule((*client, priority, forget), "its backend has left"),
            Rule((*frontend, Lookup(f"sticky-counts{pool}", 0, 0), e.SetMeta(e.META_PRIORITY, 0))),
            *dispatch("", "draws").rules,
            Rule((Verdict(Jump(e.GOTO, remember.name)),)),
        ),
    )
    number = number_bytes(AFFINITY + which)
    return Structure((remember, affinity), tuple(Element(one, number, Jump(e.GOTO, affinity.name)) for one in ACTIONS))
