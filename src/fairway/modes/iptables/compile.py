"""A frontend's table of actions, translated into rules.

    everybody is forwarded            KUBE-SERVICES ──▶ KUBE-SVC-X ──▶ KUBE-SEP-…      (KUBE-SVL-X: only those here)
    it depends on the client          KUBE-SERVICES ──▶ KUBE-EXT-X ──▶ KUBE-SVC-X or KUBE-SVL-X, or back
    source ranges                     KUBE-SERVICES ──▶ KUBE-FW-X ──▶ KUBE-EXT-X, and DROP in KUBE-PROXY-FIREWALL
    refused                           REJECT or DROP in the filter table, which sees what nat has not rewritten

The chains of a Service port are shared by its frontends: each says all the lines it needs (`fairway.modes.shares`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

from fairway.model.address import of_family
from fairway.model.view import HASH, RANDOM, Action, ActionKind, Backend, Frontend, FrontendKind, NodeSettings
from fairway.modes.iptables import names as n
from fairway.modes.iptables.flat import FlatLines
from fairway.modes.iptables.lines import Lines
from fairway.modes.iptables.program import Fragment
from fairway.modes.iptables.rules import comment, host
from fairway.modes.iptables.ruleset import LOCALHOST_COUNTER, Options
from fairway.modes.iptables.tree import Line
from fairway.modes.xtables import PING, pod_matches

_LOCAL = "-m addrtype --src-type LOCAL"


def compile_frontend(frontend: Frontend, settings: NodeSettings, options: Options) -> Fragment:
    """One frontend's share of the Program; nothing in a family that the machine has not."""
    form = FlatLines if options.flat else TreeLines
    made = form(frontend, settings, options)
    lines = tuple(made.lines()) if made.family in options.families else ()
    return Fragment(frontend, made.family, lines)


def unsupported(frontend: Frontend) -> list[str]:
    """What the frontend asks for and iptables cannot do, as sentences for the user."""
    return [*_balancing(frontend), *_scheduler(frontend)]


def _scheduler(frontend: Frontend) -> list[str]:
    if not frontend.scheduler:
        return []
    return [f"Service {frontend.service}: fairway.dev/ipvs-scheduler has no effect: only the ipvs mode has schedulers"]


def _balancing(frontend: Frontend) -> list[str]:
    if frontend.balancing == HASH:
        return [
            f"Service {frontend.service}: fairway.dev/balancing=hash needs the nftables mode: iptables cannot look up "
            f"a backend by a hash; it is {RANDOM}"
        ]
    if frontend.balancing != RANDOM:
        shown = repr(frontend.balancing[:63])
        return [f"Service {frontend.service}: fairway.dev/balancing must be {RANDOM}, not {shown}; it is {RANDOM}"]
    return []


