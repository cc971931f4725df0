"""Unit tests of `fairway.proxy.handover`: two modes in memory, and the order in which they are asked."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from fairway.conform.scenario import scenarios
from fairway.kernel.contract import ApplyFailed, Chains, Opened
from fairway.model.view import NodeView
from fairway.proxy.handover import Handover, Phase
from tests.unit.memory_mode import MemoryKernel, MemoryMode, Plan, Program

VIEW = next(one for one in scenarios() if one.name == "external-local").steps[0].view
NEEDED: Chains = {("nft", "ip"): {}}


@dataclass
class Drain:
    """Three connections, until it is finished."""

    connections: int = 3

    def left(self) -> int:
        return self.connections

    def finish(self) -> None:
        self.connections = 0


@dataclass
class Kernel(MemoryKernel):
    """Remembers in which order it is asked; ``fails`` is what it does not do."""

    name: str = ""
    said: list[str] = field(default_factory=list)
    fails: str = ""
    drain: Drain | None = None

    def load(self, plan: Plan) -> None:
        self._say("load")
        if plan.changes:
            super().apply(Plan(dict(list(plan.changes.items())[:1])))

    def apply(self, plan: Plan) -> None:
        self._say("apply")
        super().apply(plan)

    def chains(self, program: Program) -> Chains:
        return NEEDED

    def stand_aside(self, needed: Chains) -> None:
        assert needed is NEEDED
        self._say("stand aside")

    def retire(self, needed: Chains) -> Drain | None:
        assert needed is NEEDED
        self._say("retire")
        self.held.clear()
        return self.drain

    def settle(self) -> None:
        self._say("settle")

    def fileno(self) -> int:
        raise NotImplementedError

    def others(self) -> list[str]:
        return []

    def clean(self) -> str:
        return ""

    def _say(self, what: str) -> None:
        self.said.append(f"{self.name}: {what}")
        if self.fails == what:
            raise ApplyFailed(f"no {what} today")


def handover(*, in_place: bool = False, old_fails: str = "", new_fails: str = "") -> tuple[Handover, Kernel, Kernel]:
    said: list[str] = []
    old = Kernel(MemoryMode().program(VIEW), name="old", said=said, fails=old_fails, drain=Drain())
    new = Kernel(name="new", said=said, fails=new_fails)
    made = Handover(Opened(MemoryMode(), old), Opened(MemoryMode(), new), in_place)
    return made, old, new


def test_the_new_mode_is_there_before_the_old_one_goes_and_what_connections_need_stays() -> None:
    made, old, new = handover()
    phases: list[Phase] = []
    made.on_phase = phases.append
    program = made.perform(VIEW)
    assert new.held == program == MemoryMode().program(VIEW)
    assert new.said == ["new: load", "old: stand aside", "new: apply", "old: retire", "new: settle"]
    assert phases == [Phase.LOAD, Phase.CUT_OVER, Phase.REMOVE]
    assert (made.retired, made.commands, old.held) == (True, len(VIEW.frontends), {})
    assert made.drain is not None
    assert made.drain.left() == 3


def test_the_same_rules_written_otherwise_are_not_removed() -> None:
    made, old, new = handover(in_place=True)
    made.perform(VIEW)
    assert new.said == ["new: load", "new: apply", "new: settle"]
    assert (made.retired, made.drain, old.held) == (True, None, MemoryMode().program(VIEW))


@pytest.mark.parametrize("what", ["load", "apply"])
def test_a_new_mode_that_the_kernel_refuses_goes_again_and_the_old_one_stays(what: str) -> None:
    made, old, new = handover(new_fails=what)
    with pytest.raises(ApplyFailed, match=f"no {what} today"):
        made.perform(VIEW)
    assert new.said[-2:] == ["new: retire", "new: settle"]
    assert (new.held, old.held, made.retired) == ({}, MemoryMode().program(VIEW), False)


def test_what_cannot_be_undone_is_told_with_the_reason() -> None:
    made, _, new = handover(new_fails="load")
    new.drain = Drain()
    new.fails = "load"

    def refuse(needed: Chains) -> Drain | None:
        raise ApplyFailed("the tools are gone")

    new.retire = refuse  # type: ignore[method-assign]
    with pytest.raises(ApplyFailed, match="no load today; what had been loaded stays: the tools are gone"):
        made.perform(VIEW)


def test_an_old_mode_that_does_not_go_is_left_for_later_and_the_new_one_counts() -> None:
    made, old, new = handover(old_fails="retire")
    assert made.perform(VIEW) == new.held
    assert (made.retired, made.drain, bool(old.held)) == (False, None, True)


def test_a_view_without_frontends_is_handed_over_too() -> None:
    made, _, new = handover()
    empty = NodeView(settings=replace(VIEW.settings, name="node-2"), frontends={})
    assert made.perform(empty) == {} == new.held
    assert made.commands == 0
