"""The ReplicaSet controller: makes and deletes the Pods that `replicasets` says."""

from __future__ import annotations

import msgspec

from fairway.client.http import Client
from fairway.controllers.feeds import Feeds
from fairway.controllers.replicasets import Changes, new_pod, reconcile
from fairway.controllers.working import Controller, all_of
from fairway.controllers.workloads import REPLICA_SETS, ReplicaSet, ReplicaSetStatus, owner_of
from fairway.objects.cluster import Pod
from fairway.objects.codec import Document
from fairway.objects.meta import Key
from fairway.objects.resources import PODS
from fairway.runtime.retry import Patience


class Replicator(Controller):
    """Works on ReplicaSets, by their keys."""

    def __init__(self, client: Client, feeds: Feeds, patience: Patience) -> None:
        super().__init__("replicasets", patience)
        self._client = client
        self._feeds = feeds
        self._clock = patience.clock
        feeds.replica_sets.listen(lambda key, old, new: self.add(key))
        feeds.pods.listen(self._pod_changed)

    async def handle(self, item: Key) -> None:
        replica_set = self._feeds.replica_sets.cache.get(item)
        if replica_set is None:
            return
        uid = replica_set.metadata.uid
        pods = [pod for pod in self._feeds.pods.owned_by(uid) if _is_controlled_by(uid, pod)]
        changes = reconcile(replica_set, pods, self._clock.now())
        if changes.again_in is not None:
            self.add_later(item, changes.again_in)
        try:
            await self._change_pods(replica_set, changes)
        except Exception:
            await self._write_status(item, changes.status)
            raise
        # What was done to pods comes back as their change, and the status follows from that: one write, not two.
        if not changes.create and not changes.delete:
            await self._write_status(item, changes.status)

    async def _change_pods(self, replica_set: ReplicaSet, changes: Changes) -> None:
        await all_of(self._delete(pod) for pod in changes.delete)
        pod = new_pod(replica_set)
        left, batch = changes.create, 1
        while left:
            # Twice as many each time: where pods are refused, a thousand of them are not asked for.
            batch = min(left, batch * 2)
            await all_of(self._create(pod) for _ in range(batch))
            left -= batch

    async def _create(self, pod: Document) -> None:
        self._feeds.pods.written(await self._client.create(PODS, pod))

    async def _delete(self, pod: Pod) -> None:
        meta = pod.metadata
        await self._client.delete_if_there(PODS, meta.name, meta.namespace, uid=meta.uid)
        self._feeds.pods.deleted(pod)

    async def _write_status(self, key: Key, status: ReplicaSetStatus | None) -> None:
        current = self._feeds.replica_sets.cache.get(key)
        if status is None or current is None:
            return
        patch = {"metadata": {"uid": current.metadata.uid}, "status": counts(status)}
        self._feeds.replica_sets.written(await self._client.patch_status(REPLICA_SETS, key.name, patch, key.namespace))

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        for owner in {owner_of("ReplicaSet", pod) for pod in (old, new) if pod is not None}:
            if owner is not None:
                self.add(Key(key.namespace, owner.name))


def counts(status: msgspec.Struct) -> Document:
    """A status for a merge patch, with its zeros, which would not overwrite anything if they were left out."""
    document: Document = msgspec.to_builtins(status)
    for name, field in zip(status.__struct_encode_fields__, status.__struct_fields__, strict=True):
        if isinstance(getattr(status, field), int):
            document[name] = getattr(status, field)
    return document


def _is_controlled_by(uid: str, pod: Pod) -> bool:
    owner = pod.metadata.controller()
    return owner is not None and owner.uid == uid
