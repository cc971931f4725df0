"""From a Program to the same with some frontends' Fragments replaced: nothing here looks at any other frontend.

What two Fragments of a frontend share is mostly the very same object in both, and is passed over as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, zip_longest
from operator import attrgetter
from typing import TypeAlias

from msgspec.structs import replace

from fairway.model.parts import difference
from fairway.model.view import FrontendKey
from fairway.modes.nftables.commands import AddChain, AddElements, Command, DeleteElements, Plan, add_rules
from fairway.modes.nftables.identities import Identities
from fairway.modes.nftables.program import Fragment, Program
from fairway.modes.nftables.slots import Slots, exchanged
from fairway.modes.nftables.structure import structure
from fairway.modes.nftables.tables import Element, Family

_FIRST = attrgetter("first")
Changes: TypeAlias = Mapping[FrontendKey, Fragment | None]


def plan_changes(program: Program, changes: Changes) -> Plan:
    """From a Program to the same with some Fragments replaced, or gone (None)."""
    counted = _Change(program, changes)
    program.counted = (dict(changes), counted)
    return counted.plan()


def accept(program: Program, changes: Changes) -> None:
    """Record that the plan for these changes has been applied. What `plan_changes` counted out is not counted again."""
    known, program.counted = program.counted, None
    change = known[1] if known is not None and known[0] == changes else _Change(program, changes)
    for family, numbers in change.numbers.items():
        program.numbers[family] |= numbers
    for key, fragment in change.settled.items():
        if fragment is None:
            program.fragments.pop(key, None)
        else:
            program.fragments[key] = fragment


class _Change:
    """What some replaced Fragments change, counted out without a look at the others."""

    __slots__ = ("coming", "leaving", "numbers", "program", "settled")

    def __init__(self, program: Program, changes: Changes) -> None:
        self.program = program
        self.leaving: dict[tuple[Family, str], list[Element]] = {}
        self.coming: dict[tuple[Family, str], list[Element]] = {}
        self.numbers: dict[Family, set[int]] = {}
        there = program.fragments
        self.settled = {key: self.settle(there.get(key), fragment) for key, fragment in changes.items()}

    def settle(self, old: Fragment | None, new: Fragment | None) -> Fragment | None:
        """Note what is different; the new Fragment with its slots as near to the old one's as can be."""
        if new is not None and not new.numbers <= self.program.numbers[new.family]:
            self.numbers.setdefault(new.family, set()).update(new.numbers - self.program.numbers[new.family])
        if old is None or new is None:
            if fragment := old or new:
                self.all(fragment, self.leaving if old else self.coming)
            return new
        if old.elements is not new.elements:
            self.elements(old, new)
        if old.identities != new.identities:
            self.instead(old, new, old.all_slots(), new.all_slots())
            self.instead(old, new, old.remembered(), new.remembered())
            return new
        if old.fixed or new.fixed:
            self.places(old, new)
            self.instead(old, new, old.remembered(), new.remembered())
            return new
        if old.identities is not None:
            self.remembered(old, new, old.identities)
        return self.slots(old, new)

    def all(self, fragment: Fragment, into: dict[tuple[Family, str], list[Element]]) -> None:
        """Of a frontend that comes or goes."""
        for element in chain(fragment.elements, fragment.all_slots(), fragment.remembered()):
            _note(into, fragment, element)

    def elements(self, old: Fragment, new: Fragment) -> None:
        """Those that are not about a single backend."""
        before, after = old.elements, new.elements
        changed = [(was, now) for was, now in zip(before, after, strict=False) if was is not now]
        if len(before) != len(after) or any(was.key != now.key or was.set != now.set for was, now in changed):
            self.instead(old, new, before, after)
            return
        for was, now in changed:
            if was != now:
                _note(self.leaving, old, was)
                _note(self.coming, new, now)

    def instead(self, old: Fragment, new: Fragment, gone: Iterable[Element], come: Iterable[Element]) -> None:
        """Some elements of one Fragment give way to others, where these are not the same."""
        before = {(one.set, one.key): one for one in gone}
        after = {(one.set, one.key): one for one in come}
        for at, element in before.items():
            if after.get(at) != element:
                _note(self.leaving, old, element)
        for at, element in after.items():
            if before.get(at) != element:
                _note(self.coming, new, element)

    def slots(self, old: Fragment, new: Fragment) -> Fragment:
        """Only what moves, so that a change of one backend among many costs one backend."""
        pools = _pools(old, new)
        settled = [after if before is after else self.moved(old, before, new, after) for before, after in pools]
        return replace(new, slots=tuple([one for one in settled if one.size]))

    def moved(self, old: Fragment, before: Slots, new: Fragment, wanted: Slots) -> Slots:
        """The slots of one pool, now."""
        moves, first, size = before.moves(wanted), before.first, before.size
        for number, now in moves.items():
            if number < size:
                _note(self.leaving, old, old.slot(first + number, before[number]))
            if now is not None:
                _note(self.coming, new, new.slot(first + number, now))
        return before.moved(wanted, moves)

    def remembered(self, old: Fragment, new: Fragment, its: Identities) -> None:
        """What clients remember backends by, which is the same in both."""
        for before, after in _pools(old, new):
            gone, come = exchanged(difference(before.pool, after.pool))
            for one in gone:
                _note(self.leaving, old, old.remembered_as(before.first, one, its))
            for one in come:
                _note(self.coming, new, new.remembered_as(after.first, one, its))

    def places(self, old: Fragment, new: Fragment) -> None:
        """Only those that hold another backend, of slots whose order is not free."""
        for before, after in _pools(old, new):
            for number, (was, now) in enumerate(zip_longest(before, after), before.first):
                if was is not None and was != now:
                    _note(self.leaving, old, old.slot(number, was))
                if now is not None and was != now:
                    _note(self.coming, new, new.slot(number, now))

    def plan(self) -> Plan:
        base = self.program.base
        commands: list[Command] = []
        for (family, name), elements in self.leaving.items():
            table = base[family]
            commands.append(DeleteElements(family, table.name, table.sets[name], elements))
        for family, numbers in self.numbers.items():
            for number in sorted(numbers):
                commands += self.structure(family, number)
        for (family, name), elements in self.coming.items():
            table = base[family]
            commands.append(AddElements(family, table.name, table.sets[name], elements))
        return Plan(tuple(commands))

    def structure(self, family: Family, number: int) -> Iterator[Command]:
        chains, entries = structure(family, number)
        table = self.program.base[family]
        for chain_ in chains:
            yield AddChain(family, table.name, chain_)
            yield from add_rules(table, chain_)
        for element in entries:
            yield AddElements(family, table.name, table.sets[element.set], (element,))


def _pools(old: Fragment, new: Fragment) -> list[tuple[Slots, Slots]]:
    """The slots of each pool that either has, in both; one of the two may have nobody."""
    if [*map(_FIRST, old.slots)] == [*map(_FIRST, new.slots)]:
        return [*zip(old.slots, new.slots, strict=True)]
    pairs = [(before, new.slots_from(before.first) or Slots((), first=before.first)) for before in old.slots]
    come = [(Slots((), first=after.first), after) for after in new.slots if old.slots_from(after.first) is None]
    return sorted([*pairs, *come], key=lambda pair: pair[0].first)


def _note(into: dict[tuple[Family, str], list[Element]], fragment: Fragment, element: Element) -> None:
    at = (fragment.family, element.set)
    if there := into.get(at):
        there.append(element)
    else:
        into[at] = [element]
