"""The userspace Program: listeners of the relay, and the rules of another mode, the carrier, that lead to them.

    Frontend 10.96.0.7:80/TCP ── cluster pool ──▶ Listening 169.254.77.77:41873 ──relay──▶ the pool, in turn
                              └─ local pool   ──▶ Listening 169.254.77.77:36021 ──relay──▶ the pool, in turn
              │
              └─ the same frontend with the listener as the only backend of each pool ──▶ the carrier's Fragment

Who is refused, dropped or let in by source range is the carrier's business, as ever; the relay gets who is let in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from fairway.model.address import IPv4, IPv6, family_of
from fairway.model.view import (
    HASH,
    LEAST_CONNECTIONS,
    RANDOM,
    Backend,
    FrontendKey,
    Key,
    ObjectReference,
    Pool,
    Relaying,
    Struct,
    one_line,
)

ADDRESSES = {IPv4: "169.254.77.77", IPv6: "fd66:6169:7277:6179::1"}
"""Where the listeners are, on the loopback interface: link-local and unique local addresses, which no other machine
routes to this one."""
_RELAY = ObjectReference(kind="the relay")


class ListenerKey(NamedTuple):
    """Which clients of which frontend come to a listener."""

    frontend: FrontendKey
    pool: Pool

    def __str__(self) -> str:
        return f"{self.frontend} ({self.pool} pool)"


class Listening(Struct):
    """What one listener does with those who come to ``port`` on its family's address of `ADDRESSES`."""

    key: ListenerKey
    port: int
    service: Key
    service_port: str
    backends: Sequence[Backend]
    balancing: str
    affinity_seconds: int
    relaying: Relaying
    cuts: bool = False
    """Connections to a backend that leaves end at once."""

    @property
    def address(self) -> str:
        return ADDRESSES[family_of(self.key.frontend.address)]

    @property
    def protocol(self) -> str:
        return self.key.frontend.protocol

    @property
    def backend(self) -> Backend:
        """The listener, as the only one that the carrier's rules lead to."""
        return Backend(address=self.address, port=self.port, node="relay", behind=_RELAY)

    def words(self) -> str:
        """What it does beyond passing bytes on, in the order in which it is done."""
        wanted = self.relaying
        turns = {RANDOM: "at random", HASH: "by the client's address", LEAST_CONNECTIONS: "least connections"}
        told = [turns.get(self.balancing, "in turn")]
        if self.affinity_seconds:
            told.append(f"affinity {self.affinity_seconds} s")
        if self.cuts:
            told.append("ends connections to backends that leave")
        limits = (
            ("connections", wanted.most),
            ("connections a client", wanted.most_per_client),
            ("new a second", wanted.rate),
            ("new a second and client", wanted.rate_per_client),
        )
        told += [f"at most {most:g} {what}" for what, most in limits if most]
        silences = ((wanted.idle, "silent"), (wanted.half_closed, "silent and half closed"))
        told += [f"ends what is {what} for {seconds} s" for seconds, what in silences if seconds]
        if wanted.tls:
            told.append(one_line(f"TLS with Secret {wanted.tls}"))
        if wanted.proxy_protocol:
            told.append(f"PROXY protocol v{wanted.proxy_protocol}")
        if wanted.access_log:
            told.append("access log")
        return ", ".join(told)


class Fragment(msgspec.Struct, frozen=True):
    """One frontend's share: the carrier's Fragment, and the listeners its pools need; none when it is not relayed."""

    carried: Any
    listeners: tuple[Listening, ...] = ()


@dataclass
class Program:
    """What relay and kernel hold or should hold. Only `plan.accept` changes one."""

    carried: Any
    """The carrier's Program."""
    listeners: dict[ListenerKey, Listening] = field(default_factory=dict)

    def of(self, key: FrontendKey) -> Iterator[Listening]:
        for pool in Pool:
            if found := self.listeners.get(ListenerKey(key, pool)):
                yield found

    def at(self, address: str, port: int, protocol: str, among: Iterable[FrontendKey]) -> Listening | None:
        """The listener that a rewritten packet comes to, by the frontends it may be of."""
        for key in among:
            for one in self.of(key):
                if (one.address, one.port, one.protocol) == (address, port, protocol):
                    return one
        return None


def render(program: Program, carrier: Callable[[Any], str]) -> str:
    """The listeners, each with the Service it is there for, then the carrier's text."""
    lines = []
    for one in sorted(program.listeners.values(), key=lambda one: one.key):
        where = f"[{one.address}]" if ":" in one.address else one.address
        lines.append(
            f"listen {one.protocol.lower()} {where}:{one.port} {{ # Service {one_line(one.service_port)}: {one.key}"
        )
        lines.append(f"\t{one.words()}")
        for backend in one.backends:
            slice_ = f"{one.service.namespace}/{backend.slice}"
            weight = f" weight {backend.weight}" if backend.weight != 1 else ""
            lines.append(f"\tbackend {backend}{weight} # EndpointSlice {one_line(slice_)}")
        lines += ["}", ""]
    return "\n".join(lines) + ("\n" if lines else "") + carrier(program.carried)
