"""A queue that merges: what it holds is *that* an item needs work, never how often or why.

    add ──▶ ready ──take──▶ active ──done──▶ (gone)
     ▲        ▲                │ add while active: dirty
     │        └────────────────┘ done: ready again
   later (a moment) ── its time has come ──▶ ready

An item is active at most once, so two workers never meet at one object; a change that comes while it is being worked
on makes it run again afterwards. `WorkQueue` decides, without a clock; `WorkLoop` runs workers on it; `Pacer` says when
the next round of a loop that works in rounds may start.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from fairway.runtime.retry import Patience, Retries

Item = TypeVar("Item", bound=Hashable)


class WorkQueue(Generic[Item]):
    """The decisions: which item next, and when. Moments are readings of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        # Not a dict: what it has lost at its beginning is walked over again by whoever asks for the first one.
        self._ready: OrderedDict[Item, None] = OrderedDict()
        self._active: set[Item] = set()
        self._dirty: set[Item] = set()
        self._later: dict[Item, float] = {}
        self._moments: list[tuple[float, int, Item]] = []
        self._count = 0

    def __len__(self) -> int:
        """Items that are ready or active, not counting those for later."""
        return len(self._ready) + len(self._active)

    def add(self, item: Item) -> None:
        """The item needs work now."""
        self._later.pop(item, None)
        if item in self._active:
            self._dirty.add(item)
        else:
            self._ready[item] = None

    def add_at(self, item: Item, moment: float) -> None:
        """The item needs work at ``moment``, or earlier if somebody else says so."""
        if item in self._ready or item in self._dirty or self._later.get(item, math.inf) <= moment:
            return
        self._later[item] = moment
        self._count += 1
        heapq.heappush(self._moments, (moment, self._count, item))

    def take(self, now: float) -> Item | None:
        """The item that waits longest, which is active from now on; None when there is nothing to do yet."""
        self.promote(now)
        if not self._ready:
            return None
        item, _ = self._ready.popitem(last=False)
        self._active.add(item)
        return item

    def done(self, item: Item) -> None:
        """Its work is finished, well or not; if it was added meanwhile it is ready again."""
        self._active.discard(item)
        if item in self._dirty:
            self._dirty.discard(item)
            self._ready[item] = None

    def next_moment(self) -> float | None:
        """When the earliest of the later items becomes ready; None when there is none."""
        while self._moments and self._later.get(self._moments[0][2]) != self._moments[0][0]:
            heapq.heappop(self._moments)
        return self._moments[0][0] if self._moments else None

    def promote(self, now: float) -> None:
        """Items whose moment has come are ready."""
        while (moment := self.next_moment()) is not None and moment <= now:
            self.add(heapq.heappop(self._moments)[2])


class WorkLoop(Generic[Item]):
    """Workers on a `WorkQueue`: ``handle`` is called for each item that needs work.

    When it raises, the item is tried again later, with growing waits; ``on_error`` is told of each failure with the
    number of failures in a row, and of the recovery with no error and the number there had been.
    """

    def __init__(
        self,
        handle: Callable[[Item], Awaitable[None]],
        *,
        on_error: Callable[[Item, Exception | None, int], None],
        workers: int = 4,
        patience: Patience | None = None,
    ) -> None:
        self._handle = handle
        patience = patience or Patience()
        self._clock = patience.clock
        self._on_error = on_error
        self._workers = workers
        self._retries: Retries[Item] = Retries(patience)
        self._queue: WorkQueue[Item] = WorkQueue()
        self._work_to_do = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._alarm: asyncio.Future[None] | None = None
        self._alarm_at = math.inf

    def add(self, item: Item) -> None:
        self._queue.add(item)
        self._changed()

    def add_later(self, item: Item, seconds: float) -> None:
        self._queue.add_at(item, self._clock.monotonic() + seconds)
        self._set_alarm()

    async def quiet(self) -> None:
        """Wait until no item is ready or active; items for later do not count."""
        await self._quiet.wait()

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work())
        finally:
            if self._alarm:
                self._alarm.cancel()

    async def _work(self) -> None:
        while True:
            item = self._queue.take(self._clock.monotonic())
            if item is None:
                self._work_to_do.clear()
                await self._work_to_do.wait()
                continue
            try:
                await self._handle(item)
            except Exception as error:
                wait, failures = self._retries.failed(item)
                self._on_error(item, error, failures)
                self._queue.done(item)
                self.add_later(item, wait)
            else:
                if failures := self._retries.succeeded(item):
                    self._on_error(item, None, failures)
                self._queue.done(item)
            self._changed()

    def _changed(self) -> None:
        if len(self._queue):
            self._quiet.clear()
            self._work_to_do.set()
        else:
            self._quiet.set()

    def _set_alarm(self) -> None:
        moment = self._queue.next_moment()
        if moment is not None and moment < self._alarm_at:
            if self._alarm:
                self._alarm.cancel()
            self._alarm_at = moment
            self._alarm = asyncio.ensure_future(self._ring(moment - self._clock.monotonic()))

    async def _ring(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._alarm, self._alarm_at = None, math.inf
        self._queue.promote(self._clock.monotonic())
        self._changed()
        self._set_alarm()


class Pacer:
    """The first changes of a quiet period go out at once; later ones are merged for as long as the last round took.

    So a loop that stays busy spends at most half of its time on rounds. Rounds are followed at once until they have
    used up ``budget``, which grows again by ``refill`` a second: few changes in a row never wait, a storm is merged.
    A wait is at least ``shortest`` (an event loop's clock ticks in milliseconds) and at most ``longest``. All are in
    seconds.
    """

    def __init__(
        self, longest: float = 1.0, *, shortest: float = 0.0, budget: float = 0.0, refill: float = 0.0
    ) -> None:
        self._longest, self._shortest, self._budget, self._refill = longest, shortest, budget, refill
        self._left = budget
        self._ended = 0.0
        self._earliest = float("-inf")

    def finished(self, started: float, ended: float) -> None:
        """A round ran from ``started`` to ``ended``, readings of a monotonic clock."""
        took = ended - started
        self._left = min(self._budget, self._left + (ended - self._ended) * self._refill)
        self._ended = ended
        if took <= self._left:
            self._left -= took
            self._earliest = ended
        else:
            self._earliest = ended + min(max(took, self._shortest), self._longest)

    def wait(self, now: float) -> float:
        """Seconds until the next round may start; zero when it may start at once."""
        return max(0.0, self._earliest - now)
