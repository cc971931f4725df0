"""The iptables mode: the chains that operators know, found by dispatch trees instead of one by one."""

from __future__ import annotations

from collections.abc import Mapping

from fairway.model.packet import Packet, Trace
from fairway.model.view import Backend, Frontend, FrontendKey, NodeSettings, NodeView
from fairway.modes.iptables import plan as planning
from fairway.modes.iptables.commands import Plan
from fairway.modes.iptables.compile import compile_frontend, unsupported
from fairway.modes.iptables.evaluate import evaluate
from fairway.modes.iptables.program import Fragment, Program, render, whole
from fairway.modes.iptables.ruleset import Options

__all__ = ["Fragment", "IptablesMode", "Options", "Plan", "Program"]


_DEFAULTS = Options()


class IptablesMode:
    """`fairway.modes.contract.Mode` for iptables, both variants: the rules are the same."""

    name = "iptables"

    def __init__(self, options: Options = _DEFAULTS) -> None:
        self.options = options

    def empty(self) -> Program:
        return Program(NodeSettings(name=""), self.options)

    def program(self, view: NodeView) -> Program:
        fragments = (self.compile(frontend, view.settings) for frontend in view.frontends.values())
        return whole(view.settings, self.options, fragments)

    def adopt(self, held: Program, wanted: Program) -> Program:
        """The wanted Program as it is: which rules there are, and their order, follows from the frontends alone."""
        return wanted

    def compile(self, frontend: Frontend, settings: NodeSettings, program: Program | None = None) -> Fragment:
        return compile_frontend(frontend, settings, self.options)

    def unsupported(self, frontend: Frontend) -> list[str]:
        return unsupported(frontend)

    def plan(self, old: Program, new: Program) -> Plan:
        return planning.plan(old, new)

    def plan_changes(self, program: Program, changes: Mapping[FrontendKey, Fragment | None]) -> Plan:
        return planning.plan_changes(program, changes)

    def accept(self, program: Program, changes: Mapping[FrontendKey, Fragment | None]) -> None:
        planning.accept(program, changes)

    def evaluate(self, program: Program, packet: Packet, remembered: Backend | None = None) -> Trace:
        return evaluate(program, packet, remembered)

    def render(self, program: Program) -> str:
        return render(program)
