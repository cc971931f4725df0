"""The userspace mode: each connection comes to a listener of ours, and goes on from there as another one.

It needs a carrier: a mode of the kernel that brings clients to the listeners. Around any carrier it is also what makes
single Services relayed while all others stay the carrier's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zlib import crc32

from fairway.model.packet import Packet, Trace
from fairway.model.view import BALANCINGS, Backend, Frontend, FrontendKey, NodeSettings, NodeView
from fairway.modes.contract import Mode
from fairway.modes.userspace import plan as planning
from fairway.modes.userspace.compile import Ports, carried_frontend, listeners_of
from fairway.modes.userspace.evaluate import evaluate
from fairway.modes.userspace.plan import UserspacePlan
from fairway.modes.userspace.program import Fragment, ListenerKey, Listening, Program, render

__all__ = ["Fragment", "ListenerKey", "Listening", "Program", "UserspaceMode", "UserspacePlan", "by_key"]

_FIRST_PORT, _PORTS = 32768, 28232


def by_key(key: ListenerKey) -> int:
    """A port for a listener that nobody runs: to print, and to predict where packets go."""
    return _FIRST_PORT + crc32(str(key).encode()) % _PORTS


class UserspaceMode:
    """`fairway.modes.contract.Mode` around another one. ``ports`` says where a listener is."""

    def __init__(self, carrier: Mode[Any, Any, Any], name: str = "userspace", ports: Ports = by_key) -> None:
        self.name = name
        self._carrier = carrier
        self._ports = ports

    def empty(self) -> Program:
        return Program(self._carrier.empty())

    def program(self, view: NodeView) -> Program:
        listeners: dict[ListenerKey, Listening] = {}
        frontends = dict(view.frontends)
        for key, frontend in view.frontends.items():
            if frontend.relaying is not None:
                made = listeners_of(frontend, self._ports)
                listeners.update((one.key, one) for one in made)
                frontends[key] = carried_frontend(frontend, made)
        return Program(self._carrier.program(NodeView(settings=view.settings, frontends=frontends)), listeners)

    def compile(self, frontend: Frontend, settings: NodeSettings, program: Program | None = None) -> Fragment:
        carried = program.carried if program else None
        if frontend.relaying is None:
            return Fragment(self._carrier.compile(frontend, settings, carried))
        made = listeners_of(frontend, self._ports)
        return Fragment(self._carrier.compile(carried_frontend(frontend, made), settings, carried), made)

    def unsupported(self, frontend: Frontend) -> list[str]:
        if frontend.relaying is None:
            return self._carrier.unsupported(frontend)
        found = []
        if frontend.balancing not in BALANCINGS:
            words = ", ".join(BALANCINGS)
            found.append(
                f"Service {frontend.service}: fairway.dev/balancing must be one of {words}, "
                f"not {frontend.balancing[:63]!r}; the backends take turns"
            )
        if frontend.scheduler:
            found.append(f"Service {frontend.service}: it is relayed, so no IPVS scheduler chooses its backends")
        return found

    def plan(self, old: Program, new: Program) -> UserspacePlan:
        return planning.plan(self._carrier, old, new)

    def plan_changes(self, program: Program, changes: Mapping[FrontendKey, Fragment | None]) -> UserspacePlan:
        return planning.plan_changes(self._carrier, program, changes)

    def accept(self, program: Program, changes: Mapping[FrontendKey, Fragment | None]) -> None:
        planning.accept(self._carrier, program, changes)

    def adopt(self, held: Program, wanted: Program) -> Program:
        return Program(self._carrier.adopt(held.carried, wanted.carried), wanted.listeners)

    def evaluate(self, program: Program, packet: Packet, remembered: Backend | None = None) -> Trace:
        return evaluate(self._carrier, program, packet, remembered)

    def render(self, program: Program) -> str:
        return render(program, self._carrier.render)
