"""The reference answer: what must happen to a packet, read from the NodeView alone.

Every mode's `evaluate` and every real kernel must agree with `decide`; the laws and the kernel tests hold them to it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fairway.model.address import ANY, contains
from fairway.model.hashing import chosen
from fairway.model.packet import ICMP, Choice, Outcome, Packet, Verdict
from fairway.model.view import (
    HASH,
    ActionKind,
    Backend,
    Client,
    Frontend,
    FrontendKey,
    FrontendKind,
    NodeSettings,
    NodeView,
)

_UNDELIVERED = {
    ActionKind.REJECT: Verdict.REJECT,
    ActionKind.DROP: Verdict.DROP,
    ActionKind.ANSWER: Verdict.ANSWER,
}


def client_of(packet: Packet, settings: NodeSettings) -> Client:
    """Which row of a frontend's table the packet belongs to."""
    if packet.local or packet.source in settings.addresses:
        return Client.NODE
    if settings.is_pods_interface(packet.interface) or contains(settings.pod_networks, packet.source):
        return Client.POD
    return Client.OUTSIDE


def frontend_of(view: NodeView, packet: Packet) -> Frontend | None:
    """The frontend that a packet is for: its own address first, then the node's ports, then a known address."""
    found = view.frontends.get(packet.key)
    if found is None and view.settings.takes_node_ports(packet.destination):
        found = view.frontends.get(FrontendKey(ANY[packet.family], packet.protocol, packet.port))
    return found or view.frontends.get(FrontendKey(packet.destination, "", 0))


def decide(view: NodeView, packet: Packet, remembered: Backend | None = None) -> Outcome:
    """How the packet ends on this node and why, with every backend it may get.

    ``remembered`` is the backend that the client had from this frontend before, less than its session affinity's
    timeout ago: it gets that one again as long as it is one of those it may get.
    """
    frontend = frontend_of(view, packet)
    if frontend is None:
        if contains(view.settings.service_networks, packet.destination):
            because = "an address of the Service network that no Service has"
            return Outcome(verdict=Verdict.DROP, because=because)
        return Outcome(verdict=Verdict.PASS, because="not an address and port of any Service")
    if _is_answered(view, packet, frontend):
        return Outcome(verdict=Verdict.ANSWER, because="a Service's address", frontend=frontend.key)
    client = client_of(packet, view.settings)
    if frontend.source_ranges and not contains(frontend.source_ranges, packet.source):
        because = "spec.loadBalancerSourceRanges does not hold the client's address"
        return Outcome(verdict=Verdict.DROP, because=because, frontend=frontend.key)
    action = frontend.action(client)
    if action.kind in _UNDELIVERED:
        return Outcome(verdict=_UNDELIVERED[action.kind], because=action.because, frontend=frontend.key)
    pool = frontend.pool(action.pool)
    if remembered and frontend.affinity_seconds:
        same = (remembered.address, remembered.port)
        again = tuple(one for one in pool if (one.address, one.port) == same)
        pool = again or _pick(frontend, pool, packet)
    else:
        pool = _pick(frontend, pool, packet)
    choices = tuple(
        # A backend that talks to itself through its Service must see another address than its own, or it would
        # answer itself directly and the answer would never be translated back.
        Choice(backend, action.masquerade or (backend.may_be_here and backend.address == packet.source), backend.weight)
        for backend in pool
    )
    return Outcome(verdict=Verdict.DELIVER, because=action.because, choices=choices, frontend=frontend.key)


def _is_answered(view: NodeView, packet: Packet, frontend: Frontend) -> bool:
    ping = packet.protocol == ICMP and frontend.kind is FrontendKind.OTHER_PORTS
    return ping and view.settings.answers_pings(packet.family)


def _pick(frontend: Frontend, pool: Sequence[Backend], packet: Packet) -> Sequence[Backend]:
    """All of the pool when one is drawn at random, else the one that the client's address leads to."""
    return (chosen(pool, packet.source),) if frontend.balancing == HASH and pool else pool
