"""Dispatch trees: a packet finds its rule in steps of four, however many Services there are.

    KUBE-SERVICES              -d 10.96.0.0/16  -j KUBE-IP-10.96.0.0/16
    KUBE-IP-10.96.0.0/16       -d 10.96.0.0/18  -g KUBE-IP-10.96.0.0/18      -d 10.96.64.0/18 -g …
    KUBE-IP-10.96.0.0/18       -d 10.96.0.0/20  -g …
    KUBE-IP-10.96.4.0/22       -d 10.96.4.17/32 -p tcp --dport 80 -j KUBE-SVC-…     (16 addresses at most)

Which chains there are follows from the addresses alone, not from the order in which they came: the tree of a proxy that
starts afresh is the one that the kernel holds. An address that comes or goes changes the chains on its way only, and
mostly just the last of them. Keys are addresses, or protocols and ports, as numbers.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from fairway.modes.iptables.names import hash16
from fairway.modes.xtables import BITS, Family

MOST_IN_A_LEAF = 16
STRIDE = 2
PORT_BITS = 18
_PROTOCOLS = ("tcp", "udp", "sctp")


class Line(NamedTuple):
    """One rule in its place. Lines of a chain are in the order of their fields; ``key`` is 0 outside of a tree."""

    table: str
    chain: str
    key: int
    order: str
    rule: str


class Prefix(NamedTuple):
    """The first ``length`` bits that some keys have in common; the others of ``value`` are zero."""

    value: int
    length: int


ROOT = Prefix(0, 0)


@dataclass(frozen=True)
class Words:
    """How the keys of a tree are asked for: by the destination's address, or by its port."""

    family: Family
    chain: str
    inner: str
    """How the names of all chains but the root begin."""
    ports: bool = False

    @property
    def bits(self) -> int:
        return PORT_BITS if self.ports else BITS[self.family]

    def name(self, prefix: Prefix) -> str:
        """The chain of a prefix, at most 28 characters."""
        if prefix == ROOT:
            return self.chain
        if self.ports:
            protocol, first, last = self._range(prefix)
            return f"{self.inner}{protocol}-{first}-{last}" if prefix.length > STRIDE else f"{self.inner}{protocol}"
        network = self._network(prefix)
        return f"{self.inner}{network}" if self.family == "ip" else f"{self.inner}{hash16(network)}"

    def link(self, prefix: Prefix, parent: Prefix) -> str:
        """The rule that leads to the chain of a prefix; what finds nothing there comes back to the root."""
        verb = "-j" if parent == ROOT else "-g"
        if not self.ports:
            return f"-d {self._network(prefix)} {verb} {self.name(prefix)}"
        protocol, first, last = self._range(prefix)
        ports = f" -m {protocol} --dport {first}:{last}" if prefix.length > STRIDE else ""
        return f"-p {protocol}{ports} {verb} {self.name(prefix)}"

    def _network(self, prefix: Prefix) -> str:
        make = ipaddress.IPv6Address if self.family == "ip6" else ipaddress.IPv4Address
        return f"{make(prefix.value)}/{prefix.length}"

    def _range(self, prefix: Prefix) -> tuple[str, int, int]:
        first = prefix.value & 0xFFFF
        return _PROTOCOLS[prefix.value >> 16], first, first + (1 << PORT_BITS - prefix.length) - 1


def address_key(address: str) -> int:
    return int(ipaddress.ip_address(address))


def port_key(protocol: str, port: int) -> int:
    return _PROTOCOLS.index(protocol.lower()) << 16 | port


