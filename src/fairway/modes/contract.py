"""What a mode must be able to do; the rest of the house knows modes only by this.

    NodeSettings ──base──▶ Program without frontends
    Frontend ──compile──▶ Fragment              (one frontend's share of the Program)
    Program, changed Fragments ──plan──▶ Plan   (ordered commands; empty means nothing to do)
    Program, Packet ──evaluate──▶ Trace         (must agree with `fairway.model.decide`)
    Program ──render──▶ text in the words of the mode's own tool

Cost follows the change: `compile` and `plan` for one frontend never look at another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from fairway.model.packet import Packet, Trace
from fairway.model.view import Backend, Frontend, FrontendKey, NodeSettings, NodeView


class Plan(Protocol):
    """Ordered commands that the mode's kernel side can apply as one transaction."""

    def __bool__(self) -> bool: ...

    def __len__(self) -> int: ...

    def render(self) -> str:
        """The commands as text, one a line, for people."""
        ...


FragmentT = TypeVar("FragmentT")
ProgramT = TypeVar("ProgramT")
PlanT = TypeVar("PlanT", bound=Plan, covariant=True)


class Mode(Protocol[ProgramT, FragmentT, PlanT]):
    """A way to make a kernel do what a NodeView says. All functions are pure, except that `accept` updates a Program.

    A Program is the state that a kernel holds or should hold: a constant base, and a Fragment for each frontend.
    """

    name: str

    def empty(self) -> ProgramT:
        """The Program of a kernel that holds nothing of ours."""
        ...

    def program(self, view: NodeView) -> ProgramT:
        """The whole Program of a node."""
        ...

    def compile(self, frontend: Frontend, settings: NodeSettings, program: ProgramT | None = None) -> FragmentT:
        """One frontend's share. It does not depend on ``program``, the one that it is to be a change of: a mode may
        take from there what has not changed."""
        ...

    def unsupported(self, frontend: Frontend) -> list[str]:
        """What the frontend asks for and this mode does not do, as sentences for the user; usually nothing."""
        ...

    def plan(self, old: ProgramT, new: ProgramT) -> PlanT:
        """From any Program to any other: full load, repair and reconfiguration."""
        ...

    def plan_changes(self, program: ProgramT, changes: Mapping[FrontendKey, FragmentT | None]) -> PlanT:
        """From a Program to the same with some Fragments replaced (or gone: None). Never loops over the others."""
        ...

    def accept(self, program: ProgramT, changes: Mapping[FrontendKey, FragmentT | None]) -> None:
        """Record in the Program that the changes have been applied."""
        ...

    def adopt(self, held: ProgramT, wanted: ProgramT) -> ProgramT:
        """The same Program as ``wanted``, written as near to ``held`` as can be, so that the plan between is short."""
        ...

    def evaluate(self, program: ProgramT, packet: Packet, remembered: Backend | None = None) -> Trace:
        """Walk the packet through the rules; ``remembered`` is the backend that session affinity knows it had."""
        ...

    def render(self, program: ProgramT) -> str:
        """The Program as text, each part with its Origin."""
        ...
