"""One loop between the cache and the kernel: what changed goes out, what others changed is put back.

    cache ──take──▶ changed frontends ──compile──▶ Fragments ──plan_changes──▶ Plan ──▶ kernel ──ack──▶ receipts, flows
                                                                                 ▲
    start, repair, a failed round:  read back ──plan(held, wanted)───────────────┘

As long as the kernel is known to hold what it should (`fairway.proxy.wanted`), a change costs what it touches. When
that is not known (at the start, after a failure, after somebody else wrote to our table), the kernel is read back once
and only the difference is applied. A small change is followed in the turn of the event loop in which it was read.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

from fairway.kernel.contract import ApplyFailed, Kernel
from fairway.model.view import FrontendKey
from fairway.modes.contract import Mode, Plan
from fairway.proxy.cache import Batch, Cache
from fairway.proxy.complaints import Complaints
from fairway.proxy.listeners import Audience, Listener
from fairway.proxy.neighbours import Flows, Successor
from fairway.proxy.receipts import Receipt, Receipts, Round, RoundKind
from fairway.proxy.wanted import AllRefused, Wanted
from fairway.runtime.clock import Clock
from fairway.runtime.queue import Pacer
from fairway.runtime.retry import Patience
from fairway.runtime.spare import SpareTime

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
        self._cache, self._flows = cache, flows
        self._clock, self._audience, self._patience = clock, Audience(listeners), patience
        self._pacer = Pacer(_LONGEST_WAIT, shortest=_SHORTEST_WAIT, budget=_BUDGET, refill=_REFILL)
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()
        self._failures = 0
        self._waits = False
        """Whether `run` has nothing to do, so that `follow_now` is in nobody's way."""
        self._told = False
        """Whether it was told that something changed which nobody has taken yet."""
        self._refusal: ApplyFailed | None = None
        """What `follow_now` met; `run` tries again."""
        self._elsewhere, self._returned = False, False
        """Whether another thread is at the kernel now, and whether one was since the last round."""
        self._disturbed = ""
        """Who was noticed meanwhile."""
        self._successor: Successor | None = None
        self.refused: dict[FrontendKey, str] = {}
        """Frontends that the kernel did not take, and why; each is offered again when it changes."""
        self._spare = SpareTime(clock)
        self._complaints = Complaints(mode, cache, self.refused, clock, self._audience.noticed)
        self.problems = self._complaints.problems
        self._wanted = Wanted(mode, kernel, cache, self.refused, self._complaints.put)
        self.receipts = Receipts()
        self.rounds: deque[Round] = deque(maxlen=_KEPT_ROUNDS)

    @property
    def program(self) -> ProgramT:
        """What the kernel should hold."""
        return self._wanted.program

    def changed(self) -> None:
        """The cache has something to take."""
        self.note()
        self._wake.set()

    def note(self) -> None:
        """The same, for whoever calls `follow_now` when all of what came together was told."""
        if not self._told and self._cache.dirty:
            # Once a round: a first list says this for each of ten thousand objects.
            self._told = True
            self._tell_of_waiting()

    def follow_now(self) -> None:
        """Follow in this very turn of the event loop, if that is a matter of one small change; if not, in the next."""
        if not self._told:
            return
        if self._refusal is not None or not self._waits or self._pacer.wait(self._clock.monotonic()):
            self._wake.set()
        else:
            started = self._begin()
            try:
                if not self._small_round(started):
                    self._wake.set()
            except ApplyFailed as error:
                self._refusal = error
                self._wake.set()

    def kernel_changed(self, by: str) -> None:
        """Somebody else (``by``, such as ``nft (pid 123)``) wrote to what is ours."""
        if self._elsewhere:
            # Before or after the kernel was read in the other thread? Nobody knows, so it is read again.
            self._disturbed = by
        elif not self._wanted.doubt:
            self._wanted.suspect(RoundKind.REPAIR, f"changed by {by}", by)
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
            self._spare.close()

    async def _follow(self) -> None:
        self._wake.set()
        while True:
            self._waits = True
            await self._wake.wait()
            self._waits = False
            if wait := self._pacer.wait(self._clock.monotonic()):
                await self._clock.sleep(wait)
            if not self._wake.is_set():
                continue  # what there was to do has been done: see `follow_now`
            try:
                refusal, self._refusal = self._refusal, None
                if refusal is not None:
                    raise refusal
                started = self._begin()
                if not self._small_round(started):
                    await self._round(started)
            except ApplyFailed as error:
                await self._retry_later(error)

    def _begin(self) -> float:
        self._wake.clear()
        self._told = False
        return self._clock.monotonic()

    def _done(self, started: float) -> None:
        self._pacer.finished(started, self._clock.monotonic())
        if self._failures:
            log.info("the kernel follows again, after %d failures", self._failures)
            self._failures = 0

    def _small_round(self, started: float) -> bool:
        """Make the kernel follow a small change, in one go; says whether there was no more to do than that."""
        wanted = self._wanted
        if wanted.doubt or self._successor is not None or self._flows.busy or self._cache.dirty > _TAKEN_AT_ONCE:
            return False
        wanted.take(_TAKEN_AT_ONCE)
        if wanted.pending.rebased:
            return False
        if wanted.pending:
            planned = wanted.planned()
            if planned.takes_long:
                return False
            wanted.apply(planned)
            self._tell(*self._acknowledged(RoundKind.CHANGE, started, planned.commands))
            self._done(started)
        return True

    async def _round(self, started: float) -> None:
        """Make the kernel follow, whatever that takes."""
        wanted = self._wanted
        if self._successor is not None:
            await self._hand_over(started, self._successor)
            self._done(started)
            return
        await self._take()
        if wanted.pending.rebased and not wanted.doubt:
            wanted.suspect(RoundKind.NODE, "the node's settings changed")
        if wanted.pending or wanted.doubt:
            await self._flows.settled(wanted.pending.before)
            kind = wanted.next_kind
            commands = await (self._in_a_thread(wanted.apply_whole) if wanted.doubt else self._apply_changes())
            told = self._acknowledged(kind, started, commands)
            if not self.is_ready:
                # Who waits for the first load need not wait until it is told of; nor does a change wait for its sake.
                self._ready.set()
                await asyncio.sleep(0)
                started = self._clock.monotonic()
            self._tell(*told)
            self._done(started)

    async def _hand_over(self, started: float, to: Successor) -> None:
        """Changes wait meanwhile. The mode before has all that it knows of, until the other one has it."""
        relayed, wanted = self._cache.settings.relays, self._wanted
        self._relay(to.relays)
        await self._take()
        await self._flows.settled(wanted.pending.before)
        failed: ApplyFailed | None = None
        try:
            taken = await self._in_a_thread(lambda: to.take_over(wanted.acceptable()))
        except ApplyFailed as error:
            failed = error
            self._relay(relayed)
            wanted.suspect(RoundKind.REPAIR, f"a switch to another mode failed ({error})")
            self._wake.set()
        else:
            mode, kernel, program, commands = taken
            wanted.follow(mode, kernel, program)
            self._complaints.follow(mode)
            self._tell(*self._acknowledged(RoundKind.SWITCH, started, commands))
        self._successor = None
        to.finished(failed)

    def _relay(self, relays: bool) -> None:
        self._cache.put_settings(msgspec.structs.replace(self._cache.settings, relays=relays))

    async def _take(self) -> None:
        """All that is dirty, in parts: ten thousand Services take seconds, and probes must be answered meanwhile."""
        self._wanted.take(_TAKEN_AT_ONCE)
        while self._cache.dirty:
            await asyncio.sleep(0)
            self._wanted.take(_TAKEN_AT_ONCE)
        self._told = False  # what was told of meanwhile goes with this round

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
        """Only the frontends that changed; in another thread, when there are so many or the kernel is so slow.

        What changes meanwhile goes out in the next round, all together.
        """
        planned = self._wanted.planned()
        if planned.takes_long:
            await self._in_a_thread(lambda: self._wanted.apply(planned))
        else:
            self._wanted.apply(planned)
        return planned.commands

    def _acknowledged(self, kind: RoundKind, started: float, commands: int) -> tuple[Round, list[Receipt], Batch]:
        """The kernel holds what is wanted."""
        by, batch, now = self._wanted.by, self._wanted.acknowledged(), self._clock.monotonic()
        self._complaints.hold_up({})
        done = Round(
            kind=kind,
            at=self._clock.now(),
            seconds=now - started,
            commands=commands,
            frontends=len(batch.before),
            by=by,
        )
        self.rounds.append(done)
        log.debug("%s", done)
        return done, self.receipts.add(batch.causes, at=done.at, monotonic=now, commands=commands), batch

    def _tell(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> None:
        """Everybody who wants to know of a round."""
        self._flows.acknowledged(done, batch)
        for finished in self._audience.finished:
            if (steps := finished(done, receipts, batch)) is not None:
                self._spare.add(steps)
        if self._told:  # of what came meanwhile, which is not done with this round
            self._tell_of_waiting()
        if self._returned:
            self._returned = False
            for returned in self._audience.returned:
                returned(done)
        self._complaints.look_soon(batch)
        if self._disturbed:
            by, self._disturbed = self._disturbed, ""
            self.kernel_changed(by)

    def _tell_of_waiting(self) -> None:
        for pending in self._audience.pending:
            pending()

    async def _retry_later(self, error: ApplyFailed) -> None:
        self._failures += 1
        wanted = self._wanted
        for failed in self._audience.failed:
            failed(wanted.next_kind, error)
        if self._failures == 1:
            log.error("the kernel keeps its old state, trying again: %s", error)
        if wanted.doubt:
            reasons = error.reasons if isinstance(error, AllRefused) else {}
            self._complaints.hold_up({key: reasons.get(key, str(error)) for key in wanted.pending.before})
            self._complaints.look_soon()
        else:
            wanted.suspect(RoundKind.REPAIR, f"unknown since a failure ({error})")
        self._wake.set()
        await self._patience.wait(self._failures)
