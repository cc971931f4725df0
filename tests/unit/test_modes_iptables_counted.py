"""New connections of frontends, from the counters of both forms' rules; the kernel's part is in tests/kernel."""

from __future__ import annotations

import pytest

from fairway.conform.scenario import scenarios
from fairway.model.view import FrontendKey, FrontendKind
from fairway.modes.iptables import IptablesMode, Options
from fairway.modes.iptables.counted import counted
from fairway.modes.xtables import FAMILIES, TABLES

CHOSEN = ("load-balancer", "no-backends", "dual-stack", "external-local")
VIEWS = [one.steps[0].view for one in scenarios() if one.name in CHOSEN]


@pytest.mark.parametrize("flat", [False, True], ids=["trees", "flat"])
def test_every_port_of_a_service_is_counted_once_and_nothing_else_is(flat: bool) -> None:
    for view in VIEWS:
        found: dict[FrontendKey, int] = {}
        for family, state in IptablesMode(Options(flat=flat)).program(view).state().items():
            saved = ""
            for table in TABLES:
                rules = [(place.chain, rule) for place, some in state.items() if place.table == table for rule in some]
                saved += f"*{table}\n" + "".join(f"[3:180] -A {chain} {rule}\n" for chain, rule in rules) + "COMMIT\n"
            found.update(counted(saved, family))
        kinds = (FrontendKind.OTHER_PORTS, FrontendKind.PING)
        assert found.keys() == {key for key, one in view.frontends.items() if one.kind not in kinds}
        assert set(found.values()) == {3}


def test_a_node_port_counts_what_comes_by_way_of_the_loopback_too() -> None:
    rule = '-p tcp -m comment --comment "shop/web" -m tcp --dport 30080'
    saved = (
        f"*nat\n[2:120] -A KUBE-NODEPORTS -d 127.0.0.0/8 {rule} -j KUBE-EXT-AAAAAAAAAAAAAAAA\n"
        f"[5:300] -A KUBE-NODEPORTS {rule} -j KUBE-EXT-AAAAAAAAAAAAAAAA\n"
        "[9:540] -A KUBE-SERVICES -p tcp -m tcp --dport 22 -j SOMEBODYS\nCOMMIT\n"
    )
    assert [counted(saved, family) for family in FAMILIES] == [
        {FrontendKey("0.0.0.0", "TCP", 30080): 7},
        {FrontendKey("::", "TCP", 30080): 7},
    ]
