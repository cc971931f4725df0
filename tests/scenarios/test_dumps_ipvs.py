"""The ipvs mode holds what the real kube-proxy 1.36 held for the same objects, but for a short list of reasons."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from fairway.diagnose.cluster import Networks, from_documents
from fairway.model.resolve import resolve
from fairway.model.view import NodeSettings
from fairway.modes.ipvs import IpvsMode, Options, Program
from fairway.modes.ipvs.parts import DEVICE, Bound, Entry, Real, Scheduling, Virtual
from fairway.modes.ipvs.program import restored
from fairway.modes.xtables import TABLES
from fairway.objects.codec import read_yaml

DUMPS = Path(os.environ.get("FAIRWAY_DUMPS") or Path(__file__).parents[3] / "shared" / "dumps")
TAKEN = sorted(DUMPS.glob("*/n*/ipvs")) if DUMPS.is_dir() else []
BY_NODE = pytest.mark.parametrize("dump", TAKEN, ids=lambda one: f"{one.parents[1].name}-{one.parent.name}")

pytestmark = pytest.mark.skipif(not TAKEN, reason=f"no dumps of ipvs mode below {DUMPS}")

ONLY_OURS = {
    # No local backend, and others have some: dropped, as in the other modes, instead of sent on without masquerade.
    "KUBE-DROP",
    "KUBE-DROP-OUTSIDE",
    # --answer-ping
    "KUBE-PING",
    # Policy Local: pods and the node itself find a virtual server with every backend by this set's marks.
    "KUBE-POOL",
}
# An endpoint whose slice names no node may be here: its own connection that comes back to it is provided for.
ENTRIES_ONLY_OURS = {"add KUBE-LOOP-BACK 192.168.50.5,tcp:6443,192.168.50.5"}
REASONS_OF_RULES = (
    (r"KUBE-DROP|KUBE-PING|KUBE-POOL|-m mark --mark 0x7a000000", "see ONLY_OURS"),
    (r"--src-type LOCAL -j KUBE-MARK-MASQ", "the node's own connections are masqueraded with policy Local, too"),
    (r"KUBE-MARK-NOT-PODS", "for several ways to tell pods; unused with one"),
    (
        r"KUBE-IPVS-OUT-FILTER",
        "the node's own connections are held to source ranges before IPVS rewrites them (mangle)",
    ),
    (r"-s \S+ -m ipvs", "the same, as the reference does it: one rule for each address"),
    (r"-d 10\.96\.0\.0/12 .* -j DROP", "an address of the Service network that nobody has is dropped"),
    (r"-A OUTPUT .* -j KUBE-PROXY-FIREWALL", "the same, for the node's own connections"),
    (r"-A KUBE-SOURCE-RANGES-FIREWALL", "the reference leaves out rules of empty sets; ours are constant"),
    (r"KUBE-(6-)?(NODE-PORT|EXTERNAL|LOAD-BALANCER|CLUSTER|LOOP|IPVS)", "the same"),
)


def program_of(dump: Path) -> Program:
    cluster = from_documents(
        read_yaml((dump.parents[1] / "objects.yaml").read_text()), Networks(services=("10.96.0.0/12",))
    )
    links: list[dict[str, Any]] = json.loads((dump / "ip-addr.json").read_text())
    addresses = [info["local"] for link in links if link["ifname"] != DEVICE for info in link["addr_info"]]
    settings = NodeSettings(
        name=dump.parent.name,
        zone={"n1": "zone-a", "n2": "zone-b"}[dump.parent.name],
        addresses=tuple(addresses),
        pod_networks=("10.244.0.0/16",),
        service_networks=("10.96.0.0/12",),
    )
    return IpvsMode(Options(families=("ip",))).program(resolve(cluster.services.values(), cluster.slices, settings))


@BY_NODE
def test_virtual_and_real_servers_are_the_same(dump: Path) -> None:
    parts = program_of(dump).parts()
    ours = {
        f"-A {one.words} {how.words}"
        for one, how in parts.items()
        if isinstance(how, Scheduling) and isinstance(one, Virtual)
    }
    reals = [one for one in parts if isinstance(one, Real) and isinstance(one.virtual, Virtual)]
    ours |= {f"-a {one.words} -m -w {parts[one]}" for one in reals}
    theirs = set((dump / "ipvsadm-save.txt").read_text().splitlines())
    assert ours == theirs


@BY_NODE
def test_the_dummy_device_has_the_same_addresses(dump: Path) -> None:
    links: list[dict[str, Any]] = json.loads((dump / "ip-addr.json").read_text())
    theirs = {info["local"] for link in links if link["ifname"] == DEVICE for info in link["addr_info"]}
    assert {one.address for one in program_of(dump).parts() if isinstance(one, Bound)} == theirs


@BY_NODE
def test_the_sets_have_the_same_entries(dump: Path) -> None:
    program = program_of(dump)
    text = (dump / "ipset-save.txt").read_text()
    theirs = {line for line in text.splitlines() if line.startswith("add ")}
    ours = {f"add {one.set} {one.text}" for one in program.parts() if isinstance(one, Entry)}
    assert ours >= ENTRIES_ONLY_OURS
    assert {line for line in ours - ENTRIES_ONLY_OURS if line.split()[1] not in ONLY_OURS} == theirs
    declared = {
        " ".join(line.split()[1:3]) for line in text.splitlines() if line.startswith("create ") and "-6-" not in line
    }
    made = {f"{one.name} {one.kind}" for one in program.base.sets.values()}
    assert {one for one in made if one.split()[0] not in ONLY_OURS} == declared


@BY_NODE
def test_the_rules_are_the_same_but_for_reasons(dump: Path) -> None:
    saved = re.sub(r"^\[\d+:\d+\] ", "", (dump / "iptables-save.txt").read_text(), flags=re.MULTILINE)
    theirs = {line for line in saved.splitlines() if line.startswith("-A ") and "KUBE-" in line}
    rules = program_of(dump).base.rules["ip"]
    ours = {line for table in TABLES for line in restored(rules, table) if line.startswith("-A ")}
    different = theirs ^ ours
    unexplained = [line for line in different if not any(re.search(one, line) for one, _ in REASONS_OF_RULES[:-1])]
    left_out = [line for line in unexplained if line in ours and re.search(REASONS_OF_RULES[-1][0], line)]
    assert sorted(set(unexplained) - set(left_out)) == []
    # What the reference has and we have not is only what a reason of its own names.
    assert {line for line in theirs - ours if line in left_out} == set()


@BY_NODE
def test_every_reason_is_needed(dump: Path) -> None:
    saved = re.sub(r"^\[\d+:\d+\] ", "", (dump / "iptables-save.txt").read_text(), flags=re.MULTILINE)
    rules = program_of(dump).base.rules["ip"]
    ours = {line for table in TABLES for line in restored(rules, table) if line.startswith("-A ")}
    different = {line for line in saved.splitlines() if line.startswith("-A ")} ^ ours
    assert [why for one, why in REASONS_OF_RULES if not any(re.search(one, line) for line in different)] == []
