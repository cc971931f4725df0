"""The Secrets that relayed Services end TLS with: each is followed by itself, from its first Service to its last.

    frontends ──which Secrets──▶ Secrets ──one informer each──▶ Certificates ──▶ the relay

A proxy that no Service asks for TLS needs no right to read any Secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fairway.client.http import Client
from fairway.client.informer import Informer
from fairway.modes.shares import Shares
from fairway.objects.cluster import Secret
from fairway.objects.meta import Key
from fairway.objects.resources import SECRETS
from fairway.proxy.cache import Batch, Cache
from fairway.proxy.receipts import Receipt, Round
from fairway.proxy.sync import Listener
from fairway.relay.certificates import Certificates


class SecretFollower(Listener):
    """Knows from the rounds which Secrets are asked for; ``run`` follows these."""

    def __init__(self, cache: Cache, certificates: Certificates) -> None:
        self._cache, self._certificates = cache, certificates
        self._asked: dict[object, Key] = {}
        self._shares: Shares[Key] = Shares()
        self._wake = asyncio.Event()

    @property
    def wanted(self) -> frozenset[Key]:
        return frozenset(self._shares.owners)

    def finished(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> None:
        before, after = [], []
        for key in batch.before:
            old = self._asked.pop(key, None)
            frontend = self._cache.frontends.get(key)
            new = frontend.relaying.tls if frontend and frontend.relaying else None
            if new is not None:
                self._asked[key] = new
            before += [old] if old else []
            after += [new] if new else []
        if before != after:
            self._shares.accept(self._shares.turnover(before, after))
            self._wake.set()

    async def run(self, client: Client) -> None:
        """Until cancelled."""
        followed: dict[Key, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for key in followed.keys() - self.wanted:
                    followed.pop(key).cancel()
                    self._certificates.forget(key)
                for key in self.wanted - followed.keys():
                    followed[key] = group.create_task(self._follow(client, key))

    async def _follow(self, client: Client, key: Key) -> None:
        informer = Informer(
            client,
            SECRETS,
            on_change=self._changed,
            namespace=key.namespace,
            field_selector=f"metadata.name={key.name}",
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            await informer.synced()
            if key not in informer.cache:
                self._certificates.put(key, None)

    def _changed(self, key: Key, old: Secret | None, new: Secret | None) -> None:
        self._certificates.put(key, new.data or {} if new else None)
