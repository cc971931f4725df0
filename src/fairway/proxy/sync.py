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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from fairway.model.view import Frontend, FrontendKey, NodeSettings
from fairway.modes.contract import Mode, Plan
from fairway.proxy.cache import Batch, Cache
from fairway.proxy.flows import Suspect, everything, suspects
from fairway.proxy.receipts import Receipt, Receipts, Round, RoundKind
from fairway.runtime.clock import Clock
from fairway.runtime.queue import Pacer
from fairway.runtime.retry import Patience

log = logging.getLogger(__name__)

_KEPT_ROUNDS = 20

FragmentT = TypeVar("FragmentT")
ProgramT = TypeVar("ProgramT")
PlanT = TypeVar("PlanT", bound=Plan)
HeldT = TypeVar("HeldT", covariant=True)
WorkT = TypeVar("WorkT", contravariant=True)


class ApplyFailed(Exception):
    """The kernel did not do it; the message names the command that failed and why. Nothing of the Plan has happened."""


class Kernel(Protocol[HeldT, WorkT]):
    """The machine, for one mode. Both methods raise `ApplyFailed`."""

    def read_back(self) -> HeldT:
        """What the kernel holds of ours now."""

    def apply(self, plan: WorkT) -> None:
        """Do all of it, acknowledged by the kernel, or nothing."""


class FlowTable(Protocol):
    """Connection tracking."""

    def forget(self, found: Sequence[Suspect], settings: NodeSettings) -> int:
        """Remove the stale flows of these frontends; returns how many. Raises `ApplyFailed`."""


