"""From one state of the kernel to another: ordered commands that are applied as one transaction.

Structure is compared as a whole (there is little of it), elements by key. A change of a few frontends compares only
their Fragments; nothing on that path looks at another frontend.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import NamedTuple, TypeAlias

from fairway.model.view import FrontendKey
from fairway.modes.nftables.expressions import Jump, listing
from fairway.modes.nftables.program import Fragment, Program
from fairway.modes.nftables.structure import structure
from fairway.modes.nftables.tables import Chain, Element, Family, Rule, Set, Table, printed_element


class AddTable(NamedTuple):
    family: Family
    table: str

    def __str__(self) -> str:
        return f"add table {self.family} {self.table}"


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
    elements: tuple[Element, ...]

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
    elements: tuple[Element, ...]

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
class Plan:
    """Commands in order; all of them happen, or none."""

    commands: tuple[Command, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.commands)

    def __len__(self) -> int:
        """Elements count one by one: this is the size of the change, not of the text."""
        sized = (AddElements, DeleteElements)
        return sum(len(one.elements) if isinstance(one, sized) else 1 for one in self.commands)

    def render(self) -> str:
        return "".join(f"{command}\n" for command in self.commands)


def plan(old: Program, new: Program) -> Plan:
    """From any state to any other: full load, repair, reconfiguration."""
    before, after = old.tables(), new.tables()
    commands: list[Command] = []
    families: tuple[Family, ...] = ("ip", "ip6")
    for family in families:
        commands += _plan_table(before.get(family), after.get(family))
    return Plan(tuple(commands))


def _plan_table(old: Table | None, new: Table | None) -> Iterator[Command]:
    if new is None:
        if old is not None:
            yield DeleteTable(old.family, old.name)
        return
    if old is not None and not _same_shape(old, new):
        # A table that another program or another version wrote: replaced in the same transaction, so no packet and no
        # connection notices.
        yield DeleteTable(old.family, old.name)
        old = None
    if old is None:
        yield AddTable(new.family, new.name)
        old = Table(new.family, {}, {}, {}, new.name)
    yield from _Tables(old, new).commands()


def _same_shape(old: Table, new: Table) -> bool:
    """Whether what both have is declared alike; a set or a chain's hook cannot be changed in place."""
    sets = all(old.sets[name] == new.sets[name] for name in old.sets.keys() & new.sets.keys())
    chains = all(old.chains[name].hook == new.chains[name].hook for name in old.chains.keys() & new.chains.keys())
    return sets and chains


@dataclass
class _Tables:
    old: Table
    new: Table

    def commands(self) -> Iterator[Command]:
        """References go before what they refer to when deleting, after it when adding."""
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
        yield from (AddElements(family, table, *part) for part in self.elements(leaving=False))
        for chain in (*changed, *fresh):
            yield from _rules(new, chain)

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
    return _Change.of(program, changes).plan()


def accept(program: Program, changes: Changes) -> None:
    """Record that the plan for these changes has been applied."""
    change = _Change.of(program, changes)
    for family, numbers in change.numbers.items():
        program.numbers[family] |= numbers
    for key, fragment in change.settled.items():
        if fragment is None:
            program.fragments.pop(key, None)
        else:
            program.fragments[key] = fragment


def build(program: Program, fragments: Iterable[Fragment]) -> Program:
    """The Program with these Fragments in it, for a start from nothing."""
    for fragment in fragments:
        program.fragments[fragment.frontend.key] = fragment
        program.numbers[fragment.family] |= fragment.numbers
    return program


def adopt(held: Program, wanted: Program) -> Program:
    """The wanted Program with its slots near to those of one that was read back."""
    tables = held.tables()
    for key, fragment in wanted.fragments.items():
        table = tables.get(fragment.family)
        there = table.elements.get(fragment.slots_are_in, {}) if table else {}
        old = {first: tuple(_in_slots(there, fragment, first)) for first in fragment.slots}
        wanted.fragments[key] = settle(fragment, replace(fragment, slots=old))
    return wanted


def _in_slots(there: Mapping[bytes, Element], fragment: Fragment, first: int) -> Iterator[bytes]:
    for number in count(first):
        element = there.get(fragment.slot(number, b"").key)
        if element is None or not isinstance(element.data, bytes):
            return
        yield fragment.backend_of_slot(element.data)


def settle(fragment: Fragment, old: Fragment | None) -> Fragment:
    """The Fragment with its slots as near to the old one's as can be: who stays keeps the slot, the last fill holes."""
    if old is None or fragment.fixed or old.fixed or old.slots == fragment.slots:
        return fragment
    slots = {first: _near(backends, old.slots.get(first, ())) for first, backends in fragment.slots.items()}
    return replace(fragment, slots=slots)


def _near(backends: tuple[bytes, ...], before: tuple[bytes, ...]) -> tuple[bytes, ...]:
    wanted = set(backends)
    kept: list[bytes | None] = [one if one in wanted else None for one in before[: len(backends)]]
    kept += [None] * (len(backends) - len(kept))
    there = set(kept)
    if len(wanted) < len(backends) or len(there - {None}) + kept.count(None) < len(kept):
        return _near_by_weight(backends, before)
    rest = iter(one for one in backends if one not in there)
    return tuple(one if one is not None else next(rest) for one in kept)


def _near_by_weight(backends: tuple[bytes, ...], before: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The same for backends with several slots, now or before."""
    missing = Counter(backends)
    kept: list[bytes | None] = []
    for one in before[: len(backends)]:
        stays = missing[one] > 0
        missing[one] -= stays
        kept.append(one if stays else None)
    kept += [None] * (len(backends) - len(kept))
    rest = missing.elements()
    return tuple(one if one is not None else next(rest) for one in kept)


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
            old = program.fragments.get(key)
            new = settle(fragment, old) if fragment is not None else None
            change.settled[key] = new
            change.add(old, new)
        return change

    def add(self, old: Fragment | None, new: Fragment | None) -> None:
        if new is not None:
            missing = new.numbers - self.program.numbers[new.family]
            if missing:
                self.numbers.setdefault(new.family, set()).update(missing)
        for family, element in _only_in(old, new):
            self.leaving.setdefault((family, element.set), []).append(element)
        for family, element in _only_in(new, old):
            self.coming.setdefault((family, element.set), []).append(element)

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


def _only_in(these: Fragment | None, others: Fragment | None) -> Iterator[tuple[Family, Element]]:
    """What one Fragment of a frontend has and the other has not, or has with other data."""
    if these is None:
        return
    there = {(one.set, one.key): one for one in others.elements} if others else {}
    for element in these.elements:
        if there.get((element.set, element.key)) != element:
            yield these.family, element
    for first, backends in these.slots.items():
        other = others.slots.get(first, ()) if others else ()
        if backends == other:
            continue
        for index, data in enumerate(backends):
            if index >= len(other) or other[index] != data:
                yield these.family, these.slot(first + index, data)


__all__ = ["Command", "Jump", "Plan", "accept", "build", "plan", "plan_changes", "settle"]
