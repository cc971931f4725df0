"""The reference's own rules, one after the other, byte for byte: for whoever compares or parses them (reference, 4.1).

What it does otherwise than `fairway.model.decide` says is what the real kube-proxy does otherwise: see
docs/explain/iptables.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from fairway.model.view import Action, ActionKind, Backend, FrontendKind, Pool
from fairway.modes.iptables import names as n
from fairway.modes.iptables.lines import Lines
from fairway.modes.iptables.rules import comment
from fairway.modes.iptables.ruleset import LOCALHOST_COUNTER
from fairway.modes.iptables.tree import Line
from fairway.modes.xtables import pod_matches

_LOCAL = "-m addrtype --src-type LOCAL"


class FlatLines(Lines):
    """`options.flat`."""

    def lines(self) -> Iterator[Line]:
        kind = self.frontend.kind
        if kind in (FrontendKind.OTHER_PORTS, FrontendKind.PING):
            return
        for pool in self.pools():
            yield from self.endpoints(pool)
        if kind is FrontendKind.CLUSTER_IP and self.frontend.node == self.frontend.outside:
            yield from self._cluster_ip(self.frontend.outside)
        else:
            yield from self._external(self.frontend.node, self.frontend.outside)
        yield from self.health_check()

    def hairpins(self, backend: Backend) -> bool:
        return True

    def _cluster_ip(self, action: Action) -> Iterator[Line]:
        if not self.forwards(action):
            yield self._refused(n.SERVICES, action.kind)
            return
        chain = self.pool_chain(action.pool)
        match = self.match(f"{self.name} cluster IP")
        yield self.dispatched("nat", n.SERVICES, "0", f"{match} -j {chain}")
        if self.frontend.pod.masquerade and action.masquerade:
            yield Line("nat", chain, 0, "0", f"{match} -j {n.MARK}")
        elif action.masquerade:
            for pods in pod_matches(self.settings, self.family)[:1]:
                not_pods = self.match(f"{self.name} cluster IP", f"! {pods}")
                yield Line("nat", chain, 0, "0", f"{not_pods} -j {n.MARK}")

    def _external(self, node: Action, outside: Action) -> Iterator[Line]:
        """All but cluster IPs go through one chain, which tells the clients apart."""
        if outside.kind is not ActionKind.FORWARD:
            yield self._refused(n.EXTERNAL, outside.kind)
        if ActionKind.FORWARD not in (node.kind, outside.kind):
            return
        chain = f"KUBE-EXT-{self.hash}"
        yield from (Line("nat", chain, 0, str(order), rule) for order, rule in enumerate(self._by_client(chain)))
        if self.is_node_port:
            yield from self._node_port(chain)
            return
        if self.frontend.source_ranges:
            chain = f"KUBE-FW-{self.hash}"
            yield from self._firewall(chain)
        kind = "loadbalancer IP" if self.frontend.kind is FrontendKind.LOAD_BALANCER else str(self.frontend.kind)
        yield self.dispatched("nat", n.SERVICES, "0", f"{self.match(f'{self.name} {kind}')} -j {chain}")

    def _by_client(self, chain: str) -> Iterator[str]:
        node, outside, there = self.frontend.node, self.frontend.outside, f"{self.name} external destinations"
        if node == outside:
            yield f"{comment(f'masquerade traffic for {there}')} -j {n.MARK}"
            yield f"-j {self.pool_chain(outside.pool)}"
            return
        cluster = self.pool_chain(Pool.CLUSTER)
        if self.frontend.pod != outside:
            for pods in pod_matches(self.settings, self.family)[:1]:
                yield f"{pods} {comment(f'pod traffic for {there}')} -j {cluster}"
        if node.masquerade:
            yield f"{comment(f'masquerade LOCAL traffic for {there}')} {_LOCAL} -j {n.MARK}"
        yield f"{comment(f'route LOCAL traffic for {there}')} {_LOCAL} -j {cluster}"
        if self.forwards(outside):
            yield f"-j {self.pool_chain(outside.pool)}"

    def _node_port(self, chain: str) -> Iterator[Line]:
        match = self.match(self.name)
        if self.options.count and self.settings.localhost_node_ports and self.family == "ip":
            counted = f"-d 127.0.0.0/8 {match} -m nfacct --nfacct-name {LOCALHOST_COUNTER} -j {chain}"
            yield self.dispatched("nat", n.NODE_PORTS, "0", counted)
        yield self.dispatched("nat", n.NODE_PORTS, "1", f"{match} -j {chain}")

    def _firewall(self, chain: str) -> Iterator[Line]:
        says = comment(f"{self.name} loadbalancer IP")
        for network in self.frontend.source_ranges:
            yield Line("nat", chain, 0, f"0 {network}", f"-s {network} {says} -j KUBE-EXT-{self.hash}")
        dropped = comment(f"other traffic to {self.name} will be dropped by {n.PROXY_FIREWALL}")
        yield Line("nat", chain, 0, "1", dropped)
        rule = f"{self.match(f'{self.name} traffic not accepted by {chain}')} -j DROP"
        yield self.dispatched("filter", n.PROXY_FIREWALL, "0", rule)

    def _refused(self, chain: str, kind: ActionKind) -> Line:
        lacks = "has no local endpoints" if kind is ActionKind.DROP else "has no endpoints"
        here = "-m addrtype --dst-type LOCAL" if self.is_node_port else ""
        rule = f"{self.match(f'{self.name} {lacks}', here)} {self.refusal(kind)}"
        return self.dispatched("filter", chain, "0", rule)
