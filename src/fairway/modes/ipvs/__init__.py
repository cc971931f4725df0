"""The ipvs mode: virtual servers of the kernel's own load balancer, a constant handful of rules, the rest in ipsets."""

from __future__ import annotations

from collections.abc import Mapping

from fairway.model.packet import Packet, Trace
from fairway.model.view import Backend, Frontend, FrontendKey, NodeSettings, NodeView
from fairway.modes.ipvs import plan as planning
from fairway.modes.ipvs.compile import compile_frontend, unsupported
from fairway.modes.ipvs.evaluate import evaluate
from fairway.modes.ipvs.plan import Plan
from fairway.modes.ipvs.program import Base, Fragment, Program, build, render
from fairway.modes.ipvs.rules import Options

__all__ = ["Fragment", "IpvsMode", "Options", "Plan", "Program"]

_DEFAULTS = Options()


class IpvsMode:
    """`fairway.modes.contract.Mode` for IPVS."""

    name = "ipvs"

    def __init__(self, options: Options = _DEFAULTS) -> None:
        self.options = options

    def empty(self) -> Program:
        return Program(Base(), NodeSettings(name=""), self.options)

    def program(self, view: NodeView) -> Program:
        fragments = (self.compile(frontend, view.settings) for frontend in view.frontends.values())
        return build(view.settings, self.options, fragments)

    def adopt(self, held: Program, wanted: Program) -> Program:
        """The wanted Program, whose Services keep the scheduler that they have when they ask for one there is not."""
        wanted.keep_schedulers(held.loose)
        return wanted

    def compile(self, frontend: Frontend, settings: NodeSettings, program: Program | None = None) -> Fragment:
        return compile_frontend(frontend, settings, self.options)

    def unsupported(self, frontend: Frontend) -> list[str]:
        return unsupported(frontend, self.options)

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
