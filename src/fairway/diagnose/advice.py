"""Which mode for which cluster and machine, and with what settings: facts in, ranked advice with its reasons out.

    Facts ──advise──▶ Advice ── options    every mode, best first: what speaks for it, and what against
                             ├─ settings   what to tell the proxy or the machine, and why
                             └─ upstream   what Kubernetes plans that matters here

Pure: who collects the facts is `fairway.diagnose.facts`. A mode that this module has no words for is ranked all the
same, by what the machine and the Services say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, log

NFTABLES, IPTABLES, IPVS, USERSPACE = "nftables", "iptables", "ipvs", "userspace"
_ORDER = (NFTABLES, IPTABLES, IPVS, USERSPACE)
"""What to take when nothing else decides."""
_ORDER_AT_SIZE = (NFTABLES, IPVS, IPTABLES, USERSPACE)
"""The same where a long load, a walk through rules, or a process for each change would be felt."""
MANY_BACKENDS = 100
"""From so many backends of one Service on, walking them in the iptables mode costs more than finding the Service."""
MANY_SERVICES = 1000
"""From so many on, a change in the iptables mode takes tenths of a second (docs/explain/performance.md)."""
BUSY = 50.0
"""Changes a second from which the price of one change matters more than the comfort of familiar chains."""
_LEAF, _STEP = 16, 4
"""Of the dispatch trees: addresses in a last chain, at most, and branches of any other."""
_SHOWN = 3


class Use(StrEnum):
    """What Services ask for that makes a difference between modes, or to their future."""

    NODE_PORTS = "node ports"
    SOURCE_RANGES = "source ranges"
    EXTERNAL_IPS = "external IPs"
    AFFINITY = "session affinity"
    LOCAL = "traffic policy Local"
    SCHEDULERS = "IPVS schedulers"
    RELAYS = "relays"
    HASHING = "hashing"
    WEIGHTS = "weights"
    SCTP = "SCTP"
    UDP = "UDP"
    DUAL_STACK = "dual stack"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What was measured here, in seconds; None for what could not be."""

    connect: float | None = None
    """Median of a connection through a Service, at as many Services as the cluster has."""
    directly: float | None = None
    """The same without a Service."""
    change: float | None = None
    """Median from the event of one changed backend to the kernel's word that it has it."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is known of one mode here."""

    cannot: str | None = None
    """Why this machine cannot do it; empty when it can; None when it was not asked."""
    differently: tuple[str, ...] = ()
    """What Services ask for and do not get, or get otherwise: `fairway.modes.contract.Mode.unsupported`."""
    services: int = 0
    """How many Services that are."""
    cost: Cost | None = None


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Connection tracking: entries now, the kernel's limit, and what a proxy raises it to by itself."""

    count: int
    most: int
    raised: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A cluster as one node sees it, and a machine. ``uses`` counts Services; ``backends`` are those of all of them."""

    services: int
    """Those that are served; ``waiting`` have no cluster IP yet."""
    waiting: int = 0
    frontends: int = 0
    backends: int = 0
    most_backends: int = 0
    changes_per_second: float | None = None
    uses: Mapping[Use, int] = field(default_factory=dict)
    schedulers: Mapping[str, int] = field(default_factory=dict)
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    kernel: str = ""
    mode: str = ""
    """What the node's proxy is in now; empty when that is not known."""
    localhost_node_ports: bool = False
    tracking: Tracking | None = None
    ipvs_table_bits: int | None = None
    """What the kernel's ip_vs module was loaded with; None when it is not loaded."""


@dataclass(frozen=True)
class Option:
    """A mode in its place."""

    mode: str
    possible: bool | None
    """On this machine; None when it was not asked."""
    reasons: tuple[str, ...]
    against: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """What to set, to what; an empty value means: leave it."""

    name: str
    value: str
    because: str


