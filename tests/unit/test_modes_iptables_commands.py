"""In which commits a Plan happens: packets meet what was there or what is to be there, never something in between."""

from __future__ import annotations

import pytest

from fairway.conform.scenario import scenarios
from fairway.kernel.fake_iptables import FakeIptables
from fairway.modes.iptables import Plan, Program
from fairway.modes.iptables.commands import DeleteChain, MakeChain
from fairway.modes.iptables.program import read_back
from fairway.modes.xtables import FAMILIES, HOOKS, TABLES, Family, Place, State, target
from tests.unit.test_modes_iptables_plan import FLAT, SETTINGS, TREE, holding

VIEW = next(one for one in scenarios() if one.name == "load-balancer-source-ranges").steps[0].view
NOTHING, TREES, OTHERS, FLAT_RULES = TREE.empty(), TREE.program(VIEW), holding(TREE, 40), FLAT.program(VIEW)


def met(state: State, table: str) -> dict[str, tuple[str, ...]]:
    """The chains that packets get into, with their rules."""
    found: dict[str, tuple[str, ...]] = {}
    ahead = sorted(HOOKS)
    while ahead:
        rules = state.get(Place(table, chain := ahead.pop()), ())
        if chain not in found:
            found[chain] = rules
            ahead += [to for rule in rules if Place(table, to := target(rule)) in state]
    return {chain: rules for chain, rules in found.items() if rules}


def flushed(program: Program) -> Program:
    """As `iptables -F` leaves it: the chains are there, and empty."""
    empty = {family: dict.fromkeys(state, ()) for family, state in program.state().items()}
    return read_back(SETTINGS, program.options, {family: {**state} for family, state in empty.items()})


@pytest.mark.reference("7.2 TestCheckIPTablesRuleJumps")
@pytest.mark.parametrize(
    "before, after",
    [
        pytest.param(NOTHING, TREES, id="a first load"),
        pytest.param(NOTHING, FLAT_RULES, id="a first load of the flat form"),
        pytest.param(flushed(TREES), TREES, id="after a flush"),
        pytest.param(TREES, FLAT_RULES, id="another form"),
        pytest.param(TREES, OTHERS, id="other Services"),
        pytest.param(OTHERS, NOTHING, id="the end"),
    ],
)
def test_packets_never_meet_half_a_table(before: Program, after: Program) -> None:
    machine = FakeIptables()
    machine.apply(TREE.plan(NOTHING, before))
    plan = TREE.plan(machine.read_back(), after)
    for family in FAMILIES:
        for commit in plan.commits(family, most=3):
            machine.apply(Plan(tuple(commit)))
            for table in TABLES:
                now = met(machine.state()[family], table)
                assert now in [met(one.state().get(family, {}), table) for one in (before, after)]
    assert not TREE.plan(machine.read_back(), after)


def test_a_load_that_ended_in_the_middle_goes_on_from_there() -> None:
    machine, whole = FakeIptables(), TREE.plan(NOTHING, OTHERS)
    for commit in whole.commits("ip", most=20)[:-3]:
        machine.apply(Plan(tuple(commit)))
    rest = TREE.plan(machine.read_back(), OTHERS)
    assert len(rest) < len(whole) / 2
    for commit in rest.commits("ip", most=20):
        machine.apply(Plan(tuple(commit)))
    assert met(machine.state()["ip"], "nat") == met(OTHERS.state()["ip"], "nat")


def sizes(plan: Plan, most: int, family: Family = "ip") -> list[int]:
    """How many chains come or go in each commit of the nat table."""
    return [
        sum(isinstance(one, DeleteChain) or (isinstance(one, MakeChain) and one.unseen) for one in commit)
        for commit in plan.commits(family, most)
        if commit[0].table == "nat"
    ]


def test_no_commit_of_a_first_load_has_more_chains_than_it_may() -> None:
    plan = TREE.plan(NOTHING, OTHERS)
    [whole] = sizes(plan, most=0)
    assert whole > 100
    parts = sizes(plan, most=20)
    assert (max(parts), sum(parts), parts[-1]) == (20, whole, 0)


def test_a_small_change_is_one_commit_of_each_table() -> None:
    plan = TREE.plan_changes(OTHERS, dict.fromkeys(list(OTHERS.fragments)[:3]))
    assert sizes(plan, most=20) == sizes(plan, most=0) == [12]


def test_many_services_that_go_at_once_are_forgotten_in_parts() -> None:
    plan = TREE.plan_changes(OTHERS, dict.fromkeys(list(OTHERS.fragments)[:30]))
    text = plan.text("ip", most=20)
    assert max(sizes(plan, most=20)) == 20
    assert text.count("-X KUBE-SEP-") == 90
    assert text.index("-D KUBE-") < text.index(":KUBE-SEP-") < text.index("-X KUBE-S")


def test_chains_are_named_from_the_last_to_the_first() -> None:
    named = [line for line in TREE.plan(NOTHING, OTHERS).text("ip").splitlines() if line.startswith(":KUBE-SEP-")]
    assert named == sorted(named, reverse=True)
