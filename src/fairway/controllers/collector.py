"""The garbage collector: what was made for an owner goes when the owner goes.

    background   the owner is gone; its dependents are found without it, and deleted
    foreground   the owner waits (finalizer foregroundDeletion) until its dependents are gone
    orphan       the owner waits (finalizer orphan) until its dependents no longer name it

One collector a kind: it looks at the objects of its kind, both as somebody's dependents and as owners.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from fairway.client.http import Client
from fairway.controllers.feeds import Feed, Feeds
from fairway.controllers.working import Controller, all_of
from fairway.objects.meta import Key, KubernetesObject, OwnerReference
from fairway.objects.resources import BY_KIND
from fairway.objects.status import ApiError
from fairway.runtime.retry import Patience

T = TypeVar("T", bound=KubernetesObject)
Owned = TypeVar("Owned", bound=KubernetesObject)
FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Collector(Controller, Generic[T]):
    """Works on the objects of one feed, by their keys."""

    def __init__(self, client: Client, feed: Feed[T], feeds: Feeds, patience: Patience) -> None:
        super().__init__(f"garbage collection of {feed.resource.plural}", patience)
        self._client = client
        self._feed = feed
        self._feeds = {(one.resource.api_version, one.resource.kind): one for one in feeds}
        self._kind = (feed.resource.api_version, feed.resource.kind)
        feed.listen(self._changed)
        for other in feeds:
            other.listen(self._another_changed)

    async def handle(self, item: Key) -> None:
        one = self._feed.cache.get(item)
        if one is None or self._feed.is_going(one):
            return
        if one.metadata.deletion_timestamp is not None:
            await self._finish(one)
        elif one.metadata.owner_references and await self._is_abandoned(one):
            await self._delete(self._feed, one)

    async def _is_abandoned(self, one: T) -> bool:
        """Whether no owner is left; one of a kind that we do not follow counts as there."""
        for owner in one.metadata.owner_references or ():
            if not await self._is_gone(owner, one.metadata.namespace):
                return False
        return True

    async def _is_gone(self, owner: OwnerReference, namespace: str) -> bool:
        resource = BY_KIND.get((owner.api_version, owner.kind))
        feed = self._feeds.get((owner.api_version, owner.kind))
        if resource is None or feed is None:
            return False
        key = Key(namespace if resource.namespaced else "", owner.name)
        known = feed.cache.get(key)
        if known is not None and known.metadata.uid == owner.uid:
            return False
        # Our cache may lag behind; nothing is deleted before the server itself has said that the owner is gone.
        try:
            found = await self._client.get(feed.resource, key.name, key.namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return True
        return found.metadata.uid != owner.uid

    async def _finish(self, owner: T) -> None:
        """Do as the owner's finalizers say, and let it go when that is done."""
        finalizers = owner.metadata.finalizers or ()
        uid = owner.metadata.uid
        dependents = [(feed, one) for feed in self._feeds.values() for one in feed.owned_by(uid)]
        if ORPHAN in finalizers:
            await all_of(self._disown(feed, one, uid) for feed, one in dependents)
            await self._drop_finalizer(owner, ORPHAN)
        elif FOREGROUND in finalizers:
            await all_of(self._delete(feed, one) for feed, one in dependents if one.metadata.deletion_timestamp is None)
            # Those still on their way out do not let the owner go; the end of the last one brings us here again.
            if not any(_blocks(one, uid) for feed in self._feeds.values() for one in feed.left_of(uid)):
                await self._drop_finalizer(owner, FOREGROUND)

    async def _delete(self, feed: Feed[Owned], one: Owned) -> None:
        meta = one.metadata
        await self._client.delete_if_there(feed.resource, meta.name, meta.namespace, uid=meta.uid)
        feed.deleted(one)

    async def _disown(self, feed: Feed[Owned], one: Owned, uid: str) -> None:
        left = [owner for owner in one.metadata.owner_references or () if owner.uid != uid]
        meta = one.metadata
        patch = {"metadata": {"resourceVersion": meta.resource_version, "ownerReferences": msgspec.to_builtins(left)}}
        feed.written(await self._client.patch(feed.resource, meta.name, patch, meta.namespace))

    async def _drop_finalizer(self, owner: T, finalizer: str) -> None:
        meta = owner.metadata
        left = [one for one in meta.finalizers or () if one != finalizer]
        patch = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": left}}
        await self._client.patch(self._feed.resource, meta.name, patch, meta.namespace)

    def _changed(self, key: Key, old: T | None, new: T | None) -> None:
        if new is not None and (new.metadata.owner_references or new.metadata.finalizers):
            self.add(key)

    def _another_changed(self, key: Key, old: KubernetesObject | None, new: KubernetesObject | None) -> None:
        if old is None or (new is not None and new.metadata.uid == old.metadata.uid):
            return
        # As an owner it leaves dependents behind; as a dependent it may be what an owner waited for.
        self.add(*(one.metadata.key for one in self._feed.owned_by(old.metadata.uid)))
        for owner in old.metadata.owner_references or ():
            if (owner.api_version, owner.kind) == self._kind:
                self.add(Key(key.namespace, owner.name))


def _blocks(one: KubernetesObject, uid: str) -> bool:
    return any(owner.uid == uid and owner.block_owner_deletion for owner in one.metadata.owner_references or ())
