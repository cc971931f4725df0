"""Plans are as small as the change, in the order the kernel needs."""

from __future__ import annotations

import pytest

from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, NodeView
from fairway.modes.nftables import NftablesMode, Program
from fairway.modes.nftables import commands as c
from fairway.modes.nftables.commands import Plan

MODE = NftablesMode()
SETTINGS = NodeSettings(name="node-1", addresses=("192.168.0.2",), pod_networks=("10.244.0.0/16",))
STAY = Action(kind=ActionKind.FORWARD)
HIDE = Action(kind=ActionKind.FORWARD, masquerade=True)


def frontend(*ports: int, number: int = 1) -> Frontend:
    """A cluster IP whose backends differ by their port."""
    action = STAY if ports else Action(kind=ActionKind.REJECT)
    return Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address=f"10.96.0.{number}",
        protocol="TCP",
        port=80,
        service=Key("shop", "web"),
        field="spec.ports[0]",
        cluster=tuple(Backend(address="10.244.2.2", port=port, node="node-2", slice="web-1") for port in ports),
        pod=action,
        node=HIDE if ports else action,
        outside=HIDE if ports else action,
    )


def program(*frontends: Frontend) -> Program:
    return MODE.program(NodeView(settings=SETTINGS, frontends={one.key: one for one in frontends}))


def change(held: Program, one: Frontend) -> Plan:
    return MODE.plan_changes(held, {one.key: MODE.compile(one, SETTINGS)})


def test_a_backend_that_leaves_costs_a_handful_of_elements_and_the_last_slot_fills_the_hole() -> None:
    plan = change(program(frontend(1, 2, 3), frontend(1, 2, number=2)), frontend(2, 3))
    assert plan.render().splitlines() == [
        'delete element ip fairway frontends { 10.96.0.1 . tcp . 80 comment "shop/web" : 3 }',
        "delete element ip fairway slots { 10.96.0.1 . tcp . 80 . 0 : 10.244.2.2 . 1 }",
        "delete element ip fairway slots { 10.96.0.1 . tcp . 80 . 2 : 10.244.2.2 . 3 }",
        'add element ip fairway frontends { 10.96.0.1 . tcp . 80 comment "shop/web" : 2 }',
        "add element ip fairway slots { 10.96.0.1 . tcp . 80 . 0 : 10.244.2.2 . 3 }",
    ]


@pytest.mark.reference("7.2 TestSyncProxyRulesRepeated")
@pytest.mark.parametrize("others", [1, 50])
def test_a_change_costs_the_same_among_many_frontends(others: int) -> None:
    held = program(frontend(1, 2, 3), *(frontend(1, 2, number=n + 2) for n in range(others)))
    assert len(change(held, frontend(1, 2))) == 3


def test_the_first_frontend_with_a_number_of_backends_brings_the_chain_for_it_once() -> None:
    held = program(frontend(1, 2))
    changes = {frontend().key: MODE.compile(frontend(1, 2, 3), SETTINGS)}
    lines = MODE.plan_changes(held, changes).render().splitlines()
    assert "add chain ip fairway balance-3" in lines
    assert "add element ip fairway actions { 3 : goto balance-3 }" in lines
    assert lines.index("add chain ip fairway balance-3") < lines.index(
        "add element ip fairway actions { 3 : goto balance-3 }"
    )
    MODE.accept(held, changes)
    assert "chain" not in change(held, frontend(1, 2)).render()


def test_the_last_backend_leaves_a_frontend_that_refuses() -> None:
    lines = change(program(frontend(1)), frontend()).render().splitlines()
    assert 'add element ip fairway frontends { 10.96.0.1 . tcp . 80 comment "shop/web" : 0 }' in lines
    assert not any(line.startswith("add element ip fairway slots") for line in lines)


def test_a_frontend_that_goes_takes_all_its_elements() -> None:
    held = program(frontend(1, 2))
    gone = {frontend().key: None}
    plan = MODE.plan_changes(held, gone)
    assert all(isinstance(command, c.DeleteElements) for command in plan.commands)
    MODE.accept(held, gone)
    empty = program()
    kept = MODE.plan(held, empty).render()
    assert "element ip fairway slots" not in kept
    assert "delete chain ip fairway balance-2" in kept


def test_a_table_that_somebody_shaped_differently_is_replaced_in_one_transaction() -> None:
    wanted = program(frontend(1))
    other = MODE.empty()
    table = wanted.tables()["ip"]
    sets = {**table.sets, "slots": table.sets["slots"]._replace(data=None)}
    other.base["ip"] = table._replace(sets=sets)
    plan = MODE.plan(other, wanted)
    assert plan.commands[:2] == (c.DeleteTable("ip", "fairway"), c.AddTable("ip", "fairway"))


def test_a_table_that_nobody_can_own_is_replaced_by_one_that_can_be_but_never_the_other_way_round() -> None:
    view = NodeView(settings=SETTINGS, frontends={frontend(1).key: frontend(1)})
    plain, persistent = MODE.program(view), NftablesMode(persistent=True).program(view)
    plan = MODE.plan(plain, persistent)
    assert plan.render().startswith("delete table ip fairway\nadd table ip fairway { flags owner, persist; }\n")
    assert plan.commands[1] == c.AddTable("ip", "fairway", persistent=True)
    assert MODE.plan(MODE.empty(), persistent).commands[0] == c.AddTable("ip", "fairway", persistent=True)
    assert not MODE.plan(persistent, plain)
    assert not MODE.plan(persistent, persistent)


def test_an_empty_plan_is_false_and_renders_as_nothing() -> None:
    plan = MODE.plan(program(frontend(1)), program(frontend(1)))
    assert not plan
    assert len(plan) == 0
    assert plan.render() == ""
