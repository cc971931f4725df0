"""A packet's walk through the rules: nat rewrites it, or the filter table refuses it, or nothing does.

PREROUTING or OUTPUT of nat ──▶ draws ──▶ one walk for each backend ──▶ INPUT, FORWARD or OUTPUT of filter ──▶ Outcome
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import lru_cache

from fairway.model.address import ANY
from fairway.model.packet import ICMP, Choice, Outcome, Packet, Step, Trace, Verdict
from fairway.model.view import Backend, FrontendKey
from fairway.modes.iptables.names import EXTERNAL_NODE_PORTS, NODE_PORTS, TREES
from fairway.modes.iptables.program import Program
from fairway.modes.iptables.rules import Parsed, parse
from fairway.modes.xtables import Family, Place

_BY_PORT = (NODE_PORTS, EXTERNAL_NODE_PORTS, TREES["nat", NODE_PORTS], TREES["filter", EXTERNAL_NODE_PORTS])


_address = lru_cache(maxsize=1024)(ipaddress.ip_address)
"""A packet is held against many rules, and each walk to the same backends."""
_PROTOCOLS = {"TCP": ("tcp",), "UDP": ("udp",), "SCTP": ("sctp",), ICMP: ("icmp", "ipv6-icmp")}


class _End(Enum):
    """How a chain lets go of a packet."""

    THROUGH = "through"
    ACCEPTED = "accepted"
    REWRITTEN = "rewritten"
    DROPPED = "dropped"
    REJECTED = "rejected"


@dataclass(frozen=True)
class _Branch:
    """One way that the draws may go."""

    mark: int = 0
    backend: tuple[str, int] | None = None


def evaluate(program: Program, packet: Packet, remembered: Backend | None = None) -> Trace:
    """How the packet ends; ``remembered`` is the backend that the client's address is on the recent list of."""
    walk = _Walk(program, packet, remembered)
    rewritten: list[_Branch] = []
    left: list[_Branch] = []
    for end, branch in walk.chain("nat", "OUTPUT" if packet.local else "PREROUTING", _Branch()):
        (rewritten if end is _End.REWRITTEN else left).append(branch)
    passed = []
    ends = set()
    for branch in rewritten or left:
        end = walk.filter(branch)
        ends.add(end)
        if end not in (_End.DROPPED, _End.REJECTED):
            passed.append(branch)
    if rewritten and packet.protocol == ICMP:
        outcome = Outcome(verdict=Verdict.ANSWER, because="a ping of a Service's address", frontend=walk.frontend)
    elif rewritten and passed:
        outcome = walk.delivery(passed)
    elif _End.DROPPED in ends:
        outcome = Outcome(verdict=Verdict.DROP, because=walk.because, frontend=walk.frontend)
    elif _End.REJECTED in ends:
        outcome = Outcome(verdict=Verdict.REJECT, because=walk.because, frontend=walk.frontend)
    else:
        outcome = Outcome(verdict=Verdict.PASS, because="no rule is for it")
    return Trace(packet=packet, steps=tuple(walk.steps), outcome=outcome)


