"""A machine in memory: the chains of iptables as far as Plans use them, refusing what `iptables-restore` refuses.

The contract tests hold it to the real one; tests and dry runs use it where there is no root.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fairway.kernel.contract import ApplyFailed
from fairway.model.view import NodeSettings
from fairway.modes.iptables import Options, Plan, Program
from fairway.modes.iptables import commands as p
from fairway.modes.iptables.program import read_back
from fairway.modes.iptables.rules import parse
from fairway.modes.xtables import FAMILIES, HOOKS, TABLES, Family, Place, State

_HOOKS_OF = {
    "mangle": sorted(HOOKS),
    "filter": ["FORWARD", "INPUT", "OUTPUT"],
    "nat": ["INPUT", "OUTPUT", "POSTROUTING", "PREROUTING"],
}
_BUILT_IN = ("ACCEPT", "DROP", "REJECT", "RETURN", "DNAT", "MARK", "MASQUERADE", "")


def _fresh() -> dict[Family, dict[Place, list[str]]]:
    return {family: {Place(table, hook): [] for table in TABLES for hook in _HOOKS_OF[table]} for family in FAMILIES}


@dataclass
class FakeIptables:
    """Both families. The commands of one commit happen together, or none of them."""

    chains: dict[Family, dict[Place, list[str]]] = field(default_factory=_fresh)
    most: int = 0
    """How many chains may come or go in one commit."""
    at_once = 1000

    def read_back(self) -> Program:
        return read_back(NodeSettings(name=""), Options(), self.state())

    def state(self) -> dict[Family, State]:
        return {family: {place: tuple(rules) for place, rules in some.items()} for family, some in self.chains.items()}

    def apply(self, plan: Plan) -> None:
        for family in FAMILIES:
            for commands in plan.commits(family, self.most):
                chains = {place: list(rules) for place, rules in self.chains[family].items()}
                self._work(chains, commands)
                self.chains[family] = chains

    def check(self, plan: Plan) -> None:
        FakeIptables({family: {**some} for family, some in self.chains.items()}, self.most).apply(plan)

    def _work(self, chains: dict[Place, list[str]], commands: Sequence[p.Command]) -> None:
        for command in commands:
            if why := _do(chains, command):
                raise ApplyFailed(f"{command}: {why}")
        table = commands[0].table
        for place, rules in chains.items():
            for rule in rules if place.table == table else ():
                target = parse(rule).target
                if target not in _BUILT_IN and Place(table, target) not in chains:
                    raise ApplyFailed(f"-A {place.chain} {rule}: no chain {target}")


def _do(chains: dict[Place, list[str]], command: p.Command) -> str:
    """Returns why not, or nothing."""
    place = Place(command.table, command.chain)
    if isinstance(command, p.MakeChain):
        chains[place] = []
        return ""
    if place not in chains:
        return "no such chain"
    rules = chains[place]
    match command:
        case p.AddRule():
            if command.at > len(rules) + 1:
                return "index of insertion too big"
            rules.insert(command.at - 1 if command.at else len(rules), command.rule)
        case p.DeleteRule():
            if command.rule not in rules:
                return "no such rule"
            rules.remove(command.rule)
        case p.DeleteChain():
            if rules or place.chain in HOOKS:
                return "not an empty chain of ours"
            del chains[place]
    return ""
