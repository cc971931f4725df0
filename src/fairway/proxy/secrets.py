"""The Secrets that relayed Services end TLS with: each is followed by itself, from its first Service to its last.

    frontends ──which Secrets──▶ Secrets ──one informer each──▶ Certificates ──▶ the relay

A proxy that no Service asks for TLS needs no right to read any Secret.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from fairway.client.http import Client
from fairway.client.informer import Informer
from fairway.model.view import FrontendKey
from fairway.objects.cluster import Secret
from fairway.objects.meta import Key
from fairway.objects.resources import SECRETS
from fairway.proxy.cache import Batch, Cache
from fairway.proxy.listeners import Listener
from fairway.proxy.receipts import Receipt, Round
from fairway.relay.certificates import Certificates

Tell = Callable[[Key, str], None]
"""A Service, and a sentence for its owner."""


class SecretFollower(Listener):
    """Knows from the rounds which Secrets are asked for; ``run`` follows these."""

    def __init__(self, cache: Cache, certificates: Certificates, tell: Tell) -> None:
        self._cache, self._certificates, self._tell = cache, certificates, tell
        self._asked: dict[FrontendKey, Key] = {}
        self._users: dict[Key, dict[FrontendKey, Key]] = {}
        """The frontends that ask for a Secret, and whose they are."""
        self._wake = asyncio.Event()

    @property
    def wanted(self) -> frozenset[Key]:
        return frozenset(self._users)

    def finished(self, done: Round, receipts: Sequence[Receipt], batch: Batch) -> Iterator[None]:
        return map(self._read, batch.before)

    def _read(self, key: FrontendKey) -> None:
        """Which Secret a frontend asks for now."""
        frontend = self._cache.frontends.get(key)
        new = frontend.relaying.tls if frontend and frontend.relaying else None
        if (old := self._asked.get(key)) == new:
            return
        if old is not None:
            del self._asked[key]
            del self._users[old][key]
            if not self._users[old]:
                del self._users[old]
        if frontend is not None and new is not None:
            self._asked[key] = new
            self._users.setdefault(new, {})[key] = frontend.service
            self._say(new, [frontend.service])
        self._wake.set()

    def _say(self, secret: Key, services: Iterable[Key]) -> None:
        """Tell the owners of Services why nobody can use TLS as they want it, if so."""
        if sentence := self._certificates.problems.get(secret):
            for service in dict.fromkeys(services):
                self._tell(service, sentence)

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
            await informer.answered()
            if not informer.is_synced:
                self._certificates.unreadable(key)
                self._say(key, self._users.get(key, {}).values())
            await informer.synced()
            if key not in informer.cache:
                self._put(key, None)

    def _changed(self, key: Key, old: Secret | None, new: Secret | None) -> None:
        self._put(key, new)

    def _put(self, key: Key, secret: Secret | None) -> None:
        before = self._certificates.problems.get(key)
        self._certificates.put(key, secret.data or {} if secret else None)
        if self._certificates.problems.get(key) != before:
            self._say(key, self._users.get(key, {}).values())
