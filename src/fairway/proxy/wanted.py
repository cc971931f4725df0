"""What the kernel should hold of ours, and how it comes to hold it.

    known to hold what was wanted before:    pending ──compile──▶ Fragments ──plan_changes──▶ Plan
    not known:                               read back ──plan(held, program)────────────────▶ Plan
    refused:                                 each by itself, until those are found that are done without

``program`` is that of everything taken from the cache so far. Nothing is ever flushed to be rebuilt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from fairway.kernel.contract import ApplyFailed, Kernel
from fairway.model.view import Frontend, FrontendKey, NodeView
from fairway.modes.contract import Mode, Plan
from fairway.proxy.cache import Batch, Cache
from fairway.proxy.culprits import culprits
from fairway.proxy.receipts import RoundKind

log = logging.getLogger(__name__)

FragmentT = TypeVar("FragmentT")
ProgramT = TypeVar("ProgramT")
PlanT = TypeVar("PlanT", bound=Plan)


class AllRefused(ApplyFailed):
    """The kernel takes none of the changes, each for its reason."""

    def __init__(self, error: ApplyFailed, reasons: Mapping[FrontendKey, str]) -> None:
        super().__init__(str(error))
        self.reasons = reasons


class Planned(NamedTuple, Generic[FragmentT, PlanT]):
    """New Fragments, and what the kernel has to do about them."""

    changes: Mapping[FrontendKey, FragmentT | None]
    plan: PlanT
    commands: int
    takes_long: bool
    """Longer than an event loop should wait."""


class Wanted(Generic[ProgramT, FragmentT, PlanT]):
    """One mode's, for one cache. What raises `ApplyFailed` may be called in another thread.

    ``refused`` are frontends that the kernel did not take, and why; each is offered again when it changes. ``look_at``
    is told of those that are new.
    """

    def __init__(
        self,
        mode: Mode[ProgramT, FragmentT, PlanT],
        kernel: Kernel[ProgramT, PlanT],
        cache: Cache,
        refused: dict[FrontendKey, str],
        look_at: Callable[[Iterable[Frontend | None]], None],
    ) -> None:
        self._mode, self._kernel, self._cache = mode, kernel, cache
        self._refused, self._look_at = refused, look_at
        self.program = mode.empty()
        self.pending = Batch()
        """Taken from the cache, and not acknowledged by the kernel yet."""
        self.kind = RoundKind.START
        self.doubt = "this process has just started"
        """Why the kernel may hold something else than ``program`` without what is pending; empty when it does not."""
        self.by = ""
        """Who else made it so."""
        self._compiled = False
        self._planned: Planned[FragmentT, PlanT] | None = None

    def follow(
        self, mode: Mode[ProgramT, FragmentT, PlanT], kernel: Kernel[ProgramT, PlanT], program: ProgramT
    ) -> None:
        """It is this mode from now on, and its kernel holds that."""
        self._mode, self._kernel, self.program, self._compiled = mode, kernel, program, True

    def take(self, most: int) -> None:
        """So many Services more are pending, if so many have changed."""
        batch = self._cache.take(most)
        if not batch.rebased:
            for key in batch.before:
                self._refused.pop(key, None)
        self.pending.add(batch)
        if batch:
            self._planned = None

    def suspect(self, kind: RoundKind, reason: str, by: str = "") -> None:
        """The whole is to be compared, for that reason."""
        self.kind, self.doubt, self.by = kind, reason, by

    @property
    def next_kind(self) -> RoundKind:
        """Of the round that comes next."""
        return self.kind if self.doubt else RoundKind.CHANGE

    def acknowledged(self) -> Batch:
        """The kernel holds the program; returns what was pending."""
        batch, self.pending, self.doubt, self.by, self._planned = self.pending, Batch(), "", "", None
        return batch

    def planned(self) -> Planned[FragmentT, PlanT]:
        """What is pending, from a Program that the kernel is known to hold."""
        if self._planned is None:
            changes = self._changes()
            plan = self._mode.plan_changes(self.program, changes)
            commands = len(plan)
            self._planned = Planned(changes, plan, commands, commands > self._kernel.at_once)
        return self._planned

    def apply(self, planned: Planned[FragmentT, PlanT]) -> None:
        """Make the kernel do it."""
        if planned.plan:
            self._kernel.apply(planned.plan)
        self._mode.accept(self.program, planned.changes)

    def apply_whole(self) -> int:
        """The difference between what the kernel holds and what it should hold."""
        known = self._compiled and not self.pending.rebased
        changes = self._changes() if known else {}
        try:
            if known:
                self._mode.accept(self.program, changes)
            else:
                self.program, self._compiled = self._mode.program(self.acceptable()), True
            commands = self._reach()
        except ApplyFailed as error:
            commands = self._set_apart(changes, error) if changes else self._search(error)
        if self.kind is RoundKind.REPAIR:
            outcome = f"put back with {commands} commands" if commands else "nothing of ours was touched"
            log.log(logging.WARNING if commands else logging.DEBUG, "kernel state %s: %s", self.doubt, outcome)
        return commands

    def _reach(self) -> int:
        held = self._kernel.read_back()
        self.program = self._mode.adopt(held, self.program)
        plan = self._mode.plan(held, self.program)
        if plan:
            self._kernel.apply(plan)
        return len(plan)

    def _search(self, error: ApplyFailed) -> int:
        """Find the frontends that the kernel refuses without changing anything, and do without them.

        When it is not about any one of them: raises ``error``.
        """
        view, held = self.acceptable(), self._kernel.read_back()

        def refuse(keys: Sequence[FrontendKey]) -> str:
            part = NodeView(settings=view.settings, frontends={key: view.frontends[key] for key in keys})
            try:
                self._kernel.check(self._mode.plan(held, self._mode.program(part)))
            except ApplyFailed as why:
                return str(why)
            return ""

        found = {} if refuse(()) else culprits(list(view.frontends), refuse)
        if not found:
            raise error
        self._note_refused(found, "is left out until it changes")
        self.program, self._compiled = self._mode.program(self.acceptable()), True
        return self._reach()

    def _note_refused(self, refused: Mapping[FrontendKey, str], outcome: str) -> None:
        for key, reason in refused.items():
            frontend = self._cache.frontends.get(key) or self.pending.before.get(key)
            owner = frontend.service if frontend else "a Service that is gone"
            log.error("%s of %s %s: %s", key, owner, outcome, reason)
        self._refused.update(refused)
        self._look_at(map(self._cache.frontends.get, refused))

    def _set_apart(self, changes: Mapping[FrontendKey, FragmentT | None], error: ApplyFailed) -> int:
        """Offer the changes one at a time, so that a frontend that the kernel refuses holds up no other Service.

        It keeps what it had. When the kernel refuses every one, it may not be about them: raises `AllRefused`.
        """
        self._mode.accept(self.program, self._fragments(self.pending.before))
        commands = self._reach()
        refused: dict[FrontendKey, str] = {}
        for key, fragment in changes.items():
            plan = self._mode.plan_changes(self.program, {key: fragment})
            try:
                if plan:
                    self._kernel.apply(plan)
            except ApplyFailed as why:
                refused[key] = str(why)
            else:
                self._mode.accept(self.program, {key: fragment})
                commands += len(plan)
        if len(refused) == len(changes):
            raise AllRefused(error, refused)
        self._note_refused(refused, "stays as it was until it changes")
        return commands

    def _changes(self) -> Mapping[FrontendKey, FragmentT | None]:
        """The new Fragments of what is pending."""
        return self._fragments({key: self._cache.frontends.get(key) for key in self.pending.before})

    def _fragments(self, frontends: Mapping[FrontendKey, Frontend | None]) -> dict[FrontendKey, FragmentT | None]:
        """One that cannot be compiled now, as where no port is left for its listener, stays as it was."""
        made: dict[FrontendKey, FragmentT | None] = {}
        failed: dict[FrontendKey, str] = {}
        settings, wanted = self._cache.settings, self.program
        for key, one in frontends.items():
            try:
                made[key] = self._mode.compile(one, settings, wanted) if one else None
            except ApplyFailed as error:
                failed[key] = str(error)
        if failed:
            self._note_refused(failed, "stays as it was until it changes")
        return made

    def acceptable(self) -> NodeView:
        """The view without the frontends that the kernel has refused."""
        view = self._cache.view
        if not self._refused:
            return view
        frontends = {key: one for key, one in view.frontends.items() if key not in self._refused}
        return NodeView(settings=view.settings, frontends=frontends)
