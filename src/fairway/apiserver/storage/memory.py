"""A storage in the memory of the process, for tests and for labs that nobody needs tomorrow."""

from __future__ import annotations

from fairway.apiserver.storage.contract import (
    Compacted,
    Conflict,
    Entry,
    FutureRevision,
    Listing,
    Transaction,
    Watch,
)
from fairway.apiserver.storage.feed import Feed
from fairway.apiserver.storage.versions import Versions


class MemoryStorage:
    """Versions, and the history of changes since the last compaction.

    ``revision`` is where counting starts: a server gives a number that no earlier life of it can have reached, so
    that clients of that life notice.
    """

    def __init__(self, revision: int = 1) -> None:
        self._versions = Versions(revision)
        self._feed = Feed(revision)

    @property
    def revision(self) -> int:
        return self._feed.revision

    @property
    def compacted(self) -> int:
        return self._versions.oldest

    async def get(self, key: str) -> Entry | None:
        return self._versions.get(key)

    async def list(self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0) -> Listing:
        self._check(revision or self.revision)
        if revision in (0, self.revision):
            entries, remaining = self._versions.now(prefix, after, limit)
        else:
            entries, remaining = self._versions.then(prefix, after, revision, limit)
        return Listing(entries, revision or self.revision, remaining)

    async def transact(self, transaction: Transaction) -> int:
        versions = self._versions
        for key, expected in transaction.expect.items():
            entry = versions.get(key)
            if (entry.revision if entry else 0) != expected:
                raise Conflict(key, entry)
        revision = self.revision + 1
        events = [versions.put(key, value, revision) for key, value in transaction.puts.items()]
        events += [versions.delete(key, revision) for key in sorted(transaction.deletes) if key in versions]
        if not events:
            return self.revision
        self._feed.publish(revision, events)
        return revision

    async def watch(self, prefix: str, *, after: int) -> Watch:
        self._check(after)
        return self._feed.open(prefix, self._versions.since(prefix, after))

    async def compact(self, revision: int) -> None:
        self._versions.forget(min(revision, self.revision))

    def close(self) -> None:
        self._feed.close()

    def _check(self, revision: int) -> None:
        if revision < self.compacted:
            raise Compacted(self.compacted)
        if revision > self.revision:
            raise FutureRevision(self.revision)
