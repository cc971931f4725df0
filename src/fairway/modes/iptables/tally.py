"""How many rules there are, and how many the last Plan wrote: kept from Plan to Plan, nobody counts them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fairway.modes.iptables.commands import AddRule, DeleteRule, Plan
from fairway.modes.xtables import Family, Place, State

Where = tuple[Family, str]
"""A table of a family."""


class Tally:
    """``total`` and ``last`` are by family and table; a table without rules may be missing."""

    def __init__(self) -> None:
        self.total: Counter[Where] = Counter()
        self.last: Counter[Where] = Counter()
        self._chains: dict[tuple[Family, Place], int] = {}

    def read(self, found: Mapping[Family, State]) -> None:
        """This is what there is, whatever was counted before."""
        self._chains, self.total = {}, Counter()
        for family, state in found.items():
            for place, rules in state.items():
                if rules:
                    self._chains[family, place] = len(rules)
                self.total[family, place.table] += len(rules)

    def applied(self, plan: Plan) -> None:
        """This has been done."""
        # Within a table chains are made, which empties them, before rules go and come; a chain that goes is empty then.
        adding: Counter[tuple[Family, Place]] = Counter()
        self.last = Counter()
        for command in plan.commands:
            where = command.family, Place(command.table, command.chain)
            if isinstance(command, AddRule):
                adding[where] += 1
                self.last[command.family, command.table] += 1
            elif isinstance(command, DeleteRule):
                adding[where] -= 1
            else:
                self._set(where, 0)
        for where, more in adding.items():
            self._set(where, self._chains.get(where, 0) + more)

    def _set(self, where: tuple[Family, Place], count: int) -> None:
        family, place = where
        self.total[family, place.table] += count - self._chains.pop(where, 0)
        if count:
            self._chains[where] = count