class TreeLines(Lines):
    """The default form: found by dispatch trees, and exactly what `fairway.model.decide` says."""

    def lines(self) -> Iterator[Line]:
        if self.frontend.kind in (FrontendKind.OTHER_PORTS, FrontendKind.PING):
            yield from self._other_ports()
            return
        for pool in self.pools():
            yield from self.endpoints(pool)
        target = yield from self._target()
        if target:
            match = self.match(f"{self.name} {self.frontend.kind}")
            yield from self._localhost(target)
            yield self.dispatched("nat", n.NODE_PORTS if self.is_node_port else n.SERVICES, "1", f"{match} -j {target}")
        if not self.is_node_port and self.settings.takes_node_ports(self.frontend.address):
            # What this frontend does not forward is refused, even if a node port has the same number.
            says = self.match(f"{self.name} {self.frontend.kind}: no node port")
            yield self.dispatched("nat", n.SERVICES, "2", f"{says} -j ACCEPT")
        yield from self._refusals()
        yield from self.health_check()

    def hairpins(self, backend: Backend) -> bool:
        return backend.may_be_here

    def _target(self) -> Generator[Line, None, str]:
        """The lines that tell clients apart; returns the chain to begin with, or nothing when nobody is forwarded."""
        if not any(self.forwards(one) for one in self.actions.values()):
            return ""
        mark = self._mark()
        if mark is not None:
            target = self.pool_chain(self.frontend.outside.pool)
            if mark:
                # The chain is the other frontends' too: what this one masquerades is told by its address.
                yield Line("nat", target, 0, "0", f"{self.match(f'{self.name} {self.frontend.kind}')} -j {mark}")
            return target
        target = f"{'KUBE-INT-' if self.frontend.kind is FrontendKind.CLUSTER_IP else 'KUBE-EXT-'}{self.hash}"
        rules = [rule for client, action in self._clients() for rule in self._sent(client, action)]
        yield from (Line("nat", target, 0, str(order), rule) for order, rule in enumerate(rules))
        if self.frontend.source_ranges:
            outer = f"KUBE-FW-{self.hash}"
            yield from (Line("nat", outer, 0, f"0 {one}", f"{one} -j {target}") for one in self._allowed())
            return outer
        return target

    def _mark(self) -> str | None:
        """For a cluster IP whose clients all go the same way: what marks those to masquerade; empty for nobody."""
        actions, one = self.actions.values(), self.frontend
        if one.kind is not FrontendKind.CLUSTER_IP or len({(action.kind, action.pool) for action in actions}) > 1:
            return None
        pods = self.settings.detects_pods(one.family)
        flags = (one.pod.masquerade and pods, one.node.masquerade, one.outside.masquerade)
        if pods:
            return {(True,) * 3: n.MARK, (False,) * 3: "", (False, True, True): n.MARK_NOT_PODS}.get(flags)
        return {(True, True): n.MARK, (False, False): ""}.get(flags[1:])

    def _allowed(self) -> Iterator[str]:
        """Asks for a source that may connect; the address itself may, to itself, when the node may."""
        says = comment(f"{self.name} {self.frontend.kind}")
        own = host(self.frontend.address, self.family)
        for network in self.frontend.source_ranges:
            yield f"-s {network} {self.to_service if network == own else ''}{says}"

    def _sent(self, client: str, action: Action) -> Iterator[str]:
        """What one kind of client gets in its own chain; who gets nothing goes back."""
        asked = f"{client} " if client else ""
        if not self.forwards(action):
            yield from [f"{asked}-j RETURN"] if client else []
            return
        if action.masquerade:
            yield f"{asked}{comment(f'masquerade traffic for {self.name}')} -j {n.MARK}"
        yield f"{asked}{comment(f'{self.name}: {action.because}')} -g {self.pool_chain(action.pool)}"

    def _clients(self) -> list[tuple[str, Action]]:
        """Questions to ask one after the other, and what is done with whom they fit; the last one asks nothing."""
        pod, node, outside = self.frontend.pod, self.frontend.node, self.frontend.outside
        pods = pod_matches(self.settings, self.family) if _differ(pod, outside) else ()
        local = [(_LOCAL, node)] if pods or _differ(node, outside) else []
        return [*local, *((match, pod) for match in pods), ("", outside)]

    def _localhost(self, target: str) -> Iterator[Line]:
        """Counts what goes to node ports by way of 127.0.0.1, as the reference does."""
        if self.is_node_port and self.options.count and self.settings.localhost_node_ports and self.family == "ip":
            counter = f"-m nfacct --nfacct-name {LOCALHOST_COUNTER}"
            rule = f"-d 127.0.0.0/8 {self.match(f'{self.name} {self.frontend.kind}')} {counter} -j {target}"
            yield self.dispatched("nat", n.NODE_PORTS, "0", rule)

    def _refusals(self) -> Iterator[Line]:
        """What becomes of those that nat has let pass."""
        kinds = {one.kind for one in self.actions.values() if not self.forwards(one)}
        if self.frontend.source_ranges:
            yield from self._firewall(ActionKind.REJECT in kinds)
        chains = {FrontendKind.CLUSTER_IP: n.SERVICES, FrontendKind.NODE_PORT: n.EXTERNAL_NODE_PORTS}
        chain = chains.get(self.frontend.kind, n.EXTERNAL)
        if len(kinds) == 1:
            refused = [("", next(iter(kinds)))]
        else:
            refused = [(client, one.kind) for client, one in self._clients() if kinds and not self.forwards(one)]
        for order, (client, kind) in enumerate(refused):
            says = f"{self.name} has no {'local ' if kind is ActionKind.DROP else ''}endpoints"
            yield self.dispatched("filter", chain, str(order), f"{self.match(says, client)} {self.refusal(kind)}")

    def _firewall(self, refuses: bool) -> Iterator[Line]:
        """Drops who is not in the source ranges; who is in them may still have to be refused, by another chain."""
        match = self.match(f"{self.name} source ranges")
        if not refuses:
            yield self.dispatched("filter", n.PROXY_FIREWALL, "0", f"{match} -j DROP")
            return
        chain = f"KUBE-FW-{self.hash}"
        yield from (Line("filter", chain, 0, f"0 {one}", f"{one} -j RETURN") for one in self._allowed())
        yield Line("filter", chain, 0, "1", "-j DROP")
        yield self.dispatched("filter", n.PROXY_FIREWALL, "0", f"{match} -j {chain}")

    def _other_ports(self) -> Iterator[Line]:
        """An address as such: it answers pings, by way of one of this node's own, and refuses what no port takes."""
        for address in of_family(self.settings.answers_ping, self.frontend.family):
            protocol, echo = PING[self.family]
            rule = f"{self.to_service}{protocol} {comment(f'ping {self.name}')} {echo}"
            yield self.dispatched("nat", n.SERVICES, "0", f"{rule} -j DNAT --to-destination {address}")
        if self.frontend.kind is FrontendKind.OTHER_PORTS:
            says = comment(f"{self.frontend.service} has no such port")
            rule = f"{self.to_service}{says} {self.refusal(ActionKind.REJECT)}"
            yield self.dispatched("filter", n.OTHER_PORTS, "0", rule)


def _differ(one: Action, other: Action) -> bool:
    return (one.kind, one.pool, one.masquerade) != (other.kind, other.pool, other.masquerade)