@dataclass
class _Walk:
    program: Program
    packet: Packet
    remembered: Backend | None
    steps: list[Step] = field(default_factory=list)
    frontend: FrontendKey | None = None
    because: str = ""
    recalled: bool = False
    drawn: bool = False

    def __post_init__(self) -> None:
        self.family: Family = "ip6" if self.packet.family == "IPv6" else "ip"
        self.state = self.program.state().get(self.family, {})
        self.source = _address(self.packet.source)

    def filter(self, branch: _Branch) -> _End:
        """What the filter table does with the packet as it is now. Nothing is drawn there."""
        if self.packet.local:
            hook = "OUTPUT"
        else:
            hook = "INPUT" if self._destination(branch)[0] in self.program.settings.addresses else "FORWARD"
        return next(self.chain("filter", hook, branch))[0]

    def chain(self, table: str, name: str, branch: _Branch, at: int = 0) -> Iterator[tuple[_End, _Branch]]:
        """Every way the packet may leave a chain, from one of its rules on."""
        rules = self.state.get(Place(table, name), ())
        for index in range(at, len(rules)):
            parsed = parse(rules[index])
            if not self._fits(parsed, branch, name):
                continue
            if parsed.random:
                self.drawn = True
                yield from self._do(table, name, rules[index], parsed, branch)
                yield from self.chain(table, name, branch, index + 1)
                return
            ends = list(self._do(table, name, rules[index], parsed, branch))
            left = [one for end, one in ends if end is _End.THROUGH]
            yield from ((end, one) for end, one in ends if end is not _End.THROUGH)
            if parsed.goes or parsed.target == "RETURN" or not left:
                yield from ((_End.THROUGH, one) for one in left)
                return
            branch = left[0]
        yield _End.THROUGH, branch

    def _do(self, table: str, name: str, rule: str, parsed: Parsed, branch: _Branch) -> Iterator[tuple[_End, _Branch]]:
        self._tell(table, name, rule, parsed)
        match parsed.target:
            case "ACCEPT":
                yield _End.ACCEPTED, branch
            case "DROP" | "REJECT":
                yield (_End.DROPPED if parsed.target == "DROP" else _End.REJECTED), branch
            case "DNAT" if self.packet.protocol == ICMP:
                yield _End.REWRITTEN, replace(branch, backend=(parsed.to, 0))
            case "DNAT":
                address, _, port = parsed.to.rpartition(":")
                yield _End.REWRITTEN, replace(branch, backend=(address.strip("[]"), int(port)))
            case "MARK":
                bits, mask = parsed.mark_bits or (0, 0)
                yield _End.THROUGH, replace(branch, mark=branch.mark & ~mask ^ bits)
            case "RETURN" | "":
                yield _End.THROUGH, branch
            case chain:
                yield from self.chain(table, chain, branch)

    def _tell(self, table: str, name: str, rule: str, parsed: Parsed) -> None:
        if parsed.ports and parsed.ports[0] == parsed.ports[1] and not name.startswith(("KUBE-SVC-", "KUBE-SVL-")):
            port, protocol = parsed.ports[0], parsed.protocol.upper()
            if parsed.destination and parsed.destination.num_addresses == 1:
                self.frontend = FrontendKey(str(parsed.destination.network_address), protocol, port)
            elif parsed.destination_is_local or name.startswith(_BY_PORT):
                self.frontend = FrontendKey(ANY[self.packet.family], protocol, port)
        elif self.packet.protocol == ICMP and parsed.target == "DNAT":
            pinged = FrontendKey(self.packet.destination, ICMP, 0)
            self.frontend = pinged if pinged in self.program.fragments else pinged._replace(protocol="")
        elif parsed.target == "REJECT" and parsed.destination and not parsed.ports:
            self.frontend = FrontendKey(str(parsed.destination.network_address), "", 0)
        elif parsed.target == "DROP" and parsed.destination and not parsed.ports:
            self.frontend = None
        if parsed.target in ("DROP", "REJECT"):
            self.because = _comment(rule)
        effects = {"DNAT": f"rewrite to {parsed.to}", "MARK": "mark for masquerade", "": "go on"}
        effect = effects.get(
            parsed.target, parsed.target.lower() if parsed.target.isalpha() else f"go to {parsed.target}"
        )
        step = Step(
            where=f"{table} {name}", what=f"-A {name} {rule}", effect=effect, origin=self.program.origin(table, rule)
        )
        if step not in self.steps:
            self.steps.append(step)

    def _destination(self, branch: _Branch) -> tuple[str, int]:
        return branch.backend or (self.packet.destination, self.packet.port)

    def _fits(self, rule: Parsed, branch: _Branch, chain: str) -> bool:
        address, port = self._destination(branch)
        if rule.unknown:
            return False
        addresses = self.program.settings.addresses
        questions = (
            rule.source is None or (self.source in rule.source) is not rule.not_source,
            rule.destination is None or (_address(address) in rule.destination) is not rule.not_destination,
            not rule.interface or _is(rule.interface, self.packet.interface) is not rule.not_interface,
            not rule.protocol or rule.protocol in _PROTOCOLS.get(self.packet.protocol, ()),
            rule.ports is None or rule.ports[0] <= port <= rule.ports[1],
            not rule.source_is_local or self.packet.local or self.packet.source in addresses,
            not rule.destination_is_local or address in addresses,
            not rule.states or self._has_state(rule.states, branch) is not rule.not_states,
            not rule.mark or bool(branch.mark & rule.mark) is not rule.not_mark,
        )
        return all(questions) and (not rule.remembers or self._is_remembered(rule.target))

    def _has_state(self, states: frozenset[str], branch: _Branch) -> bool:
        """It is the first packet of a connection."""
        return "NEW" in states or ("DNAT" in states and branch.backend is not None)

    def _is_remembered(self, chain: str) -> bool:
        """Whether the client is on the list of the backend that a chain rewrites to."""
        if self.remembered is None:
            return False
        rules = (parse(one) for one in self.state.get(Place("nat", chain), ()))
        found = any(one.to == str(self.remembered) for one in rules)
        self.recalled = self.recalled or found
        return found

    def delivery(self, branches: list[_Branch]) -> Outcome:
        choices = tuple(dict.fromkeys(self._choice(one) for one in branches))
        if self.recalled:
            because = "the backend this client had before"
        elif len(choices) > 1:
            weighed = " by their weights" if len({one.share for one in choices}) > 1 else ""
            because = f"one of {len(choices)} backends, drawn at random{weighed}"
        else:
            because = "the only backend"
        return Outcome(verdict=Verdict.DELIVER, because=because, choices=choices, frontend=self.frontend)

    def _choice(self, branch: _Branch) -> Choice:
        address, port = branch.backend or ("", 0)
        masquerade = bool(branch.mark & (1 << self.program.options.masquerade_bit))
        backend = self._backend(address, port)
        return Choice(backend, masquerade, backend.weight)

    def _backend(self, address: str, port: int) -> Backend:
        fragment = self.program.fragments.get(self.frontend) if self.frontend else None
        known = (*fragment.frontend.cluster, *fragment.frontend.local) if fragment else ()
        found = (one for one in known if (one.address, one.port) == (address, port))
        return next(found, Backend(address=address, port=port))


def _is(wanted: str, name: str) -> bool:
    """Whether an interface's name is the one, or begins as a plus says."""
    return name.startswith(wanted[:-1]) if wanted.endswith("+") else name == wanted


def _comment(rule: str) -> str:
    parts = rule.split('"')
    return parts[1] if len(parts) > 2 else "the rules say so"
