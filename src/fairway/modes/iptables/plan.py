"""From one state of the kernel to another: changed rules only.

    a new chain                 :KUBE-SEP-X - [0:0]    -A KUBE-SEP-X …
    a few rules of a chain      -D KUBE-SVC-X …        -I KUBE-SVC-X 3 …
    most of a chain             :KUBE-SVC-X - [0:0]    (empties it)    -A KUBE-SVC-X …
    a chain that goes           :KUBE-SEP-X - [0:0]    -X KUBE-SEP-X

A rule is deleted by what it says, not by its number: if somebody has put one of his own before it, the kernel still
takes away ours, or says that there is none, and the whole is read back.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from fairway.model.view import FrontendKey
from fairway.modes.iptables import names as n
from fairway.modes.iptables.commands import AddRule, Command, DeleteChain, DeleteRule, MakeChain, Plan
from fairway.modes.iptables.program import Chains, Fragment, Program
from fairway.modes.iptables.tree import Changed, Line
from fairway.modes.shares import Turnover
from fairway.modes.xtables import FAMILIES, HOOKS, Family, Place, State, target

Changes: TypeAlias = Mapping[FrontendKey, Fragment | None]


def plan(old: Program, new: Program) -> Plan:
    """From any state to any other: full load, repair, reconfiguration."""
    before, after = old.state(), new.state()
    commands: list[Command] = []
    for family in FAMILIES:
        commands += _differences(family, before.get(family, {}), after.get(family, {}))
    return Plan(tuple(commands))


def _differences(family: Family, old: State, new: State) -> Iterator[Command]:
    different = [place for place in {**old, **new} if old.get(place) != new.get(place)]
    seen = _seen(old) if different else frozenset()
    for place in different:
        if place.chain in HOOKS or place.chain == n.FIREWALL:
            # Others have rules there too, so their order is not ours; the kubelet keeps KUBE-FIREWALL for itself too.
            yield from _among_others(family, place, old.get(place), new.get(place))
        else:
            yield from _chain(family, place, old.get(place), new.get(place), seen=place in seen)


def _seen(state: State) -> frozenset[Place]:
    """The chains that packets can get into."""
    found: set[Place] = set()
    ahead = [place for place in state if place.chain in HOOKS]
    while ahead:
        at = ahead.pop()
        for rule in state[at]:
            there = Place(at.table, target(rule))
            if there in state and there not in found:
                found.add(there)
                ahead.append(there)
    return frozenset(found)


def _among_others(
    family: Family, place: Place, old: tuple[str, ...] | None, new: tuple[str, ...] | None
) -> Iterator[Command]:
    there, wanted = old or (), new or ()
    if place.chain == n.FIREWALL:
        yield from [MakeChain(family, *place)] if old is None else []
    else:
        surplus = [one for index, one in enumerate(there) if one not in wanted or one in there[:index]]
        yield from (DeleteRule(family, *place, one) for one in surplus if not one.endswith(f"-j {n.FIREWALL}"))
    missing = [one for one in wanted if one not in there]
    yield from (AddRule(family, *place, one, 1) for one in reversed(missing))


def _chain(
    family: Family, place: Place, old: tuple[str, ...] | None, new: tuple[str, ...] | None, *, seen: bool = True
) -> Iterator[Command]:
    """One chain that is ours alone; ``seen`` says whether packets get into it now, if it is there."""
    if old == new:
        return
    if new is None:
        yield MakeChain(family, *place)
        yield DeleteChain(family, *place)
        return
    edits = _edits(family, place, old, new) if old is not None and seen else None
    if edits is None:
        yield MakeChain(family, *place, unseen=old is None or not seen)
        edits = [AddRule(family, *place, rule) for rule in new]
    yield from edits


def _edits(family: Family, place: Place, old: tuple[str, ...], new: tuple[str, ...]) -> list[Command] | None:
    """Single rules to take out and put in; None when it is less to write the chain anew, or the order has changed."""
    before, after = set(old), set(new)
    stay = [one for one in old if one in after]
    if len(before) < len(old) or stay != [one for one in new if one in before]:
        return None
    if len(old) + len(new) - 2 * len(stay) > len(new):
        return None
    leaving = [DeleteRule(family, *place, one) for one in old if one not in after]
    return [*leaving, *(AddRule(family, *place, one, at) for at, one in enumerate(new, 1) if one not in before)]


def plan_changes(program: Program, changes: Changes) -> Plan:
    """From a Program to the same with some Fragments replaced, or gone (None)."""
    commands: list[Command] = []
    for family, change in _changes(program, changes).items():
        commands += change.commands(family)
    return Plan(tuple(commands))


def accept(program: Program, changes: Changes) -> None:
    """Record that the plan for these changes has been applied."""
    for change in _changes(program, changes).values():
        change.accept()
    for key, fragment in changes.items():
        if fragment is None:
            program.fragments.pop(key, None)
        else:
            program.fragments[key] = fragment
    program.forget_state()


def _changes(program: Program, changes: Changes) -> dict[Family, _Change]:
    before: dict[Family, list[Line]] = {family: [] for family in program.families}
    after: dict[Family, list[Line]] = {family: [] for family in program.families}
    for key, fragment in changes.items():
        old = program.fragments.get(key)
        if old is not None and old.family in before:
            before[old.family] += old.lines
        if fragment is not None and fragment.family in after:
            after[fragment.family] += fragment.lines
    found = {}
    for family, chains in program.families.items():
        turnover = chains.shares.turnover(before[family], after[family])
        if turnover.owners:
            found[family] = _Change.of(chains, turnover)
    return found


@dataclass
class _Change:
    """What some replaced Fragments change in one family, without a look at the others."""

    chains: Chains
    turnover: Turnover[Line]
    lists: dict[Place, tuple[list[Line], list[Line]]] = field(default_factory=dict)
    trees: dict[Place, Changed] = field(default_factory=dict)

    @classmethod
    def of(cls, chains: Chains, turnover: Turnover[Line]) -> _Change:
        change = cls(chains, turnover)
        leaving, coming = _by_place(turnover.leaving), _by_place(turnover.coming)
        for place in {**leaving, **coming}:
            some = leaving.get(place, []), coming.get(place, [])
            if place in chains.trees or (chains.dispatch(place) is not None and not chains.base.flat):
                change.trees[place] = chains.tree(place).changed(*some)
            else:
                change.lists[place] = some
        return change

    def commands(self, family: Family) -> Iterator[Command]:
        for place, (leaving, coming) in self.lists.items():
            yield from self._list(family, place, leaving, coming)
        for place, changed in self.trees.items():
            for name, old, new in changed.chains():
                rules = (None if one is None else self.chains.whole(place, name, one) for one in (old, new))
                yield from _chain(family, Place(place.table, name), *rules)

    def _list(self, family: Family, place: Place, leaving: list[Line], coming: list[Line]) -> Iterator[Command]:
        dispatch = self.chains.dispatch(place)
        old = self.chains.lists.get(place, [])
        if dispatch is None:
            before = tuple(line.rule for line in old) if old else None
            after = tuple(line.rule for line in _replaced(old, leaving, coming))
            yield from _chain(family, place, before, after or None)
            return
        # All Services have a line here: their places are found by bisecting, and nothing is compared.
        new = _replaced(old, leaving, coming)
        yield from (DeleteRule(family, *place, line.rule) for line in leaving)
        for line in sorted(coming):
            yield AddRule(family, *place, line.rule, len(dispatch.head) + bisect_left(new, line) + 1)

    def accept(self) -> None:
        self.chains.shares.accept(self.turnover)
        for place, some in self.lists.items():
            lines = _replaced(self.chains.lists.get(place, []), *some)
            if lines:
                self.chains.lists[place] = lines
            else:
                self.chains.lists.pop(place, None)
        for changed in self.trees.values():
            changed.accept()


def _by_place(lines: Iterable[Line]) -> dict[Place, list[Line]]:
    found: dict[Place, list[Line]] = {}
    for line in lines:
        found.setdefault(Place(line.table, line.chain), []).append(line)
    return found


def _replaced(lines: list[Line], leaving: list[Line], coming: list[Line]) -> list[Line]:
    """A copy with some lines less and some more."""
    found = lines.copy()
    for line in leaving:
        del found[bisect_left(found, line)]
    for line in coming:
        insort(found, line)
    return found
