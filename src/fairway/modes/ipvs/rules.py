"""The iptables rules of a node: as many with ten thousand Services as with one, since they ask ipsets.

nat      PREROUTING, OUTPUT ──▶ KUBE-SERVICES ──▶ KUBE-LOAD-BALANCER, KUBE-NODE-PORT ──▶ KUBE-MARK-MASQ
         POSTROUTING ──▶ KUBE-POSTROUTING (masquerades what is marked, and what goes back to where it came from)
filter   INPUT ──▶ KUBE-IPVS-FILTER (a Service's address has no other ports), KUBE-PROXY-FIREWALL (source ranges),
                   KUBE-NODE-PORT (health checks are let in)
mangle   OUTPUT ──▶ KUBE-IPVS-OUT-FILTER (the same for the node's own, before IPVS rewrites it)
         PREROUTING, OUTPUT ──▶ KUBE-POOL (pods and the node: the mark of a virtual server of their own)

Names, order and comments are the reference's (section 4.5) where it has the rule at all. Rules of empty sets stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fairway.model.address import of_family
from fairway.model.view import NodeSettings
from fairway.modes.ipvs.marks import tag
from fairway.modes.ipvs.parts import SCHEDULERS, set_name
from fairway.modes.xtables import (
    LOOPBACK,
    NAME_OF,
    PING,
    REJECTED,
    Family,
    Place,
    RuleOptions,
    State,
    pod_matches,
    postrouting,
)

SERVICES, POSTROUTING, MARK, MARK_NOT_PODS = "KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-MARK-NOT-PODS"
LOAD_BALANCER, NODE_PORT, FIREWALL, RANGES = (
    "KUBE-LOAD-BALANCER",
    "KUBE-NODE-PORT",
    "KUBE-PROXY-FIREWALL",
    "KUBE-SOURCE-RANGES-FIREWALL",
)
FILTER, OUT_FILTER, FORWARD, DROP_NOT_PODS = (
    "KUBE-IPVS-FILTER",
    "KUBE-IPVS-OUT-FILTER",
    "KUBE-FORWARD",
    "KUBE-DROP-NOT-PODS",
)
POOL, POOL_MASQUERADE = "KUBE-POOL", "KUBE-POOL-MASQ"
_FROM_HERE = "-m addrtype --src-type LOCAL"
_PORTAL = 'service external ip + port for masquerade and filter purpose"'


@dataclass(frozen=True)
class Options(RuleOptions):
    """How the mode is to be, and what the machine can do."""

    scheduler: str = "rr"
    has_scheduler: Callable[[str], bool] = SCHEDULERS.__contains__
    """Which schedulers the kernel has; each is asked about when somebody wants it."""

    @property
    def pool_marks(self) -> str:
        """What the marks of virtual servers have in common, as ``--mark`` takes it."""
        value, mask = tag(self.masquerade_bit)
        return f"{value:#x}/{mask:#x}"


CHAINS = frozenset(
    (
        *(Place("nat", one) for one in (SERVICES, LOAD_BALANCER, NODE_PORT, MARK, MARK_NOT_PODS)),
        *(Place("nat", one) for one in (POSTROUTING, POOL_MASQUERADE)),
        *(Place("filter", one) for one in (FILTER, FIREWALL, RANGES, DROP_NOT_PODS, FORWARD, NODE_PORT, OUT_FILTER)),
        *(Place("mangle", one) for one in (OUT_FILTER, RANGES, POOL)),
    )
)
"""Every chain that is ours, or that the reference has in this mode and that is removed when we take over."""


def rules(family: Family, settings: NodeSettings, options: Options) -> State:
    """All rules of one family."""
    make = _Rules(family, settings, options)
    return {**make.nat(), **make.filter(), **make.mangle()}


@dataclass(frozen=True)
class _Rules:
    family: Family
    settings: NodeSettings
    options: Options

    def nat(self) -> State:
        mark = self.options.mark
        services = (f"{_said('service portals')} -j {SERVICES}",)
        return {
            Place("nat", "PREROUTING"): services,
            Place("nat", "OUTPUT"): services,
            Place("nat", "POSTROUTING"): (f"{_said('postrouting rules')} -j {POSTROUTING}",),
            Place("nat", SERVICES): tuple(self._services()),
            Place("nat", LOAD_BALANCER): (
                f"{_FROM_HERE} -j {MARK}",
                f"{_said('service load balancer ip + port with externalTrafficPolicy=local', 'K')} "
                f"{self.match('LOAD-BALANCER-LOCAL', 'dst,dst')} -j RETURN",
                f"-j {MARK}",
            ),
            Place("nat", NODE_PORT): tuple(self._node_ports()),
            Place("nat", MARK): (f"-j MARK --set-xmark {mark}/{mark}",),
            Place("nat", MARK_NOT_PODS): (*self._pods_return(), f"-j {MARK}"),
            Place("nat", POSTROUTING): (
                f"{_said('endpoints dst ip:port, source ip for solving hairpin purpose', 'K')} "
                f"{self.match('LOOP-BACK', 'dst,dst,src')} -j MASQUERADE",
                f"-m mark --mark {self.options.pool_marks} -j {POOL_MASQUERADE}",
                *postrouting(self.options),
            ),
            # The mark has done its work, and the packet of a tunnel would inherit it.
            Place("nat", POOL_MASQUERADE): ("-j MARK --set-xmark 0x0/0xffffffff", f"{_FROM_HERE} -j {MARK}"),
        }

    def filter(self) -> State:
        mark = self.options.mark
        firewall = f"{_said('kube-proxy firewall rules', '')} -j {FIREWALL}"
        known = ("LOAD-BALANCER", "CLUSTER-IP", "EXTERNAL-IP", "EXTERNAL-IP-LOCAL")
        return {
            Place("filter", "INPUT"): (
                f"{_said('health check rules')} -j {NODE_PORT}",
                f"{_said('ipvs access filter')} -j {FILTER}",
                firewall,
            ),
            Place("filter", "FORWARD"): (firewall, f"{_said('forwarding rules')} -j {FORWARD}"),
            Place("filter", "OUTPUT"): (firewall,),
            Place("filter", FILTER): (
                *(f"{self.match(name, 'dst,dst')} -j RETURN" for name in known),
                f"{self.match('HEALTH-CHECK-NODE-PORT', 'dst')} -j RETURN",
                f"{' '.join(PING[self.family])} {self.match('PING', 'dst')} -j RETURN",
                f"-m conntrack --ctstate NEW {self.match('IPVS-IPS', 'dst')} "
                f"-j REJECT --reject-with {REJECTED[self.family]}",
            ),
            Place("filter", NODE_PORT): (
                f"{_said('health check node port', 'K')} {self.match('HEALTH-CHECK-NODE-PORT', 'dst')} -j ACCEPT",
            ),
            Place("filter", FIREWALL): (
                *self._source_ranges(),
                f"{self.match('DROP', 'dst,dst')} -j DROP",
                f"{self.match('DROP-OUTSIDE', 'dst,dst')} -j {DROP_NOT_PODS}",
                *(
                    f"-d {one} -m addrtype ! --dst-type LOCAL -j DROP"
                    for one in self._of(self.settings.service_networks)
                ),
            ),
            Place("filter", RANGES): self._ranges(),
            Place("filter", DROP_NOT_PODS): (*self._pods_return(), "-j DROP"),
            Place("filter", FORWARD): (
                f"{_said('forwarding rules')} -m mark --mark {mark}/{mark} -j ACCEPT",
                f"{_said('forwarding conntrack rule')} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            ),
        }

    def mangle(self) -> State:
        pools = f"{_said('service pools of pods and of this node')} -m conntrack --ctstate NEW -j {POOL}"
        mark = f"-j SET --map-set {set_name('POOL', self.family)} dst,dst --map-mark"
        inner = (*pod_matches(self.settings, self.family), _FROM_HERE)
        return {
            Place("mangle", "PREROUTING"): (pools,),
            Place("mangle", "OUTPUT"): (f"{_said('ipvs access filter')} -j {OUT_FILTER}", pools),
            Place("mangle", POOL): tuple(f"{one} {mark}" for one in inner),
            Place("mangle", OUT_FILTER): (
                *self._source_ranges(),
                f"{self.match('DROP', 'dst,dst')} -j DROP",
            ),
            Place("mangle", RANGES): self._ranges(),
        }

    def match(self, name: str, directions: str) -> str:
        return f"-m set --match-set {set_name(name, self.family)} {directions}"

    def _services(self) -> Iterator[str]:
        cluster, load_balancer = self.match("CLUSTER-IP", "dst,dst"), self.match("LOAD-BALANCER", "dst,dst")
        yield f"-s {LOOPBACK[self.family]} -j RETURN"
        yield f"-m mark --mark {self.options.pool_marks} -j ACCEPT"
        yield f"{_said('service lb portal', 'K')} {load_balancer} -j {LOAD_BALANCER}"
        yield self._cluster_ip_masquerade()
        for name in ("EXTERNAL-IP", "EXTERNAL-IP-LOCAL"):
            external = f'-m comment --comment "Kubernetes {_PORTAL} {self.match(name, "dst,dst")}'
            yield f"{external}{f' {_FROM_HERE}' if name == 'EXTERNAL-IP-LOCAL' else ''} -j {MARK}"
            yield f"{external} -m physdev ! --physdev-is-in -m addrtype ! --src-type LOCAL -j ACCEPT"
            yield f"{external} -m addrtype --dst-type LOCAL -j ACCEPT"
        # Before the node ports: a port number of a cluster IP may be a node port elsewhere.
        yield f"{cluster} -j ACCEPT"
        yield f"{load_balancer} -j ACCEPT"
        yield f"-m addrtype --dst-type LOCAL -j {NODE_PORT}"

    def _cluster_ip_masquerade(self) -> str:
        """Whoever is no pod; when pods cannot be told, the node's own: its source would be the cluster IP itself."""
        said = _said("service cluster ip + port for masquerade purpose", "K")
        to = f"{said} {self.match('CLUSTER-IP', 'dst,dst')}"
        ways = pod_matches(self.settings, self.family)
        if self.settings.masquerade_all:
            return f"{to} -j {MARK}"
        if not ways:
            return f"{said} {self.match('CLUSTER-IP', 'src,dst')} -j {MARK}"
        return f"! {ways[0]} {to} -j {MARK}" if len(ways) == 1 else f"{to} -j {MARK_NOT_PODS}"

    def _node_ports(self) -> Iterator[str]:
        for protocol in ("TCP", "UDP", "SCTP"):
            suffix, directions = (f"{protocol}-HASH", "dst,dst") if protocol == "SCTP" else (protocol, "dst")
            local = (
                f"-p {protocol.lower()} {_said(f'nodeport {protocol} port with externalTrafficPolicy=local', 'K')} "
                f"{self.match(f'NODE-PORT-LOCAL-{suffix}', directions)}"
            )
            yield f"{local} {_FROM_HERE} -j {MARK}"
            yield f"{local} -j RETURN"
            yield (
                f"-p {protocol.lower()} {_said(f'nodeport {protocol} port for masquerade purpose', 'K')} "
                f"{self.match(f'NODE-PORT-{suffix}', directions)} -j {MARK}"
            )

    def _source_ranges(self) -> Iterator[str]:
        said = _said("service load balancer ip + port for load balancer with sourceRange", "K")
        yield f"{said} {self.match('LOAD-BALANCER-FW', 'dst,dst')} -j {RANGES}"

    def _ranges(self) -> tuple[str, ...]:
        said = _said("service load balancer ip + port + source cidr for packet filter purpose", "K")
        back = _said("service load balancer ip + port + source IP for packet filter purpose", "K")
        return (
            f"{said} {self.match('LOAD-BALANCER-SOURCE-CIDR', 'dst,dst,src')} -j RETURN",
            f"{back} {self.match('LOAD-BALANCER-SOURCE-IP', 'dst,dst,src')} -j RETURN",
            "-j DROP",
        )

    def _pods_return(self) -> Iterator[str]:
        return (f"{one} -j RETURN" for one in pod_matches(self.settings, self.family))

    def _of(self, networks: tuple[str, ...]) -> tuple[str, ...]:
        return of_family(networks, NAME_OF[self.family])


def _said(text: str, start: str = "k") -> str:
    word = {"k": "kubernetes ", "K": "Kubernetes ", "": ""}[start]
    return f'-m comment --comment "{word}{text}"'
