"""The ipvs Program: what a kernel holds or should hold, and its text in the words of four tools, with the reasons.

    Program ── base ─────── the dummy device, the ipsets, the iptables rules of each family
            ├─ fragments ── one a frontend: its virtual servers, real servers, entries, addresses
            └─ loose ────── the same of a Program that was read back: the kernel does not know about fragments

Fragments may share parts (an address with several ports, a backend of two Services); `owners` counts whose they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from fairway.model.view import Frontend, FrontendKey, NodeSettings, Origin
from fairway.modes.ipvs import marks
from fairway.modes.ipvs.parts import (
    DEVICE,
    HASH_PORT,
    Bound,
    Entry,
    IpSet,
    Marked,
    Part,
    Real,
    Scheduling,
    Server,
    Value,
    Virtual,
    entry_words,
    sets,
)
from fairway.modes.ipvs.rules import Options, rules
from fairway.modes.shares import Shares
from fairway.modes.xtables import HOOKS, TABLES, Family, State


@dataclass(frozen=True)
class Fragment:
    """One frontend's share.

    ``mark`` is the one that leads pods and the node to a virtual server of their own, or 0. ``stands_in`` says that the
    scheduler is not the one that the Service asks for, because there is no such one.
    """

    frontend: Frontend
    parts: dict[Part, Value]
    mark: int = 0
    stands_in: bool = False

    def origin(self, part: Part) -> Origin:
        """The object field that a part is there for: a backend's EndpointSlice, or the Service's own field."""
        if isinstance(part, Real):
            for backend in (*self.frontend.cluster, *self.frontend.local):
                if (backend.address, backend.port) == (part.address, part.port):
                    return self.frontend.origin_of(backend)
        return self.frontend.origin

    def marked(self, mark: int) -> Fragment:
        """The same with another mark."""

        def part(one: Part) -> Part:
            if isinstance(one, Real) and isinstance(one.virtual, Marked):
                return one._replace(virtual=one.virtual._replace(mark=mark))
            return one._replace(mark=mark) if isinstance(one, Marked) else one

        def value(one: Part, there: Value) -> Value:
            return mark if isinstance(one, Entry) and there is not None else there

        parts = {part(one): value(one, there) for one, there in self.parts.items()}
        return replace(self, parts=parts, mark=mark)

    def scheduled_as(self, before: Mapping[Part, Value]) -> Fragment:
        """The same with the schedulers that its virtual servers had."""
        parts = dict(self.parts)
        for part, now in self.parts.items():
            had = before.get(part)
            if isinstance(now, Scheduling) and isinstance(had, Scheduling):
                parts[part] = now._replace(
                    scheduler=had.scheduler, flags=now.flags & ~HASH_PORT | had.flags & HASH_PORT
                )
        return replace(self, parts=parts)


@dataclass(frozen=True)
class Base:
    """What does not depend on Services."""

    device: bool = False
    sets: dict[str, IpSet] = field(default_factory=dict)
    rules: dict[Family, State] = field(default_factory=dict)


@dataclass
class Program:
    """What a kernel holds or should hold. Only `plan.accept` changes one."""

    base: Base
    settings: NodeSettings
    options: Options = field(default_factory=Options)
    fragments: dict[FrontendKey, Fragment] = field(default_factory=dict)
    loose: dict[Part, Value] = field(default_factory=dict)
    owners: Shares[Part] = field(default_factory=Shares)
    marks: dict[int, FrontendKey] = field(default_factory=dict)

    def settled(self, changes: Changes) -> Changes:
        """The changes, where each frontend has a mark that no other one has; it keeps the one that it had.

        Whoever asks for a scheduler that there is not keeps the one that it had, too.
        """
        fresh: dict[int, FrontendKey] = {}
        found: dict[FrontendKey, Fragment | None] = {}
        for key, fragment in changes.items():
            if fragment is not None and fragment.mark:
                fragment = fragment.marked(self._mark(fragment, fresh))
                fresh[fragment.mark] = key
            if fragment is not None and fragment.stands_in and key in self.fragments:
                fragment = fragment.scheduled_as(self.fragments[key].parts)
            found[key] = fragment
        return found

    def keep_schedulers(self, held: Mapping[Part, Value]) -> None:
        """Those that a kernel holds for Services that ask for one that there is not."""
        for key, fragment in self.fragments.items():
            if fragment.stands_in:
                self.fragments[key] = fragment.scheduled_as(held)

    def _mark(self, fragment: Fragment, fresh: dict[int, FrontendKey]) -> int:
        key = fragment.frontend.key
        had = self.fragments[key].mark if key in self.fragments else 0

        def is_free(mark: int) -> bool:
            return self.marks.get(mark, key) == key and fresh.get(mark, key) == key

        return had or marks.choose(key, self.options.masquerade_bit, is_free)

    def parts(self) -> dict[Part, Value]:
        """Everything that is not base, in one form whoever made it."""
        found = dict(self.loose)
        for fragment in self.fragments.values():
            found.update(fragment.parts)
        return found


Changes: TypeAlias = Mapping[FrontendKey, Fragment | None]
"""Fragments that come, or come in the place of others; None for one that goes."""


def base_of(settings: NodeSettings, options: Options) -> Base:
    """The base of a node."""
    every = {name: one for family in options.families for name, one in sets(family).items()}
    return Base(True, every, {family: rules(family, settings, options) for family in options.families})


def build(settings: NodeSettings, options: Options, fragments: Iterable[Fragment]) -> Program:
    """The whole Program of a node."""
    program = Program(base_of(settings, options), settings, options)
    for key, fragment in program.settled({one.frontend.key: one for one in fragments}).items():
        if fragment is not None:
            program.fragments[key] = fragment
            program.owners.accept(program.owners.turnover((), fragment.parts))
            program.marks.update({fragment.mark: key} if fragment.mark else {})
    return program


def render(program: Program) -> str:
    """The Program as ipvsadm, ip, ipset and iptables show it, each part with its Origin behind it."""
    reasons: dict[Part, Origin] = {}
    for fragment in program.fragments.values():
        for part in fragment.parts:
            reasons.setdefault(part, fragment.origin(part))
    parts = program.parts()
    lines = ["# ipvsadm -Sn", *_servers(parts, reasons), ""]
    if program.base.device:
        lines += [f"# ip address show {DEVICE}", *_addresses(parts, reasons), ""]
    for name, declared in program.base.sets.items():
        entries = sorted((part for part in parts if isinstance(part, Entry) and part.set == name), key=_place)
        lines += [declared.words]
        lines += [f"add {entry_words(one, parts[one])}{_because(reasons, one)}" for one in entries]
        lines += [""]
    for family, all_rules in program.base.rules.items():
        for table in TABLES:
            lines += [f"# {'ip6tables' if family == 'ip6' else 'iptables'}-save -t {table}", f"*{table}"]
            lines += restored(all_rules, table)
            lines += ["COMMIT", ""]
    return "\n".join(lines)


def restored(all_rules: State, table: str) -> list[str]:
    """A table's chains and rules, as `iptables-save` prints them."""
    chains = {place.chain: some for place, some in all_rules.items() if place.table == table}
    declared = [f":{chain} - [0:0]" for chain in chains if chain not in HOOKS]
    return [*declared, *(f"-A {chain} {rule}" for chain, some in chains.items() for rule in some)]


