"""`fairway switch` as the proxy does it: compare, hand over, and look after what the mode before has left.

    order ──▶ open the mode beside ──▶ compare ──▶ Sync hands over (`fairway.proxy.handover`) ──▶ leave the one before
                                          │                                                         │
                                          ╰─ differences nobody accepted: nothing has been touched  ╰─ drain, remove

What happens is told to whoever asked, and to /status. A process that ends in the middle leaves its `Choice` on disk:
the next one is in the mode that had the clients, and removes the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairway.kernel.contract import ApplyFailed, Drain, Opened, Unsuitable
from fairway.model.view import NodeView
from fairway.modes.equivalence import Equivalence, Side, compare
from fairway.modes.registry import MODES
from fairway.proxy.cache import Cache
from fairway.proxy.choice import Choice, ChoiceFile, this_kernel
from fairway.proxy.handover import Handover, Phase
from fairway.proxy.site import Site, Target
from fairway.proxy.sync import Sync
from fairway.runtime.clock import Clock, rfc3339

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
AGAIN_SECONDS = 5.0
_SHOWN = 200


class Order(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What somebody wants. ``drain_seconds`` is how long connections may keep what the mode before has; 0: no limit."""

    to: str
    variant: str = ""
    plan: bool = False
    accept_differences: bool = False
    drain_seconds: float = 0.0


class Refused(Exception):
    """It was not done, and nothing is different; the message says why."""


@dataclass
class Progress:
    """How a switch goes, for whoever asked and for /status."""

    of: Target
    to: Target
    began: float
    phase: Phase = Phase.COMPARE
    found: Equivalence | None = None
    commands: int = 0
    removes: int = 0
    connections: int = 0
    error: str = ""
    planned: bool = False

    def document(self) -> dict[str, Any]:
        found = self.found
        return {
            "from": str(self.of),
            "to": str(self.to),
            "began": rfc3339(self.began),
            "phase": self.phase.value,
            "commands": self.commands,
            "removes": self.removes,
            "connections": self.connections,
            "error": self.error,
            "planned": self.planned,
            "equivalence": None if found is None else equivalence_document(found),
        }


def equivalence_document(found: Equivalence) -> dict[str, Any]:
    """At most so many differences: a mode that does everything otherwise does so for ten thousand Services."""
    return {
        "same": found.same,
        "frontends": found.frontends,
        "packets": found.packets,
        "differing": len(found.differences),
        "differences": [
            {
                "service": str(one.service),
                "frontend": str(one.frontend),
                "client": one.client,
                "was": one.was,
                "becomes": one.becomes,
            }
            for one in found.differences[:_SHOWN]
        ],
        "lacking": list(found.lacking[:_SHOWN]),
        "gained": list(found.gained[:_SHOWN]),
    }


def not_the_same(found: Equivalence, target: Target, here: Target) -> str:
    """Why somebody has to accept it first: only what there is."""
    said = []
    if differing := len(found.differences):
        said.append(f"is not the same for {differing} kind{'s' * (differing > 1)} of clients of frontends")
    if lacking := len(found.lacking):
        said.append(f"lacks {lacking} thing{'s' * (lacking > 1)} that mode {here} does")
    return f"mode {target} {', and '.join(said)}; --accept-differences switches all the same"


