"""The ReplicaSet controller: makes and deletes the Pods that `replicasets` says."""

from __future__ import annotations

import msgspec

from fairway.client.http import Client
from fairway.client.recorder import Recorder
from fairway.controllers.claims import adoption, claim, release, selector_of
from fairway.controllers.feeds import Feeds
from fairway.controllers.replicasets import Changes, new_pod, reconcile
from fairway.controllers.working import Controller, all_of, is_namespace_going
from fairway.controllers.workloads import owner_of
from fairway.objects.cluster import Pod
from fairway.objects.codec import Document
from fairway.objects.meta import Key
from fairway.objects.resources import PODS, REPLICA_SETS
from fairway.objects.status import ApiError
from fairway.objects.workloads import ReplicaSet, ReplicaSetStatus
from fairway.runtime.retry import Patience


class Replicator(Controller):
    """Works on ReplicaSets, by their keys."""

    def __init__(self, client: Client, feeds: Feeds, recorder: Recorder, patience: Patience) -> None:
        super().__init__("replicasets", patience)
        self._recorder = recorder
        self._client = client
        self._feeds = feeds
        self._clock = patience.clock
        feeds.replica_sets.listen(lambda key, old, new: self.add(key))
        feeds.pods.listen(self._pod_changed)

    async def handle(self, item: Key) -> None:
        replica_set = self._feeds.replica_sets.cache.get(item)
        if replica_set is None:
            return
        pods = await self._claim(replica_set)
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

    async def _claim(self, replica_set: ReplicaSet) -> list[Pod]:
        """Its pods, after those that match and that nobody owns became its own, and those that do not match free."""
        feed, meta = self._feeds.pods, replica_set.metadata
        candidates = [*feed.owned_by(meta.uid), *feed.orphans(meta.namespace)]
        claimed = claim(replica_set, replica_set.spec.selector, candidates)
        adopt = [
            (pod, adoption("ReplicaSet", replica_set, pod))
            for pod in claimed.adopt
            if pod.status.phase not in ("Succeeded", "Failed")
        ]
        let_go = [(pod, release(replica_set, pod)) for pod in claimed.release]
        await all_of(self._patch(pod, patch) for pod, patch in (*adopt, *let_go))
        return [*claimed.mine, *(pod for pod, _ in adopt)]

    async def _patch(self, pod: Pod, patch: Document) -> None:
        meta = pod.metadata
        self._feeds.pods.written(await self._client.patch(PODS, meta.name, patch, meta.namespace))

    async def _change_pods(self, replica_set: ReplicaSet, changes: Changes) -> None:
        await all_of(self._delete(replica_set, pod) for pod in changes.delete)
        pod = new_pod(replica_set)
        left, batch = changes.create, 1
        while left:
            # Twice as many each time: where pods are refused, a thousand of them are not asked for.
            batch = min(left, batch * 2)
            await all_of(self._create(replica_set, pod) for _ in range(batch))
            left -= batch

    async def _create(self, replica_set: ReplicaSet, pod: Document) -> None:
        try:
            made = self._feeds.pods.written(await self._client.create(PODS, pod))
        except ApiError as error:
            if not is_namespace_going(error):
                self._warn(replica_set, "FailedCreate", f"Error creating: {error}")
            raise
        self._recorder.record(REPLICA_SETS, replica_set, "SuccessfulCreate", f"Created pod: {made.metadata.name}")

    async def _delete(self, replica_set: ReplicaSet, pod: Pod) -> None:
        meta = pod.metadata
        try:
            await self._client.delete_if_there(PODS, meta.name, meta.namespace, uid=meta.uid)
        except ApiError as error:
            self._warn(replica_set, "FailedDelete", f"Error deleting: {error}")
            raise
        self._feeds.pods.deleted(pod)
        self._recorder.record(REPLICA_SETS, replica_set, "SuccessfulDelete", f"Deleted pod: {meta.name}")

    def _warn(self, replica_set: ReplicaSet, reason: str, message: str) -> None:
        self._recorder.record(REPLICA_SETS, replica_set, reason, message, type_="Warning")

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
        if (
            new is not None
            and new.metadata.controller() is None
            and (old is None or _claimable(old) != _claimable(new))
        ):
            self.add(*self._selecting(new))

    def _selecting(self, orphan: Pod) -> list[Key]:
        """The ReplicaSets of its namespace that an orphan may be taken up by."""
        return [
            key
            for key in self._feeds.replica_sets.keys_in(orphan.metadata.namespace)
            if (selector := selector_of(self._feeds.replica_sets.cache[key].spec.selector)) is not None
            and selector.matches(orphan.metadata.labels)
        ]


def counts(status: msgspec.Struct) -> Document:
    """A status for a merge patch, with its zeros, which would not overwrite anything if they were left out."""
    document: Document = msgspec.to_builtins(status)
    for name, field in zip(status.__struct_encode_fields__, status.__struct_fields__, strict=True):
        if isinstance(getattr(status, field), int):
            document[name] = getattr(status, field)
    return document


def _claimable(pod: Pod) -> object:
    """All of an orphan that decides who may take it up."""
    return pod.metadata.labels, pod.metadata.controller(), pod.terminating