def _servers(parts: dict[Part, Value], reasons: dict[Part, Origin]) -> list[str]:
    reals: dict[Server, list[Real]] = {}
    for part in parts:
        if isinstance(part, Real):
            reals.setdefault(part.virtual, []).append(part)
    addressed: list[Server] = sorted(part for part in parts if isinstance(part, Virtual))
    found = []
    for virtual in addressed + sorted(part for part in parts if isinstance(part, Marked)):
        scheduling = parts[virtual]
        assert isinstance(scheduling, Scheduling)
        found.append(f"-A {virtual.words} {scheduling.words}{_because(reasons, virtual)}")
        found += [
            f"-a {real.words} -m -w {parts[real]}{_because(reasons, real)}" for real in sorted(reals.get(virtual, ()))
        ]
    return found


def _addresses(parts: dict[Part, Value], reasons: dict[Part, Origin]) -> list[str]:
    bound = sorted((part for part in parts if isinstance(part, Bound)), key=_place)
    return [f"{one.words} dev {DEVICE}{_because(reasons, one)}" for one in bound]


def _place(part: Entry | Bound) -> str:
    return part[-1]


def _because(reasons: dict[Part, Origin], part: Part) -> str:
    origin = reasons.get(part)
    return f" # {origin}" if origin else ""
