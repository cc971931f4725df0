"""The Deployment controller: makes, scales and removes the ReplicaSets that `deployments` says."""

from __future__ import annotations

from fairway.client.http import Client
from fairway.client.recorder import Recorder
from fairway.controllers.claims import adoption, claim, release, selector_of
from fairway.controllers.deployments import Changes, reconcile
from fairway.controllers.feeds import Feeds
from fairway.controllers.replicator import counts
from fairway.controllers.working import Controller, is_namespace_going
from fairway.controllers.workloads import owner_of
from fairway.objects.cluster import Pod
from fairway.objects.codec import Document
from fairway.objects.meta import Key, ObjectMeta
from fairway.objects.resources import DEPLOYMENTS, REPLICA_SETS
from fairway.objects.status import ApiError
from fairway.objects.workloads import Deployment, ReplicaSet
from fairway.runtime.retry import Patience


class Roller(Controller):
    """Works on Deployments, by their keys."""

    def __init__(self, client: Client, feeds: Feeds, recorder: Recorder, patience: Patience) -> None:
        super().__init__("deployments", patience)
        self._recorder = recorder
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
        owned = await self._claim(deployment)
        pods = {one.metadata.uid: len(self._feeds.pods.left_of(one.metadata.uid)) for one in owned}
        changes = reconcile(deployment, owned, pods, self._clock.now())
        if changes.again_in is not None:
            self.add_later(item, changes.again_in)
        await self._write_replica_sets(deployment, changes)
        await self._write_deployment(deployment, changes)

    async def _claim(self, deployment: Deployment) -> list[ReplicaSet]:
        """Its ReplicaSets, after those that match and that nobody owns became its own."""
        feed, meta = self._feeds.replica_sets, deployment.metadata
        candidates = [*feed.owned_by(meta.uid), *feed.orphans(meta.namespace)]
        claimed = claim(deployment, deployment.spec.selector, candidates)
        adopted = [await self._patch(one, adoption("Deployment", deployment, one)) for one in claimed.adopt]
        for one in claimed.release:
            await self._patch(one, release(deployment, one))
        return [*claimed.mine, *adopted]

    async def _patch(self, one: ReplicaSet, patch: Document) -> ReplicaSet:
        meta = one.metadata
        return self._feeds.replica_sets.written(
            await self._client.patch(REPLICA_SETS, meta.name, patch, meta.namespace)
        )

    async def _write_replica_sets(self, deployment: Deployment, changes: Changes) -> None:
        feed = self._feeds.replica_sets
        if changes.create is not None:
            await self._create(deployment, changes.create)
        for one, patch in changes.patch:
            await self._patch(one, _only_if(one.metadata, patch))
            if (replicas := patch.get("spec", {}).get("replicas")) is not None:
                self._tell_scaled(deployment, one.metadata.name, one.replicas, replicas)
        for one in changes.delete:
            meta = one.metadata
            await self._client.delete_if_there(REPLICA_SETS, meta.name, meta.namespace, uid=meta.uid)
            feed.deleted(one)

    async def _create(self, deployment: Deployment, document: Document) -> None:
        try:
            made = self._feeds.replica_sets.written(await self._client.create(REPLICA_SETS, document))
        except ApiError as error:
            if not is_namespace_going(error):
                words = f"Failed to create new replica set {document['metadata']['name']}: {error}"
                self._recorder.record(DEPLOYMENTS, deployment, "ReplicaSetCreateError", words, type_="Warning")
            raise
        if made.replicas:
            self._tell_scaled(deployment, made.metadata.name, 0, made.replicas)

    def _tell_scaled(self, deployment: Deployment, name: str, before: int, after: int) -> None:
        words = f"Scaled {'up' if after > before else 'down'} replica set {name} from {before} to {after}"
        self._recorder.record(DEPLOYMENTS, deployment, "ScalingReplicaSet", words)

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
        if new is not None and new.metadata.controller() is None:
            self.add(*self._selecting(new))

    def _selecting(self, orphan: ReplicaSet) -> list[Key]:
        """The Deployments of its namespace that an orphan may be taken up by."""
        return [
            key
            for key in self._feeds.deployments.keys_in(orphan.metadata.namespace)
            if (selector := selector_of(self._feeds.deployments.cache[key].spec.selector)) is not None
            and selector.matches(orphan.metadata.labels)
        ]

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        """A pod that is gone may be what a Deployment with the strategy Recreate waits for."""
        owner = owner_of("ReplicaSet", old) if old is not None and new is None else None
        replica_set = self._feeds.replica_sets.cache.get(Key(key.namespace, owner.name)) if owner else None
        if replica_set is not None:
            self._replica_set_changed(replica_set.key, replica_set, None)


def _only_if(meta: ObjectMeta, patch: Document) -> Document:
    """The patch, refused with a conflict should the object have changed since we looked."""
    return {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": meta.resource_version}}
