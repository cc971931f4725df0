"""The nftables Program: what a kernel holds or should hold, and its text with the reason of each line.

    Program ── base ─────── Table ip fairway, Table ip6 fairway: chains, sets, the elements that settings give
            └─ fragments ── one a frontend: its elements, its slots

A Program read back from a kernel is all base: the kernel does not know about fragments. `Program.tables` gives both
kinds the same form, and `plan` compares that form.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain as chained
from typing import Any, overload

import msgspec

from fairway.model.packet import ICMP
from fairway.model.view import Backend, Frontend, FrontendKey, NodeSettings, Origin
from fairway.modes.nftables.expressions import listing
from fairway.modes.nftables.identities import Identities, identity
from fairway.modes.nftables.rows import Row, suffix_of
from fairway.modes.nftables.ruleset import ACTIONS, DRAW, LOCAL, number_bytes
from fairway.modes.nftables.slots import Slots
from fairway.modes.nftables.structure import structure
from fairway.modes.nftables.tables import (
    ADDRESS_BYTES,
    Chain,
    Element,
    Family,
    Set,
    Table,
    backend_bytes,
    printed_element,
    read_address,
    read_frontend,
)

_NONE = frozenset[int]()


class Fragment(msgspec.Struct, frozen=True, gc=False):
    """One frontend's share. No element belongs to two frontends: each changes without a look at the others.

    ``slots`` are those of each pool that has any. Their order is free; `plan` keeps it near what the kernel holds.
    ``elements`` are all that are not about a single backend.
    """

    frontend: Frontend
    family: Family
    elements: tuple[Element, ...]
    slots: tuple[Slots, ...]
    identities: Identities | None
    """With session affinity: what each backend is remembered by. Slots hold these then."""
    fixed: bool = False
    """Whether each slot has its backend by a rule, so that their order is not free."""
    key: bytes = b""
    """The frontend as the start of every key that is about it."""
    row: Row | None = None
    """Its table of actions with so many slots; None for one that is an address alone."""

    @property
    def numbers(self) -> frozenset[int]:
        """The structure this frontend needs, by the numbers that lead to it."""
        return self.row.numbers if self.row else _NONE

    @property
    def slots_are_in(self) -> str:
        """The name of the map."""
        return "slots" if self.identities is None else "sticky-slots"

    def slots_from(self, first: int) -> Slots | None:
        """The pool whose slots begin with that number."""
        for one in self.slots:
            if one.first == first:
                return one
        return None

    def slot(self, number: int, data: bytes) -> Element:
        """One of them, which holds that backend."""
        held = data if self.identities is None else number_bytes(self.identities[data])
        return Element(self.slots_are_in, self.key + number_bytes(number), held)

    def held_by_slots(self) -> dict[bytes, bytes]:
        """The backends by what slots hold in their place; empty where slots hold the backends themselves."""
        its = self.identities
        return {} if its is None else {number_bytes(its[one]): one for slots in self.slots for one in slots}

    def all_slots(self) -> Iterator[Element]:
        name, key, its = self.slots_are_in, self.key, self.identities
        for slots in self.slots:
            for index, data in enumerate(slots, slots.first):
                held = data if its is None else number_bytes(its[data])
                yield Element(name, key + number_bytes(index), held)

    def remembered(self) -> Iterator[Element]:
        """With session affinity: the backends by what clients remember of them."""
        if (its := self.identities) is None:
            return
        for slots in self.slots:
            for backend in dict.fromkeys(slots):
                yield self.remembered_as(slots.first, backend, its)

    def remembered_as(self, first: int, backend: bytes, its: Identities) -> Element:
        """One of them, in the pool whose slots begin with that number."""
        key = self.key + number_bytes(its[backend])
        return Element(f"sticky-backends{suffix_of(first)}", key, backend)

    def find(self, name: str, key: bytes) -> Element | None:
        """The element of a set that this frontend put there."""
        if name != self.slots_are_in:
            there = chained(self.elements, self.remembered())
            return next((one for one in there if one.set == name and one.key == key), None)
        number = int.from_bytes(key[-4:], sys.byteorder)
        backend = self.in_slot(number)
        return self.slot(number, backend) if backend is not None else None

    def in_slot(self, number: int) -> bytes | None:
        """The backend in the slot with this number; None when there is no such slot."""
        first = LOCAL if number >= LOCAL else 0
        backends = self.slots_from(first) or ()
        return backends[number - first] if number - first < len(backends) else None

    def backend(self, data: bytes) -> Backend | None:
        """The backend that a slot's bytes are for."""
        pools = (*self.frontend.cluster, *self.frontend.local)
        return next((one for one in pools if backend_bytes(one.address, one.port) == data), None)

    def origin(self, element: Element) -> Origin:
        """The object field that an element is there for: a backend's EndpointSlice, or the Service's own field."""
        backend = None
        if element.set == self.slots_are_in:
            held = self.in_slot(int.from_bytes(element.key[-4:], sys.byteorder))
            backend = self.backend(held) if held is not None else None
        elif isinstance(element.data, bytes) and element.set.startswith("sticky-backends"):
            backend = self.backend(element.data)
        return self.frontend.origin_of(backend) if backend else self.frontend.origin


