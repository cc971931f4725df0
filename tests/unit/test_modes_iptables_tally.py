"""Unit tests of `fairway.modes.iptables.tally`: what it keeps is what counting everything would say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from fairway.kernel.fake_iptables import FakeIptables
from fairway.modes.iptables import IptablesMode, Plan, Program
from fairway.modes.iptables.commands import AddRule
from fairway.modes.iptables.plan import Changes
from fairway.modes.iptables.tally import Tally, Where
from tests.unit.test_modes_iptables_plan import FLAT, SETTINGS, TREE, frontend, holding


@dataclass
class Machine:
    kernel: FakeIptables = field(default_factory=FakeIptables)
    tally: Tally = field(default_factory=Tally)

    def apply(self, plan: Plan) -> None:
        self.kernel.apply(plan)
        self.tally.applied(plan)

    def counted(self) -> Counter[Where]:
        found: Counter[Where] = Counter()
        for family, state in self.kernel.state().items():
            for place, rules in state.items():
                found[family, place.table] += len(rules)
        return found


def change(mode: IptablesMode, machine: Machine, program: Program, changes: Changes) -> Plan:
    plan = mode.plan_changes(program, changes)
    machine.apply(plan)
    mode.accept(program, changes)
    return plan


@pytest.mark.reference("7.2 TestNumberIptablesRules, Test_generateServiceEndpoints")
@pytest.mark.parametrize("mode", [TREE, FLAT], ids=["tree", "flat"])
def test_rules_are_counted_through_starts_changes_and_ends(mode: IptablesMode) -> None:
    machine, program = Machine(), holding(mode, 40)
    start = mode.plan(mode.empty(), program)
    machine.apply(start)
    assert machine.tally.total == machine.counted()
    assert machine.tally.last == machine.tally.total  # all of it was written
    one, many = frontend(7), frontend(41, backends=9)
    fewer, more = replace(one, cluster=one.cluster[1:]), replace(many, cluster=many.cluster[:2])
    steps: list[Changes] = [
        {many.key: mode.compile(many, SETTINGS)},
        {one.key: mode.compile(fewer, SETTINGS)},
        {many.key: mode.compile(more, SETTINGS), one.key: None},
    ]
    for changes in steps:
        plan = change(mode, machine, program, changes)
        assert machine.tally.total == machine.counted()
        assert machine.tally.last["ip", "nat"] == sum(
            isinstance(one, AddRule) and (one.family, one.table) == ("ip", "nat") for one in plan.commands
        )
    machine.apply(mode.plan(program, mode.empty()))
    assert machine.tally.total == machine.counted()


def test_what_is_read_replaces_what_was_counted() -> None:
    machine = Machine()
    machine.apply(TREE.plan(TREE.empty(), holding(TREE, 3)))
    fresh = Tally()
    fresh.applied(TREE.plan(TREE.empty(), holding(TREE, 9)))
    fresh.read(machine.kernel.state())
    assert fresh.total == machine.counted()
