"""The chains that are always there: hooks, marks, masquerade, what every frontend's lines hang in.

nat     PREROUTING, OUTPUT ──▶ KUBE-SERVICES ──▶ … KUBE-SVC-X ──▶ KUBE-SEP-Y (DNAT)      KUBE-NODEPORTS ──▶ KUBE-EXT-X
        POSTROUTING ──▶ KUBE-POSTROUTING (masquerade what KUBE-MARK-MASQ has marked)
filter  INPUT, FORWARD, OUTPUT ──▶ KUBE-PROXY-FIREWALL, KUBE-SERVICES, KUBE-EXTERNAL-SERVICES (refuse what nat left)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from fairway.model.address import is_loopback, of_family
from fairway.model.view import NodeSettings
from fairway.modes.iptables import names as n
from fairway.modes.iptables.names import TREES
from fairway.modes.iptables.rules import comment, host
from fairway.modes.iptables.tree import Words
from fairway.modes.xtables import (
    LOOPBACK,
    NAME_OF,
    TABLES,
    Family,
    Place,
    RuleOptions,
    State,
    pod_matches,
    postrouting,
)

DROPPED_COUNTER, LOCALHOST_COUNTER = "ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts"
_NEW = "-m conntrack --ctstate NEW"
_TRANSLATED = "-m conntrack --ctstate DNAT -j RETURN"
_BY_PORT = frozenset((n.NODE_PORTS, n.EXTERNAL_NODE_PORTS))


@dataclass(frozen=True, kw_only=True)
class Options(RuleOptions):
    """How the mode is to be, and what the machine can do."""

    flat: bool = False
    """The reference's rules, one after the other, instead of dispatch trees."""
    drop_invalid: bool = True
    """Whether packets that connection tracking calls invalid are dropped; not where it is told to be liberal."""
    count: bool = False
    """Whether the kernel has the counters of nfacct."""


class Dispatch(NamedTuple):
    """A chain whose middle is the frontends' lines."""

    words: Words
    head: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Base:
    """One family's chains without any frontend."""

    family: Family
    fixed: State = field(default_factory=dict)
    dispatches: dict[Place, Dispatch] = field(default_factory=dict)
    flat: bool = False


def base(family: Family, settings: NodeSettings, options: Options) -> Base:
    """What a node without Services has."""
    make = _Base(family, settings, options)
    fixed: State = {Place(table, n.CANARY): () for table in TABLES}
    fixed.update(make.nat())
    fixed.update(make.filter())
    return Base(family, fixed, make.dispatches(), options.flat)


def node_port_matches(settings: NodeSettings, family: Family) -> tuple[str, ...]:
    """The ways to ask whether a packet goes to an address that takes node ports, each enough alone."""
    localhost = settings.localhost_node_ports and family == "ip"
    if settings.node_port_addresses is None:
        return (f"{'' if localhost else f'! -d {LOOPBACK[family]} '}-m addrtype --dst-type LOCAL",)
    taken = of_family(settings.node_port_addresses, NAME_OF[family])
    return tuple(f"-d {host(one, family)}" for one in taken if localhost or not is_loopback(one))


