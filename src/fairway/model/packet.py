"""A packet and its story: who sent it where, the steps that happened to it, and how it ended."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from fairway.model.address import family_of
from fairway.model.view import Backend, FrontendKey, Origin, Struct

PROTOCOLS = ("TCP", "UDP", "SCTP")
ICMP = "ICMP"
"""A ping (ICMP or ICMPv6 echo request), which has no port: 0."""


class Packet(Struct):
    """The first packet of a connection (or of a UDP flow), as a node sees it.

    ``local`` says that the node itself sends it (output hook), not that it arrived (prerouting hook). ``interface`` is
    the name of the one that it arrived by, where that is known.
    """

    source: str
    destination: str
    protocol: str
    port: int
    local: bool = False
    interface: str = ""

    @property
    def family(self) -> str:
        return family_of(self.destination)

    @property
    def key(self) -> FrontendKey:
        return FrontendKey(self.destination, self.protocol, self.port)

    def __str__(self) -> str:
        where = f"[{self.destination}]" if self.family == "IPv6" else self.destination
        if self.protocol == ICMP:
            return f"ping {self.source} -> {where}"
        return f"{self.protocol.lower()} {self.source} -> {where}:{self.port}"


class Verdict(StrEnum):
    """How a packet ends, as far as Services are concerned."""

    DELIVER = "deliver"  # rewritten to one of the choices
    REJECT = "reject"  # refused with an ICMP error: a client sees "connection refused" at once
    DROP = "drop"  # thrown away: a client waits until it gives up
    ANSWER = "answer"  # a ping that the node itself answers, for an address that nobody has
    PASS = "pass"  # not for a Service: the routing table decides


class Choice(NamedTuple):
    """One way delivery can go: a backend, and whether it sees the node's address instead of the client's.

    It is drawn in ``share`` cases of as many as all choices have together.
    """

    backend: Backend
    masquerade: bool
    share: int = 1


class Outcome(Struct):
    """How a packet ends and why. Of several choices the kernel draws one at random."""

    verdict: Verdict
    because: str
    choices: tuple[Choice, ...] = ()
    frontend: FrontendKey | None = None

    @property
    def essence(self) -> tuple[Verdict, frozenset[tuple[str, int, bool]]]:
        """What must be equal between `decide`, a mode's `evaluate` and the kernel: all but the words."""
        return self.verdict, frozenset((c.backend.address, c.backend.port, c.masquerade) for c in self.choices)

    @property
    def shares(self) -> dict[tuple[str, int], Fraction]:
        """How probable each backend's address and port are. Equal, too, where a mode draws by weight."""
        whole = sum(one.share for one in self.choices)
        return {(one.backend.address, one.backend.port): Fraction(one.share, whole) for one in self.choices}


class Step(Struct):
    """One thing that happened to a packet.

    ``where`` is the chain or table, ``what`` the rule in the words of the mode's own tool, ``effect`` what it did.
    """

    where: str
    what: str
    effect: str
    origin: Origin | None = None


class Trace(Struct):
    """The way of a packet through one mode's Program."""

    packet: Packet
    steps: tuple[Step, ...]
    outcome: Outcome
