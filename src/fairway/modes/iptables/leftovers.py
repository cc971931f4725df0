"""What a proxy has left in the tables of iptables: which chains are a proxy's, of which mode, and what keeps them.

iptables-save ──▶ Saved ──classify──▶ Leavings of each table: chains and jumps to remove, chains that stay and why
                                          │
                                          ╰─ removal ──▶ iptables-restore --noflush

What goes out are names that match `_NAME` and jumps that match `_JUMP` from end to end: nothing that somebody wrote
into a comment or a name gets into a command.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fairway.modes.iptables.commands import Command, DeleteChain, DeleteRule, MakeChain, Plan
from fairway.modes.iptables.names import FIREWALL, LOCALHOST, MARK, MARK_NOT_PODS, OTHER_PORTS, POSTROUTING
from fairway.modes.iptables.names import is_ours as is_of_iptables_mode
from fairway.modes.xtables import HOOKS, TABLES, Family, Place, State, canonical, split

FAIRWAY, KUBE_PROXY = "fairway", "kube-proxy"
IPTABLES, IPVS, USERSPACE = "iptables", "ipvs", "userspace"

_KUBELETS = "KUBE-MARK-DROP"
_KEPT = {
    "KUBE-KUBELET-CANARY": "the kubelet's",
    "KUBE-IPTABLES-HINT": "the kubelet's",
    FIREWALL: "the kubelet has a chain of that name",
    _KUBELETS: "an older kubelet's",
}
_OLD_KUBELETS = frozenset((MARK, POSTROUTING))
"""Those before 1.28 keep these chains, too; they are known by their KUBE-MARK-DROP."""
_PORTALS = frozenset(
    ("KUBE-PORTALS-CONTAINER", "KUBE-PORTALS-HOST", "KUBE-NODEPORT-CONTAINER", "KUBE-NODEPORT-HOST")
    + ("KUBE-NODEPORT-NON-LOCAL",)
)
_OF_IPVS = frozenset(
    ("KUBE-LOAD-BALANCER", "KUBE-NODE-PORT", "KUBE-IPVS-FILTER", "KUBE-IPVS-OUT-FILTER", "KUBE-DROP-NOT-PODS")
    + ("KUBE-SOURCE-RANGES-FIREWALL", "KUBE-POOL", "KUBE-POOL-MASQ")
)
_OURS_ALONE = frozenset((OTHER_PORTS, MARK_NOT_PODS, LOCALHOST, "KUBE-DROP-NOT-PODS", "KUBE-POOL", "KUBE-POOL-MASQ"))
"""Chains that no kube-proxy has."""
_NODE_PORTS = ("KUBE-NODEPORT", "KUBE-NP-")
_OLD_NAMES = "KUBE-XLB-"
"""kube-proxy's before 1.24."""

_NAME = re.compile(r"KUBE-[A-Za-z0-9./:-]{1,23}")
_COMMENTS = "|".join(
    re.escape(one)
    for one in (
        "kubernetes service portals",
        "kubernetes service pools of pods and of this node",
        "kubernetes externally-visible service portals",
        "kubernetes postrouting rules",
        "kubernetes forwarding rules",
        "kubernetes health check service ports",
        "kubernetes health check rules",
        "kubernetes load balancer firewall",
        "kubernetes ipvs access filter",
        "kube-proxy firewall rules",
        "handle ClusterIPs; NOTE: this must be before the NodePort rules",
        "handle service NodePorts; NOTE: this must be the last rule in the chain",
        "Ensure that non-local NodePort traffic can flow",
    )
)
_SAYS = f'-m comment --comment "(?:{_COMMENTS})"'
_ASKS = "-m conntrack --ctstate NEW|-m addrtype --dst-type LOCAL"
_JUMP = re.compile(rf"(?:(?:{_ASKS}) )*(?:{_SAYS} )(?:(?:{_ASKS}) )*-j (?P<named>KUBE-[A-Z-]+)")
_BARE = re.compile(r"(?:-m (?:conntrack --ctstate NEW|addrtype --src-type LOCAL) )?-j (?P<named>KUBE-[A-Z-]+)")
_COUNTED = re.compile(r"\[\d+:\d+\] ")


@dataclass
class Saved:
    """One table as `iptables-save` prints it: the rules of each chain, without ``-A CHAIN``."""

    chains: dict[str, list[str]] = field(default_factory=dict)


class Address(NamedTuple):
    """What a client asks for; without ``address`` any of the node's, as for a node port."""

    address: str
    protocol: str
    port: int


