"""The way of a packet through a cluster: one hop for each node whose rules it meets.

    pod web-1 ──▶ node n1 ─ pass (n2's address) ──▶ node n2 ─ node port ──▶ backend 10.244.3.4:8080 on n3

A hop ends the journey when it delivers, refuses or drops. A packet that is for no Service goes where routes lead:
to another node (whose rules come next), to a pod, or away.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairway.diagnose.cluster import Cluster
from fairway.diagnose.places import Start, Target
from fairway.model.address import contains
from fairway.model.decide import decide
from fairway.model.packet import ICMP, Choice, Outcome, Packet, Trace, Verdict
from fairway.model.view import FrontendKey, FrontendKind, NodeView
from fairway.modes.registry import MODES


class Disagreement(Exception):
    """`decide` and a mode's `evaluate` answered differently: a defect of Fairway, never to be hidden."""


@dataclass(frozen=True)
class Hop:
    """One node's part: its view decided, its mode's rules walked."""

    node: str
    trace: Trace
    view: NodeView

    @property
    def outcome(self) -> Outcome:
        return self.trace.outcome


@dataclass(frozen=True)
class Journey:
    start: Start
    target: Target
    hops: tuple[Hop, ...]

    @property
    def outcome(self) -> Outcome:
        return self.hops[-1].outcome

    @property
    def reaches(self) -> bool:
        """Whether the packet gets to somebody whose answer comes back (a pod or node it was addressed to counts)."""
        if self.outcome.verdict is Verdict.DELIVER:
            return any(self.returns(choice) for choice in self.outcome.choices)
        return self.outcome.verdict in (Verdict.PASS, Verdict.ANSWER)

    @property
    def fails_to_leave(self) -> bool:
        """Whether it is dropped within the sender's own node: then ``send()`` says so (EPERM).

        Not to senders of TCP and SCTP: there the kernel sends, and tries again.
        """
        dropped_here = self.outcome.verdict is Verdict.DROP and len(self.hops) == 1
        return dropped_here and self.start.local and self.target.protocol in ("UDP", ICMP)

    def returns(self, choice: Choice) -> bool:
        """Whether the backend's answer passes the node that rewrote the packet, so that it is translated back.

        It does when the backend sees that node's address, or runs on it, or when the client itself is there. Otherwise
        the backend answers the client directly, and the client does not know the address that answers.
        """
        node = self.hops[-1].node
        at_home = self.start.node == node and not self.start.outside
        return choice.masquerade or choice.backend.node == node or at_home


def travel(cluster: Cluster, start: Start, target: Target, mode: str = "") -> Journey:
    """Follow a packet from node to node until it is settled, in a mode or in that of each. Raises `Disagreement`."""
    packet = Packet(
        source=start.address,
        destination=target.address,
        protocol=target.protocol,
        port=target.port,
        local=start.local,
        interface=_interface(cluster, start),
    )
    hops = [_hop(cluster, start.node, packet, mode)]
    while (onward := _next_node(cluster, hops[-1])) is not None and len(hops) <= len(cluster.nodes):
        arriving = Packet(
            source=packet.source,
            destination=packet.destination,
            protocol=packet.protocol,
            port=packet.port,
        )
        hops.append(_hop(cluster, onward, arriving, mode))
    return Journey(start, target, tuple(hops))


def _interface(cluster: Cluster, start: Start) -> str:
    """By which a pod's packets come in: one that the node's proxy takes for its pods', where that is how it tells."""
    told = cluster.settings(start.node).pod_interface
    return told.removesuffix("*") if not start.local and not start.outside else ""


def _hop(cluster: Cluster, node: str, packet: Packet, mode: str) -> Hop:
    chosen = MODES[mode or cluster.mode(node)]
    view = cluster.view(node)
    trace = chosen.evaluate(chosen.program(view), packet)
    decided = decide(view, packet)
    if trace.outcome.essence != decided.essence:
        raise Disagreement(f"on {node}, {packet}: the rules say {trace.outcome}, the objects say {decided}")
    # Same essence, better words: the view knows the policy's name, rules only know sets.
    return Hop(node, Trace(packet=packet, steps=trace.steps, outcome=decided), view)


def _next_node(cluster: Cluster, hop: Hop) -> str | None:
    """The other node that an untouched packet is addressed to."""
    if hop.outcome.verdict is not Verdict.PASS:
        return None
    onward = cluster.node_at(hop.trace.packet.destination)
    return onward if onward != hop.node else None


def after_pass(cluster: Cluster, packet: Packet) -> str:
    """What becomes of a packet that is for no Service, in words."""
    if pod := cluster.pod_at(packet.destination):
        return f"routed to pod {pod.key} on {pod.spec.node_name}"
    if node := cluster.node_at(packet.destination):
        listens = (
            "it" if packet.protocol == ICMP else f"whatever listens there on {packet.protocol.lower()} {packet.port}"
        )
        return f"taken by node {node}: {listens} answers"
    if contains(cluster.pod_networks, packet.destination):
        return "routed into the pod network, where no pod has this address"
    return "routed out of the cluster"


def frontend_words(hop: Hop, key: FrontendKey) -> str:
    """``shop/cart:http (cluster IP 10.96.0.7:80/TCP)``."""
    frontend = hop.view.frontends[key]
    if hop.trace.packet.protocol == ICMP:
        return f"{frontend.service} ({key.address})"
    if frontend.kind is FrontendKind.OTHER_PORTS:
        return f"{frontend.service} (cluster IP {key.address}, a port it does not have)"
    return f"{frontend.service_port} ({frontend.kind} {key})"