@dataclass(frozen=True)
class Advice:
    """``options`` are all modes, best first. ``recommended`` is the first that is not known to be impossible here."""

    recommended: str
    options: tuple[Option, ...]
    settings: tuple[Setting, ...]
    upstream: tuple[str, ...]
    rests_on: tuple[str, ...]


def advise(facts: Facts) -> Advice:
    """The modes ranked, and settings for the one that comes first."""
    ranked = sorted(facts.candidates, key=lambda mode: _rank(facts, mode))
    options = tuple(_option(facts, mode) for mode in ranked)
    recommended = next((one.mode for one in options if one.possible is not False), "")
    return Advice(
        recommended=recommended,
        options=options,
        settings=tuple(_settings(facts, recommended)) if recommended else (),
        upstream=tuple(_upstream(facts, recommended)),
        rests_on=tuple(_basis(facts)),
    )


def rules_in_tree(frontends: int) -> int:
    """About how many rules are asked until the dispatch trees of the iptables mode have found one of so many."""
    steps = ceil(log(frontends / _LEAF, _STEP)) if frontends > _LEAF else 0
    leaf = frontends / float(_STEP) ** steps
    return round(steps * (_STEP + 1) / 2 + (leaf + 1) / 2)


def rules_in_a_row(frontends: int) -> int:
    """The same when rules are asked one after the other, as in kube-proxy's own form."""
    return round((frontends + 1) / 2)


def _rank(facts: Facts, mode: str) -> tuple[bool, bool, int, int]:
    """Impossible ones last; a relay for everything only if nothing else will do; then who serves most as they ask."""
    one = facts.candidates[mode]
    large = facts.services > MANY_SERVICES or facts.most_backends > MANY_BACKENDS
    order = _ORDER_AT_SIZE if large or _busy(facts) else _ORDER
    place = order.index(mode) if mode in order else len(order)
    return bool(one.cannot), mode == USERSPACE, one.services, place


def _option(facts: Facts, mode: str) -> Option:
    one = facts.candidates[mode]
    possible = None if one.cannot is None else not one.cannot
    return Option(
        mode,
        possible,
        (*_REASONS.get(mode, _nothing)(facts), *_measured(one.cost)),
        (*_hindrance(one), *_AGAINST.get(mode, _nothing)(facts), *_otherwise(facts, one)),
    )


def _nothing(_: Facts) -> Iterator[str]:
    yield from ()


def _hindrance(one: Candidate) -> Iterator[str]:
    if one.cannot:
        yield " ".join(one.cannot.split())


def _otherwise(facts: Facts, one: Candidate) -> Iterator[str]:
    if not one.services:
        return
    yield f"of {_services(facts.services)}, {one.services} would get otherwise what they ask for, or not at all:"
    yield from one.differently[:_SHOWN]
    if len(one.differently) > _SHOWN:
        yield f"and {len(one.differently) - _SHOWN} more of the kind"


def _measured(cost: Cost | None) -> Iterator[str]:
    if cost is None:
        return
    if cost.connect is not None:
        beside = f" (directly {cost.directly * 1e6:.1f} µs)" if cost.directly is not None else ""
        yield f"measured here: a connection through a Service takes {cost.connect * 1e6:.1f} µs{beside}"
    if cost.change is not None:
        yield f"measured here: a change is in the kernel after {cost.change * 1e3:.2f} ms"


# What speaks for and against each mode


def _for_nftables(facts: Facts) -> Iterator[str]:
    yield f"a packet's way is four lookups, with {facts.frontends:,} frontends as with one"
    yield "a change is a few elements in one netlink transaction; no process is started"
    if _busy(facts):
        yield f"{facts.changes_per_second or 0:.0f} changes a second want a mode in which one is cheap"
    for use in (Use.HASHING, Use.WEIGHTS, Use.SOURCE_RANGES):
        if facts.uses.get(use):
            yield f"{use} ({_services(facts.uses[use])}) are data in maps and sets, too"


def _against_nftables(facts: Facts) -> Iterator[str]:
    if _loses_localhost(facts):
        yield "node ports answer at 127.0.0.1 only with --localhost-nodeports"


