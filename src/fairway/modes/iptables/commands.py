"""What `iptables-restore --noflush` is told, and in which commits.

    a change, or legacy     one commit a table: all of it happens, or nothing
    a first load, nft       chains that no packet gets into yet, some hundred a commit, those that others lead to first;
                            then the rest of the table in one commit, which is when packets get to see it;
                            then the chains that nothing leads to any more

For every rule `iptables-nft-restore` walks the sorted list of the chains that its commit has named so far, so that a
commit costs the square of its chains (docs/explain/performance.md). The legacy variant copies the whole table for each
commit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from fairway.modes.commands import Commands
from fairway.modes.xtables import FAMILIES, TABLES, Family, restore_tool, target


class MakeChain(NamedTuple):
    """Empty, whether it was there or not; ``unseen`` when no packet gets into it before the whole Plan is done."""

    family: Family
    table: str
    chain: str
    unseen: bool = False

    def __str__(self) -> str:
        return f":{self.chain} - [0:0]"


class AddRule(NamedTuple):
    """At a place counted from 1; 0 is the end."""

    family: Family
    table: str
    chain: str
    rule: str
    at: int = 0

    def __str__(self) -> str:
        return f"-I {self.chain} {self.at} {self.rule}" if self.at else f"-A {self.chain} {self.rule}"


class DeleteRule(NamedTuple):
    """The first that says the same."""

    family: Family
    table: str
    chain: str
    rule: str

    def __str__(self) -> str:
        return f"-D {self.chain} {self.rule}"


class DeleteChain(NamedTuple):
    """An empty one that nothing leads to."""

    family: Family
    table: str
    chain: str

    def __str__(self) -> str:
        return f"-X {self.chain}"


Command: TypeAlias = MakeChain | AddRule | DeleteRule | DeleteChain
_ORDER = (MakeChain, DeleteRule, AddRule, DeleteChain)


@dataclass(frozen=True, slots=True)
class Plan(Commands[Command]):
    """Commands; those of one commit happen together, or none of them."""

    def commits(self, family: Family, most: int = 0) -> list[Sequence[Command]]:
        """One family's commits, each of one table, with its commands in the order in which they can be done.

        With ``most``, a table of which more chains than that come or go is split, so that no commit has more of them.
        """
        tables: dict[str, list[Command]] = {}
        for one in self.commands:
            if one.family == family:
                tables.setdefault(one.table, []).append(one)
        return [commit for table in TABLES if table in tables for commit in _commits(tables[table], most)]

    def text(self, family: Family, most: int = 0) -> str:
        """What one family's `iptables-restore` reads; empty when there is nothing for it."""
        return "".join(
            "".join(f"{line}\n" for line in (f"*{commit[0].table}", *commit, "COMMIT"))
            for commit in self.commits(family, most)
        )

    def render(self) -> str:
        found = {family: self.text(family) for family in FAMILIES}
        return "".join(f"# {restore_tool(family)}\n{text}" for family, text in found.items() if text)


def _commits(commands: Sequence[Command], most: int) -> Iterator[Sequence[Command]]:
    """One table's."""
    coming = [one.chain for one in commands if type(one) is MakeChain and one.unseen]
    going = [one.chain for one in commands if type(one) is DeleteChain]
    if not most or len(coming) + len(going) <= most:
        yield _in_order(commands)
        return
    apart: dict[str, list[Command]] = {chain: [] for chain in (*coming, *going)}
    rest: list[Command] = []
    for one in commands:
        apart.get(one.chain, rest).append(one)
    for part in _parts(_targets_first(coming, apart), most):
        yield _in_order([one for chain in part for one in apart[chain]])
    if rest:
        yield _in_order(rest)
    for kind in (MakeChain, DeleteChain):  # all are emptied before one goes: they may lead to each other
        for part in _parts(going, most):
            yield _in_order([one for chain in part for one in apart[chain] if type(one) is kind])


def _in_order(commands: Sequence[Command]) -> Sequence[Command]:
    found: dict[type, list[Command]] = {kind: [] for kind in _ORDER}
    for one in commands:
        found[type(one)].append(one)
    # The list of chains is sorted, and is walked from its beginning for each new one: the last come first.
    found[MakeChain].sort(key=lambda one: one.chain, reverse=True)
    return [one for kind in _ORDER for one in found[kind]]


def _targets_first(chains: Sequence[str], commands: dict[str, list[Command]]) -> list[str]:
    """The chains in an order in which each comes after those that its rules lead to."""
    found: dict[str, None] = {}
    led = {
        chain: [to for one in commands[chain] if isinstance(one, AddRule) and (to := target(one.rule)) in commands]
        for chain in chains
    }
    for start in chains:
        ahead = [start]
        while ahead:
            if left := [to for to in led[ahead[-1]] if to not in found]:
                ahead += left
            else:
                found[ahead.pop()] = None
    return list(found)


def _parts(chains: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    return (chains[at : at + most] for at in range(0, len(chains), most))
