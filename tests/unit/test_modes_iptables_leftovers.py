"""Which chains and rules of iptables a proxy has left, and what belongs to others."""

from __future__ import annotations

import pytest

from fairway.conform.scenario import scenarios
from fairway.model.view import Action, ActionKind, Backend, Frontend, FrontendKind, Key, NodeSettings, NodeView
from fairway.modes.iptables import IptablesMode, Options
from fairway.modes.iptables.leftovers import (
    FAIRWAY,
    IPTABLES,
    IPVS,
    KUBE_PROXY,
    USERSPACE,
    Address,
    Leavings,
    classify,
    is_a_proxys,
    is_a_proxys_jump,
    parse,
    removal,
)
from fairway.modes.xtables import HOOKS, State
from tests.scenarios.dumps import DUMPS

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-MARK-DROP - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-TCOU7JCQXEZGVUNU - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
[7:420] -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-NODEPORTS -p tcp -m comment --comment "shop/web" -m tcp --dport 30080 -j KUBE-SVC-TCOU7JCQXEZGVUNU
-A KUBE-SERVICES -d 10.96.0.7/32 -p udp -m udp --dport 53 -j KUBE-SVC-TCOU7JCQXEZGVUNU
-A KUBE-SVC-TCOU7JCQXEZGVUNU -j KUBE-SEP-AAAAAAAAAAAAAAAA
COMMIT
"""
PORTALS = """\
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-NODEPORT-CONTAINER - [0:0]
:KUBE-PORTALS-CONTAINER - [0:0]
-A PREROUTING -m comment --comment "handle ClusterIPs; NOTE: this must be before the NodePort rules" -j KUBE-PORTALS-CONTAINER
-A PREROUTING -m addrtype --dst-type LOCAL -m comment --comment "handle service NodePorts; NOTE: this must be the last rule in the chain" -j KUBE-NODEPORT-CONTAINER
-A KUBE-PORTALS-CONTAINER -d 10.96.0.7/32 -p tcp -m comment --comment "shop/web:" -m tcp --dport 80 -j REDIRECT --to-ports 41001
COMMIT
"""  # noqa: E501


def nat(text: str) -> Leavings:
    return next(one for one in classify(parse(text)) if one.table == "nat")


def test_what_a_proxy_has_left_goes_and_the_rest_stays() -> None:
    found = nat(SAVED)
    assert found.chains == (
        "KUBE-NODEPORTS",
        "KUBE-SEP-AAAAAAAAAAAAAAAA",
        "KUBE-SERVICES",
        "KUBE-SVC-TCOU7JCQXEZGVUNU",
    )
    assert [rule.chain for rule in found.jumps] == ["PREROUTING"]
    assert (found.mode, found.owners) == (IPTABLES, (KUBE_PROXY, FAIRWAY))


def test_an_older_kubelets_chains_stay_with_those_it_shares_and_without_it_these_go() -> None:
    assert nat(SAVED).kept.keys() == {
        "KUBE-MARK-DROP",
        "KUBE-KUBELET-CANARY",
        "KUBE-MARK-MASQ",
        "KUBE-POSTROUTING",
    }
    assert {"KUBE-MARK-MASQ", "KUBE-POSTROUTING"} <= set(nat(SAVED.replace(":KUBE-MARK-DROP - [0:0]\n", "")).chains)


def test_what_clients_asked_for_is_what_the_rules_say() -> None:
    assert nat(SAVED).addresses == {Address("", "TCP", 30080), Address("10.96.0.7", "UDP", 53)}


@pytest.mark.parametrize(
    "rule",
    [
        "-A PREROUTING -s 192.0.2.9/32 -j KUBE-SVC-TCOU7JCQXEZGVUNU",
        '-A PREROUTING -m comment --comment "mine" -j KUBE-SVC-TCOU7JCQXEZGVUNU',
        "-A DOCKER -p tcp -g KUBE-SVC-TCOU7JCQXEZGVUNU",
        "-A KUBE-HOSTPORTS -j KUBE-SVC-TCOU7JCQXEZGVUNU",
    ],
)
def test_a_rule_of_others_keeps_the_chain_it_leads_to_and_all_that_chain_needs(rule: str) -> None:
    found = nat(SAVED.replace("COMMIT", f"{rule}\nCOMMIT"))
    assert rule in found.kept["KUBE-SVC-TCOU7JCQXEZGVUNU"]
    assert "KUBE-SEP-AAAAAAAAAAAAAAAA" in found.kept
    assert found.chains == ("KUBE-NODEPORTS", "KUBE-SERVICES")


def test_the_old_userspace_modes_chains_are_kube_proxys_alone() -> None:
    found = nat(PORTALS)
    assert (found.mode, found.owners) == (USERSPACE, (KUBE_PROXY,))
    assert found.chains == ("KUBE-NODEPORT-CONTAINER", "KUBE-PORTALS-CONTAINER")
    assert len(found.jumps) == 2
    assert found.addresses == {Address("10.96.0.7", "TCP", 80)}


@pytest.mark.parametrize("chain", ["KUBE-FIREWALL", "KUBE-HOSTPORTS", "KUBE-HP-AAAA", "KUBE-ROUTER-INPUT", "DOCKER"])
def test_a_chain_of_others_is_nobodys_here(chain: str) -> None:
    assert not is_a_proxys(chain)


@pytest.mark.parametrize(
    "rule",
    [
        "-j KUBE-SERVICES",
        '-s 192.0.2.9/32 -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-m comment --comment "kubernetes service portals; also mine" -j KUBE-SERVICES',
        '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n-F',
        '-m comment --comment "kubernetes service portals" -j KUBE-HOSTPORTS',
    ],
)
def test_a_rule_that_asks_or_says_anything_else_is_not_a_proxys(rule: str) -> None:
    assert not is_a_proxys_jump(rule)


@pytest.mark.parametrize(
    "line",
    [
        ":KUBE-SVC-$(reboot) - [0:0]",
        ":KUBE-SVC-A;B - [0:0]",
        '-A PREROUTING -m comment --comment "kubernetes service portals\u2028-F" -j KUBE-SERVICES',
        '-A PREROUTING -m comment --comment "kubernetes service portals\x0b-F" -j KUBE-SERVICES',
        '-A PREROUTING -m comment --comment "x\n-F\n*filter\n-P INPUT DROP" -j DOCKER',
    ],
)
def test_nothing_that_somebody_wrote_gets_into_a_command(line: str) -> None:
    words = {
        one.split(" ")[0]
        for one in removal("ip", classify(parse(SAVED.replace("COMMIT", f"{line}\nCOMMIT")))).text("ip").split("\n")
    }
    assert {one for one in words if one and one[0] not in "*:"} <= {"-D", "-X", "COMMIT"}
    assert not {"$", ";", "\u2028", "\x0b"} & set(
        removal("ip", classify(parse(SAVED.replace("COMMIT", f"{line}\nCOMMIT")))).text("ip")
    )


def many() -> NodeView:
    """Enough Services for dispatch trees of several levels."""
    action = Action(kind=ActionKind.FORWARD)
    backend = Backend(address="10.244.1.2", port=8080, node="node-2")
    frontends = [
        Frontend(
            kind=FrontendKind.CLUSTER_IP,
            address=f"10.96.{n // 200}.{n % 200 + 1}",
            protocol="TCP",
            port=80,
            service=Key("shop", f"s-{n}"),
            cluster=(backend,),
            pod=action,
            node=action,
            outside=action,
        )
        for n in range(1000)
    ]
    return NodeView(settings=NodeSettings(name="node"), frontends={one.key: one for one in frontends})


def view(name: str) -> NodeView:
    if name == "many":
        return many()
    return next(one for one in scenarios() if one.name == name).steps[0].view


def saved(state: State) -> str:
    """As `iptables-save` prints it."""
    lines: dict[str, list[str]] = {}
    for place, rules in state.items():
        lines.setdefault(place.table, []).append(f":{place.chain} - [0:0]")
        lines[place.table] += [f"-A {place.chain} {rule}" for rule in rules]
    return "\n".join(line for table, some in lines.items() for line in (f"*{table}", *some, "COMMIT"))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", ["dual-stack", "load-balancer-source-ranges", "external-policy-local", "many"])
def test_nothing_of_our_own_mode_is_left(name: str, flat: bool) -> None:
    states = IptablesMode(Options(flat=flat)).program(view(name)).state()
    for state in states.values():
        found = {one.table: one for one in classify(parse(saved(state)))}
        assert {one.owners for one in found.values()} == {(KUBE_PROXY, FAIRWAY) if flat else (FAIRWAY,)}
        for place, rules in state.items():
            one = found[place.table]
            if place.chain in HOOKS:
                gone = [rule.text for rule in one.jumps if rule.chain == place.chain]
                assert [rule for rule in rules if rule not in gone and "KUBE-FIREWALL" not in rule] == []
            elif place.chain != "KUBE-FIREWALL":
                assert place.chain in one.chains
    asked = {
        Address(one.address, one.protocol, one.port)
        for one in view(name).frontends.values()
        if one.kind == FrontendKind.CLUSTER_IP and one.cluster
    }
    found_addresses = {
        one for state in states.values() for part in classify(parse(saved(state))) for one in part.addresses
    }
    assert asked <= found_addresses
    assert all(one.address or one.port >= 30000 for one in found_addresses)


def saved_files() -> list[str]:
    return sorted(str(path.relative_to(DUMPS)) for path in DUMPS.glob("*/n*/*/ip*tables-save.txt"))


@pytest.mark.skipif(not DUMPS.is_dir(), reason=f"no folder of dumps at {DUMPS}")
@pytest.mark.parametrize("file", saved_files())
def test_of_a_real_kube_proxy_only_the_kubelets_chain_is_left(file: str) -> None:
    tables = parse((DUMPS / file).read_text())
    found = classify(tables)
    assert {one.mode for one in found} == {IPVS if "/ipvs/" in file else IPTABLES}
    for one in found:
        there = {chain for chain in tables[one.table].chains if chain.startswith("KUBE-")}
        assert there - set(one.chains) <= {"KUBE-FIREWALL"}
        left = [
            rule
            for chain in HOOKS & tables[one.table].chains.keys()
            for rule in tables[one.table].chains[chain]
            if (chain, rule) not in one.jumps
        ]
        assert [rule for rule in left if "KUBE-" in rule and "KUBE-FIREWALL" not in rule] == []
