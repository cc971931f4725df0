"""Work that nobody waits for, a little at a time: whoever else wants the event loop is let in between.

add ──▶ a little at once ──all of it──▶ done
              └──there is more──▶ a little in each turn of the loop ──▶ done
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from fairway.runtime.clock import Clock

LITTLE = 0.0002
"""Seconds at a time: nobody notices that something else waits for so long."""


class SpareTime:
    """Goes through iterators, one after the other; each step of one must be short."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: deque[Iterator[object]] = deque()
        self._turn: asyncio.Handle | None = None

    def add(self, steps: Iterator[object]) -> None:
        """Go through these: at once, if that is a matter of a moment."""
        if not self._went_through(steps):
            self._waiting.append(steps)
            self._come_back()

    def close(self) -> None:
        """Leave what is not done yet."""
        if self._turn is not None:
            self._turn.cancel()

    def _went_through(self, steps: Iterator[object]) -> bool:
        until = self._clock.monotonic() + LITTLE
        return all(self._clock.monotonic() < until for _ in steps)

    def _come_back(self) -> None:
        if self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._turn, steps = None, self._waiting.popleft()
        if not self._went_through(steps):
            self._waiting.appendleft(steps)
        if self._waiting:
            self._come_back()