@dataclass
class _Taking:
    """`fairway.proxy.sync.Successor`: the hand-over as one round of the loop."""

    handover: Handover
    relays: bool
    done: asyncio.Future[None]

    def take_over(self, view: NodeView) -> tuple[Any, Any, Any, int]:
        program = self.handover.perform(view)
        return self.handover.to.mode, self.handover.to.kernel, program, self.handover.commands

    def finished(self, error: ApplyFailed | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


@dataclass
class Switching:
    """The mode that this proxy is in, and its way into another. Methods are called in the event loop's thread.

    ``on_change`` hears of the mode that the kernel is in now.
    """

    site: Site
    file: ChoiceFile
    choice: Choice
    opened: Opened
    cache: Cache
    clock: Clock
    sync: Sync[Any, Any, Any]
    on_change: Callable[[], None]
    progress: Progress | None = None
    _heard: list[asyncio.Queue[dict[str, Any] | None]] = field(default_factory=list)
    _leaving: dict[Target, asyncio.Task[None]] = field(default_factory=dict)
    _busy: bool = False

    @property
    def here(self) -> Target:
        return self.choice.here

    @property
    def leaving(self) -> tuple[str, ...]:
        """Modes that may have left something in the kernel."""
        return tuple(one.mode for one in self.choice.leaving)

    def listen(self) -> asyncio.Queue[dict[str, Any] | None]:
        """What happens from now on, None at the end of it."""
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._heard.append(queue)
        return queue

    def deafen(self, queue: asyncio.Queue[dict[str, Any] | None]) -> None:
        self._heard.remove(queue)

    def notes(self) -> list[str]:
        """That somebody has chosen another mode than the configuration says, and what is still being left."""
        found = []
        said, here = self.choice.said, self.choice.here
        if self.choice.is_ordered:
            found.append(
                f"`fairway switch` has chosen mode {here}, the configuration says {said}: that choice counts until the "
                f"configuration says something else, or `fairway switch --to {said.mode}`"
            )
        return found

    async def begin(self, wanted: Target) -> None:
        """Go on where the process before this one ended, and on to the mode that the configuration wants."""
        self.file.save(self.choice)
        for target in self.choice.leaving:
            if target.carrier != self.here.carrier:
                self._leave(target, None, None, 0.0)
        if not wanted.is_met_by(self.here):
            log.info("this node is in mode %s; the configuration wants %s", self.here, wanted)
            try:
                await self.order(Order(to=wanted.mode, variant=wanted.variant, accept_differences=True))
            except Refused as refused:
                log.error("this node stays in mode %s: %s", self.here, refused)

    async def close(self) -> None:
        """Whatever is still being left stays as it is: the next process goes on."""
        tasks = list(self._leaving.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def order(self, wanted: Order) -> None:
        """Do it, as far as the mode before has no new clients any more. Raises `Refused`."""
        if wanted.to not in MODES:
            raise Refused(f"there is no mode {wanted.to[:63]!r}; there are {', '.join(MODES)}")
        if wanted.variant not in ("", "nft", "legacy") or (wanted.variant and wanted.to != "iptables"):
            raise Refused("a variant is nft or legacy, and only the iptables mode has variants")
        if self._busy:
            raise Refused("another switch is under way; `fairway status` shows it")
        if not self.sync.is_ready:
            raise Refused("the kernel has not everything yet: try again when this proxy is ready")
        self._busy = True
        try:
            await self._switch(wanted)
        except Refused as refused:
            self._fail(str(refused))
            raise
        finally:
            self._busy = False

    async def _switch(self, wanted: Order) -> None:
        asked = Target(wanted.to, wanted.variant)
        before = self.here
        self.progress = Progress(before, asked, self.clock.now(), planned=wanted.plan)
        await self._stop_leaving(asked.carrier)
        try:
            target, opened = await asyncio.to_thread(self.site.open, asked)
        except Unsuitable as error:
            raise Refused(str(error)) from None
        self.progress.to = target
        try:
            if target == before:
                raise Refused(f"this node is in mode {target} already")
            await self._compare(target, opened, wanted)
            if not wanted.plan:
                await self._hand_over(target, opened, wanted)
        finally:
            if self.here.carrier != target.carrier:
                self._leave_again(target)

    async def _compare(self, target: Target, opened: Opened, wanted: Order) -> None:
        """Both modes are asked what they would do; nothing is touched."""
        assert self.progress is not None
        modes = self.site.rehearsal(self.here), self.site.rehearsal(target)
        views = [self.cache.view_if(relays=one.relays) for one in (self.here, target)]
        in_place = target.carrier == self.here.carrier

        def work() -> tuple[Equivalence, int, int]:
            first, second = (Side.of(mode, view) for mode, view in zip(modes, views, strict=True))
            found = compare(first, second)
            comes = len(second.mode.plan(opened.kernel.read_back(), second.program))
            goes = 0 if in_place else len(first.mode.plan(first.program, first.mode.empty()))
            return found, comes, goes

        try:
            found, self.progress.commands, self.progress.removes = await asyncio.to_thread(work)
        except ApplyFailed as error:
            raise Refused(str(error)) from None
        self.progress.found = found
        self._tell()
        if not (found.same or wanted.accept_differences or wanted.plan):
            raise Refused(not_the_same(found, target, self.here))
        if wanted.plan:
            self._set(Phase.DONE)

    async def _hand_over(self, target: Target, opened: Opened, wanted: Order) -> None:
        assert self.progress is not None
        loop, before = asyncio.get_running_loop(), self.here
        in_place = target.carrier == before.carrier
        others = tuple(one for one in self.choice.leaving if one.carrier != target.carrier)

        def on_phase(phase: Phase) -> None:
            if (
                phase is Phase.REMOVE
            ):  # on disk before anything goes: whoever starts next is to know who has the clients
                self._keep(target, others if in_place else (*others, before))
            loop.call_soon_threadsafe(self._set, phase)

        if not in_place:
            self._keep(before, (*others, target))
        handover = Handover(self.opened, opened, in_place, on_phase)
        done: asyncio.Future[None] = loop.create_future()
        self.sync.hand_over(_Taking(handover, target.relays, done))
        try:
            await done
        except ApplyFailed as error:
            raise Refused(f"the kernel refused, and mode {before} stays: {error}") from None
        self.progress.commands = handover.commands
        self.opened = opened
        self.on_change()
        log.info("this node is in mode %s now, by %d commands; before: %s", target, handover.commands, before)
        if in_place:
            self._set(Phase.DONE)
        else:
            self._leave(before, handover, self.progress, wanted.drain_seconds)

    def _leave(self, target: Target, handover: Handover | None, told: Progress | None, seconds: float) -> None:
        work = self._left(target, handover, told, seconds)
        task = self._leaving[target.carrier] = asyncio.create_task(work, name=f"leaving {target}")
        task.add_done_callback(lambda done: self._left_behind(target, done))

    async def _stop_leaving(self, wanted: Target) -> None:
        """What is left of it is wanted again, perhaps."""
        found = [one for one in self._leaving if wanted.is_met_by(one)]
        tasks = [self._leaving.pop(one) for one in found]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _leave_again(self, target: Target) -> None:
        """It was not wanted after all."""
        if any(one.carrier == target.carrier for one in self.choice.leaving):
            self._leave(target, None, None, 0.0)
        else:
            self.site.close(target)

    def _left_behind(self, target: Target, done: asyncio.Task[None]) -> None:
        if self._leaving.get(target.carrier) is done:
            del self._leaving[target.carrier]

    async def _left(self, target: Target, handover: Handover | None, told: Progress | None, seconds: float) -> None:
        """Until nothing of it is left."""
        try:
            kernel = handover.of.kernel if handover else (await asyncio.to_thread(self.site.open, target))[1].kernel
        except Unsuitable as error:
            log.info("nothing of mode %s can be here: %s", target, error)
        else:
            drain = handover.drain if handover and handover.retired else await self._retired(kernel)
            if drain is not None:
                await self._drained(target, drain, told, seconds)
            self.site.close(target)
        self._keep(self.here, tuple(one for one in self.choice.leaving if one.carrier != target.carrier))
        log.info("nothing of mode %s is left", target)
        if told is not None:
            self._set(Phase.DONE, told)

    async def _retired(self, kernel: Any) -> Drain | None:
        complained = False
        while True:
            needed = self.opened.kernel.chains(self.sync.program)
            try:
                found: Drain | None = await asyncio.to_thread(kernel.retire, needed)
            except ApplyFailed as error:
                if not complained:
                    log.warning("the rules of the mode before are still here, trying again: %s", error)
                complained = True
                await self.clock.sleep(AGAIN_SECONDS)
            else:
                return found

    async def _drained(self, target: Target, drain: Drain, told: Progress | None, seconds: float) -> None:
        """Wait for the connections that need what is left, as long as they may."""
        began = self.clock.monotonic()
        while True:
            with suppress(ApplyFailed):
                left = await asyncio.to_thread(drain.left)
                over = seconds > 0 and self.clock.monotonic() - began >= seconds
                if told is not None and (told.phase is not Phase.DRAIN or told.connections != left):
                    told.connections = left
                    self._set(Phase.DRAIN, told)
                if not left or over:
                    if left:
                        log.warning("%d connections of mode %s end now: their time is up", left, target)
                    await asyncio.to_thread(drain.finish)
                    return
            await self.clock.sleep(LOOK_SECONDS)

    def _keep(self, here: Target, leaving: tuple[Target, ...]) -> None:
        self.choice = msgspec.structs.replace(self.choice, here=here, leaving=leaving, kernel=this_kernel())
        self.file.save(self.choice)

    def _set(self, phase: Phase, progress: Progress | None = None) -> None:
        told = progress or self.progress
        if told is not None:
            told.phase = phase
            self._tell(told)

    def _fail(self, error: str) -> None:
        if self.progress is not None:
            self.progress.error = error
            self._set(Phase.FAILED)

    def _tell(self, progress: Progress | None = None) -> None:
        told = progress or self.progress
        if told is None or told is not self.progress:
            return
        for queue in self._heard:
            queue.put_nowait(told.document())
            if told.phase in (Phase.DONE, Phase.FAILED):
                queue.put_nowait(None)
