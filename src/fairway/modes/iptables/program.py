"""The iptables Program: what a kernel holds or should hold, and its text with the reason of each line.

    Program ── base ─────── chains that are always there
            ├─ fragments ── one a frontend: its lines
            └─ lines ────── each as long as any frontend needs it, in its chain or in a dispatch tree

A Program read back from a kernel is all base. `Program.state` gives both kinds one form, which `plan` compares.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from fairway.model.view import Backend, Frontend, FrontendKey, NodeSettings, Origin
from fairway.modes.iptables.names import CONSTANT, endpoint_chain
from fairway.modes.iptables.rules import parse
from fairway.modes.iptables.ruleset import Base, Dispatch, Options, base
from fairway.modes.iptables.tree import Line, Tree
from fairway.modes.shares import Shares
from fairway.modes.xtables import HOOKS, TABLES, Family, Place, State


@dataclass(frozen=True)
class Fragment:
    """One frontend's share: the lines it needs, some of them together with others."""

    frontend: Frontend
    family: Family
    lines: tuple[Line, ...]

    @cached_property
    def _backends(self) -> dict[str, Backend]:
        some = (*self.frontend.cluster, *self.frontend.local)
        return {endpoint_chain(self.frontend, one): one for one in some}

    def origin(self, line: Line) -> Origin:
        """The object field that a line is there for: a backend's EndpointSlice, or the Service's own field."""
        backend = self._backends.get(line.chain) or self._backends.get(parse(line.rule).target)
        return self.frontend.origin_of(backend) if backend else self.frontend.origin


@dataclass
class Chains:
    """One family: the base, and the frontends' lines in order."""

    base: Base
    shares: Shares[Line] = field(default_factory=Shares)
    lists: dict[Place, list[Line]] = field(default_factory=dict)
    trees: dict[Place, Tree] = field(default_factory=dict)

    def dispatch(self, place: Place) -> Dispatch | None:
        return self.base.dispatches.get(place)

    def tree(self, place: Place) -> Tree:
        """The tree of a dispatch; made with the first line."""
        if place not in self.trees:
            self.trees[place] = Tree(self.base.dispatches[place].words)
        return self.trees[place]

    def add(self, line: Line) -> None:
        """For the start from nothing; a change goes through `plan`."""
        place = Place(line.table, line.chain)
        if place not in self.base.dispatches or self.base.flat:
            insort(self.lists.setdefault(place, []), line)
            return
        tree = self.tree(place)
        tree.lines[line.key] = tuple(sorted((*tree.lines.get(line.key, ()), line)))

    def state(self) -> State:
        """All chains with all rules."""
        found = dict(self.base.fixed)
        for place, dispatch in self.base.dispatches.items():
            if place not in self.trees:
                rules = tuple(line.rule for line in self.lists.get(place, ()))
                found[place] = (*dispatch.head, *rules, *dispatch.tail)
        for place, lines in self.lists.items():
            if place not in self.base.dispatches:
                found[place] = tuple(line.rule for line in lines)
        for place, tree in self.trees.items():
            for name, rules in tree.chains():
                found[Place(place.table, name)] = self.whole(place, name, rules)
        return found

    def whole(self, place: Place, name: str, rules: tuple[str, ...]) -> tuple[str, ...]:
        """The rules of a tree's chain; those of its root stand between what is always there."""
        if name != place.chain:
            return rules
        dispatch = self.base.dispatches[place]
        return (*dispatch.head, *rules, *dispatch.tail)


@dataclass
class Program:
    """What a kernel holds or should hold. Only `plan.accept` changes one."""

    settings: NodeSettings
    options: Options
    families: dict[Family, Chains] = field(default_factory=dict)
    fragments: dict[FrontendKey, Fragment] = field(default_factory=dict)
    _state: dict[Family, State] = field(default_factory=dict, repr=False, compare=False)
    _origins: dict[tuple[str, str], Origin] = field(default_factory=dict, repr=False, compare=False)

    def state(self) -> dict[Family, State]:
        """The whole by family, in one form whoever made it. It is kept until the next change."""
        if not self._state:
            self._state = {family: chains.state() for family, chains in self.families.items()}
        return self._state

    def forget_state(self) -> None:
        self._state, self._origins = {}, {}

    def origin(self, table: str, rule: str) -> Origin | None:
        """Why a rule is there; known of all, from the first question to the next change."""
        if not self._origins:
            self._origins = {(line.table, line.rule): origin for line, origin in self.origins().items()}
        return self._origins.get((table, rule))

    def origins(self) -> dict[Line, Origin]:
        """Why each line is there: what the first of its owners says."""
        found: dict[Line, Origin] = {}
        for key in sorted(self.fragments):
            fragment = self.fragments[key]
            for line in fragment.lines:
                if line not in found:
                    found[line] = fragment.origin(line)
        return found


def whole(settings: NodeSettings, options: Options, fragments: Iterable[Fragment]) -> Program:
    """The Program with these Fragments in it."""
    families = {family: Chains(base(family, settings, options)) for family in options.families}
    made = Program(settings, options, families)
    for fragment in fragments:
        made.fragments[fragment.frontend.key] = fragment
        if (chains := families.get(fragment.family)) is not None:
            owners = chains.shares.owners
            for line in fragment.lines:
                if line not in owners:
                    chains.add(line)
                owners[line] = owners.get(line, 0) + 1
    for chains in families.values():
        for tree in chains.trees.values():
            tree.keys = sorted(tree.lines)
    return made


def read_back(settings: NodeSettings, options: Options, found: dict[Family, State]) -> Program:
    """The Program of what a kernel holds."""
    families = {family: Chains(Base(family, state)) for family, state in found.items()}
    return Program(settings, options, families)


def render(program: Program) -> str:
    """The Program as `iptables-restore` reads it, a part for each chain, each line with its Origin before it."""
    origins = {(line.table, line.rule): origin for line, origin in program.origins().items()}
    parts = []
    for family, state in program.state().items():
        for table in TABLES:
            chains = {place.chain: rules for place, rules in state.items() if place.table == table}
            tool = "ip6tables-restore" if family == "ip6" else "iptables-restore"
            constant = [name for name in chains if name in CONSTANT]
            parts.append(f"# {tool}\n*{table}\n{_declared(constant)}")
            parts.append(_declared(chains.keys() - {*constant, *HOOKS}))
            parts += ["".join(_rules(table, name, chains[name], origins)) for name in sorted(chains, key=_hooks_first)]
            parts.append("COMMIT\n")
    return "\n".join(part for part in parts if part)


def _hooks_first(chain: str) -> tuple[bool, str]:
    return chain not in HOOKS, chain


def _declared(chains: Iterable[str]) -> str:
    return "".join(f":{name} - [0:0]\n" for name in sorted(chains))


def _rules(table: str, chain: str, rules: Iterable[str], origins: dict[tuple[str, str], Origin]) -> Iterator[str]:
    said = None
    for rule in rules:
        origin = origins.get((table, rule))
        if origin is not None and origin != said:
            yield f"# {origin}\n"
        said = origin
        yield f"-A {chain} {rule}\n"
