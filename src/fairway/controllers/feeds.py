"""One cache a kind, which all controllers of a process share.

API server ══watch══▶ Feed ──▶ listener, listener, …      (key, old, new)
     ▲                  ▲
     └── a controller's write ──┘ the answer goes in at once: a controller reads what it wrote

"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from fairway.client.http import Client
from fairway.client.informer import Informer
from fairway.controllers.heartbeat import NAMESPACE as NODE_LEASES
from fairway.objects import resources
from fairway.objects.meta import Key, KubernetesObject
from fairway.objects.resources import DEPLOYMENTS, REPLICA_SETS, Resource
from fairway.runtime.retry import Patience

# The ConfigMap of each namespace that says whom to trust as the API server.
ROOT_CA_NAME = "kube-root-ca.crt"
T = TypeVar("T", bound=KubernetesObject)
Listener = Callable[[Key, T | None, T | None], None]


class ConfigMap(KubernetesObject):
    data: dict[str, str] | None = None


class Feed(Generic[T]):
    """The objects of one kind, by key and by owner, and those that like to hear of changes.

    Objects that we have asked the server to delete are remembered as *going* until the server says that they are gone,
    so that nobody counts on them, or deletes them twice.
    """

    def __init__(
        self, client: Client, resource: Resource[T], patience: Patience, *, namespace: str = "", name: str = ""
    ) -> None:
        """``namespace`` and ``name``: only those in it, only those of that name."""
        self.resource = resource
        self.informer = Informer(
            client,
            resource,
            on_change=self._tell,
            namespace=namespace,
            field_selector=f"metadata.name={name}" if name else "",
            patience=patience,
        )
        self._listeners: list[Listener[T]] = []
        self._by_owner: defaultdict[str, set[Key]] = defaultdict(set)
        self._going: set[str] = set()
        self._orphans: defaultdict[str, set[Key]] = defaultdict(set)
        self._in: defaultdict[str, set[Key]] = defaultdict(set)

    @property
    def cache(self) -> Mapping[Key, T]:
        return self.informer.cache

    def listen(self, listener: Listener[T]) -> None:
        self._listeners.append(listener)

    def owned_by(self, uid: str) -> list[T]:
        """The objects that name this owner, in the order of their names, without those that are going."""
        return [one for one in self.left_of(uid) if not self.is_going(one)]

    def left_of(self, uid: str) -> list[T]:
        """The objects that name this owner, in the order of their names."""
        return [self.cache[key] for key in sorted(self._by_owner.get(uid, ()))]

    def keys_in(self, namespace: str) -> list[Key]:
        """The keys of a namespace's objects, in the order of their names."""
        return sorted(self._in.get(namespace, ()))

    def orphans(self, namespace: str) -> list[T]:
        """The objects of a namespace that nobody controls, in the order of their names."""
        return [self.cache[key] for key in sorted(self._orphans.get(namespace, ()))]

    def written(self, answer: T) -> T:
        """The server's answer to a write goes into the cache."""
        self.informer.observe(answer)
        return answer

    def deleted(self, asked: T) -> None:
        """The server has accepted to delete this object."""
        current = self.cache.get(asked.metadata.key)
        if current is not None and current.metadata.uid == asked.metadata.uid:
            self._going.add(asked.metadata.uid)

    def is_going(self, one: T) -> bool:
        return one.metadata.uid in self._going

    def _tell(self, key: Key, old: T | None, new: T | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._going.discard(old.metadata.uid)
        self._index(key, old, new)
        for listener in self._listeners:
            listener(key, old, new)

    def _index(self, key: Key, old: T | None, new: T | None) -> None:
        _file(self._in, key, new is not None)
        _file(self._orphans, key, new is not None and new.metadata.controller() is None)
        before = {owner.uid for owner in (old.metadata.owner_references if old else None) or ()}
        after = {owner.uid for owner in (new.metadata.owner_references if new else None) or ()}
        for uid in before - after:
            self._by_owner[uid].discard(key)
            if not self._by_owner[uid]:
                del self._by_owner[uid]
        for uid in after - before:
            self._by_owner[uid].add(key)


def _file(index: defaultdict[str, set[Key]], key: Key, there: bool) -> None:
    """Put a key under its namespace, or take it out."""
    if there:
        index[key.namespace].add(key)
    elif key.namespace in index:
        index[key.namespace].discard(key)
        if not index[key.namespace]:
            del index[key.namespace]


class Feeds:
    """All the kinds that controllers follow."""

    def __init__(self, client: Client, patience: Patience) -> None:
        self.namespaces = Feed(client, resources.NAMESPACES, patience)
        self.nodes = Feed(client, resources.NODES, patience)
        self.pods = Feed(client, resources.PODS, patience)
        self.services = Feed(client, resources.SERVICES, patience)
        self.slices = Feed(client, resources.ENDPOINT_SLICES, patience)
        self.endpoints = Feed(client, resources.ENDPOINTS, patience)
        # Only the nodes' own: those of elections and of other people are none of ours.
        self.leases = Feed(client, resources.LEASES, patience, namespace=NODE_LEASES)
        self.deployments = Feed(client, DEPLOYMENTS, patience)
        self.replica_sets = Feed(client, REPLICA_SETS, patience)
        # Only those that every namespace has.
        self.service_accounts = Feed(client, resources.SERVICE_ACCOUNTS, patience, name="default")
        self.root_certificates = Feed(client, resources.CONFIG_MAPS.read_as(ConfigMap), patience, name=ROOT_CA_NAME)

    def __iter__(self) -> Iterator[Feed[KubernetesObject]]:
        yield from (
            self.namespaces,
            self.nodes,
            self.pods,
            self.services,
            self.slices,
            self.endpoints,
            self.leases,
            self.deployments,
            self.replica_sets,
            self.service_accounts,
            self.root_certificates,
        )  # type: ignore[misc]

    async def synced(self) -> None:
        """Wait until every cache holds its first list."""
        await asyncio.gather(*(feed.informer.synced() for feed in self))
