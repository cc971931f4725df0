"""Plans of the iptables mode: as few rules as a change needs, in an order in which they can be done."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, NodeView
from fairway.modes.iptables import IptablesMode, Options, Program
from fairway.modes.xtables import HOOKS

TREE, FLAT = IptablesMode(), IptablesMode(Options(flat=True))
SETTINGS = NodeSettings(name="node-1", addresses=("192.168.0.2",), pod_networks=("10.244.0.0/16",))
_FORWARD, _HIDE = Action(kind=ActionKind.FORWARD), Action(kind=ActionKind.FORWARD, masquerade=True)


def frontend(number: int, backends: int = 3) -> Frontend:
    return Frontend(
        kind=FrontendKind.CLUSTER_IP,
        address=f"10.96.{number >> 8}.{number & 255}",
        protocol="TCP",
        port=80,
        service=Key("shop", f"s{number}"),
        cluster=tuple(Backend(address=f"10.244.1.{n + 2}", port=8080, node="node-2") for n in range(backends)),
        pod=_FORWARD,
        node=_HIDE,
        outside=_HIDE,
    )


def holding(mode: IptablesMode, services: int, backends: int = 3) -> Program:
    frontends = {one.key: one for n in range(services) if (one := frontend(n, backends))}
    return mode.program(NodeView(settings=SETTINGS, frontends=frontends))


def lines(mode: IptablesMode, program: Program, one: Frontend, gone: bool = False) -> list[str]:
    changes = {one.key: None if gone else mode.compile(one, SETTINGS)}
    return mode.plan_changes(program, changes).text("ip").splitlines()


@pytest.mark.reference("7.2 TestNumberIptablesRules, Test_generateServiceEndpoints")
def test_one_more_service_among_many_is_a_few_lines_in_either_form() -> None:
    for mode in (TREE, FLAT):
        made = lines(mode, holding(mode, 1000), frontend(1001, backends=1))
        assert made[0] == "*nat" if mode is FLAT else "*filter"
        assert len(made) <= 12
        assert [line for line in made if line.startswith((":KUBE-SERVICES", "-X"))] == []


@pytest.mark.reference("7.2 TestNumberIptablesRules, Test_generateServiceEndpoints")
@pytest.mark.parametrize("services", [0, 1, 10])
@pytest.mark.parametrize("endpoints", [0, 1, 2, 10])
def test_the_flat_form_has_as_many_rules_as_the_reference(services: int, endpoints: int) -> None:
    settings = replace(SETTINGS, node_port_addresses=None, localhost_node_ports=True)
    refused = Action(kind=ActionKind.REJECT)
    frontends = [frontend(number, endpoints) for number in range(services)]
    if not endpoints:
        frontends = [replace(one, pod=refused, node=refused, outside=refused) for one in frontends]
    state = FLAT.program(NodeView(settings=settings, frontends={one.key: one for one in frontends})).state()["ip"]
    found = {
        table: sum(len(rules) for place, rules in state.items() if place.table == table and place.chain not in HOOKS)
        for table in ("filter", "nat")
    }
    assert found == {
        "filter": 4 + (0 if endpoints else services),
        "nat": 5 + (services * (2 + 3 * endpoints) if endpoints else 0),
    }


def test_a_flat_rule_is_put_at_its_place_among_all_services() -> None:
    made = lines(FLAT, holding(FLAT, 1000), replace(frontend(0), port=81, service=Key("shop", "zeta")))
    [inserted] = [line for line in made if " KUBE-SERVICES " in line]
    assert inserted.startswith("-I KUBE-SERVICES 2 -d 10.96.0.0/32 ")


def test_a_backend_that_goes_takes_its_chain_and_what_follows_stays() -> None:
    one = frontend(0, backends=7)
    made = lines(FLAT, holding(FLAT, 3, backends=7), replace(one, cluster=one.cluster[1:]))
    assert sum(line.startswith(":KUBE-SEP-") for line in made) == 1
    assert sum(line.startswith("-X KUBE-SEP-") for line in made) == 1
    assert [line.split()[0] for line in made if "KUBE-SVC-" in line] == ["-D"]


def test_when_most_of_a_chain_changes_it_is_written_anew() -> None:
    one = frontend(0, backends=7)
    made = lines(FLAT, holding(FLAT, 3, backends=7), replace(one, cluster=one.cluster[:-1]))
    written = [line.split()[0] for line in made if "KUBE-SVC-" in line]
    assert written == [written[0], *["-A"] * 7]
    assert written[0].startswith(":KUBE-SVC-")


def test_a_service_that_goes_leaves_nothing() -> None:
    program = holding(TREE, 1)
    made = lines(TREE, program, frontend(0), gone=True)
    assert sorted(line.split("-")[2] for line in made if line.startswith("-X")) == ["SEP", "SEP", "SEP", "SVC"]
    TREE.accept(program, {frontend(0).key: None})
    assert not TREE.plan(program, holding(TREE, 0))


@pytest.mark.reference("7.2 TestCheckIPTablesRuleJumps")
def test_chains_are_made_before_rules_lead_to_them_and_go_when_none_does() -> None:
    program = holding(TREE, 2)
    new = replace(frontend(0), cluster=(Backend(address="10.244.9.9", port=8080, node="node-2"),))
    kinds = [line[:2] for line in lines(TREE, program, new)]
    firsts = {kind: kinds.index(kind) for kind in (":K", "-A", "-X") if kind in kinds}
    assert list(firsts) == sorted(firsts, key=firsts.__getitem__)


def test_hooks_gain_what_is_missing_at_the_top_in_order_and_keep_what_is_there() -> None:
    text = TREE.plan(TREE.empty(), holding(TREE, 0)).text("ip")
    into = [line for line in text.splitlines() if line.startswith("-I FORWARD ")]
    assert [line.split()[2] for line in into] == ["1"] * 4
    assert [line.split()[-1] for line in into] == [
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-SERVICES",
        "KUBE-FORWARD",
        "KUBE-PROXY-FIREWALL",
    ]


def test_the_firewall_of_the_kubelet_is_left_where_it_is() -> None:
    removed = FLAT.plan(holding(FLAT, 0), FLAT.empty()).text("ip")
    assert "KUBE-FIREWALL" not in removed
    assert "-X KUBE-SERVICES" in removed
