"""A packet's way: through the carrier's rules to a listener, and from there over a connection of the relay's own."""

from __future__ import annotations

from typing import Any

import msgspec

from fairway.model.hashing import chosen
from fairway.model.packet import Choice, Outcome, Packet, Step, Trace, Verdict
from fairway.model.view import HASH, Backend
from fairway.modes.contract import Mode
from fairway.modes.userspace.program import Listening, Program


def evaluate(
    carrier: Mode[Any, Any, Any], program: Program, packet: Packet, remembered: Backend | None = None
) -> Trace:
    """``remembered`` is the backend that affinity knows, in the relay where the frontend is relayed."""
    trace: Trace = carrier.evaluate(program.carried, packet, remembered)
    outcome = trace.outcome
    if outcome.verdict is not Verdict.DELIVER or outcome.frontend is None or len(outcome.choices) != 1:
        return trace
    at = outcome.choices[0].backend
    found = program.at(at.address, at.port, packet.protocol, (outcome.frontend,))
    return _relayed(trace, found, packet, remembered) if found else trace


def _relayed(trace: Trace, listener: Listening, packet: Packet, remembered: Backend | None) -> Trace:
    backends, because = _choice(listener, packet, remembered)
    whom = ", ".join(str(one) for one in backends)
    step = Step(
        where="relay",
        what=f"listen {listener.protocol.lower()} {listener.address} {listener.port}: {listener.words()}",
        effect=f"a connection of this node's own to {whom}",
    )
    outcome = Outcome(
        verdict=Verdict.DELIVER,
        because=because,
        choices=tuple(Choice(one, True, one.weight) for one in backends),
        frontend=trace.outcome.frontend,
    )
    return msgspec.structs.replace(trace, steps=(*trace.steps, step), outcome=outcome)


def _choice(listener: Listening, packet: Packet, remembered: Backend | None) -> tuple[tuple[Backend, ...], str]:
    pool = tuple(listener.backends)
    if remembered and listener.affinity_seconds:
        same = (remembered.address, remembered.port)
        if again := tuple(one for one in pool if (one.address, one.port) == same):
            return again, "the backend this client had before"
    if listener.balancing == HASH:
        return (chosen(pool, packet.source),), "the backend that the client's address leads to"
    return pool, f"one of {len(pool)} backends, {listener.words()}" if len(pool) > 1 else "the only backend"
