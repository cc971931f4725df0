"""From a Program to the same with some frontends' Fragments replaced: nothing here looks at any other frontend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TypeAlias

from fairway.model.view import FrontendKey
from fairway.modes.nftables.commands import AddChain, AddElements, Command, DeleteElements, Plan, add_rules
from fairway.modes.nftables.program import Fragment, Program
from fairway.modes.nftables.slots import Slots
from fairway.modes.nftables.structure import structure
from fairway.modes.nftables.tables import Element, Family, Set

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
            yield from add_rules(table, chain)
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
