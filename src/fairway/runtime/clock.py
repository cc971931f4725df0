"""The clock as an argument: the real one, and one that tests move by hand."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """What time it is, and waiting for a later one; all durations in seconds."""

    def now(self) -> float:
        """Seconds since 1970-01-01 UTC: for timestamps that others read; may jump."""

    def monotonic(self) -> float:
        """Seconds since some moment in the past: for durations; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait that long; not at all when ``seconds`` is zero or less."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


_PARTS = 64


class FakeClock:
    """A clock that stands still until ``advance`` moves it.

    It starts at a random moment, so that no code can rely on a clock that starts at zero or on the two readings
    being equal.
    """

    def __init__(self, draw: random.Random | None = None) -> None:
        draw = draw or random.Random()
        # In parts of a second with which sums are exact: a second after any moment is just a second later, also where
        # numbers of this size have one bit less for their fractions.
        self._wall_offset = draw.randrange(10**9 * _PARTS, 2 * 10**9 * _PARTS) / _PARTS
        self._monotonic = draw.randrange(10**3 * _PARTS, 10**6 * _PARTS) / _PARTS
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._slept = asyncio.Event()

    def now(self) -> float:
        return self._wall_offset + self._monotonic

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), woken))
        self._slept.set()
        await woken

    def advance(self, seconds: float) -> None:
        """Move on, and wake whoever slept until then, in the order of their deadlines."""
        self._monotonic += seconds
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    async def sleeper(self) -> float:
        """Wait until somebody sleeps; returns how long the first of them still will."""
        while not (waiting := [deadline for deadline, _, woken in self._sleepers if not woken.done()]):
            self._slept.clear()
            await self._slept.wait()
        return min(waiting) - self._monotonic


def rfc3339(seconds: float) -> str:
    """A wall-clock reading as Kubernetes writes times: ``2026-01-02T03:04:05Z``."""
    return _rfc3339(int(seconds))


@lru_cache(maxsize=64)
def _rfc3339(seconds: int) -> str:
    # A write needs the time three times, and a second has room for a thousand writes.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """The same with microseconds, as Leases and newer Events have it: ``2026-01-02T03:04:05.000006Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """Seconds since 1970 of a Kubernetes time; raises `ValueError` for anything else."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() if text.endswith("Z") else _with_zone(text)


def _with_zone(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone: {text!r}")
    return moment.timestamp()
