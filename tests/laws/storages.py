"""Storages for laws that kill servers: each can be opened again over what an earlier life left."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fairway.apiserver.storage.contract import Entry, Listing, Storage, Transaction, Watch
from fairway.apiserver.storage.etcd import EtcdStorage
from fairway.apiserver.storage.etcd_address import EtcdAddress
from fairway.apiserver.storage.memory import MemoryStorage
from fairway.apiserver.storage.sqlite import SqliteStorage

Reopen = Callable[[Storage | None], Awaitable[Storage]]
"""Gives the storage of a server that starts; the argument is the one of the server that has died."""


def memory() -> Reopen:
    async def reopen(dead: Storage | None) -> Storage:
        return dead or MemoryStorage()

    return reopen


def sqlite(directory: Path) -> Reopen:
    async def reopen(dead: Storage | None) -> Storage:
        if dead is not None:
            dead.close()
        return SqliteStorage(directory / "state.db")

    return reopen


def etcd(url: str) -> Reopen:
    prefix = f"/{uuid.uuid4().hex}"

    async def reopen(dead: Storage | None) -> Storage:
        await close(dead)
        return await EtcdStorage.open(EtcdAddress(endpoints=(url,), prefix=prefix))

    return reopen


async def close(storage: Storage | None) -> None:
    """Close it, with its connections."""
    if isinstance(storage, EtcdStorage):
        await storage.aclose()
    elif storage is not None:
        storage.close()


class Crash(Exception):
    """The server has died here."""


class Fragile:
    """A storage whose server dies at one of its calls: before it, or after it took effect and before the answer.

    ``deadly`` counts from 1; 0 is never. Every call lets other tasks run first, as a storage over a network does.
    """

    def __init__(self, storage: Storage, *, deadly: int = 0, after: bool = False) -> None:
        self._storage = storage
        self.arm(deadly, after=after)

    def arm(self, deadly: int, *, after: bool) -> None:
        """Die at that call from now on."""
        self._deadly = deadly
        self._after = after
        self.calls = 0

    @property
    def revision(self) -> int:
        return self._storage.revision

    @property
    def compacted(self) -> int:
        return self._storage.compacted

    async def _call(self, call: Callable[[], Any]) -> Any:
        await asyncio.sleep(0)
        self.calls += 1
        if self.calls == self._deadly and not self._after:
            raise Crash
        answer = await call()
        if self.calls == self._deadly:
            raise Crash
        return answer

    async def get(self, key: str) -> Entry | None:
        found: Entry | None = await self._call(lambda: self._storage.get(key))
        return found

    async def list(self, prefix: str, *, revision: int = 0, after: str = "", limit: int = 0) -> Listing:
        found: Listing = await self._call(
            lambda: self._storage.list(prefix, revision=revision, after=after, limit=limit)
        )
        return found

    async def transact(self, transaction: Transaction) -> int:
        revision: int = await self._call(lambda: self._storage.transact(transaction))
        return revision

    async def watch(self, prefix: str, *, after: int) -> Watch:
        watch: Watch = await self._call(lambda: self._storage.watch(prefix, after=after))
        return watch

    async def compact(self, revision: int) -> None:
        await self._storage.compact(revision)

    def close(self) -> None:
        self._storage.close()
