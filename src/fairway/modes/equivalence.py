"""Whether two modes' Programs do the same: each is asked about every frontend by every kind of client.

    NodeView, Program of one mode ────┐
                                      ├─ one packet a frontend and client ──▶ evaluate both ──▶ Equivalence
    NodeView, Program of the other ───┘

What must be equal is what happens to the packet, the backends it may get, each one's share, whether they see the
client's address, and whom a client with session affinity gets again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from fairway.model.address import ANY, FAMILIES, IPv4, contains, family_of, is_loopback, of_family
from fairway.model.packet import ICMP, Outcome, Packet, Verdict
from fairway.model.view import (
    Action,
    ActionKind,
    Backend,
    Client,
    Frontend,
    FrontendKey,
    FrontendKind,
    Key,
    NodeSettings,
    NodeView,
)
from fairway.modes.contract import Mode

STRANGERS = {"IPv4": ("198.51.100.77", "203.0.113.77"), "IPv6": ("2001:db8:ffff::77", "2001:db8:fffe::77")}
"""Addresses of documentation's, for clients outside of everything."""
_SEVERAL = 2
_SHOWN_BACKENDS = 3


@dataclass(frozen=True)
class Side:
    """One mode at work on one node."""

    mode: Mode[Any, Any, Any]
    view: NodeView
    program: Any

    @classmethod
    def of(cls, mode: Mode[Any, Any, Any], view: NodeView) -> Side:
        return cls(mode, view, mode.program(view))


class Difference(NamedTuple):
    """What the same client of the same frontend gets in one mode, and in the other."""

    service: Key
    frontend: FrontendKey
    client: str
    was: str
    becomes: str

    def __str__(self) -> str:
        return f"Service {self.service}, {self.frontend}, from {self.client}: {self.was}; then {self.becomes}"


@dataclass(frozen=True)
class Equivalence:
    """``packets`` were asked about. ``lacking`` are sentences about what the second mode does not do and the first one
    does, ``gained`` the other way round."""

    frontends: int
    packets: int
    differences: tuple[Difference, ...]
    lacking: tuple[str, ...]
    gained: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nobody would notice."""
        return not (self.differences or self.lacking)


class _Question(NamedTuple):
    frontend: Frontend
    client: str
    packet: Packet
    remembered: Backend | None = None


def compare(first: Side, second: Side) -> Equivalence:
    """Ask both about everything that either of them has."""
    frontends = {**second.view.frontends, **first.view.frontends}
    asked = 0
    found: dict[Difference, None] = {}
    for question in _questions(frontends, first.view.settings):
        asked += 1
        outcomes = [_outcome(side, question) for side in (first, second)]
        if _essence(outcomes[0]) != _essence(outcomes[1]):
            frontend = question.frontend
            was, becomes = _words(*outcomes)
            found[Difference(frontend.service, frontend.key, question.client, was, becomes)] = None
    before, after = (_unsupported(side) for side in (first, second))
    return Equivalence(
        frontends=len(frontends),
        packets=asked,
        differences=tuple(found),
        lacking=tuple(one for one in after if one not in before),
        gained=tuple(one for one in before if one not in after),
    )


def _outcome(side: Side, question: _Question) -> Outcome:
    outcome: Outcome = side.mode.evaluate(side.program, question.packet, question.remembered).outcome
    return outcome


def _essence(outcome: Outcome) -> tuple[object, ...]:
    return (*outcome.essence, outcome.shares if outcome.choices else {})


def _unsupported(side: Side) -> dict[str, None]:
    return dict.fromkeys(one for frontend in side.view.frontends.values() for one in side.mode.unsupported(frontend))


def _questions(frontends: dict[FrontendKey, Frontend], settings: NodeSettings) -> Iterator[_Question]:
    clients = {family: tuple(_clients(settings, family)) for family in FAMILIES}
    used: dict[str, set[int]] = {}
    for key in frontends:
        used.setdefault(key.address, set()).add(key.port)
    for frontend in frontends.values():
        family = family_of(frontend.address)
        for destination in _destinations(frontend, settings):
            for protocol, port in _asked(frontend, used[frontend.address]):
                for client, words, source, interface in (*clients[family], *_allowed(frontend)):
                    if is_loopback(destination) and client is not Client.NODE:
                        continue  # nobody else's packets get there
                    packet = Packet(
                        source=source,
                        destination=destination,
                        protocol=protocol,
                        port=port,
                        local=client is Client.NODE,
                        interface=interface,
                    )
                    yield from _with_memory(frontend, words, frontend.action(client), packet)


def _with_memory(frontend: Frontend, words: str, action: Action, packet: Packet) -> Iterator[_Question]:
    """The packet of a newcomer; with session affinity that of somebody who has a backend already, too."""
    yield _Question(frontend, words, packet)
    pool = frontend.pool(action.pool) if action.kind is ActionKind.FORWARD else ()
    if frontend.affinity_seconds and len(pool) >= _SEVERAL:
        yield _Question(frontend, f"{words} that had {pool[-1]} before", packet, pool[-1])


def _asked(frontend: Frontend, used: set[int]) -> Iterator[tuple[str, int]]:
    match frontend.kind:
        case FrontendKind.OTHER_PORTS:
            yield ICMP, 0
            yield "TCP", next(port for port in range(9, 65536) if port not in used)
        case FrontendKind.PING:
            yield ICMP, 0
        case _:
            yield frontend.protocol, frontend.port


def _destinations(frontend: Frontend, settings: NodeSettings) -> Iterator[str]:
    """The address; of a node port one of this node's that takes it, and localhost if that does."""
    if frontend.address not in ANY.values():
        yield frontend.address
        return
    taking = [one for one in of_family(settings.addresses, frontend.family) if settings.takes_node_ports(one)]
    for loopback in (False, True):
        yield from [one for one in taking if is_loopback(one) is loopback][:1]


