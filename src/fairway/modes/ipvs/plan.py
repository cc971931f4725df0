"""From one state of the kernel to another: ordered commands.

What is added goes in from the back to the front: entries that masquerade or drop, then virtual servers with their real
ones, then the address that leads packets there. What is removed goes the other way round. IPVS, ipsets and addresses
are three subsystems, so a Plan is no transaction; in this order no packet meets half of a Service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from fairway.modes.commands import Commands
from fairway.modes.ipvs.parts import (
    DEVICE,
    Bound,
    Entry,
    IpSet,
    Marked,
    Part,
    Real,
    Scheduling,
    Value,
    Virtual,
    entry_words,
)
from fairway.modes.ipvs.program import Base, Changes, Fragment, Program
from fairway.modes.xtables import HOOKS, TABLES, Family, Place, State, restore_tool


class Add(NamedTuple):
    """A part that is not there yet, or, of a real server, is there with weight 0 until its connections end."""

    part: Part
    value: Value

    def __str__(self) -> str:
        return _words("add", self.part, self.value)


class Change(NamedTuple):
    """A part whose value becomes another one."""

    part: Part
    value: Value

    def __str__(self) -> str:
        return _words("change", self.part, self.value)


class Remove(NamedTuple):
    """A part that goes; a real server with connections gets weight 0 and goes when they have ended."""

    part: Part

    def __str__(self) -> str:
        return _words("remove", self.part, None)


class AddDevice(NamedTuple):
    def __str__(self) -> str:
        return f"ip link add {DEVICE} type dummy"


class RemoveDevice(NamedTuple):
    def __str__(self) -> str:
        return f"ip link delete {DEVICE}"


class AddSet(NamedTuple):
    set: IpSet

    def __str__(self) -> str:
        return f"ipset {self.set.words}"


class RemoveSet(NamedTuple):
    set: IpSet

    def __str__(self) -> str:
        return f"ipset destroy {self.set.name}"


class Restore(NamedTuple):
    """Lines for ``iptables-restore --noflush`` of one family."""

    family: Family
    text: str

    def without(self, table: str) -> Restore:
        """The same for the other tables."""
        parts = self.text.split("COMMIT\n")[:-1]
        return self._replace(text="".join(f"{one}COMMIT\n" for one in parts if not one.startswith(f"*{table}\n")))

    def __str__(self) -> str:
        return f"{restore_tool(self.family)}\n{self.text.rstrip()}"


Command: TypeAlias = Add | Change | Remove | AddDevice | RemoveDevice | AddSet | RemoveSet | Restore

_ORDER: dict[type, int] = {Entry: 0, Virtual: 1, Marked: 1, Real: 2, Bound: 3}


@dataclass(frozen=True, slots=True)
class Plan(Commands[Command]):
    """Commands in order; they are no transaction."""


def plan(old: Program, new: Program) -> Plan:
    """From any state to any other: full load, repair, reconfiguration."""
    before, after = old.parts(), new.parts()
    gone = [part for part in before if part not in after and not _goes_with_its_set(part, new.base)]
    fresh = {part: value for part, value in after.items() if part not in before}
    changed = {part: value for part, value in after.items() if part in before and before[part] != value}
    return Plan(
        (
            *_base_comes(old.base, new.base),
            *_commands(gone, changed, fresh),
            *_base_goes(old.base, new.base),
        )
    )


def plan_changes(program: Program, changes: Changes) -> Plan:
    """From a Program to the same with some Fragments replaced, or gone (None)."""
    before, after = _both(program, program.settled(changes))
    turnover = program.owners.turnover(_keys(before), _keys(after))
    old = {part: value for fragment in before for part, value in fragment.parts.items()}
    new = {part: value for fragment in after for part, value in fragment.parts.items()}
    fresh = {part: new[part] for part in turnover.coming}
    changed = {part: value for part, value in new.items() if part not in fresh and part in old and old[part] != value}
    return Plan(tuple(_commands(turnover.leaving, changed, fresh)))


def accept(program: Program, changes: Changes) -> None:
    """Record that the plan for these changes has been applied."""
    changes = program.settled(changes)
    before, after = _both(program, changes)
    program.owners.accept(program.owners.turnover(_keys(before), _keys(after)))
    for old in before:
        program.marks.pop(old.mark, None)
    for key, fragment in changes.items():
        if fragment is None:
            program.fragments.pop(key, None)
            continue
        program.fragments[key] = fragment
        if fragment.mark:
            program.marks[fragment.mark] = key


def _both(program: Program, changes: Changes) -> tuple[list[Fragment], list[Fragment]]:
    before = [program.fragments[key] for key in changes if key in program.fragments]
    return before, [fragment for fragment in changes.values() if fragment is not None]


def _keys(fragments: Iterable[Fragment]) -> Iterator[Part]:
    return (part for fragment in fragments for part in fragment.parts)


def _commands(gone: Iterable[Part], changed: dict[Part, Value], fresh: dict[Part, Value]) -> Iterator[Command]:
    leaving = sorted(gone, key=lambda part: -_ORDER[type(part)])
    without = {part for part in leaving if isinstance(part, Virtual | Marked)}
    # A backend comes before another one goes: a virtual server never stands empty in between.
    yield from (Add(part, fresh[part]) for part in sorted(fresh, key=lambda part: _ORDER[type(part)]))
    yield from (Change(part, value) for part, value in changed.items())
    for part in leaving:
        if not (isinstance(part, Real) and part.virtual in without):  # it goes with its virtual server
            yield Remove(part)


def _goes_with_its_set(part: Part, base: Base) -> bool:
    """Whether nobody has to remove the part: its set or its device is removed as a whole."""
    return (isinstance(part, Entry) and part.set not in base.sets) or (isinstance(part, Bound) and not base.device)


def _base_comes(old: Base, new: Base) -> Iterator[Command]:
    if new.device and not old.device:
        yield AddDevice()
    for name, declared in new.sets.items():
        if name in old.sets and old.sets[name] != declared:
            yield RemoveSet(old.sets[name])
        if old.sets.get(name) != declared:
            yield AddSet(declared)
    for family in new.rules:
        if text := restoration(old.rules.get(family, {}), new.rules[family]):
            yield Restore(family, text)


def _base_goes(old: Base, new: Base) -> Iterator[Command]:
    for family in old.rules:
        if family not in new.rules and (text := restoration(old.rules[family], {})):
            yield Restore(family, text)
    yield from (RemoveSet(declared) for name, declared in old.sets.items() if name not in new.sets)
    if old.device and not new.device:
        yield RemoveDevice()


def restoration(old: State, new: State) -> str:
    """What changes one family's rules, table by table; only chains that differ are written."""
    return "".join(_table(old, new, table) for table in TABLES)