class Listener:
    """Who wants to know: metrics and health. Every method may be left as it is."""

    def pending(self) -> None:
        """A change waits for the kernel."""

    def finished(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> None:
        """A round was acknowledged."""

    def failed(self, kind: RoundKind, error: ApplyFailed) -> None:
        """A round was refused and will be tried again."""

    def forgot_flows(self, entries: int, seconds: float) -> None:
        """Stale flows were removed."""


@dataclass
class _State(Generic[ProgramT]):
    """What we know about the kernel; ``doubt`` says why it may hold something else than ``wanted``, or is empty."""

    wanted: ProgramT
    kind: RoundKind = RoundKind.START
    doubt: str = "this process has just started"
    pending: Batch = field(default_factory=Batch)
    suspects: dict[FrontendKey, Suspect] = field(default_factory=dict)
    compiled: bool = False


class Sync(Generic[ProgramT, FragmentT, PlanT]):
    """Makes the kernel follow the cache, from ``run()`` until that is cancelled; the rules stay when it is."""

    def __init__(
        self,
        mode: Mode[ProgramT, FragmentT, PlanT],
        kernel: Kernel[ProgramT, PlanT],
        cache: Cache,
        flows: FlowTable,
        *,
        clock: Clock,
        listeners: Sequence[Listener] = (),
        patience: Patience,
    ) -> None:
        self._mode, self._kernel, self._cache, self._flows = mode, kernel, cache, flows
        self._clock, self._listeners, self._patience = clock, listeners, patience
        self._pacer = Pacer()
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()
        self._failures = 0
        self._complained: set[str] = set()
        self._state: _State[ProgramT] = _State(wanted=mode.empty())
        self.receipts = Receipts()
        self.rounds: deque[Round] = deque(maxlen=_KEPT_ROUNDS)

    @property
    def program(self) -> ProgramT:
        """What the kernel should hold."""
        return self._state.wanted

    def changed(self) -> None:
        """The cache has something to take."""
        if self._cache.dirty:
            for listener in self._listeners:
                listener.pending()
        self._wake.set()

    def kernel_changed(self, by: str) -> None:
        """Somebody else (``by``, such as ``nft (pid 123)``) wrote to what is ours."""
        if not self._state.doubt:
            self._doubt(RoundKind.REPAIR, f"changed by {by}")
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
        self._wake.set()
        while True:
            await self._wake.wait()
            await self._clock.sleep(self._pacer.wait(self._clock.monotonic()))
            self._wake.clear()
            started = self._clock.monotonic()
            try:
                self._round(started)
            except ApplyFailed as error:
                await self._retry_later(error)
            else:
                self._pacer.finished(started, self._clock.monotonic())
                self._recovered()
                self._ready.set()

    def _round(self, started: float) -> None:
        state = self._state
        state.pending.add(self._cache.take())
        if state.pending.rebased and not state.doubt:
            self._doubt(RoundKind.NODE, "the node's settings changed")
        if state.pending or state.doubt:
            kind = state.kind if state.doubt else RoundKind.CHANGE
            commands = self._apply_whole() if state.doubt else self._apply_changes()
            self._acknowledged(kind, started, commands)
        if state.suspects:
            self._forget_flows()

    def _apply_changes(self) -> int:
        """Only the frontends that changed, from a Program that the kernel is known to hold."""
        state = self._state
        changes = self._fragments(state.pending)
        plan = self._mode.plan_changes(state.wanted, changes)
        if plan:
            self._kernel.apply(plan)
        self._mode.accept(state.wanted, changes)
        return len(plan)

    def _apply_whole(self) -> int:
        """The difference between what the kernel holds and what it should hold."""
        state = self._state
        if state.compiled and not state.pending.rebased:
            self._mode.accept(state.wanted, self._fragments(state.pending))
        else:
            self._complain_about(self._cache.frontends)
            state.wanted, state.compiled = self._mode.program(self._cache.view), True
        plan = self._mode.plan(self._kernel.read_back(), state.wanted)
        if plan:
            self._kernel.apply(plan)
        if state.kind is RoundKind.REPAIR:
            outcome = f"put back with {len(plan)} commands" if plan else "nothing of ours was touched"
            log.log(logging.WARNING if plan else logging.DEBUG, "kernel state %s: %s", state.doubt, outcome)
        return len(plan)

    def _fragments(self, batch: Batch) -> Mapping[FrontendKey, FragmentT | None]:
        now = {key: self._cache.frontends.get(key) for key in batch.before}
        self._complain_about({key: frontend for key, frontend in now.items() if frontend})
        settings = self._cache.settings
        return {key: self._mode.compile(one, settings) if one else None for key, one in now.items()}

    def _acknowledged(self, kind: RoundKind, started: float, commands: int) -> None:
        state, now = self._state, self._clock.monotonic()
        batch, state.pending, state.doubt = state.pending, Batch(), ""
        frontends, draining = self._cache.frontends, self._cache.draining
        if kind is RoundKind.START:
            found = everything(frontends, draining)
        else:
            found = suspects(batch.before, batch.drained, frontends, draining)
        state.suspects.update((one.frontend, one) for one in found)
        done = Round(
            kind=kind, at=self._clock.now(), seconds=now - started, commands=commands, frontends=len(batch.before)
        )
        self.rounds.append(done)
        receipts = self.receipts.add(batch.causes, at=done.at, monotonic=now, commands=commands)
        for conflict in batch.conflicts:
            log.warning("%s and %s both ask for %s: %s has it", *conflict[1:], conflict.frontend, conflict.holder)
        log.debug("%s", done)
        for listener in self._listeners:
            listener.finished(done, receipts, batch)

    def _forget_flows(self) -> None:
        """After the kernel's rules, never before: or the next packet would bring the old flow back.

        What cannot be removed now is tried again with the next change; the rules do not wait for it.
        """
        state, started = self._state, self._clock.monotonic()
        try:
            entries = self._flows.forget(list(state.suspects.values()), self._cache.settings)
        except ApplyFailed as error:
            self._complain(f"stale UDP flows stay until they time out: {error}")
            return
        state.suspects = {}
        for listener in self._listeners:
            listener.forgot_flows(entries, self._clock.monotonic() - started)

    def _doubt(self, kind: RoundKind, reason: str) -> None:
        self._state.kind, self._state.doubt = kind, reason

    async def _retry_later(self, error: ApplyFailed) -> None:
        self._failures += 1
        state = self._state
        kind = state.kind if state.doubt else RoundKind.CHANGE
        for listener in self._listeners:
            listener.failed(kind, error)
        if self._failures == 1:
            log.error("the kernel keeps its old state, trying again: %s", error)
        if not state.doubt:
            self._doubt(RoundKind.REPAIR, f"unknown since a failure ({error})")
        self._wake.set()
        await self._patience.wait(self._failures)

    def _recovered(self) -> None:
        if self._failures:
            log.info("the kernel follows again, after %d failures", self._failures)
        self._failures = 0

    def _complain_about(self, frontends: Mapping[FrontendKey, Frontend]) -> None:
        """Tell once what this mode does not do."""
        for frontend in frontends.values():
            for sentence in self._mode.unsupported(frontend):
                self._complain(sentence)

    def _complain(self, message: str) -> None:
        if message not in self._complained:
            self._complained.add(message)
            log.warning("%s", message)