@dataclass
class Tree:
    """The lines of one dispatch, by key."""

    words: Words
    keys: list[int] = field(default_factory=list)
    lines: dict[int, tuple[Line, ...]] = field(default_factory=dict)

    def changed(self, leaving: Iterable[Line], coming: Iterable[Line]) -> Changed:
        """What it would be with other lines; nothing is changed yet."""
        after: dict[int, tuple[Line, ...]] = {}
        for line in leaving:
            some = after.get(line.key, self.lines.get(line.key, ()))
            after[line.key] = tuple(one for one in some if one != line)
        for line in coming:
            after[line.key] = tuple(sorted((*after.get(line.key, self.lines.get(line.key, ())), line)))
        keys = self.keys.copy()
        for key, some in after.items():
            if some and key not in self.lines:
                insort(keys, key)
            elif not some and key in self.lines:
                del keys[bisect_left(keys, key)]
        return Changed(self, after, keys)

    def chains(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """All chains with their rules, the root first."""
        shape = Shape(self.words, self.keys, self.lines.__getitem__)
        for prefix in shape.below(ROOT):
            yield self.words.name(prefix), shape.rules(prefix)


@dataclass(frozen=True)
class Changed:
    """A tree before and after a change."""

    tree: Tree
    lines: dict[int, tuple[Line, ...]]
    """Those of the keys that changed."""
    keys: list[int]

    def chains(self) -> Iterator[tuple[str, tuple[str, ...] | None, tuple[str, ...] | None]]:
        """The chains that may differ: name, rules before and after, None where there is no such chain."""
        tree, changed = self.tree, self.lines
        old = Shape(tree.words, tree.keys, tree.lines.__getitem__)
        new = Shape(tree.words, self.keys, lambda key: changed[key] if key in changed else tree.lines[key])
        touched = sorted(changed)
        for prefix in {**dict.fromkeys(old.near(touched)), **dict.fromkeys(new.near(touched))}:
            yield tree.words.name(prefix), old.find(prefix), new.find(prefix)

    def accept(self) -> None:
        """Make the tree what it is to be."""
        self.tree.keys = self.keys
        for key, some in self.lines.items():
            if some:
                self.tree.lines[key] = some
            else:
                self.tree.lines.pop(key, None)


@dataclass(frozen=True)
class Shape:
    """Which chains some keys make, found by bisecting: nothing of it is kept."""

    words: Words
    keys: list[int]
    lines: Callable[[int], tuple[Line, ...]]

    def rules(self, prefix: Prefix) -> tuple[str, ...]:
        """What stands in the chain of a prefix."""
        children = self._children(prefix)
        if children is not None:
            return tuple(self.words.link(child, prefix) for child in children)
        low, high = self._range(prefix)
        return tuple(line.rule for key in self.keys[low:high] for line in self.lines(key))

    def find(self, prefix: Prefix) -> tuple[str, ...] | None:
        """The same, or None when no chain has this prefix."""
        at: Prefix | None = ROOT
        while at is not None and at != prefix:
            at = next((one for one in self._children(at) or () if _holds(one, prefix, self.words.bits)), None)
        return self.rules(prefix) if at is not None else None

    def below(self, prefix: Prefix) -> Iterator[Prefix]:
        """A prefix and all that are within it."""
        yield prefix
        for child in self._children(prefix) or ():
            yield from self.below(child)

    def near(self, touched: list[int], prefix: Prefix = ROOT) -> Iterator[Prefix]:
        """The prefixes whose chains a change of some keys may make, change or end."""
        yield prefix
        low, high = self._range(prefix)
        if high - low <= MOST_IN_A_LEAF + len(touched):
            yield from self.below(prefix)
            return
        for child in self._children(prefix) or ():
            first, after = self._bounds(child)
            if bisect_left(touched, first) < bisect_left(touched, after):
                yield from self.near(touched, child)

    def _children(self, prefix: Prefix) -> list[Prefix] | None:
        """None for a leaf."""
        low, high = self._range(prefix)
        if high - low <= MOST_IN_A_LEAF or prefix.length == self.words.bits:
            return None
        found = []
        size = 1 << self.words.bits - prefix.length - STRIDE
        for digit in range(1 << STRIDE):
            value = prefix.value + digit * size
            end = bisect_left(self.keys, value + size, low, high)
            if end > low:
                child = Prefix(value, prefix.length + STRIDE)
                # A leaf keeps its place when keys come and go; a chain that would only lead to one other is left out.
                found.append(child if end - low <= MOST_IN_A_LEAF else self._common(low, end))
            low = end
        return found

    def _common(self, low: int, high: int) -> Prefix:
        """The longest prefix of some keys, in whole steps."""
        first, last = self.keys[low], self.keys[high - 1]
        length = self.words.bits - (first ^ last).bit_length()
        length -= length % STRIDE
        rest = self.words.bits - length
        return Prefix(first >> rest << rest, length)

    def _range(self, prefix: Prefix) -> tuple[int, int]:
        first, after = self._bounds(prefix)
        return bisect_left(self.keys, first), bisect_left(self.keys, after)

    def _bounds(self, prefix: Prefix) -> tuple[int, int]:
        return prefix.value, prefix.value + (1 << self.words.bits - prefix.length)


def _holds(outer: Prefix, inner: Prefix, bits: int) -> bool:
    return outer.length <= inner.length and outer.value == inner.value >> bits - outer.length << bits - outer.length


__all__ = ["ROOT", "Changed", "Line", "Prefix", "Tree", "Words", "address_key", "port_key"]
