"""What is not served as it was asked for: by Service for whoever asks, and told once for as long as it lasts.

objects (`Troubles`) ────────────┐
what the mode does not do ───────┼──▶ looked at when there is time ──new──▶ log, Events
what the kernel does not take ───┘
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from fairway.model.problems import Problem
from fairway.model.view import Frontend, FrontendKey, Key
from fairway.modes.contract import Mode
from fairway.proxy.cache import Batch, Cache
from fairway.runtime.clock import Clock

log = logging.getLogger(__name__)

NOT_SERVED, NOT_SUPPORTED, KERNEL_REFUSED = "NotServed", "NotSupported", "KernelRefused"
"""Why, in one word: an object is wrong, the mode does not do it, the kernel did not take it."""

_FEW = 20
"""Frontends at a time."""
_ROUNDS = 100
"""Great ones that may wait."""
_LOOK_EVERY, _LOOK_FOR = 0.002, 0.0002
"""Nobody waits for it, so it must not be in the way of those who do: in each so many seconds it takes so many."""


class Complaints:
    """Knows what was told, as of the last time that somebody had time to `look`.

    ``refused`` are frontends that the kernel did not take, and why: the loop's own, which changes. `put` may be called
    in another thread; everything else is the loop's.
    """

    def __init__(
        self,
        mode: Mode[Any, Any, Any],
        cache: Cache,
        refused: Mapping[FrontendKey, str],
        clock: Clock,
        listeners: Sequence[Callable[[str, Problem], None]],
    ) -> None:
        """``listeners`` are told why, and what, when something is new; more of them may come."""
        self._mode, self._cache, self._refused = mode, cache, refused
        self._clock, self._listeners = clock, listeners
        self._held_up: Mapping[FrontendKey, str] = {}
        self._known: dict[Key, dict[Problem, str]] = {}
        self._unread: deque[Iterator[Frontend | None]] = deque()
        """Frontends of great rounds, which `put` is still to be told of."""
        self._looking: asyncio.TimerHandle | None = None

    def follow(self, mode: Mode[Any, Any, Any]) -> None:
        """What is not served depends on this mode from now on."""
        self._mode = mode
        self.put(self._cache.frontends.values())

    def put(self, frontends: Iterable[Frontend | None]) -> None:
        """Something else may be wrong with these than before; None says nothing."""
        changed = self._cache.troubles.changed
        for one in frontends:
            if one is not None:
                changed[one.service] = None

    def hold_up(self, reasons: Mapping[FrontendKey, str]) -> None:
        """The kernel takes none of these, and they are offered again and again; those before are not any more."""
        if reasons or self._held_up:
            self.put(map(self._cache.frontends.get, (*self._held_up, *reasons)))
            self._held_up = reasons

    def look_soon(self, batch: Batch | None = None) -> None:
        """See to it that what has changed is looked at in a moment; so is what a round was about."""
        if batch is not None:
            concerned = chain(batch.before.values(), map(self._cache.frontends.get, batch.before))
            if len(batch.before) > _FEW:
                self._unread.append(concerned)
            else:
                self.put(concerned)
            while len(self._unread) > _ROUNDS:  # there are more of them than time: they must not become ever more
                self.put(self._unread.popleft())
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look)

    def close(self) -> None:
        """Look at nothing any more."""
        if self._looking is not None:
            self._looking.cancel()

    def look(self) -> bool:
        """Look at a little of what is new, and tell what is wrong; says whether there is more."""
        troubles = self._cache.troubles
        troubles.look()
        if self._unread and not self._read(self._unread[0]):
            self._unread.popleft()
        if troubles.changed:
            service, _ = troubles.changed.popitem()
            self._compare(service)
        return bool(troubles.changed or self._unread) or troubles.waiting

    def _read(self, frontends: Iterator[Frontend | None]) -> bool:
        """A few of them; says whether there were any."""
        some = list(islice(frontends, _FEW))
        self.put(some)
        return bool(some)

    def problems(self) -> Mapping[Key, Sequence[Problem]]:
        """By Service, what is not served as it was asked for: wrong objects, what this mode lacks, what was refused."""
        while self.look():
            pass
        return {key: tuple(self._known[key]) for key in sorted(self._known)}

    def _look(self) -> None:
        self._looking = None
        until = self._clock.monotonic() + _LOOK_FOR
        while self.look():
            if self._clock.monotonic() >= until:
                self.look_soon()
                return

    def _compare(self, service: Key) -> None:
        before = self._known.pop(service, {})
        now = dict(self._of(service))
        if now:
            self._known[service] = now
        for problem, reason in now.items():
            if problem not in before:
                if reason != KERNEL_REFUSED:  # that was said at once, and what becomes of it
                    log.warning("%s", problem)
                for noticed in self._listeners:
                    noticed(reason, problem)

    def _of(self, service: Key) -> Iterator[tuple[Problem, str]]:
        yield from ((one, NOT_SERVED) for one in self._cache.troubles.of(service))
        for frontend in self._cache.frontends_of(service):
            for sentence in self._mode.unsupported(frontend):
                message = sentence.removeprefix(f"Service {service}: ")
                yield Problem(service=service, field="", message=message), NOT_SUPPORTED
            if reason := self._refused.get(frontend.key):
                yield _refusal(frontend, reason), KERNEL_REFUSED
            elif reason := self._held_up.get(frontend.key):
                yield _refusal(frontend, f"{reason}; trying again"), KERNEL_REFUSED


def _refusal(frontend: Frontend, reason: str) -> Problem:
    message = f"the kernel refused {frontend.key}: {reason}"
    return Problem(service=frontend.service, field=frontend.field, message=message)
