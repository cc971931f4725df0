"""Watches that are fed from memory: a commit finds its readers by the key's prefixes and hands them the same event.

A commit costs one dictionary lookup for each level of its keys plus one append for each watch that wants it,
however many watches there are on other prefixes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator

from fairway.apiserver.storage.contract import Event, WatchClosed

# A reader this far behind is disconnected: it reconnects and catches up from the history, which costs the others
# nothing, while a queue without a limit would cost the server its memory.
MAXIMUM_LAG = 10_000


class FedWatch:
    """A `Watch` whose events are pushed by a `Feed`."""

    def __init__(self, feed: Feed, prefix: str, history: Iterable[Event]) -> None:
        self._feed = feed
        self._prefix = prefix
        self._pending: deque[Event] = deque(history)
        self._limit = len(self._pending) + MAXIMUM_LAG
        self._waiter: asyncio.Future[None] | None = None
        self._closed: WatchClosed | None = None

    async def next(self) -> tuple[Event, ...]:
        if not self._pending and self._closed is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._closed is not None:
            raise self._closed
        events = tuple(self._pending)
        self._pending.clear()
        self._limit = MAXIMUM_LAG
        return events

    def push(self, event: Event) -> None:
        if len(self._pending) >= self._limit:
            self.end(WatchClosed(slow=True))
            return
        self._pending.append(event)
        self.poke()

    def poke(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        self.end(WatchClosed())

    def end(self, reason: WatchClosed) -> None:
        if self._closed is None:
            self._closed = reason
            self._pending.clear()
            self._feed.remove(self._prefix, self)
            self.poke()

    @property
    def progress(self) -> int:
        return self._pending[0].revision - 1 if self._pending else self._feed.revision


class Feed:
    """Every open watch, by prefix; ``revision`` is the last one published."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self._watches: dict[str, set[FedWatch]] = {}

    def open(self, prefix: str, history: Iterable[Event]) -> FedWatch:
        """A watch that starts with ``history``, which must reach up to the feed's revision."""
        watch = FedWatch(self, prefix, history)
        self._watches.setdefault(prefix, set()).add(watch)
        return watch

    def publish(self, revision: int, events: Iterable[Event]) -> None:
        for event in events:
            for prefix in _prefixes(event.key):
                for watch in tuple(self._watches.get(prefix, ())):
                    watch.push(event)
        self.revision = revision

    def remove(self, prefix: str, watch: FedWatch) -> None:
        watches = self._watches.get(prefix)
        if watches is not None:
            watches.discard(watch)
            if not watches:
                del self._watches[prefix]

    def close(self) -> None:
        self._end_all(slow=False)

    def restart(self, revision: int) -> None:
        """Go on at a revision that is not the next: every reader has to begin again."""
        self.revision = revision
        self._end_all(slow=True)

    def _end_all(self, *, slow: bool) -> None:
        for watches in list(self._watches.values()):
            for watch in tuple(watches):
                watch.end(WatchClosed(slow))


def _prefixes(key: str) -> Iterator[str]:
    """``/a/b/c`` lies under ``/``, ``/a/`` and ``/a/b/``."""
    position = key.find("/")
    while position >= 0:
        yield key[: position + 1]
        position = key.find("/", position + 1)
