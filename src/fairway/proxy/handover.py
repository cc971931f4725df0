"""From one mode to another while the node serves: what is done to the kernel, step by step.

    load ─────▶ the new mode's rules are beside the old one's: whichever a new connection meets, it is served
    cut over ─▶ what both cannot have at once becomes the new one's; then nothing new comes to the old one
    remove ───▶ the old one's rules go; what open connections need stays (drain)

A connection that has begun is translated by connection tracking, as long as any mode's rules are hooked into the
kernel: the old ones go when the new ones are there, never before. Cut short at any point, it leaves two modes that
serve the same; who starts next in either of them removes the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fairway.kernel.contract import ApplyFailed, Drain, Opened
from fairway.model.view import NodeView

log = logging.getLogger(__name__)


class Phase(StrEnum):
    """Where a switch is."""

    COMPARE = "compare"
    LOAD = "load"
    CUT_OVER = "cut over"
    REMOVE = "remove"
    DRAIN = "drain"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Handover:
    """``to`` follows ``of``. ``in_place`` says that both are the same rules of the kernel, written otherwise.

    ``on_phase`` is called when a phase begins, in the thread that does the work.
    """

    of: Opened
    to: Opened
    in_place: bool
    on_phase: Callable[[Phase], None] = lambda phase: None
    commands: int = 0
    retired: bool = False
    """Whether nothing of the old mode is left but its drain; if not, `Kernel.retire` is to be asked again."""
    drain: Drain | None = None
    program: Any = field(default=None)

    def perform(self, view: NodeView) -> Any:
        """All of it, but for the drain; returns the new mode's Program. Raises `ApplyFailed`.

        When it fails the new mode's rules are gone again. From the cut on it does not fail.
        """
        self.program = self.to.mode.program(view)
        with self._undone():
            self.on_phase(Phase.LOAD)
            self.commands = self._reach(self.to.kernel.load)
            self.on_phase(Phase.CUT_OVER)
            if not self.in_place:
                self.of.kernel.stand_aside(self.to.kernel.chains(self.program))
            self._reach(self.to.kernel.apply)
        self.on_phase(Phase.REMOVE)
        try:
            if not self.in_place:
                self.drain = self.of.kernel.retire(self.to.kernel.chains(self.program))
            self.to.kernel.settle()
            self.retired = True
        except ApplyFailed as error:
            log.warning("the rules of the mode before are still here: %s", error)
        return self.program

    def _reach(self, work: Callable[[Any], None]) -> int:
        kernel, mode = self.to.kernel, self.to.mode
        held = kernel.read_back()
        self.program = mode.adopt(held, self.program)
        if plan := mode.plan(held, self.program):
            work(plan)
        return len(plan)

    @contextmanager
    def _undone(self) -> Iterator[None]:
        try:
            yield
        except ApplyFailed as error:
            if not self.in_place:
                self._undo(error)
            raise

    def _undo(self, error: ApplyFailed) -> None:
        """Whoever served before repairs what is its own; that this could not be undone is told with the reason."""
        try:
            needed = self.of.kernel.chains(self.of.kernel.read_back())
            if self.to.kernel.retire(needed) is None:
                self.to.kernel.settle()
        except ApplyFailed as also:
            raise ApplyFailed(f"{error}; what had been loaded stays: {also}") from error