def _table(old: State, new: State, table: str) -> str:
    ours = [place for place in {**new, **old} if place.table == table and old.get(place) != new.get(place)]
    if not ours:
        return ""
    chains = [place for place in ours if place.chain not in HOOKS]
    lines = [f"*{table}", *(f":{place.chain} - [0:0]" for place in chains)]
    for place in ours:
        if place in chains:
            lines += [f"-A {place.chain} {rule}" for rule in new.get(place, ())]
        else:
            lines += _hook(place, old.get(place, ()), new.get(place, ()))
    lines += [f"-X {place.chain}" for place in chains if place not in new]
    return "\n".join([*lines, "COMMIT", ""])


def _hook(place: Place, old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[str]:
    """Ours go to the top, so that nobody's rule is asked before them."""
    yield from (f"-D {place.chain} {rule}" for rule in old)
    yield from (f"-I {place.chain} {rule}" for rule in reversed(new))


def _words(verb: str, part: Part, value: Value) -> str:
    match part, value:
        case Virtual() | Marked(), Scheduling():
            return f"ipvsadm {'-A' if verb == 'add' else '-E'} {part.words} {value.words}"
        case Virtual() | Marked(), _:
            return f"ipvsadm -D {part.words}"
        case Real(), int():
            return f"ipvsadm {'-a' if verb == 'add' else '-e'} {part.words} -m -w {value}"
        case Real(), _:
            return f"ipvsadm -d {part.words}"
        case Entry(), _:
            return f"ipset {'del' if verb == 'remove' else 'add'} {entry_words(part, value)}"
        case Bound(), _:
            return f"ip address {'add' if verb == 'add' else 'delete'} {part.words} dev {DEVICE}"
