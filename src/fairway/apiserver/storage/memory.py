"""A storage in the memory of the process, for tests and for labs that nobody needs tomorrow."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from fairway.apiserver.storage.contract import (
    Compacted,
    Conflict,
    Entry,
    Event,
    FutureRevision,
    Listing,
    Transaction,
    Watch,
)
from fairway.apiserver.storage.feed import Feed


class MemoryStorage:
    """Keys in order, the newest version of each, and the history of changes since the last compaction.

    ``revision`` is where counting starts: a server gives a number that no earlier life of it can have reached, so
    that clients of that life notice.
    """

    def __init__(self, revision: int = 1) -> None:
        self._keys: list[str] = []
        self._newest: dict[str, Entry] = {}
        self._history: list[Event] = []
        self._compacted = revision
        self._feed = Feed(revision)

    @property
    def revision(self) -> int:
        return self._feed.revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def get(self, key: str) -> Entry | None:
        return self._newest.get(key)

    async def list(self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0) -> Listing:
        self._check(revision or self.revision)
        if revision in (0, self.revision):
            found = self._now(prefix, after)
        else:
            found = self._then(prefix, after, revision)
        kept = found[:limit] if limit else found
        return Listing(kept, revision or self.revision, len(found) - len(kept))

    def _now(self, prefix: str, after: str) -> tuple[Entry, ...]:
        start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
        return tuple(self._newest[key] for key in self._keys[start : bisect_left(self._keys, _end(prefix))])

    def _then(self, prefix: str, after: str, revision: int) -> tuple[Entry, ...]:
        """The state of a past revision: today's, with the changes since taken back, newest first."""
        state: dict[str, Entry | None] = dict(self._newest)
        for event in reversed(self._history):
            if event.revision <= revision:
                break
            state[event.key] = event.previous
        found = ((key, entry) for key, entry in sorted(state.items()) if key.startswith(prefix) and key > after)
        return tuple(entry for _, entry in found if entry)

    async def transact(self, transaction: Transaction) -> int:
        for key, expected in transaction.expect.items():
            entry = self._newest.get(key)
            if (entry.revision if entry else 0) != expected:
                raise Conflict(key, entry)
        revision = self.revision + 1
        events = [self._put(key, value, revision) for key, value in transaction.puts.items()]
        events += [self._delete(key, revision) for key in sorted(transaction.deletes) if key in self._newest]
        if not events:
            return self.revision
        self._history += events
        self._feed.publish(revision, events)
        return revision

    def _put(self, key: str, value: bytes, revision: int) -> Event:
        previous = self._newest.get(key)
        if previous is None:
            insort(self._keys, key)
        entry = Entry(key, value, revision, previous.created if previous else revision)
        self._newest[key] = entry
        return Event(key, revision, entry, previous)

    def _delete(self, key: str, revision: int) -> Event:
        del self._keys[bisect_left(self._keys, key)]
        return Event(key, revision, None, self._newest.pop(key))

    async def watch(self, prefix: str, *, after: int) -> Watch:
        self._check(after)
        start = bisect_right(self._history, after, key=lambda event: event.revision)
        return self._feed.open(prefix, (e for e in self._history[start:] if e.key.startswith(prefix)))

    async def compact(self, revision: int) -> None:
        revision = min(revision, self.revision)
        if revision > self._compacted:
            self._compacted = revision
            del self._history[: bisect_right(self._history, revision, key=lambda event: event.revision)]

    def close(self) -> None:
        self._feed.close()

    def _check(self, revision: int) -> None:
        if revision < self._compacted:
            raise Compacted(self._compacted)
        if revision > self.revision:
            raise FutureRevision(self.revision)


def _end(prefix: str) -> str:
    """The first string behind every string that starts with ``prefix`` (which ends in ``/``)."""
    return prefix[:-1] + "0"
