"""What the modes whose rules go through `iptables-restore` say alike: families, tables, hooks, marks, words of rules.

rule     its text without ``-A CHAIN``, in the words of `iptables-save`
place    a chain in its table
state    the rules of each place, of one family
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from fairway.model.address import IPv4, IPv6, of_family
from fairway.model.view import NodeSettings

KUBE_SERVICES, KUBE_DEVICE = "KUBE-SERVICES", "kube-ipvs0"
"""Where their rules begin, and what holds their addresses: who has to know that need not load a mode for it."""

Family: TypeAlias = Literal["ip", "ip6"]
FAMILIES: tuple[Family, ...] = ("ip", "ip6")
BITS: dict[Family, int] = {"ip": 32, "ip6": 128}
NAME_OF: dict[Family, str] = {"ip": IPv4, "ip6": IPv6}
LOOPBACK: dict[Family, str] = {"ip": "127.0.0.0/8", "ip6": "::1/128"}
REJECTED: dict[Family, str] = {"ip": "icmp-port-unreachable", "ip6": "icmp6-port-unreachable"}
PING: dict[Family, tuple[str, str]] = {
    "ip": ("-p icmp", "-m icmp --icmp-type 8"),
    "ip6": ("-p ipv6-icmp", "-m icmp6 --icmpv6-type 128"),
}
"""Asks for the protocol, and for an echo request."""

TABLES = ("mangle", "filter", "nat")
_TARGET = re.compile(r"(?:^|\s)-[jg] (\S+)")
HOOKS = frozenset(("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"))


class Place(NamedTuple):
    table: str
    chain: str


State: TypeAlias = dict[Place, tuple[str, ...]]
"""The rules of each chain of one family; of a hook's chain only those that lead to ours."""


@dataclass(frozen=True, kw_only=True)
class RuleOptions:
    """How rules are to be, and what the machine can do."""

    masquerade_bit: int = 14
    random_fully: bool = True
    families: tuple[Family, ...] = FAMILIES

    @property
    def mark(self) -> str:
        return f"{1 << self.masquerade_bit:#x}"


def restore_tool(family: Family) -> str:
    """What reads one family's rules."""
    return "ip6tables-restore --noflush" if family == "ip6" else "iptables-restore --noflush"


def postrouting(options: RuleOptions) -> tuple[str, ...]:
    """The rules that masquerade what is marked, and take the mark away."""
    mark, random = options.mark, " --random-fully" if options.random_fully else ""
    return (
        f"-m mark ! --mark {mark}/{mark} -j RETURN",
        f"-j MARK --set-xmark {mark}/0x0",
        f'-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE{random}',
    )


def pod_matches(settings: NodeSettings, family: Family) -> tuple[str, ...]:
    """The ways to ask whether a packet comes from a pod, each enough alone."""
    by_interface = (f"-i {interface(settings.pod_interface)}",) if settings.pod_interface else ()
    return (*by_interface, *(f"-s {network}" for network in of_family(settings.pod_networks, NAME_OF[family])))


def interface(name: str) -> str:
    """A name, or what names begin with: the star at its end is a plus here."""
    return f"{name[:-1]}+" if name.endswith("*") else name


def split(text: str) -> list[str]:
    """The words of a rule; a quoted comment is one word, without its quotes."""
    if '"' not in text:
        return text.split()
    words: list[str] = []
    for index, part in enumerate(text.split('"')):
        words += [part] if index % 2 else part.split()
    return words


def canonical(text: str) -> str:
    """A rule as `iptables-save` of any version prints it, with single spaces."""
    return " ".join(f'"{part}"' if " " in part or before == "--comment" else part for before, part in _pairs(text))


def _pairs(text: str) -> list[tuple[str, str]]:
    words = split(text)
    return list(zip(["", *words], words, strict=False))


def target(rule: str) -> str:
    """Where a rule leads, or what it does; that comes after all that is quoted."""
    found = _TARGET.search(rule, rule.rfind('"') + 1)
    return found[1] if found else ""


def read_saved(text: str, is_ours: Callable[[Place], bool]) -> State:
    """What `iptables-save` prints, with counters or without, as far as it is ours."""
    found: dict[Place, list[str]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("["):
            line = line.partition("] ")[2]
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":") and table in TABLES:
            place = Place(table, line[1:].partition(" ")[0])
            if is_ours(place):
                found[place] = []
        elif line.startswith("-A ") and table in TABLES:
            chain, _, rule = line[3:].partition(" ")
            leads = Place(table, target(rule)) if chain in HOOKS else Place(table, chain)
            if is_ours(leads):
                found.setdefault(Place(table, chain), []).append(canonical(rule))
    return {place: tuple(rules) for place, rules in found.items()}
