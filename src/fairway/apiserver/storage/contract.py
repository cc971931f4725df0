"""What the API server asks of a storage: keys with versions, transactions, and every change in order.

Keys are paths (``/objects/services/shop/cart``), values are bytes. One counter, the *revision*, numbers the
transactions; each version of a key carries the revision that wrote it. Old versions stay readable until they are
compacted away, which gives lists of a moment in the past and watches that start in the past::

    revision   1        2        3        4        5
    /a         v1 ───────────── v2 ───────────────────▶      list(revision=2) sees v1 of /a and nothing of /b
    /b                           v1 ───── gone               watch(after=2) delivers 3 (/a, /b) and 4 (/b gone)
                        ▲ compacted: 2 and later can be asked for

The methods are asynchronous because one implementation talks to a server; those that do not never wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One version of one key: ``revision`` wrote this value, ``created`` wrote the key's first."""

    key: str
    value: bytes
    revision: int
    created: int


class Listing(msgspec.Struct, frozen=True):
    """Entries in the order of their keys, as of ``revision``; ``remaining`` more lie behind the limit."""

    entries: tuple[Entry, ...]
    revision: int
    remaining: int = 0


class Event(msgspec.Struct, frozen=True, gc=False):
    """One change of one key: ``entry`` is the new version, None when the key was deleted."""

    key: str
    revision: int
    entry: Entry | None
    previous: Entry | None


class Transaction(msgspec.Struct, frozen=True):
    """All or nothing, with one revision.

    ``expect`` names the revision each key must still have, 0 for a key that must not exist. Deleting a key that
    does not exist changes nothing. A hundred keys always fit into one; more may be more than a storage takes.
    """

    expect: Mapping[str, int] = {}
    puts: Mapping[str, bytes] = {}
    deletes: frozenset[str] = frozenset()


class StorageError(Exception):
    """The storage cannot be used; the message says what is wrong with it and what helps."""


class Conflict(Exception):
    """A transaction was refused: ``key`` is not at the revision it expected. ``entry`` is what is there."""

    def __init__(self, key: str, entry: Entry | None) -> None:
        super().__init__(f"{key} is at revision {entry.revision if entry else 0}")
        self.key = key
        self.entry = entry


class Compacted(Exception):
    """The revision asked for is older than what is kept; ``oldest`` can still be asked for."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"revisions before {oldest} have been compacted")
        self.oldest = oldest


class FutureRevision(Exception):
    """The revision asked for has not happened yet; ``newest`` is the last that has."""

    def __init__(self, newest: int) -> None:
        super().__init__(f"the newest revision is {newest}")
        self.newest = newest


class WatchClosed(Exception):
    """A watch has ended: somebody closed it, the storage stopped, or its reader was too slow (``slow``)."""

    def __init__(self, slow: bool = False) -> None:
        super().__init__("the watch fell too far behind" if slow else "the watch was closed")
        self.slow = slow


class Watch(Protocol):
    """The changes under one prefix, in order, each exactly once; changes of one revision arrive together."""

    async def next(self) -> tuple[Event, ...]:
        """Wait for changes. Empty after `poke`; raises `WatchClosed` when there will be no more."""

    def poke(self) -> None:
        """Let a waiting `next` return, with or without changes."""

    def close(self) -> None:
        """End the watch; a waiting `next` raises `WatchClosed`."""

    @property
    def progress(self) -> int:
        """Every change up to this revision has been delivered."""


class Storage(Protocol):
    """A prefix ends in ``/`` and means every key below it."""

    @property
    def revision(self) -> int:
        """The newest revision; at least 1, so that 0 can mean "none"."""

    @property
    def compacted(self) -> int:
        """The oldest revision that can be asked for."""

    async def get(self, key: str) -> Entry | None:
        """The newest version of one key."""

    async def list(self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0) -> Listing:
        """The keys under a prefix, as of a revision (0 for the newest), behind the key ``after``, at most ``limit``.

        Raises `Compacted` and `FutureRevision`.
        """

    async def transact(self, transaction: Transaction) -> int:
        """Write; gives the revision. Raises `Conflict`, and `StorageError` when nothing can be written.

        When it returns, every reader sees the change, and it survives the end of this process.
        """

    async def watch(self, prefix: str, *, after: int) -> Watch:
        """The changes after a revision, first from the history, then as they happen.

        Raises `Compacted` and `FutureRevision`.
        """

    async def compact(self, revision: int) -> None:
        """Forget what was superseded at or before this revision; watches that are caught up do not notice."""

    def close(self) -> None:
        """Write down what is left to write and close every watch."""