class Rule(NamedTuple):
    chain: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Leavings:
    """A proxy's part of one table. ``kept`` says of chains of Kubernetes' why they stay."""

    table: str
    mode: str
    owners: tuple[str, ...]
    chains: tuple[str, ...] = ()
    jumps: tuple[Rule, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    addresses: frozenset[Address] = frozenset()


def parse(text: str) -> dict[str, Saved]:
    """The tables, by name. Lines end at line feeds only: a comment may have other separators in it."""
    tables: dict[str, Saved] = {}
    table = Saved()
    for line in text.split("\n"):
        line = _COUNTED.sub("", line, count=1) if line.startswith("[") else line
        if line.startswith("*"):
            table = tables.setdefault(line[1:].strip(), Saved())
        elif line.startswith(":"):
            table.chains.setdefault(line[1:].partition(" ")[0], [])
        elif line.startswith("-A "):
            chain, _, rule = line[3:].partition(" ")
            table.chains.setdefault(chain, []).append(rule.strip())
    return {name: found for name, found in tables.items() if name in TABLES}


def is_a_proxys(chain: str) -> bool:
    """Whether a proxy in some mode makes a chain of that name, kube-proxy or Fairway."""
    if chain in _KEPT or not _NAME.fullmatch(chain):
        return False
    return is_of_iptables_mode(chain) or chain in _PORTALS | _OF_IPVS or chain.startswith(_OLD_NAMES)


def classify(tables: Mapping[str, Saved]) -> list[Leavings]:
    """What is a proxy's in the tables of one family."""
    chains = {chain for table in tables.values() for chain in table.chains}
    mode = IPVS if chains & _OF_IPVS else IPTABLES
    if not any(is_a_proxys(one) and one not in _PORTALS for one in chains):
        mode = USERSPACE
    owners = (FAIRWAY,) if chains & _OURS_ALONE else (KUBE_PROXY, FAIRWAY)
    if mode == USERSPACE:
        owners = (KUBE_PROXY,)
    found = (_leavings(name, table, chains, mode, owners) for name, table in tables.items())
    return [one for one in found if one.chains or one.kept]


def _leavings(name: str, table: Saved, everywhere: set[str], mode: str, owners: tuple[str, ...]) -> Leavings:
    kept = {chain: _KEPT[chain] for chain in table.chains if chain in _KEPT}
    if _KUBELETS in everywhere:
        kept |= {chain: "older kubelets keep it, too" for chain in table.chains if chain in _OLD_KUBELETS}
    there = {chain for chain in table.chains if is_a_proxys(chain)}
    kept |= _held_by_others(table, there)
    _with_what_they_need(table, there, kept)
    gone = there - kept.keys()
    return Leavings(
        table=name,
        mode=mode,
        owners=owners,
        chains=tuple(sorted(gone)),
        jumps=tuple(rule for rule in _hooked(table) if _target(rule.text) in gone and is_a_proxys_jump(rule.text)),
        kept=kept,
        addresses=frozenset(_addresses(table, gone)),
    )


def is_a_proxys_jump(rule: str) -> bool:
    """Whether a rule in a hook's chain is one that a proxy writes: nothing else asks it to say its own words."""
    if (found := _JUMP.fullmatch(rule)) is not None:
        return is_a_proxys(found["named"])
    # Fairway's own chains have jumps without words; kube-proxy's all have them, but for that to KUBE-FIREWALL.
    bare = _BARE.fullmatch(rule)
    return bare is not None and bare["named"] in _OURS_ALONE


def _hooked(table: Saved) -> Iterator[Rule]:
    yield from (Rule(chain, one) for chain in table.chains if chain in HOOKS for one in table.chains[chain])


def _held_by_others(table: Saved, there: set[str]) -> dict[str, str]:
    """Chains that a rule of somebody else leads to: without them it could not be."""
    found: dict[str, str] = {}
    for chain, rules in table.chains.items():
        for rule in () if chain in there else rules:
            target = _target(rule)
            if target in there and not (chain in HOOKS and is_a_proxys_jump(rule)):
                found.setdefault(target, f"somebody's rule leads to it: -A {chain} {rule}")
    return found


def _with_what_they_need(table: Saved, there: set[str], kept: dict[str, str]) -> None:
    """A chain that stays, stays with those that its rules lead to."""
    todo = [chain for chain in kept if chain in there]
    while todo:
        chain = todo.pop()
        for target in map(_target, table.chains[chain]):
            if target in there and target not in kept:
                kept[target] = f"{chain} leads to it, which stays"
                todo.append(target)


def _target(rule: str) -> str:
    words = split(rule)
    for before, word in itertools.pairwise(words):
        if before in ("-j", "-g"):
            return word
    return ""


def _addresses(table: Saved, gone: Iterable[str]) -> Iterator[Address]:
    """What clients ask for, as the rules that are to go say: an address and a port, or in node ports' chains a port."""
    for chain in gone:
        for rule in table.chains[chain]:
            options = dict(itertools.pairwise(split(rule)))
            port, protocol = options.get("--dport", ""), options.get("-p", "").upper()
            if not (port.isascii() and port.isdigit() and protocol in ("TCP", "UDP", "SCTP")):
                continue
            address, _, bits = options.get("-d", "").partition("/")
            if bits in ("32", "128") and "! -d" not in rule:
                yield Address(address, protocol, int(port))
            elif chain.startswith(_NODE_PORTS):
                yield Address("", protocol, int(port))


def without(one: Leavings, needed: State) -> Leavings:
    """The same but for the chains of its table that somebody still needs, and the jumps that he writes himself."""
    jumps = {
        (chain, canonical(rule)) for (table, chain), rules in needed.items() if table == one.table for rule in rules
    }
    return replace(
        one,
        chains=tuple(chain for chain in one.chains if Place(one.table, chain) not in needed),
        jumps=tuple(rule for rule in one.jumps if (rule.chain, canonical(rule.text)) not in jumps),
    )


def removal(family: Family, leavings: Iterable[Leavings]) -> Plan:
    """Chains are emptied, nothing leads to them any more, they go."""
    commands: list[Command] = []
    for one in leavings:
        assert all(_NAME.fullmatch(chain) for chain in one.chains)
        assert all(rule.chain in HOOKS and is_a_proxys_jump(rule.text) for rule in one.jumps)
        commands += (MakeChain(family, one.table, chain) for chain in one.chains)
        commands += (DeleteRule(family, one.table, rule.chain, rule.text) for rule in one.jumps)
        commands += (DeleteChain(family, one.table, chain) for chain in one.chains)
    return Plan(tuple(commands))