def _clients(settings: NodeSettings, family: str) -> Iterator[tuple[Client, str, str, str]]:
    """One of each kind that there can be: kind, words, source address, interface."""
    for address in of_family(settings.addresses, family):
        if not is_loopback(address):
            yield Client.NODE, "this node", address, ""
            break
    stranger = next(one for one in STRANGERS[family] if not contains(settings.pod_networks, one))
    for network in of_family(settings.pod_networks, family):
        yield Client.POD, "a pod", _host(network, settings.addresses), ""
        break
    else:
        if settings.pod_interface:
            yield Client.POD, "a pod", stranger, settings.pod_interface.replace("*", "0")
    yield Client.OUTSIDE, "outside", stranger, ""


def _allowed(frontend: Frontend) -> Iterator[tuple[Client, str, str, str]]:
    """Somebody whom spec.loadBalancerSourceRanges lets in."""
    for network in of_family(frontend.source_ranges, frontend.family):
        yield Client.OUTSIDE, f"outside, in {network}", _host(network, ()), ""
        return


def _host(network: str, taken: Iterable[str]) -> str:
    """An address in it that nobody of ``taken`` has: the last that is usual for a host."""
    parsed = ipaddress.ip_network(network)
    here = set(taken)
    last = int(parsed.broadcast_address)
    make = ipaddress.IPv4Address if family_of(network) == IPv4 else ipaddress.IPv6Address
    for number in range(max(last - 1, int(parsed.network_address)), int(parsed.network_address) - 1, -1):
        if (text := str(make(number))) not in here:
            return text
    return str(make(last))


def _words(was: Outcome, becomes: Outcome) -> tuple[str, str]:
    """Each outcome in words: the first thing in which they differ."""
    if was.verdict is not becomes.verdict or was.verdict is not Verdict.DELIVER:
        return _verdict(was), _verdict(becomes)
    for told in (_backends, _seen, _shares):
        if (first := told(was)) != (second := told(becomes)):
            return first, second
    return _verdict(was), _verdict(becomes)


def _verdict(outcome: Outcome) -> str:
    match outcome.verdict:
        case Verdict.DELIVER:
            return f"delivered to {_backends(outcome)}"
        case Verdict.REJECT:
            return "refused"
        case Verdict.DROP:
            return "dropped"
        case Verdict.ANSWER:
            return "answered by this node"
        case Verdict.PASS:
            return "not touched"


def _backends(outcome: Outcome) -> str:
    names = sorted({str(one.backend) for one in outcome.choices})
    more = f" and {len(names) - _SHOWN_BACKENDS} more" if len(names) > _SHOWN_BACKENDS else ""
    return f"{', '.join(names[:_SHOWN_BACKENDS])}{more}"


def _seen(outcome: Outcome) -> str:
    masked = {one.masquerade for one in outcome.choices}
    if masked == {True}:
        return "backends see this node's address"
    return "backends see the client's address" if masked == {False} else "some backends see this node's address"


def _shares(outcome: Outcome) -> str:
    found = sorted((f"{address}:{port}", share) for (address, port), share in outcome.shares.items())
    return "shares " + ", ".join(f"{where} {float(share):.2g}" for where, share in found[:_SHOWN_BACKENDS])
