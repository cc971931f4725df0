"""Watches that are fed from memory: a commit finds its readers by the key's prefixes and hands them the same event.

The changes under one prefix are a chain that only grows at its end; every reader holds the link that it has read last::

    ──▶ [rev 7] ──▶ [rev 8] ──▶ [rev 9]        a commit adds a link, and wakes those who wait at the end
           ▲                       ▲
           a slow reader           all the others   what nobody holds any more goes by itself

A commit costs one dictionary lookup for each level of its keys, plus one wake-up for each watch that waits, however
many watches there are on other prefixes. While many are woken, changes are merged. Readers that were at the same place
get the very same tuple of events, so that who encodes them can see that it has been done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from fairway.apiserver.storage.contract import Event, WatchClosed

# A reader this far behind is disconnected: it reconnects and catches up from the history, which costs the others
# nothing, while a queue without a limit would cost the server its memory.
MAXIMUM_LAG = 10_000
# How many changes under a prefix come between two looks for readers that are too far behind.
_LOOK_EVERY = 1_000
# Changes that one reader gets at a time: what it does with them has to fit into memory as often as there are readers.
_AT_ONCE = 32
# With this many readers, what comes in while they are told, and as long again, is told to all of them together: later
# for the first, much sooner for the last, and half of the time is left for requests.
_MANY = 50


class _Link:
    """A change, and the one after it once there is one."""

    __slots__ = ("event", "next", "number")

    def __init__(self, number: int, event: Event | None) -> None:
        self.number = number
        self.event = event
        self.next: _Link | None = None


class _Chain:
    """The changes under one prefix from the first reader on, and the readers."""

    def __init__(self) -> None:
        self.last = _Link(0, None)
        self.watches: set[FedWatch] = set()
        # In the order they came, each once.
        self.waiting: dict[FedWatch, None] = {}
        self._read: tuple[tuple[Event, ...], _Link] = (), self.last
        self._from, self._to = self.last, self.last
        self._merging = False
        self._told = self.last

    def add(self, event: Event) -> None:
        link = _Link(self.last.number + 1, event)
        self.last.next = link
        self.last = link
        if self.waiting and not self._merging:
            self._wake()
        if link.number % _LOOK_EVERY == 0:
            for watch in tuple(self.watches):
                watch.drop_if_slow()

    def _wake(self) -> None:
        waiting, self.waiting = self.waiting, {}
        for watch in waiting:
            watch.poke()
        if len(waiting) >= _MANY:
            loop = asyncio.get_running_loop()
            self._merging, self._told = True, self.last
            # Behind all of those who were woken.
            loop.call_soon(self._all_told, loop, loop.time())

    def _all_told(self, loop: asyncio.AbstractEventLoop, began: float) -> None:
        loop.call_later(loop.time() - began, self._go_on)

    def _go_on(self) -> None:
        """Tell together what has come since the last were woken."""
        self._merging = False
        if self.waiting and self._told is not self.last:
            self._wake()

    def after(self, link: _Link) -> tuple[tuple[Event, ...], _Link]:
        """The changes behind a link, some at a time; and the link of the last of them."""
        if link is not self._from or self.last is not self._to:
            self._from, self._to = link, self.last
            events: list[Event] = []
            while link.next is not None and len(events) < _AT_ONCE:
                link = link.next
                assert link.event is not None
                events.append(link.event)
            self._read = tuple(events), link
        return self._read


class FedWatch:
    """A `Watch` that reads a chain of a `Feed`."""

    def __init__(self, feed: Feed, prefix: str, chain: _Chain, history: Iterable[Event]) -> None:
        self._feed = feed
        self._prefix = prefix
        self._chain = chain
        self._history = tuple(history)
        self._link = chain.last
        self._waiter: asyncio.Future[None] | None = None
        self._closed: WatchClosed | None = None

    async def next(self) -> tuple[Event, ...]:
        chain = self._chain
        if self._link is chain.last and not self._history and self._closed is None:
            self._waiter = asyncio.get_running_loop().create_future()
            chain.waiting[self] = None
            try:
                await self._waiter
            finally:
                self._waiter = None
                chain.waiting.pop(self, None)
        self.drop_if_slow()
        if self._closed is not None:
            raise self._closed
        events, self._link = chain.after(self._link)
        if self._history:
            events = (*self._history, *events)
            self._history = ()
        return events

    def poke(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        self.end(WatchClosed())

    def drop_if_slow(self) -> None:
        """End it when it is further behind than anybody may be."""
        if self._chain.last.number - self._link.number > MAXIMUM_LAG:
            self.end(WatchClosed(slow=True))

    def end(self, reason: WatchClosed) -> None:
        if self._closed is None:
            self._closed = reason
            self._history = ()
            self._link = self._chain.last
            self._feed.remove(self._prefix, self)
            self.poke()

    @property
    def progress(self) -> int:
        if self._history:
            return self._history[0].revision - 1
        unread = self._link.next
        return unread.event.revision - 1 if unread and unread.event else self._feed.revision


class Feed:
    """Every open watch, by prefix; ``revision`` is the last one published."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self._chains: dict[str, _Chain] = {}

    def open(self, prefix: str, history: Iterable[Event]) -> FedWatch:
        """A watch that starts with ``history``, which must reach up to the feed's revision."""
        chain = self._chains.setdefault(prefix, _Chain())
        watch = FedWatch(self, prefix, chain, history)
        chain.watches.add(watch)
        return watch

    def publish(self, revision: int, events: Iterable[Event]) -> None:
        for event in events:
            for prefix in _prefixes(event.key):
                chain = self._chains.get(prefix)
                if chain is not None:
                    chain.add(event)
        self.revision = revision

    def remove(self, prefix: str, watch: FedWatch) -> None:
        chain = self._chains.get(prefix)
        if chain is not None:
            chain.watches.discard(watch)
            if not chain.watches:
                del self._chains[prefix]

    def close(self) -> None:
        self._end_all(slow=False)

    def restart(self, revision: int) -> None:
        """Go on at a revision that is not the next: every reader has to begin again."""
        self.revision = revision
        self._end_all(slow=True)

    def _end_all(self, *, slow: bool) -> None:
        for chain in list(self._chains.values()):
            for watch in tuple(chain.watches):
                watch.end(WatchClosed(slow))


def _prefixes(key: str) -> Iterator[str]:
    """``/a/b/c`` lies under ``/``, ``/a/`` and ``/a/b/``."""
    position = key.find("/")
    while position >= 0:
        yield key[: position + 1]
        position = key.find("/", position + 1)