def _for_iptables(facts: Facts) -> Iterator[str]:
    yield "the chains have the names that operators and their tools know"
    tree, flat = rules_in_tree(facts.frontends), rules_in_a_row(facts.frontends)
    yield f"the trees find one of {facts.frontends:,} frontends by about {tree} rules, kube-proxy's form by {flat:,}"
    if facts.uses.get(Use.NODE_PORTS):
        yield f"node ports ({_services(facts.uses[Use.NODE_PORTS])}) answer at 127.0.0.1 without being told"


def _against_iptables(facts: Facts) -> Iterator[str]:
    if facts.most_backends > 1:
        walked = round((facts.most_backends + 1) / 2)
        yield f"backends are drawn rule by rule: about {walked:,} for the Service that has {facts.most_backends:,}"
    yield "a change starts an iptables-restore: some 15 ms in the nft variant, hundreds in the legacy one"
    if facts.services > MANY_SERVICES:
        yield f"with {facts.services:,} Services that is tenths of a second for each change"
    if _busy(facts):
        yield f"and there are {facts.changes_per_second or 0:.0f} changes a second"


def _for_ipvs(facts: Facts) -> Iterator[str]:
    if facts.schedulers:
        counts = ", ".join(f"{name} ({count})" for name, count in sorted(facts.schedulers.items()))
        yield f"only IPVS has the schedulers that Services ask for: {counts}"
    yield "a packet's way is a hash table and a constant handful of rules, whatever the number of Services"
    if facts.most_backends > MANY_BACKENDS:
        yield f"a Service with {facts.most_backends:,} backends costs a packet no walk through rules"


def _against_ipvs(facts: Facts) -> Iterator[str]:
    yield "Kubernetes removes its own ipvs mode in 1.43; Fairway's stays"
    yield "virtual servers, sets and addresses are three subsystems: a change is no single transaction"
    if facts.uses.get(Use.NODE_PORTS) and (facts.localhost_node_ports or facts.mode == IPTABLES):
        yield "node ports never answer at 127.0.0.1"
    if not facts.schedulers:
        yield "no Service asks for an IPVS scheduler"


def _for_userspace(facts: Facts) -> Iterator[str]:
    yield "every connection can be logged, limited and balanced by who has the fewest"


def _against_userspace(facts: Facts) -> Iterator[str]:
    yield "every byte of every Service passes through a process"
    if relays := facts.uses.get(Use.RELAYS):
        yield f"the {_services(relays)} that ask for a relay get it in any mode"
    else:
        yield "single Services get a relay in any mode, by annotation"
    if sctp := facts.uses.get(Use.SCTP):
        yield f"SCTP ({_services(sctp)}) is not relayed: it goes its way in the kernel"


_REASONS = {NFTABLES: _for_nftables, IPTABLES: _for_iptables, IPVS: _for_ipvs, USERSPACE: _for_userspace}
_AGAINST = {
    NFTABLES: _against_nftables,
    IPTABLES: _against_iptables,
    IPVS: _against_ipvs,
    USERSPACE: _against_userspace,
}


# Settings


def _settings(facts: Facts, mode: str) -> Iterator[Setting]:
    yield Setting("--proxy-mode", mode, "the first of the modes above")
    if facts.tracking is not None:
        yield _tracking(facts.tracking)
    if mode == IPTABLES:
        yield _form(facts)
    if mode in (NFTABLES, IPTABLES, USERSPACE):
        yield Setting(
            "random source ports (kube-proxy's --random-fully)",
            "",
            "masquerading draws source ports fully at random wherever the kernel can",
        )
    if mode in (NFTABLES, USERSPACE) and _loses_localhost(facts):
        yield Setting(
            "--localhost-nodeports", "true", "node ports answer at 127.0.0.1 now, and somebody may rely on it"
        )
    if mode == IPVS:
        yield from _ipvs_settings(facts)


