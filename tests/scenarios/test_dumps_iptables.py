"""In the flat form our rules are those that the real kube-proxy wrote for the same objects.

Five small clusters, two nodes each, both variants and both families (`tests.scenarios.dumps` says where they lie).
Counters and the order of rules that do not compete are left out; every difference that is left is on the list below.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from fairway.diagnose.cluster import Networks, from_documents
from fairway.kernel.iptables import read_rules
from fairway.model.view import NodeView
from fairway.modes.iptables import IptablesMode, Options
from fairway.modes.xtables import HOOKS, Family, State
from fairway.objects.codec import read_yaml
from tests.scenarios.dumps import DUMPS

MODE = IptablesMode(Options(flat=True, count=True))
FILES: dict[Family, str] = {"ip": "iptables-save.txt", "ip6": "ip6tables-save.txt"}

pytestmark = pytest.mark.skipif(not DUMPS.is_dir(), reason=f"no folder of dumps at {DUMPS}")


@dataclass(frozen=True)
class Difference:
    """Lines that only one side has, and why; ``holds`` is what they all have in common."""

    why: str
    dumps: tuple[str, ...]
    holds: tuple[str, ...]

    def covers(self, dump: str, line: str) -> bool:
        return dump.startswith(self.dumps) and any(one in line for one in self.holds)


DIFFERENCES = (
    Difference(
        "the proxy of n2 was stopped before the objects changed: its rules are those of earlier objects",
        ("p3/n2",),
        ("shop/web", "KUBE-SEP-", "KUBE-SVC-"),
    ),
)


def dumps() -> Iterator[str]:
    """``p1/n1/iptables-nft`` and so on."""
    if DUMPS.is_dir():
        yield from sorted(str(one.relative_to(DUMPS)) for one in DUMPS.glob("p*/n*/iptables-*"))


def lines(state: State) -> set[str]:
    """Every rule once with its chain. Rules of a chain compete only where they draw: those keep their place."""
    found = set()
    for place, rules in state.items():
        drawn = 0
        for rule in rules:
            where = f"{place.table} {place.chain}"
            if place.chain.startswith(("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-SEP-", "KUBE-FORWARD")):
                drawn += 1
                where += f" {drawn}"
            found.add(f"{where} {rule}")
        if place.chain not in HOOKS:
            found.add(f"{place.table} :{place.chain}")
    return found


def expected(dump: str) -> dict[Family, set[str]]:
    """What our mode writes for the objects of a dump on its node."""
    name, node, _ = dump.split("/")
    cluster = from_documents(read_yaml((DUMPS / name / "objects.yaml").read_text()), Networks(services=()))
    settings = replace(
        cluster.settings(node),
        addresses=_addresses(DUMPS / dump / "ip-addr.json"),
        pod_networks=("10.244.0.0/16",),
        node_port_addresses=None,
        localhost_node_ports=True,
    )
    cluster.told[node] = settings
    view: NodeView = cluster.view(node)
    return {family: lines(state) for family, state in MODE.program(view).state().items()}


def _addresses(path: Path) -> tuple[str, ...]:
    return tuple(one["local"] for link in json.loads(path.read_text()) for one in link["addr_info"])


@pytest.mark.parametrize("dump", list(dumps()))
def test_the_rules_are_those_of_the_real_kube_proxy(dump: str) -> None:
    wanted = expected(dump)
    for family, file in FILES.items():
        path = DUMPS / dump / file
        held = lines(read_rules(path.read_text())) if path.exists() else set()
        ours = {one for one in wanted[family] - held if not known(dump, one)}
        theirs = {one for one in held - wanted[family] if not known(dump, one)}
        assert (sorted(ours), sorted(theirs)) == ([], []), family


def known(dump: str, line: str) -> bool:
    return any(one.covers(dump, line) for one in DIFFERENCES)


def test_every_difference_is_needed() -> None:
    seen = set()
    for dump in dumps():
        wanted = expected(dump)
        for family, file in FILES.items():
            path = DUMPS / dump / file
            held = lines(read_rules(path.read_text())) if path.exists() else set()
            seen |= {one.why for one in DIFFERENCES for line in wanted[family] ^ held if one.covers(dump, line)}
    assert seen == {one.why for one in DIFFERENCES}
