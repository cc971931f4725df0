"""The nftables mode: a constant ruleset, frontends and backends as elements of its sets and maps."""

from __future__ import annotations

from collections.abc import Mapping

from fairway.model.packet import Packet, Trace
from fairway.model.view import Backend, Frontend, FrontendKey, NodeSettings, NodeView
from fairway.modes.nftables import change, plan
from fairway.modes.nftables.commands import Plan
from fairway.modes.nftables.compile import compile_frontend, unsupported
from fairway.modes.nftables.evaluate import evaluate
from fairway.modes.nftables.program import Fragment, Program, render
from fairway.modes.nftables.ruleset import base

__all__ = ["Fragment", "NftablesMode", "Plan", "Program"]


class NftablesMode:
    """`fairway.modes.contract.Mode` for nf_tables; ``persistent`` makes tables that can have an owner."""

    name = "nftables"

    def __init__(self, *, persistent: bool = False) -> None:
        self.persistent = persistent

    def empty(self) -> Program:
        return Program({}, NodeSettings(name=""))

    def program(self, view: NodeView) -> Program:
        settings = view.settings
        fragments = (compile_frontend(frontend, settings) for frontend in view.frontends.values())
        tables = {family: one._replace(persistent=self.persistent) for family, one in base(settings).items()}
        return plan.build(Program(tables, settings), fragments)

    def adopt(self, held: Program, wanted: Program) -> Program:
        """The wanted Program with its slots in the order in which the kernel holds them, so that a restart is quiet."""
        return plan.adopt(held, wanted)

    def compile(self, frontend: Frontend, settings: NodeSettings, program: Program | None = None) -> Fragment:
        if program is None or program.settings != settings:
            return compile_frontend(frontend, settings)
        return compile_frontend(frontend, settings, program.fragments.get(frontend.key))

    def unsupported(self, frontend: Frontend) -> list[str]:
        return unsupported(frontend)

    def plan(self, old: Program, new: Program) -> Plan:
        return plan.plan(old, new)

    def plan_changes(self, program: Program, changes: Mapping[FrontendKey, Fragment | None]) -> Plan:
        return change.plan_changes(program, changes)

    def accept(self, program: Program, changes: Mapping[FrontendKey, Fragment | None]) -> None:
        change.accept(program, changes)

    def evaluate(self, program: Program, packet: Packet, remembered: Backend | None = None) -> Trace:
        return evaluate(program, packet, remembered)

    def render(self, program: Program) -> str:
        return render(program)