@dataclass(frozen=True)
class _Base:
    family: Family
    settings: NodeSettings
    options: Options

    def nat(self) -> State:
        mark = self.options.mark
        services = (f"{comment('kubernetes service portals')} -j {n.SERVICES}",)
        found: State = {
            Place("nat", "PREROUTING"): services,
            Place("nat", "OUTPUT"): services,
            Place("nat", "POSTROUTING"): (f"{comment('kubernetes postrouting rules')} -j {n.POSTROUTING}",),
            Place("nat", n.MARK): (f"-j MARK --set-xmark {mark}/{mark}",),
            Place("nat", n.POSTROUTING): postrouting(self.options),
        }
        if not self.options.flat:
            # An address of the node may lie within the pods' network (a bridge has one): it is asked for first.
            local = f"-m addrtype --src-type LOCAL -g {n.MARK}"
            pods = (f"{match} -j RETURN" for match in pod_matches(self.settings, self.family))
            found[Place("nat", n.MARK_NOT_PODS)] = (local, *pods, f"-j {n.MARK}")
        return found

    def filter(self) -> State:
        hooks: dict[str, tuple[str, ...]] = {
            "INPUT": (self._firewall(), self._health_checks(), self._external()),
            "FORWARD": (self._firewall(), self._forward(), self._services(), self._external()),
            "OUTPUT": (self._firewall(), self._services()),
        }
        guard = n.FIREWALL if self.options.flat else n.LOCALHOST
        if self.options.flat:
            hooks = {hook: (*((f"-j {guard}",) if hook != "FORWARD" else ()), *some) for hook, some in hooks.items()}
        else:
            hooks["INPUT"] = (f"-j {guard}", *hooks["INPUT"])
            hooks["OUTPUT"] += (self._external(),)
        return {
            **{Place("filter", hook): some for hook, some in hooks.items()},
            Place("filter", guard): tuple(self._localnet()),
            Place("filter", n.FORWARD): tuple(self._forwarding()),
        }

    def _firewall(self) -> str:
        return f"{_NEW} {comment('kubernetes load balancer firewall')} -j {n.PROXY_FIREWALL}"

    def _health_checks(self) -> str:
        return f"{comment('kubernetes health check service ports')} -j {n.NODE_PORTS}"

    def _services(self) -> str:
        return f"{_NEW} {comment('kubernetes service portals')} -j {n.SERVICES}"

    def _external(self) -> str:
        return f"{_NEW} {comment('kubernetes externally-visible service portals')} -j {n.EXTERNAL}"

    def _forward(self) -> str:
        return f"{comment('kubernetes forwarding rules')} -j {n.FORWARD}"

    def _localnet(self) -> list[str]:
        """Localhost's node ports need route_localnet, with which others could reach what listens on 127.0.0.1 only.

        The kubelet has the reference's rule in the same chain, and leads its own output there, too.
        """
        if self.family == "ip6" or not self.settings.localhost_node_ports:
            return []
        states = "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT"
        says = comment("block incoming localnet connections")
        elsewhere = "! -s 127.0.0.0/8 -d 127.0.0.0/8" if self.options.flat else "-d 127.0.0.0/8 ! -i lo"
        return [f"{elsewhere} {says} {states} -j DROP"]

    def _forwarding(self) -> list[str]:
        counted = f" -m nfacct --nfacct-name {DROPPED_COUNTER}" if self.options.count else ""
        invalid = [f"-m conntrack --ctstate INVALID{counted} -j DROP"] if self.options.drop_invalid else []
        mark, says = self.options.mark, comment("kubernetes forwarding rules")
        known = comment("kubernetes forwarding conntrack rule")
        return [
            *invalid,
            f"{says} -m mark --mark {mark}/{mark} -j ACCEPT",
            f"{known} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ]

    def dispatches(self) -> dict[Place, Dispatch]:
        flat = self.options.flat
        # What nat has rewritten is a backend's business now, even if a frontend has the same address and port.
        head = () if flat else (_TRANSLATED,)
        found = {
            Place("nat", n.SERVICES): self._dispatch("nat", n.SERVICES, tail=self._to_node_ports()),
            Place("nat", n.NODE_PORTS): self._dispatch("nat", n.NODE_PORTS),
            Place("filter", n.NODE_PORTS): self._dispatch("filter", n.NODE_PORTS),
            Place("filter", n.SERVICES): self._dispatch("filter", n.SERVICES, head),
            Place("filter", n.PROXY_FIREWALL): self._dispatch("filter", n.PROXY_FIREWALL, head),
            Place("filter", n.EXTERNAL): self._dispatch("filter", n.EXTERNAL, head, () if flat else self._others()),
        }
        if not flat:
            for name in (n.EXTERNAL_NODE_PORTS, n.OTHER_PORTS):
                found[Place("filter", name)] = self._dispatch("filter", name)
        return found

    def _dispatch(self, table: str, name: str, head: tuple[str, ...] = (), tail: tuple[str, ...] = ()) -> Dispatch:
        words = Words(self.family, name, TREES[table, name], ports=name in _BY_PORT)
        return Dispatch(words, head, tail)

    def _to_node_ports(self) -> tuple[str, ...]:
        """The end of KUBE-SERVICES."""
        says = comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
        return tuple(_with_comment(match, says) + f" -j {n.NODE_PORTS}" for match in self._node_ports())

    def _others(self) -> tuple[str, ...]:
        """The end of KUBE-EXTERNAL-SERVICES: refused node ports, ports that no Service has, addresses that none has."""
        says = comment("kubernetes service networks: an address that no Service has")
        networks = of_family(self.settings.service_networks, NAME_OF[self.family])
        return (
            *(f"{match} -j {n.EXTERNAL_NODE_PORTS}" for match in self._node_ports()),
            f"-j {n.OTHER_PORTS}",
            *(f"-d {network} {says} -j DROP" for network in networks),
        )

    def _node_ports(self) -> tuple[str, ...]:
        return node_port_matches(self.settings, self.family)


def _with_comment(match: str, says: str) -> str:
    """The comment stands between address and further matches, as the reference has it."""
    address, module, rest = match.partition(" -m ")
    if match.startswith("-m "):
        return f"{says} {match}"
    return f"{address} {says}{module}{rest}"