def _tracking(now: Tracking) -> Setting:
    limit = max(now.most, now.raised)
    if now.count * 2 > limit:
        wanted = 1 << (now.count * 2 - 1).bit_length()
        why = f"{now.count:,} connections are tracked, more than half of the {limit:,} there is room for"
        return Setting("--conntrack-min", str(wanted), why)
    raised = f", which the proxy raises to {now.raised:,}" if now.raised > now.most else ""
    return Setting("--conntrack-min", "", f"{now.count:,} connections are tracked, of {now.most:,} at most{raised}")


def _form(facts: Facts) -> Setting:
    if facts.frontends <= _LEAF:
        why = f"with {facts.frontends} frontends kube-proxy's own form is as quick: set it if tools compare with that"
    else:
        flat, tree = rules_in_a_row(facts.frontends), rules_in_tree(facts.frontends)
        why = f"the flat form would ask about {flat:,} rules for each new connection, the trees about {tree}"
    return Setting("--iptables-flat", "", why)


def _ipvs_settings(facts: Facts) -> Iterator[Setting]:
    if facts.schedulers:
        name, count = max(sorted(facts.schedulers.items()), key=lambda one: one[1])
        if count * 2 > facts.services:
            yield Setting("--ipvs-scheduler", name, f"most Services ask for it ({count} of {facts.services})")
    connections = facts.tracking.count if facts.tracking is not None else 0
    bits = min(20, max(12, (connections - 1).bit_length()))
    have = 12 if facts.ipvs_table_bits is None else facts.ipvs_table_bits
    name = "ip_vs conn_tab_bits (options ip_vs conn_tab_bits=… in /etc/modprobe.d)"
    if bits > have:
        yield Setting(name, str(bits), f"{connections:,} connections in {1 << have:,} places would be long chains")
    else:
        yield Setting(name, "", f"{1 << have:,} places are enough for {connections:,} connections")


# What Kubernetes plans, and what the advice rests on


def _upstream(facts: Facts, mode: str) -> Iterator[str]:
    yield "kube-proxy's default becomes nftables in 1.40 (KEP-5343); since 1.37 it warns who never chose a mode"
    if IPVS in (facts.mode, mode) or facts.uses.get(Use.SCHEDULERS):
        yield "kube-proxy's ipvs mode: deprecated in 1.35, off by default in 1.40, removed in 1.43 (KEP-5495)"
    if count := facts.uses.get(Use.EXTERNAL_IPS):
        yield (
            f"spec.externalIPs ({_services(count)}): deprecated in 1.36, in kube-proxy off by default in 1.40, removed "
            "in 1.43 (KEP-5707); Fairway serves them in every mode"
        )


def _basis(facts: Facts) -> Iterator[str]:
    if any(one.cost is not None for one in facts.candidates.values()):
        yield "what was measured on this machine just now; compare figures of one run with each other only"
    else:
        yield (
            "published figures (docs/explain/performance.md): nftables adds 0.4 µs to a connection, at 100 as at "
            "50,000 Services, and a change takes 0.3 to 0.6 ms; iptables with trees adds 1 µs, at 100 as at 10,000, "
            "and a change takes 18 ms (nft variant, 1,000 Services); --measure measures here"
        )
    yield "numbers of rules are computed from the number of frontends and backends, not measured"
    if facts.changes_per_second is None:
        yield "how often the cluster changes is not known: --watch 60 counts"
    if any(one.cannot is None for one in facts.candidates.values()):
        yield "what this machine can do was not asked: that takes root"


def _busy(facts: Facts) -> bool:
    return facts.changes_per_second is not None and facts.changes_per_second >= BUSY


def _loses_localhost(facts: Facts) -> bool:
    """Whether node ports answer at 127.0.0.1 now and, in another mode than iptables, would not."""
    return bool(facts.uses.get(Use.NODE_PORTS)) and (facts.localhost_node_ports or facts.mode == IPTABLES)


def _services(count: int) -> str:
    return f"{count:,} Service{'' if count == 1 else 's'}"
