"""A mode and a kernel in memory: the smallest that keep the contracts, so that the loop between them can be proven.

The Program is the frontends themselves, a Plan is the list of keys that must be different, the kernel a dictionary.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fairway.kernel.contract import ApplyFailed
from fairway.model.packet import Outcome, Packet, Trace, Verdict
from fairway.model.view import Backend, Frontend, FrontendKey, NodeSettings, NodeView
from fairway.proxy.flows import Spot
from fairway.proxy.forgetting import TrackingFailed

Fragment = tuple[Frontend, str]
Program = dict[FrontendKey, Fragment]
_LONGEST = 10.0


@dataclass(frozen=True)
class Plan:
    changes: Mapping[FrontendKey, Fragment | None]

    def __len__(self) -> int:
        return len(self.changes)

    def __bool__(self) -> bool:
        return bool(self.changes)

    def render(self) -> str:
        return "\n".join(f"{'set' if fragment else 'delete'} {key}" for key, fragment in self.changes.items())


class MemoryMode:
    """A Fragment is a frontend and the zone it was compiled for; ``lacking`` are those for which there is no room."""

    name = "memory"

    def __init__(self, lacking: Collection[FrontendKey] = ()) -> None:
        self.lacking = lacking

    def empty(self) -> Program:
        return {}

    def program(self, view: NodeView) -> Program:
        return {key: self.compile(one, view.settings) for key, one in view.frontends.items()}

    def compile(self, frontend: Frontend, settings: NodeSettings, program: Program | None = None) -> Fragment:
        if frontend.key in self.lacking:
            raise ApplyFailed(f"no room for {frontend.key}")
        return frontend, settings.zone

    def unsupported(self, frontend: Frontend) -> list[str]:
        return [f"{frontend.service}: SCTP is not for this memory"] if frontend.protocol == "SCTP" else []

    def plan(self, old: Program, new: Program) -> Plan:
        return self.plan_changes(old, {key: new.get(key) for key in {**old, **new}})

    def plan_changes(self, program: Program, changes: Mapping[FrontendKey, Fragment | None]) -> Plan:
        return Plan({key: one for key, one in changes.items() if program.get(key) != one})

    def accept(self, program: Program, changes: Mapping[FrontendKey, Fragment | None]) -> None:
        for key, fragment in changes.items():
            if fragment is None:
                program.pop(key, None)
            else:
                program[key] = fragment

    def adopt(self, held: Program, wanted: Program) -> Program:
        return wanted

    def evaluate(self, program: Program, packet: Packet, remembered: Backend | None = None) -> Trace:
        known = packet.key in program
        outcome = Outcome(verdict=Verdict.DELIVER if known else Verdict.PASS, because="in memory")
        return Trace(packet=packet, steps=(), outcome=outcome)

    def render(self, program: Program) -> str:
        return "\n".join(map(str, sorted(program)))


@dataclass
class MemoryKernel:
    """Holds a Program; remembers what it was asked.

    Refuses the next Plans for the reasons in ``refusals``, and any that sets one of the keys in ``refuses``.
    """

    held: Program = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    applied: list[Plan] = field(default_factory=list)
    refuses: set[FrontendKey] = field(default_factory=set)
    read_backs: int = 0
    at_once: int = 100

    def read_back(self) -> Program:
        self.read_backs += 1
        return dict(self.held)

    def apply(self, plan: Plan) -> None:
        if self.refusals:
            raise ApplyFailed(self.refusals.pop(0))
        self.check(plan)
        self.applied.append(plan)
        MemoryMode().accept(self.held, plan.changes)

    def check(self, plan: Plan) -> None:
        if bad := [key for key, fragment in plan.changes.items() if fragment and key in self.refuses]:
            raise ApplyFailed(f"set {bad[0]}: EINVAL")


class MemoryFlow(NamedTuple):
    """A flow of a client that does not matter; one that nobody translated is answered by whom it was sent to."""

    protocol: str
    destination: str
    port: int
    reply_source: str
    reply_port: int


@dataclass
class MemoryTracking:
    """A table of flows; remembers what it was asked. While ``held_up`` is clear it does not answer."""

    table: list[MemoryFlow] = field(default_factory=list)
    asked: list[Spot] = field(default_factory=list)
    broken: bool = False
    held_up: threading.Event | None = None

    def forget(self, spot: Spot) -> int:
        return self.delete(self.flows(spot))

    def flows(self, spot: Spot) -> list[MemoryFlow]:
        if self.held_up is not None:
            assert self.held_up.wait(_LONGEST)
        if self.broken:
            raise TrackingFailed("no connection tracking in this memory")
        self.asked.append(spot)
        return [one for one in self.table if _is_at(one, spot)]

    def delete(self, flows: Sequence[MemoryFlow]) -> int:
        for one in flows:
            self.table.remove(one)
        return len(flows)


def _is_at(flow: MemoryFlow, spot: Spot) -> bool:
    return (
        flow.protocol == spot.protocol
        and (not spot.address or (flow.destination, flow.port) == (spot.address, spot.port))
        and (spot.backend is None or (flow.reply_source, flow.reply_port) == spot.backend)
    )
