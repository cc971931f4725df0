"""A storage in etcd v3, for several machines and any number of API servers.

Writes are etcd's own transactions: every expectation is a comparison of a key's revision. Reads are answered from a
`Mirror` in memory, after one small question to etcd: what is the newest revision of ours? Everybody who asks at the
same time shares one question, and the mirror is waited for until it has seen that revision. So a read sees every write
that had returned before, through whichever server.

An answer that never comes (docs/adr/0012) leaves open whether a transaction was carried out. It is settled, not
guessed::

    If    the keys are at the revisions expected, and my fence is at F        ◀── in every transaction
    Then  the writes, and clock = "me, my 17th"

    no answer ──▶ move my fence to F' ──▶ follow the watch up to F' ──▶ was there a clock "me, my 17th"?
                  from here on the 17th                                  yes: it happened, at that revision
                  can no longer happen                                   no:  it never will; send it again
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from itertools import count

from fairway.apiserver.storage.contract import (
    Compacted,
    Conflict,
    Entry,
    Event,
    FutureRevision,
    Listing,
    StorageError,
    Transaction,
    Watch,
)
from fairway.apiserver.storage.etcd_address import EtcdAddress
from fairway.apiserver.storage.etcd_client import EtcdClient, Outdated, Unanswered
from fairway.apiserver.storage.etcd_keys import Keys, Tick
from fairway.apiserver.storage.etcd_messages import (
    COMPACT,
    RANGE,
    TXN,
    Change,
    TxnReply,
    compact_request,
    delete,
    get,
    put,
    range_reply,
    range_request,
    txn_reply,
    txn_request,
    watch_request,
)
from fairway.apiserver.storage.etcd_mirror import Mirror

PATIENCE_SECONDS = 30.0
_UNKNOWN = "whether the change was made is not known"


class EtcdStorage:
    """Get one from `open`, and ``await`` its `aclose`; ``patience`` is how long etcd may be silent, in seconds."""

    def __init__(self, client: EtcdClient, patience: float) -> None:
        self._client = client
        self._patience = patience
        self._writer = secrets.token_hex(8)
        self._keys = Keys(client.address.prefix)
        self._mirror = Mirror(client, self._keys, self._writer, patience)
        self._numbers = count(1)
        self._fence = 0
        self._fencing = asyncio.Lock()
        self._compacted = 1
        self._asking: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, address: EtcdAddress, *, patience: float = PATIENCE_SECONDS) -> EtcdStorage:
        """Connect and read what is there; raises `StorageError`."""
        storage = cls(EtcdClient(address), patience)
        try:
            await storage._mirror.open()
        except BaseException:
            await storage._client.close()
            raise
        return storage

    @property
    def revision(self) -> int:
        return self._mirror.revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def get(self, key: str) -> Entry | None:
        await self._catch_up()
        return self._mirror.versions.get(key)

    async def list(self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0) -> Listing:
        if not revision:
            await self._catch_up()
        await self._check(revision or self.revision)
        versions = self._mirror.versions
        if revision and revision < versions.oldest:
            return await self._list_in_etcd(prefix, revision, after, limit)
        if revision in (0, self.revision):
            entries, remaining = versions.now(prefix, after, limit)
        else:
            entries, remaining = versions.then(prefix, after, revision, limit)
        return Listing(entries, revision or self.revision, remaining)

    async def _list_in_etcd(self, prefix: str, revision: int, after: str, limit: int) -> Listing:
        request = range_request(*self._keys.below(prefix, after), limit=limit, revision=revision)
        try:
            reply = range_reply(await self._client.ask(RANGE, request, self._patience))
        except Outdated:
            await self._events_since(revision)  # raises Compacted, with the revision
            raise Compacted(self.revision) from None
        entries = tuple(map(self._keys.entry, reply.rows))
        return Listing(entries, revision, reply.total - len(entries))

    async def watch(self, prefix: str, *, after: int) -> Watch:
        await self._check(after)
        older: tuple[Event, ...] = ()
        if after < self._mirror.versions.oldest and self._mirror.has_past:
            older = await self._events_since(after)
        versions = self._mirror.versions
        history = [one for one in older if one.revision <= versions.oldest and one.key.startswith(prefix)]
        return self._mirror.feed.open(prefix, [*history, *versions.since(prefix, max(after, versions.oldest))])

    async def _events_since(self, after: int) -> tuple[Event, ...]:
        """What happened after a revision, at least up to where the mirror's own history begins."""
        # Asked from `after` itself on: that it is compacted would not show otherwise if only the next one is kept.
        request = watch_request(*self._keys.all, start=after, previous=True)
        events: list[Event] = []
        reached = 0
        deadline = asyncio.get_running_loop().time() + self._patience
        while reached < self._mirror.versions.oldest:
            events.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    async for reply in self._client.watch(request):
                        events += (
                            self._event(change) for change in reply.changes if self._keys.is_data(change.row.key)
                        )
                        reached = reply.changes[-1].row.modified if reply.changes else reached
                        if reached >= self._mirror.versions.oldest and not reply.fragment:
                            break
            except Compacted as error:
                self._compacted = max(self._compacted, error.oldest)
                raise
            except TimeoutError:
                raise StorageError(f"etcd at {self._client.address} takes too long to tell what happened") from None
            except Unanswered:
                await asyncio.sleep(0.1)
        return tuple(event for event in events if event.revision > after)

    def _event(self, change: Change) -> Event:
        row, deleted, previous = change
        before = None if previous is None else self._keys.entry(previous)
        return Event(self._keys.name(row.key), row.modified, None if deleted else self._keys.entry(row), before)

    async def compact(self, revision: int) -> None:
        revision = min(revision, self.revision)
        if revision <= self._compacted:
            return
        with contextlib.suppress(Outdated):  # another server was here first, and went at least as far
            await self._client.ask(COMPACT, compact_request(revision), self._patience)
        self._compacted = revision
        self._mirror.versions.forget(revision)

    async def _check(self, revision: int) -> None:
        if revision < self._compacted:
            raise Compacted(self._compacted)
        if revision > self.revision:
            await self._catch_up()  # another server may have told it
        if revision > self.revision:
            raise FutureRevision(self.revision)

    async def _catch_up(self) -> None:
        """Wait until everything has been seen that was written before this call; raises `StorageError`."""
        if self._next is None:
            # A question that is under way may have been answered before this call, so it does not count.
            self._next = asyncio.create_task(self._ask_the_clock(self._asking))
            self._next.add_done_callback(_look_at)
        await asyncio.shield(self._next)

    async def _ask_the_clock(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._asking, self._next = self._next, None
        seen = self.revision
        reply = range_reply(await self._client.ask(RANGE, range_request(self._keys.clock), self._patience))
        if reply.revision < seen:
            await self._mirror.open_again()
        elif reply.rows and not await self._mirror.reached(reply.rows[0].modified):
            raise StorageError(f"the watch on etcd at {self._client.address} has fallen behind")

    async def transact(self, transaction: Transaction) -> int:
        if not transaction.puts and not await self._deletes_something(transaction):
            return self.revision
        number = next(self._numbers)
        self._mirror.expect_tick(number)
        try:
            async with asyncio.timeout(self._patience):
                revision = await self._write(transaction, number)
        except TimeoutError:
            raise StorageError(
                f"etcd at {self._client.address} has not answered for {self._patience:g} seconds; {_UNKNOWN}"
            ) from None
        finally:
            self._mirror.forget_tick(number)
        await self._mirror.reached(revision)
        return revision

    async def _deletes_something(self, transaction: Transaction) -> bool:
        """Whether a transaction without puts changes anything; raises `Conflict`."""
        await self._catch_up()
        versions = self._mirror.versions
        if any(key in versions for key in transaction.deletes):
            return True
        for key, expected in transaction.expect.items():
            entry = versions.get(key)
            if (entry.revision if entry else 0) != expected:
                raise Conflict(key, entry)
        return False

    async def _write(self, transaction: Transaction, number: int) -> int:
        """The revision that a transaction was carried out at, exactly once; raises `Conflict`."""
        while True:
            fence = self._fence
            try:
                reply = txn_reply(await self._client.call(TXN, self._request(transaction, number, fence)))
            except Unanswered:
                revision = await self._settle(number, fence)
                if revision is not None:
                    return revision
                continue
            if reply.succeeded:
                return reply.revision
            await self._refused(transaction, reply)

    def _request(self, transaction: Transaction, number: int, fence: int) -> bytes:
        keys = self._keys
        fence_key = keys.fence(self._writer)
        expect = [(keys.data(key), revision) for key, revision in transaction.expect.items()]
        writes = [put(keys.data(key), value) for key, value in transaction.puts.items()]
        writes += [delete(keys.data(key)) for key in sorted(transaction.deletes)]
        writes.append(put(keys.clock, Tick(self._writer, number).encode()))
        reads = [get(key) for key, _ in expect]
        return txn_request([(fence_key, fence), *expect], writes, [get(fence_key), get(keys.clock), *reads])

    async def _refused(self, transaction: Transaction, reply: TxnReply) -> None:
        """Raise `Conflict` for the key that is not as expected; return when it was our fence, which has moved."""
        fence, clock, *found = reply.ranges
        for (key, expected), rows in zip(transaction.expect.items(), found, strict=True):
            entry = self._keys.entry(rows[0]) if rows else None
            if (entry.revision if entry else 0) != expected:
                # So that whoever looks what has happened finds it.
                await self._mirror.reached(clock[0].modified if clock else 0)
                raise Conflict(key, entry)
        self._fence = fence[0].modified if fence else 0

    async def _settle(self, number: int, fence: int) -> int | None:
        """Make sure of a write whose answer is missing: the revision it happened at, None when it never will."""
        async with self._fencing:
            if self._fence == fence:
                self._fence = await self._move_fence()
        # All that comes before the fence comes before it in the watch, too.
        while not await self._mirror.reached(self._fence):
            pass
        try:
            return self._mirror.tick(number)
        except LookupError:
            raise StorageError(
                f"etcd at {self._client.address} did not answer and has been compacted since; {_UNKNOWN}"
            ) from None

    async def _move_fence(self) -> int:
        tick = Tick(self._writer, next(self._numbers)).encode()
        writes = [put(self._keys.fence(self._writer), b""), put(self._keys.clock, tick)]
        try:
            reply = await self._client.ask(TXN, txn_request([], writes), self._patience)
        except StorageError as error:
            raise StorageError(f"{error}; {_UNKNOWN}") from None
        return txn_reply(reply).revision

    def close(self) -> None:
        if self._closing is None:
            self._mirror.feed.close()
            self._closing = asyncio.get_running_loop().create_task(self._disconnect())

    async def aclose(self) -> None:
        """`close`, and wait until the connections are closed."""
        self.close()
        if self._closing:
            await self._closing

    async def _disconnect(self) -> None:
        await self._mirror.close()
        await self._client.close()


def _look_at(task: asyncio.Task[None]) -> None:
    """A failure that nobody waits for any more is no news."""
    if not task.cancelled():
        task.exception()
