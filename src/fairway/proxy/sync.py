"""One loop between the cache and the kernel: what changed goes out, what others changed is put back.

    cache ──take──▶ changed frontends ──compile──▶ Fragments ──plan_changes──▶ Plan ──▶ kernel ──ack──▶ receipts, flows
                                                                                 ▲
    start, repair, a failed round:  read back ──plan(held, wanted)───────────────┘

`wanted` is the Program of everything taken from the cache so far. As long as the kernel is known to hold it, a change
costs what it touches. When that is not known (at the start, after a failure, after somebody else wrote to our table),
the kernel is read back once and only the difference is applied: nothing is ever flushed to be rebuilt.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from fairway.kernel.contract import ApplyFailed, Kernel
from fairway.model.view import Frontend, FrontendKey, NodeView
from fairway.modes.contract import Mode, Plan
from fairway.proxy.cache import Batch, Cache
from fairway.proxy.complaints import Complaints
from fairway.proxy.culprits import culprits
from fairway.proxy.listeners import Audience, Listener
from fairway.proxy.neighbours import Flows, Successor
from fairway.proxy.receipts import Receipt, Receipts, Round, RoundKind
from fairway.runtime.clock import Clock
from fairway.runtime.queue import Pacer
from fairway.runtime.retry import Patience

log = logging.getLogger(__name__)

_KEPT_ROUNDS = 20
_LONGEST_WAIT = 0.1
"""Seconds that a change waits for others to be merged with, however long the round before took."""
_SHORTEST_WAIT = 0.01
_BUDGET, _REFILL = 0.25, 0.05
"""Seconds of rounds that follow each other at once, and how much of it comes back each second: some hundred changes in
a row wait for nobody, and a storm that lasts is merged, which takes half as much of the processor."""
_TAKEN_AT_ONCE = 200

T = TypeVar("T")
FragmentT = TypeVar("FragmentT")
ProgramT = TypeVar("ProgramT")
PlanT = TypeVar("PlanT", bound=Plan)


class _AllRefused(ApplyFailed):
    """The kernel takes none of the changes, each for its reason."""

    def __init__(self, error: ApplyFailed, reasons: Mapping[FrontendKey, str]) -> None:
        super().__init__(str(error))
        self.reasons = reasons


@dataclass
class _State(Generic[ProgramT]):
    """What we know about the kernel; ``doubt`` says why it may hold something else than ``wanted``, or is empty."""

    wanted: ProgramT
    kind: RoundKind = RoundKind.START
    doubt: str = "this process has just started"
    pending: Batch = field(default_factory=Batch)
    compiled: bool = False


class Sync(Generic[ProgramT, FragmentT, PlanT]):
    """Makes the kernel follow the cache, from ``run()`` until that is cancelled; the rules stay when it is."""

    def __init__(
        self,
        mode: Mode[ProgramT, FragmentT, PlanT],
        kernel: Kernel[ProgramT, PlanT],
        cache: Cache,
        flows: Flows,
        *,
        clock: Clock,
        listeners: Sequence[Listener] = (),
        patience: Patience,
    ) -> None:
        self._mode, self._kernel, self._cache, self._flows = mode, kernel, cache, flows
        self._clock, self._audience, self._patience = clock, Audience(listeners), patience
        self._pacer = Pacer(_LONGEST_WAIT, shortest=_SHORTEST_WAIT, budget=_BUDGET, refill=_REFILL)
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()
        self._failures = 0
        self._elsewhere, self._returned = False, False
        self._disturbed = ""
        self._told = False
        self._successor: Successor | None = None
        self._state: _State[ProgramT] = _State(wanted=mode.empty())
        self.refused: dict[FrontendKey, str] = {}
        """Frontends that the kernel did not take, and why; each is offered again when it changes."""
        self._complaints = Complaints(mode, cache, self.refused, clock, self._audience.noticed)
        self.problems = self._complaints.problems
        self.receipts = Receipts()
        self.rounds: deque[Round] = deque(maxlen=_KEPT_ROUNDS)

    @property
    def program(self) -> ProgramT:
        """What the kernel should hold."""
        return self._state.wanted

    def changed(self) -> None:
        """The cache has something to take."""
        if self._cache.dirty and not self._told:
            # Once a round: a first list says this for each of ten thousand objects.
            self._told = True
            for pending in self._audience.pending:
                pending()
        self._wake.set()

    def kernel_changed(self, by: str) -> None:
        """Somebody else (``by``, such as ``nft (pid 123)``) wrote to what is ours."""
        if self._elsewhere:
            # Before or after the kernel was read in the other thread? Nobody knows, so it is read again.
            self._disturbed = by
        elif not self._state.doubt:
            self._doubt(RoundKind.REPAIR, f"changed by {by}")
        self._wake.set()

    def tell(self, listener: Listener) -> None:
        """Whoever wants to know, too."""
        self._audience.add(listener)

    def hand_over(self, to: Successor) -> None:
        """The next round makes it the mode that this follows in."""
        self._successor = to
        self._wake.set()

    @property
    def is_ready(self) -> bool:
        """Whether the kernel has acknowledged everything once."""
        return self._ready.is_set()

    async def ready(self) -> None:
        """Wait for that."""
        await self._ready.wait()

    async def run(self) -> None:
        """Follow until cancelled. Call it when the cache holds a whole list of every kind, not before."""
        try:
            await self._follow()
        finally:
            self._complaints.close()

    async def _follow(self) -> None:
        self._wake.set()
        while True:
            await self._wake.wait()
            if wait := self._pacer.wait(self._clock.monotonic()):
                await self._clock.sleep(wait)
            self._wake.clear()
            self._told = False
            started, first = self._clock.monotonic(), not self.is_ready
            try:
                asked = await self._round(started)
            except ApplyFailed as error:
                await self._retry_later(error)
            else:
                if asked and not first:  # nobody waits for the first load's sake: what comes after it is small
                    self._pacer.finished(started, self._clock.monotonic())
                self._recovered()

    async def _round(self, started: float) -> bool:
        """Make the kernel follow; says whether there was anything to ask it for."""
        state = self._state
        if self._successor is not None:
            await self._hand_over(started, self._successor)
            return True
        await self._take()
        if state.pending.rebased and not state.doubt:
            self._doubt(RoundKind.NODE, "the node's settings changed")
        if state.pending or state.doubt:
            await self._flows.settled(state.pending.before)
            kind = state.kind if state.doubt else RoundKind.CHANGE
            commands = await (self._in_a_thread(self._apply_whole) if state.doubt else self._apply_changes())
            told = self._acknowledged(kind, started, commands)
            if not self.is_ready:
                # Who waits for the first load need not wait until a whole cluster is counted.
                self._ready.set()
                await asyncio.sleep(0)
            self._tell(*told)
            return True
        return False

    async def _hand_over(self, started: float, to: Successor) -> None:
        """Changes wait meanwhile. The mode before has all that it knows of, until the other one has it."""
        relayed, state = self._cache.settings.relays, self._state
        self._relay(to.relays)
        await self._take()
        await self._flows.settled(state.pending.before)
        failed: ApplyFailed | None = None
        try:
            taken = await self._in_a_thread(lambda: to.take_over(self._acceptable()))
        except ApplyFailed as error:
            failed = error
            self._relay(relayed)
            self._doubt(RoundKind.REPAIR, f"a switch to another mode failed ({error})")
            self._wake.set()
        else:
            self._mode, self._kernel, state.wanted, commands = taken
            state.compiled = True
            self._complaints.follow(self._mode)
            self._tell(*self._acknowledged(RoundKind.SWITCH, started, commands))
        self._successor = None
        to.finished(failed)

    def _relay(self, relays: bool) -> None:
        self._cache.put_settings(msgspec.structs.replace(self._cache.settings, relays=relays))

    async def _take(self) -> None:
        """All that is dirty, in parts: ten thousand Services take seconds, and probes must be answered meanwhile."""
        state = self._state
        while True:
            batch = self._cache.take(_TAKEN_AT_ONCE)
            if not batch.rebased:
                for key in batch.before:
                    self.refused.pop(key, None)
            state.pending.add(batch)
            if not self._cache.dirty:
                return
            await asyncio.sleep(0)

    async def _in_a_thread(self, work: Callable[[], T]) -> T:
        """While this thread answers probes and hears events; only `_take` changes what is looked at there.

        When this is cancelled the other thread is waited for: it must not find the machine closed.
        """
        self._elsewhere = self._returned = True
        running = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.gather(running, return_exceptions=True)
            raise
        finally:
            self._elsewhere = False

    async def _apply_changes(self) -> int:
        """Only the frontends that changed, from a Program that the kernel is known to hold.

        What changes while a slow kernel, or one with much to do, is at work goes out in the next round, all together.
        """
        state = self._state
        changes = self._changes()
        plan = self._mode.plan_changes(state.wanted, changes)
        commands = len(plan)
        if commands > self._kernel.at_once:
            await self._in_a_thread(lambda: self._kernel.apply(plan))
        elif plan:
            self._kernel.apply(plan)
        self._mode.accept(state.wanted, changes)
        return commands

    def _apply_whole(self) -> int:
        """The difference between what the kernel holds and what it should hold."""
        state = self._state
        known = state.compiled and not state.pending.rebased
        changes = self._changes() if known else {}
        try:
            if known:
                self._mode.accept(state.wanted, changes)
            else:
                state.wanted, state.compiled = self._mode.program(self._acceptable()), True
            commands = self._reach()
        except ApplyFailed as error:
            commands = self._set_apart(changes, error) if changes else self._search(error)
        if state.kind is RoundKind.REPAIR:
            outcome = f"put back with {commands} commands" if commands else "nothing of ours was touched"
            log.log(logging.WARNING if commands else logging.DEBUG, "kernel state %s: %s", state.doubt, outcome)
        return commands

    def _reach(self) -> int:
        held, state = self._kernel.read_back(), self._state
        state.wanted = self._mode.adopt(held, state.wanted)
        plan = self._mode.plan(held, state.wanted)
        if plan:
            self._kernel.apply(plan)
        return len(plan)

    def _search(self, error: ApplyFailed) -> int:
        """Find the frontends that the kernel refuses without changing anything, and do without them.

        When it is not about any one of them: raises ``error``.
        """
        state, view, held = self._state, self._acceptable(), self._kernel.read_back()

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
        state.wanted, state.compiled = self._mode.program(self._acceptable()), True
        return self._reach()

    def _note_refused(self, refused: Mapping[FrontendKey, str], outcome: str) -> None:
        for key, reason in refused.items():
            frontend = self._cache.frontends.get(key) or self._state.pending.before.get(key)
            owner = frontend.service if frontend else "a Service that is gone"
            log.error("%s of %s %s: %s", key, owner, outcome, reason)
        self.refused.update(refused)
        self._complaints.put(map(self._cache.frontends.get, refused))

    def _set_apart(self, changes: Mapping[FrontendKey, FragmentT | None], error: ApplyFailed) -> int:
        """Offer the changes one at a time, so that a frontend that the kernel refuses holds up no other Service.

        It keeps what it had. When the kernel refuses every one, it may not be about them: raises `_AllRefused`.
        """
        state = self._state
        self._mode.accept(state.wanted, self._fragments(state.pending.before))
        commands = self._reach()
        refused: dict[FrontendKey, str] = {}
        for key, fragment in changes.items():
            plan = self._mode.plan_changes(state.wanted, {key: fragment})
            try:
                if plan:
                    self._kernel.apply(plan)
            except ApplyFailed as why:
                refused[key] = str(why)
            else:
                self._mode.accept(state.wanted, {key: fragment})
                commands += len(plan)
        if len(refused) == len(changes):
            raise _AllRefused(error, refused)
        self._note_refused(refused, "stays as it was until it changes")
        return commands

    def _changes(self) -> Mapping[FrontendKey, FragmentT | None]:
        """The new Fragments of what is pending."""
        return self._fragments({key: self._cache.frontends.get(key) for key in self._state.pending.before})

    def _fragments(self, frontends: Mapping[FrontendKey, Frontend | None]) -> dict[FrontendKey, FragmentT | None]:
        """One that cannot be compiled now, as where no port is left for its listener, stays as it was."""
        made: dict[FrontendKey, FragmentT | None] = {}
        failed: dict[FrontendKey, str] = {}
        settings, wanted = self._cache.settings, self._state.wanted
        for key, one in frontends.items():
            try:
                made[key] = self._mode.compile(one, settings, wanted) if one else None
            except ApplyFailed as error:
                failed[key] = str(error)
        if failed:
            self._note_refused(failed, "stays as it was until it changes")
        return made

    def _acceptable(self) -> NodeView:
        """The view without the frontends that the kernel has refused."""
        view = self._cache.view
        if not self.refused:
            return view
        frontends = {key: one for key, one in view.frontends.items() if key not in self.refused}
        return NodeView(settings=view.settings, frontends=frontends)

    def _acknowledged(self, kind: RoundKind, started: float, commands: int) -> tuple[Round, list[Receipt], Batch]:
        """The kernel holds what is wanted."""
        state, now = self._state, self._clock.monotonic()
        batch, state.pending, state.doubt = state.pending, Batch(), ""
        self._complaints.hold_up({})
        done = Round(
            kind=kind, at=self._clock.now(), seconds=now - started, commands=commands, frontends=len(batch.before)
        )
        self.rounds.append(done)
        log.debug("%s", done)
        return done, self.receipts.add(batch.causes, at=done.at, monotonic=now, commands=commands), batch

    def _tell(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> None:
        """Everybody who wants to know of a round."""
        self._flows.acknowledged(done, batch)
        for finished in self._audience.finished:
            finished(done, receipts, batch)
        if self._returned:
            self._returned = False
            for returned in self._audience.returned:
                returned(done)
        self._complaints.look_soon(batch)
        if self._disturbed:
            by, self._disturbed = self._disturbed, ""
            self.kernel_changed(by)

    def _doubt(self, kind: RoundKind, reason: str) -> None:
        self._state.kind, self._state.doubt = kind, reason

    async def _retry_later(self, error: ApplyFailed) -> None:
        self._failures += 1
        state = self._state
        kind = state.kind if state.doubt else RoundKind.CHANGE
        for failed in self._audience.failed:
            failed(kind, error)
        if self._failures == 1:
            log.error("the kernel keeps its old state, trying again: %s", error)
        if state.doubt:
            reasons = error.reasons if isinstance(error, _AllRefused) else {}
            self._complaints.hold_up({key: reasons.get(key, str(error)) for key in state.pending.before})
            self._complaints.look_soon()
        else:
            self._doubt(RoundKind.REPAIR, f"unknown since a failure ({error})")
        self._wake.set()
        await self._patience.wait(self._failures)

    def _recovered(self) -> None:
        if self._failures:
            log.info("the kernel follows again, after %d failures", self._failures)
        self._failures = 0
