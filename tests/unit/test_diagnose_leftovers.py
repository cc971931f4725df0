"""Who still uses what a proxy has made, and whose flows are stale."""

from __future__ import annotations

import pytest

from fairway.diagnose.leftovers import Running, flows_of, judge, uses
from fairway.kernel.leftover_parts import Listed, Part, Rules, Table
from fairway.kernel.leftovers import Flows
from fairway.kernel.xtables import Tools
from fairway.modes.iptables.leftovers import FAIRWAY, KUBE_PROXY, Address, Leavings

VIP, NODE_PORT = Address("10.96.0.7", "TCP", 80), Address("", "TCP", 30080)
RULES = Rules(
    Tools("nft", ("ip",)),
    "ip",
    Leavings(
        table="nat",
        mode="iptables",
        owners=(KUBE_PROXY, FAIRWAY),
        chains=("KUBE-SERVICES",),
        kept={"KUBE-MARK-DROP": "an older kubelet's"},
        addresses=frozenset((VIP, NODE_PORT)),
    ),
)
TABLES = {
    FAIRWAY: Table("ip", "fairway", frozenset((VIP,))),
    KUBE_PROXY: Table("ip", "kube-proxy", frozenset((VIP,))),
}
RELAY = Listed("addresses", (FAIRWAY,), "", "device lo", ("169.254.77.77/32",), "ip address delete", print, {})


@pytest.mark.parametrize(
    "program, mode, part, used",
    [
        (KUBE_PROXY, "iptables", RULES, True),
        (KUBE_PROXY, "ipvs", RULES, True),
        (KUBE_PROXY, "userspace", RULES, True),
        (KUBE_PROXY, "nftables", RULES, False),
        (KUBE_PROXY, "", RULES, True),
        (FAIRWAY, "iptables", RULES, True),
        (FAIRWAY, "nftables", RULES, False),
        (FAIRWAY, "userspace", RULES, False),
        (FAIRWAY, "userspace", TABLES[FAIRWAY], True),
        (FAIRWAY, "nftables", TABLES[FAIRWAY], True),
        (FAIRWAY, "iptables", TABLES[FAIRWAY], False),
        (FAIRWAY, "", TABLES[FAIRWAY], True),
        (FAIRWAY, "nftables", TABLES[KUBE_PROXY], False),
        (KUBE_PROXY, "nftables", TABLES[KUBE_PROXY], True),
        (FAIRWAY, "ipvs", RELAY, True),
        (KUBE_PROXY, "", RELAY, False),
    ],
)
def test_a_proxy_uses_what_its_mode_has(program: str, mode: str, part: Part, used: bool) -> None:
    assert uses(Running(program, mode), part) is used


def test_what_connections_still_need_of_the_mode_before_is_used() -> None:
    servers = Listed("virtual servers", (KUBE_PROXY, FAIRWAY), "ipvs", "ipvs", ("-t 10.96.0.7:80",), "", print, {})
    assert not uses(Running(FAIRWAY, "nftables"), servers)
    assert uses(Running(FAIRWAY, "nftables", leaving=("ipvs",)), servers)


def test_a_plan_says_what_whose_and_why() -> None:
    stale, used = judge((RULES, TABLES[FAIRWAY]), (Running(FAIRWAY, "nftables", "process 7"),))
    assert (stale.names, stale.owner, stale.in_use) == (
        ("KUBE-SERVICES",),
        "kube-proxy or Fairway in iptables mode",
        "",
    )
    assert stale.why.startswith("no proxy runs here that would use it")
    assert used.in_use == "Fairway in nftables mode (process 7)"


def test_what_only_has_something_that_stays_is_no_line_of_its_own() -> None:
    nothing = Rules(RULES.tools, "ip", Leavings(table="nat", mode="iptables", owners=(KUBE_PROXY,)))
    assert judge((nothing,), ()) == []


def test_flows_that_something_in_use_serves_are_not_stale() -> None:
    parts = (RULES, TABLES[FAIRWAY])
    running = (Running(FAIRWAY, "nftables"),)
    mixed = flows_of(parts, running, force=False)
    assert mixed == Flows(frozenset((VIP, NODE_PORT)), frozenset((VIP,)))
    forced = flows_of(parts, running, force=True)
    assert forced == Flows(frozenset((VIP, NODE_PORT)), frozenset())