class AllSlots(Sequence[Element]):
    """The slots of some frontends, as elements that are made when somebody looks."""

    def __init__(self, fragments: Sequence[Fragment]) -> None:
        self._fragments = fragments
        self._size = sum(len(slots) for one in fragments for slots in one.slots)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Element]:
        return chained.from_iterable(one.all_slots() for one in self._fragments)

    @overload
    def __getitem__(self, index: int) -> Element: ...

    @overload
    def __getitem__(self, index: slice) -> list[Element]: ...

    def __getitem__(self, index: int | slice) -> Element | list[Element]:
        return list(self)[index]


@dataclass
class Program:
    """What a kernel holds or should hold. Only `plan.accept` changes one."""

    base: dict[Family, Table]
    settings: NodeSettings
    fragments: dict[FrontendKey, Fragment] = field(default_factory=dict)
    numbers: dict[Family, set[int]] = field(default_factory=lambda: {"ip": set(), "ip6": set()})
    """The numbers that have chains of their own. They stay when nobody needs them any more: structure costs."""
    counted: tuple[dict[FrontendKey, Fragment | None], Any] | None = field(default=None, compare=False, repr=False)
    """What `plan.plan_changes` found for the changes it was last asked about, for `plan.accept`."""

    def tables(self) -> dict[Family, Table]:
        """The whole state by family, base and fragments together, in one form whoever made it."""
        found: dict[Family, Table] = {}
        elements = self.elements()
        for family, base in self.base.items():
            chains = {**base.chains, **{chain.name: chain for chain in self.structure_chains(family)}}
            by_key = {name: {one.key: one for one in some} for name, some in elements[family].items()}
            found[family] = base._replace(chains=chains, sets=dict(base.sets), elements=by_key)
        return found

    def elements(self) -> dict[Family, dict[str, Sequence[Element]]]:
        """Every element by family and set; slots, of which there are as many as backends, are made as they are read."""
        found: dict[Family, dict[str, list[Element]]] = {}
        slots: dict[tuple[Family, str], list[Fragment]] = {}
        for family, base in self.base.items():
            into = found[family] = {name: list(base.elements.get(name, {}).values()) for name in base.sets}
            for number in sorted(self.numbers.get(family, ())):
                for element in structure(family, number).elements:
                    into[element.set].append(element)
        for fragment in self.fragments.values():
            into = found[fragment.family]
            for element in fragment.elements:
                into[element.set].append(element)
            for element in fragment.remembered() if fragment.identities is not None else ():
                into[element.set].append(element)
            if fragment.slots:
                slots.setdefault((fragment.family, fragment.slots_are_in), []).append(fragment)
        return {
            family: {
                name: AllSlots(slots[family, name]) if (family, name) in slots else some for name, some in sets.items()
            }
            for family, sets in found.items()
        }

    def structure_chains(self, family: Family) -> Iterator[Chain]:
        """The chains beyond the constant ones."""
        for number in sorted(self.numbers.get(family, ())):
            yield from structure(family, number).chains

    def chain(self, family: Family, name: str) -> Chain | None:
        """One chain, without making all tables."""
        base = self.base.get(family)
        if base is None or name in base.chains:
            return base.chains[name] if base else None
        return next((chain for chain in self.structure_chains(family) if chain.name == name), None)

    def find(self, family: Family, name: str, key: bytes) -> Element | None:
        """One element by its set and key, without making all tables."""
        found = self.base[family].elements.get(name, {}).get(key)
        if found is not None:
            return found
        if name in (*ACTIONS, "draws"):
            number = int.from_bytes(key, sys.byteorder) + (DRAW if name == "draws" else 0)
            entries = structure(family, number).elements if number in self.numbers[family] else ()
            return next((one for one in entries if one.set == name), None)
        fragment = self.fragment(family, name, key)
        return fragment.find(name, key) if fragment else None

    def fragment(self, family: Family, name: str, key: bytes) -> Fragment | None:
        """Whose element a key of a set is."""
        size = ADDRESS_BYTES[family]
        if name == "cluster-ips":
            return self.fragments.get(FrontendKey(read_address(key), "", 0))
        if name == "pinged":
            return self.fragments.get(FrontendKey(read_address(key), ICMP, 0))
        frontend = read_frontend(key[: size + 8]) if len(key) >= size + 8 else None
        return self.fragments.get(frontend) if frontend else None

    def identity(self, frontend: FrontendKey, backend: bytes) -> bytes:
        """What a backend of a frontend, perhaps one that has left, is remembered by."""
        fragment = self.fragments.get(frontend)
        its = fragment.identities if fragment else None
        return number_bytes(identity(backend) if its is None else its[backend])

    def origin(self, family: Family, element: Element) -> Origin | None:
        """The object field that caused an element; None for one that comes from the node's settings."""
        fragment = self.fragment(family, element.set, element.key)
        return fragment.origin(element) if fragment else None


