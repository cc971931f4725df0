"""From one state of the kernel to another: ordered commands that are applied as one transaction.

Structure is compared as a whole (there is little of it), elements by key. A change of a few frontends compares only
their Fragments; nothing on that path looks at another frontend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, zip_longest
from typing import NamedTuple, TypeAlias

from fairway.model.view import FrontendKey
from fairway.modes.commands import Commands
from fairway.modes.nftables.expressions import Jump, listing
from fairway.modes.nftables.program import Fragment, Program
from fairway.modes.nftables.slots import Slots, near
from fairway.modes.nftables.structure import structure
from fairway.modes.nftables.tables import Chain, Element, Family, Rule, Set, Table, printed_element


class AddTable(NamedTuple):
    family: Family
    table: str
    persistent: bool = False
    """Owned by whoever sends this, and by the next one when that has ended; it fails where there is another table."""

    def __str__(self) -> str:
        flags = " { flags owner, persist; }" if self.persistent else ""
        return f"add table {self.family} {self.table}{flags}"


class DeleteTable(NamedTuple):
    family: Family
    table: str

    def __str__(self) -> str:
        return f"delete table {self.family} {self.table}"


class AddSet(NamedTuple):
    family: Family
    table: str
    set: Set

    def __str__(self) -> str:
        kind = "set" if self.set.data is None else "map"
        return f"add {kind} {self.family} {self.table} {self.set.name} {{ {'; '.join(self.set.declaration())}; }}"


class DeleteSet(NamedTuple):
    family: Family
    table: str
    set: Set

    def __str__(self) -> str:
        kind = "set" if self.set.data is None else "map"
        return f"delete {kind} {self.family} {self.table} {self.set.name}"


class AddChain(NamedTuple):
    family: Family
    table: str
    chain: Chain

    def __str__(self) -> str:
        what = "".join(f" {{ {line} }}" for line in self.chain.declaration())
        return f"add chain {self.family} {self.table} {self.chain.name}{what}"


class DeleteChain(NamedTuple):
    family: Family
    table: str
    chain: str

    def __str__(self) -> str:
        return f"delete chain {self.family} {self.table} {self.chain}"


class FlushChain(NamedTuple):
    family: Family
    table: str
    chain: str

    def __str__(self) -> str:
        return f"flush chain {self.family} {self.table} {self.chain}"


class AddRule(NamedTuple):
    family: Family
    table: str
    chain: str
    rule: Rule
    words: str

    def __str__(self) -> str:
        return f"add rule {self.family} {self.table} {self.chain} {self.words}"


class AddElements(NamedTuple):
    family: Family
    table: str
    set: Set
    elements: Sequence[Element]

    def __str__(self) -> str:
        return "\n".join(self.lines("add"))

    def lines(self, verb: str) -> Iterator[str]:
        for one in self.elements:
            shown = printed_element(self.set, one)
            yield f"{verb} element {self.family} {self.table} {self.set.name} {{ {shown} }}"


class DeleteElements(NamedTuple):
    family: Family
    table: str
    set: Set
    elements: Sequence[Element]

    def __str__(self) -> str:
        return "\n".join(AddElements(*self).lines("delete"))


Command: TypeAlias = (
    AddTable
    | DeleteTable
    | AddSet
    | DeleteSet
    | AddChain
    | DeleteChain
    | FlushChain
    | AddRule
    | AddElements
    | DeleteElements
)


@dataclass(frozen=True, slots=True)
class Plan(Commands[Command]):
    """Commands in order; all of them happen, or none."""

    def __len__(self) -> int:
        """Elements count one by one: this is the size of the change, not of the text."""
        sized = (AddElements, DeleteElements)
        return sum(len(one.elements) if isinstance(one, sized) else 1 for one in self.commands)


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
            commands += _rules(base, chain)
        found = ((one, elements[family][name]) for name, one in base.sets.items())
        commands += (AddElements(family, base.name, one, some) for one, some in found if some)
    return Plan(tuple(commands))


def _plan_table(old: Table | None, new: Table | None) -> Iterator[Command]:
    if new is None:
        if old is not None:
            yield DeleteTable(old.family, old.name)
        return
    if old is not None and not _same_shape(old, new):
        # A table that another program or another version wrote: replaced in the same transaction, so no packet and no
        # connection notices. What packets remember in its sets is carried over by whoever applies this.
        yield DeleteTable(old.family, old.name)
        old = None
    if old is None:
        yield AddTable(new.family, new.name, new.persistent)
        old = Table(new.family, {}, {}, {}, new.name)
    yield from _Tables(old, new).commands()


def _same_shape(old: Table, new: Table) -> bool:
    """Whether what both have is declared alike; a set, a chain's hook or a table's end cannot be changed in place."""
    if new.persistent and not old.persistent:
        return False
    sets = all(old.sets[name] == new.sets[name] for name in old.sets.keys() & new.sets.keys())
    chains = all(old.chains[name].hook == new.chains[name].hook for name in old.chains.keys() & new.chains.keys())
    return sets and chains


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
            yield from _rules(new, chain)
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


def _rules(table: Table, chain: Chain) -> Iterator[Command]:
    for rule in chain.rules:
        words = listing(rule.expressions, table.key_words)
        yield AddRule(table.family, table.name, chain.name, rule, words)


Changes: TypeAlias = Mapping[FrontendKey, Fragment | None]


def plan_changes(program: Program, changes: Changes) -> Plan:
    """From a Program to the same with some Fragments replaced, or gone (None)."""
    counted = _Change.of(program, changes)
    program.counted = (dict(changes), counted)
    return counted.plan()


def accept(program: Program, changes: Changes) -> None:
    """Record that the plan for these changes has been applied. What `plan_changes` counted out is not counted again."""
    known, program.counted = program.counted, None
    change = known[1] if known is not None and _same(known[0], changes) else _Change.of(program, changes)
    for family, numbers in change.numbers.items():
        program.numbers[family] |= numbers
    for key, fragment in change.settled.items():
        if fragment is None:
            program.fragments.pop(key, None)
        else:
            program.fragments[key] = fragment


def _same(one: Changes, other: Changes) -> bool:
    """Whether they hold the very same Fragments."""
    return one.keys() == other.keys() and all(one[key] is fragment for key, fragment in other.items())


def build(program: Program, fragments: Iterable[Fragment]) -> Program:
    """The Program with these Fragments in it, for a start from nothing."""
    for fragment in fragments:
        program.fragments[fragment.frontend.key] = fragment
        program.numbers[fragment.family] |= fragment.numbers
        for slots in fragment.slots.values():
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
        slots = {first: _adopted(there, fragment, first, some) for first, some in fragment.slots.items()}
        wanted.fragments[key] = replace(fragment, slots=slots)
    return wanted


def _adopted(there: Mapping[bytes, Element], fragment: Fragment, first: int, slots: Slots) -> Slots:
    before = list(_in_slots(there, fragment, first))
    wanted = list(slots)
    return slots if before == wanted else Slots(slots.pool, near(wanted, before))


def _in_slots(there: Mapping[bytes, Element], fragment: Fragment, first: int) -> Iterator[bytes]:
    for number in count(first):
        element = there.get(fragment.slot(number, b"").key)
        if element is None or not isinstance(element.data, bytes):
            return
        yield fragment.backend_of_slot(element.data)


@dataclass
class _Change:
    """What some replaced Fragments change, counted out without a look at the others."""

    program: Program
    settled: dict[FrontendKey, Fragment | None] = field(default_factory=dict)
    leaving: dict[tuple[Family, str], list[Element]] = field(default_factory=dict)
    coming: dict[tuple[Family, str], list[Element]] = field(default_factory=dict)
    numbers: dict[Family, set[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, program: Program, changes: Changes) -> _Change:
        change = cls(program)
        for key, fragment in changes.items():
            change.settled[key] = change.settle(program.fragments.get(key), fragment)
        return change

    def settle(self, old: Fragment | None, new: Fragment | None) -> Fragment | None:
        """Note what is different; the new Fragment with its slots as near to the old one's as can be."""
        if new is not None:
            missing = new.numbers - self.program.numbers[new.family]
            if missing:
                self.numbers.setdefault(new.family, set()).update(missing)
        if old is not None and new is not None:
            if old.elements != new.elements:
                self.elements(old, new)
            if _alike(old, new):
                if not (old.fixed or new.fixed):
                    return self.slots(old, new)
                self.places(old, new)
                return new
        elif old is not None or new is not None:
            self.elements(old, new)
        self.all_slots(old, new)
        return new

    def elements(self, old: Fragment | None, new: Fragment | None) -> None:
        """What one Fragment of a frontend has and the other has not, or has with other data."""
        for these, others, into in ((old, new, self.leaving), (new, old, self.coming)):
            there = {(one.set, one.key): one for one in others.elements} if others else {}
            for element in these.elements if these else ():
                if there.get((element.set, element.key)) != element:
                    _note(into, these, element)

    def slots(self, old: Fragment, new: Fragment) -> Fragment:
        """Only what moves, so that a change of one backend among many costs one backend."""
        settled: dict[int, Slots] = {}
        for first, before in old.slots.items():
            if first not in new.slots:
                for number, data in enumerate(before, first):
                    _note(self.leaving, old, old.slot(number, data))
        for first, wanted in new.slots.items():
            there = old.slots.get(first)
            if there is None:
                settled[first] = wanted
                for number, data in enumerate(wanted, first):
                    _note(self.coming, new, new.slot(number, data))
                continue
            moves = there.moves(wanted.pool)
            for number, now in moves.items():
                if number < len(there):
                    _note(self.leaving, old, old.slot(first + number, there[number]))
                if now is not None:
                    _note(self.coming, new, new.slot(first + number, now))
            settled[first] = there.moved(wanted.pool, moves)
        return replace(new, slots=settled)

    def places(self, old: Fragment, new: Fragment) -> None:
        """Only those that hold another backend, of slots whose order is not free."""
        for first in sorted(old.slots.keys() | new.slots.keys()):
            pairs = zip_longest(old.slots.get(first, ()), new.slots.get(first, ()))
            moved = ((number, was, now) for number, (was, now) in enumerate(pairs, first) if was != now)
            for number, was, now in moved:
                if was is not None:
                    _note(self.leaving, old, old.slot(number, was))
                if now is not None:
                    _note(self.coming, new, new.slot(number, now))

    def all_slots(self, old: Fragment | None, new: Fragment | None) -> None:
        """Of a frontend that comes or goes, or whose slots hold something else."""
        before = {(one.set, one.key): one for one in old.all_slots()} if old else {}
        after = {(one.set, one.key): one for one in new.all_slots()} if new else {}
        for these, element in ((old, one) for at, one in before.items() if after.get(at) != one):
            _note(self.leaving, these, element)
        for these, element in ((new, one) for at, one in after.items() if before.get(at) != one):
            _note(self.coming, these, element)

    def plan(self) -> Plan:
        commands: list[Command] = [
            DeleteElements(family, *self.place(family, name), tuple(elements))
            for (family, name), elements in self.leaving.items()
        ]
        for family, numbers in self.numbers.items():
            for number in sorted(numbers):
                commands += self.structure(family, number)
        commands += [
            AddElements(family, *self.place(family, name), tuple(elements))
            for (family, name), elements in self.coming.items()
        ]
        return Plan(tuple(commands))

    def place(self, family: Family, name: str) -> tuple[str, Set]:
        base = self.program.base[family]
        return base.name, base.sets[name]

    def structure(self, family: Family, number: int) -> Iterator[Command]:
        chains, entries = structure(family, number)
        table = self.program.base[family]
        for chain in chains:
            yield AddChain(family, table.name, chain)
            yield from _rules(table, chain)
        for element in entries:
            yield AddElements(family, *self.place(family, element.set), (element,))


def _alike(old: Fragment, new: Fragment) -> bool:
    """Whether the same backend makes the same slot in both."""
    if old.slots_are_in != new.slots_are_in:
        return False
    return all(new.identities.get(backend, number) == number for backend, number in old.identities.items())


def _note(into: dict[tuple[Family, str], list[Element]], fragment: Fragment | None, element: Element) -> None:
    assert fragment is not None
    into.setdefault((fragment.family, element.set), []).append(element)


__all__ = ["Command", "Jump", "Plan", "accept", "build", "plan", "plan_changes"]
