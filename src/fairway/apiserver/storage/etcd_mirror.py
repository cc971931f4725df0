"""A copy of our keys in memory that follows etcd: one watch for the whole server, whoever reads.

::

    etcd ──watch──▶ Mirror ──▶ versions   what reads are answered from
                           ──▶ feed       what the server's own watches are fed from
                           ──▶ ticks      which of our own writes have happened
                           ──▶ waiting    those who wait for a revision

A watch that breaks goes on at another member where it was. Only when etcd has compacted what lies between, or has been
set back to a backup, the mirror reads everything again, and every reader is told to do the same.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from itertools import count, groupby
from operator import attrgetter

from fairway.apiserver.storage.contract import Compacted, Entry, StorageError
from fairway.apiserver.storage.etcd_client import EtcdClient, Outdated, Unanswered
from fairway.apiserver.storage.etcd_keys import Keys, Tick
from fairway.apiserver.storage.etcd_messages import RANGE, Change, Row, range_reply, range_request, watch_request
from fairway.apiserver.storage.feed import Feed
from fairway.apiserver.storage.versions import Versions

# Changes remembered here, for clients that were away for a moment; older ones are asked of etcd.
_REMEMBERED = 10_000
_PAGE = 1_000

log = logging.getLogger(__name__)


class Mirror:
    """``open`` it before use, ``close`` it after; ``writer`` is whose ticks are noted."""

    def __init__(self, client: EtcdClient, keys: Keys, writer: str, patience: float) -> None:
        self._client = client
        self._keys = keys
        self._writer = writer
        self._patience = patience
        self.feed = Feed(1)
        self.versions = Versions(1)
        # Whether there was anything of ours before `versions` begins.
        self.has_past = False
        self._seen = 1
        self._tie = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._ticks: dict[int, int | None] = {}
        self._lost: set[int] = set()
        self._following: asyncio.Task[None] | None = None

    @property
    def revision(self) -> int:
        return self.feed.revision

    async def open(self) -> None:
        """Read everything there is, and follow from there; raises `StorageError`."""
        await self._load()
        self._following = asyncio.create_task(self._follow(), name="etcd watch")

    async def open_again(self) -> None:
        """After etcd was set back to an earlier state: forget what it has forgotten."""
        log.warning("etcd has gone back to an earlier state; everything is read again")
        await self._stop()
        await self.open()

    async def close(self) -> None:
        """End every watch, and whoever waits."""
        self.feed.close()
        await self._stop()
        for _, _, future in self._waiting:
            if not future.done():
                future.set_exception(StorageError("the storage is closed"))

    async def _stop(self) -> None:
        if self._following:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def _load(self) -> None:
        rows: dict[bytes, Row] = {}
        try:
            seen = await self._read(rows)
        except Outdated:
            rows.clear()  # compacted while we read, which takes minutes: once more
            seen = await self._read(rows)
        clock = rows.get(self._keys.clock)
        if clock:
            self._decode(clock.value)
        self.has_past = clock is not None
        self._seen = seen
        revision = clock.modified if clock else seen
        self.versions = Versions(revision, self._entries(rows.values()))
        self._lost.update(number for number, done in self._ticks.items() if done is None)
        self.feed.restart(revision)
        self._wake()

    async def _read(self, rows: dict[bytes, Row]) -> int:
        """Every row as of one revision, which is returned."""
        start, end = self._keys.all
        seen = 0
        while True:
            request = range_request(start, end, limit=_PAGE, revision=seen)
            reply = range_reply(await self._client.ask(RANGE, request, self._patience))
            seen = seen or reply.revision
            rows.update((row.key, row) for row in reply.rows)
            if len(reply.rows) == reply.total:
                return seen
            start = reply.rows[-1].key + b"\0"

    def _entries(self, rows: Iterable[Row]) -> Iterator[Entry]:
        return (self._keys.entry(row) for row in rows if self._keys.is_data(row.key))

    async def _follow(self) -> None:
        pause = 0.05
        while True:
            before = self._seen
            try:
                await self._follow_one_watch()
            except Unanswered as error:
                log.info("the watch on etcd broke, it goes on at another member: %s", error)
            except Compacted:
                log.warning("etcd has forgotten changes that this server has not seen; everything is read again")
                await self._reload()
            except StorageError as error:
                log.error("%s", error)
            pause = 0.05 if self._seen > before else min(2 * pause, 1.0)
            await asyncio.sleep(pause)

    async def _reload(self) -> None:
        try:
            await self._load()
        except (StorageError, Outdated) as error:
            log.error("etcd cannot be read: %s", error)

    async def _follow_one_watch(self) -> None:
        # From the revision that was seen, not the next: so that a compaction in between shows, even of deletions only.
        request = watch_request(*self._keys.all, start=self._seen)
        changes: list[Change] = []
        async with aclosing(self._client.watch(request)) as replies:
            async for reply in replies:
                changes += reply.changes
                if reply.fragment:
                    continue
                for revision, together in groupby(changes, key=attrgetter("row.modified")):
                    if revision > self._seen:
                        self._apply(revision, list(together))
                if not changes and not reply.created:
                    self._seen = max(self._seen, reply.revision)  # news of progress: nothing of ours up to here
                changes.clear()

    def _apply(self, revision: int, changes: list[Change]) -> None:
        events = []
        for row, deleted, _ in changes:
            if row.key == self._keys.clock:
                self._note(row.value, revision)
            elif self._keys.is_data(row.key):
                name = self._keys.name(row.key)
                if not deleted:
                    events.append(self.versions.put(name, row.value, revision))
                elif name in self.versions:
                    events.append(self.versions.delete(name, revision))
        self._seen = revision
        self.feed.publish(revision, events)
        if self.versions.changes > 2 * _REMEMBERED:
            self.versions.forget_all_but(_REMEMBERED)
            self.has_past = True
        self._wake()

    def _note(self, value: bytes, revision: int) -> None:
        tick = self._decode(value)
        if tick.writer == self._writer and tick.number in self._ticks:
            self._ticks[tick.number] = revision

    def _decode(self, value: bytes) -> Tick:
        try:
            return Tick.decode(value)
        except ValueError as error:
            raise StorageError(f"etcd at {self._client.address} has other data below its prefix: {error}") from None

    def expect_tick(self, number: int) -> None:
        """Note it when the write with this number happens, until `forget_tick`."""
        self._ticks[number] = None

    def forget_tick(self, number: int) -> None:
        self._ticks.pop(number, None)
        self._lost.discard(number)

    def tick(self, number: int) -> int | None:
        """The revision of one of our writes, None when it has not been seen.

        Raises `LookupError` when nobody can know any more, because the mirror had to be read again in the meantime.
        """
        if self._ticks[number] is None and number in self._lost:
            raise LookupError(number)
        return self._ticks[number]

    async def reached(self, revision: int) -> bool:
        """Wait until everything up to a revision has been seen; False when that takes too long."""
        if revision <= self.revision:
            return True
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (revision, next(self._tie), future))
        try:
            async with asyncio.timeout(self._patience):
                await future
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.revision:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
