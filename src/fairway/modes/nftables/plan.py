"""From any state of the kernel to any other: ordered commands that are applied as one transaction.

Structure is compared as a whole (there is little of it), elements by key. What a change of a few frontends takes is
counted out in `change`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from msgspec.structs import replace

from fairway.modes.nftables.commands import (
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    Command,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    FlushChain,
    Plan,
    add_rules,
)
from fairway.modes.nftables.program import Fragment, Program
from fairway.modes.nftables.slots import Slots, near
from fairway.modes.nftables.tables import Element, Family, Set, Table


def plan(old: Program, new: Program) -> Plan:
    """From any state to any other: full load, repair, reconfiguration."""
    if not old.base:
        return _from_nothing(new)
    before, after = old.tables(), new.tables()
    commands: list[Command] = []
    families: tuple[Family, ...] = ("ip", "ip6")
    for family in families:
        commands += _plan_table(before.get(family), after.get(family))
    return Plan(tuple(commands))


def _from_nothing(new: Program) -> Plan:
    """All of it. A node's first load: nothing is compared, and no table of everything is made."""
    commands: list[Command] = []
    elements = new.elements()
    for family, base in new.base.items():
        chains = {**base.chains, **{chain.name: chain for chain in new.structure_chains(family)}}
        commands.append(AddTable(family, base.name, base.persistent))
        commands += (AddSet(family, base.name, one) for one in base.sets.values())
        commands += (AddChain(family, base.name, chain) for chain in chains.values())
        for chain in chains.values():
            commands += add_rules(base, chain)
        found = ((one, elements[family][name]) for name, one in base.sets.items())
        commands += (AddElements(family, base.name, one, some) for one, some in found if some)
    return Plan(tuple(commands))


def _plan_table(old: Table | None, new: Table | None) -> Iterator[Command]:
    if new is None:
        if old is not None:
            yield DeleteTable(old.family, old.name)
        return
    if old is not None and not _same_shape(old, new):
        # A table that another program or another version wrote: replaced in the same transaction, so no connection
        # notices, nor any packet but the one that is between two steps of its way when the kernel goes over to it.
        # What packets remember in its sets is carried over by whoever applies this.
        yield DeleteTable(old.family, old.name)
        old = None
    if old is None:
        yield AddTable(new.family, new.name, new.persistent)
        old = Table(new.family, {}, {}, {}, new.name)
    yield from _Tables(old, new).commands()


def _same_shape(old: Table, new: Table) -> bool:
    """Whether what both have is declared alike; a set, a chain's hook or a table's end cannot be changed in place.

    Nor is what somebody else has switched off, table or policy, switched on again where it is.
    """
    if old.dormant or (new.persistent and not old.persistent):
        return False
    sets = all(old.sets[name] == new.sets[name] for name in old.sets.keys() & new.sets.keys())
    pairs = [(old.chains[name], new.chains[name]) for name in old.chains.keys() & new.chains.keys()]
    return sets and all(one.hook == other.hook and one.drops == other.drops for one, other in pairs)


@dataclass
class _Tables:
    old: Table
    new: Table

    def commands(self) -> Iterator[Command]:
        """References go before what they refer to when deleting, after it when adding.

        Rules come before elements: the kernel walks through what is in a map already for each chain that looks it up.
        """
        old, new = self.old, self.new
        family, table = new.family, new.name
        gone = [chain for name, chain in old.chains.items() if name not in new.chains]
        fresh = [chain for name, chain in new.chains.items() if name not in old.chains]
        changed = [new.chains[n] for n in old.chains if n in new.chains and old.chains[n].rules != new.chains[n].rules]
        for chain in (*gone, *changed):
            yield FlushChain(family, table, chain.name)
        yield from (DeleteElements(family, table, *part) for part in self.elements(leaving=True))
        yield from (DeleteChain(family, table, chain.name) for chain in gone)
        yield from (DeleteSet(family, table, one) for name, one in old.sets.items() if name not in new.sets)
        yield from (AddSet(family, table, one) for name, one in new.sets.items() if name not in old.sets)
        yield from (AddChain(family, table, chain) for chain in fresh)
        for chain in (*changed, *fresh):
            yield from add_rules(new, chain)
        yield from (AddElements(family, table, *part) for part in self.elements(leaving=False))

    def elements(self, leaving: bool) -> Iterator[tuple[Set, tuple[Element, ...]]]:
        """The elements of kept sets that leave, or of all sets that come; one whose data changes does both."""
        these, others = (self.old, self.new) if leaving else (self.new, self.old)
        for name, declared in these.sets.items():
            if leaving and name not in self.new.sets:
                continue
            there = others.elements.get(name, {})
            found = tuple(one for key, one in these.elements.get(name, {}).items() if there.get(key) != one)
            if found:
                yield declared, found


def build(program: Program, fragments: Iterable[Fragment]) -> Program:
    """The Program with these Fragments in it, for a start from nothing."""
    for fragment in fragments:
        program.fragments[fragment.frontend.key] = fragment
        program.numbers[fragment.family] |= fragment.numbers
        for slots in fragment.slots:
            slots.prepare()
    return program


def adopt(held: Program, wanted: Program) -> Program:
    """The wanted Program with its slots near to those of one that was read back."""
    tables = held.tables() if held.base else {}
    for key, fragment in wanted.fragments.items():
        table = tables.get(fragment.family)
        if table is None or fragment.fixed or not fragment.slots:
            continue
        there = table.elements.get(fragment.slots_are_in, {})
        slots = tuple([_adopted(there, fragment, some) for some in fragment.slots])
        wanted.fragments[key] = replace(fragment, slots=slots)
    return wanted


def _adopted(there: Mapping[bytes, Element], fragment: Fragment, slots: Slots) -> Slots:
    before = list(_in_slots(there, fragment, slots.first))
    wanted = list(slots)
    if before == wanted:
        return slots
    found = Slots(slots.pool, b"".join(near(wanted, before)), first=slots.first)
    found.prepare()
    return found


def _in_slots(there: Mapping[bytes, Element], fragment: Fragment, first: int) -> Iterator[bytes]:
    known = fragment.held_by_slots()
    for number in count(first):
        element = there.get(fragment.slot(number, b"").key)
        if element is None or not isinstance(element.data, bytes):
            return
        yield known.get(element.data, element.data)