def render(program: Program) -> str:
    """The Program as `nft list ruleset` shows it, each element of a frontend with its Origin behind it."""
    lines: list[str] = []
    for family, table in program.tables().items():
        lines.append(f"table {family} {table.name} {{")
        for declared in table.sets.values():
            lines += _render_set(program, declared, table)
        for chain in table.chains.values():
            lines += _render_chain(chain, table)
        lines[-1:] = ["}", ""]
    return "\n".join(lines)


def _render_set(program: Program, declared: Set, table: Table) -> list[str]:
    kind = "set" if declared.data is None else "map"
    lines = [f"\t{kind} {declared.name} {{", *(f"\t\t{line}" for line in declared.declaration())]
    elements = sorted(table.elements.get(declared.name, {}).values(), key=lambda one: one.key)
    if elements:
        lines.append("\t\telements = {")
        for element in elements:
            origin = program.origin(table.family, element)
            because = f" # {origin}" if origin else ""
            lines.append(f"\t\t\t{printed_element(declared, element)},{because}")
        lines.append("\t\t}")
    return [*lines, "\t}", ""]


def _render_chain(chain: Chain, table: Table) -> list[str]:
    lines = [f"\tchain {chain.name} {{", *(f"\t\t{line}" for line in chain.declaration())]
    for rule in chain.rules:
        comment = f' comment "{rule.comment}"' if rule.comment else ""
        lines.append(f"\t\t{listing(rule.expressions, table.key_words)}{comment}")
    return [*lines, "\t}", ""]
