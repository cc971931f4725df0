"""The Deployment controller: makes, scales and removes the ReplicaSets that `deployments` says."""

from __future__ import annotations

from fairway.client.http import Client
from fairway.controllers.deployments import Changes, reconcile
from fairway.controllers.feeds import Feeds
from fairway.controllers.replicator import counts
from fairway.controllers.working import Controller
from fairway.controllers.workloads import DEPLOYMENTS, REPLICA_SETS, Deployment, ReplicaSet, owner_of
from fairway.objects.cluster import Pod
from fairway.objects.codec import Document
from fairway.objects.meta import Key, ObjectMeta
from fairway.runtime.retry import Patience


class Roller(Controller):
    """Works on Deployments, by their keys."""

    def __init__(self, client: Client, feeds: Feeds, patience: Patience) -> None:
        super().__init__("deployments", patience)
        self._client = client
        self._feeds = feeds
        self._clock = patience.clock
        feeds.deployments.listen(lambda key, old, new: self.add(key))
        feeds.replica_sets.listen(self._replica_set_changed)
        feeds.pods.listen(self._pod_changed)

    async def handle(self, item: Key) -> None:
        deployment = self._feeds.deployments.cache.get(item)
        if deployment is None:
            return
        owned = self._feeds.replica_sets.owned_by(deployment.metadata.uid)
        pods = {one.metadata.uid: len(self._feeds.pods.left_of(one.metadata.uid)) for one in owned}
        changes = reconcile(deployment, owned, pods, self._clock.now())
        if changes.again_in is not None:
            self.add_later(item, changes.again_in)
        await self._write_replica_sets(changes)
        await self._write_deployment(deployment, changes)

    async def _write_replica_sets(self, changes: Changes) -> None:
        feed = self._feeds.replica_sets
        if changes.create is not None:
            feed.written(await self._client.create(REPLICA_SETS, changes.create))
        for one, patch in changes.patch:
            meta = one.metadata
            feed.written(await self._client.patch(REPLICA_SETS, meta.name, _only_if(meta, patch), meta.namespace))
        for one in changes.delete:
            meta = one.metadata
            await self._client.delete_if_there(REPLICA_SETS, meta.name, meta.namespace, uid=meta.uid)
            feed.deleted(one)

    async def _write_deployment(self, deployment: Deployment, changes: Changes) -> None:
        feed, meta = self._feeds.deployments, deployment.metadata
        if changes.annotations:
            patch: Document = {"metadata": {"uid": meta.uid, "annotations": dict(changes.annotations)}}
            feed.written(await self._client.patch(DEPLOYMENTS, meta.name, patch, meta.namespace))
        if changes.status is not None:
            patch = {"metadata": {"uid": meta.uid}, "status": counts(changes.status)}
            feed.written(await self._client.patch_status(DEPLOYMENTS, meta.name, patch, meta.namespace))

    def _replica_set_changed(self, key: Key, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        for owner in {owner_of("Deployment", one) for one in (old, new) if one is not None}:
            if owner is not None:
                self.add(Key(key.namespace, owner.name))

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        """A pod that is gone may be what a Deployment with the strategy Recreate waits for."""
        owner = owner_of("ReplicaSet", old) if old is not None and new is None else None
        replica_set = self._feeds.replica_sets.cache.get(Key(key.namespace, owner.name)) if owner else None
        if replica_set is not None:
            self._replica_set_changed(replica_set.key, replica_set, None)


def _only_if(meta: ObjectMeta, patch: Document) -> Document:
    """The patch, refused with a conflict should the object have changed since we looked."""
    return {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": meta.resource_version}}
