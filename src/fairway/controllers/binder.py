"""The scheduler at work: finds each pending Pod a node, as `scheduler` says, and writes it down."""

from __future__ import annotations

from fairway.client.http import Client
from fairway.client.recorder import Recorder
from fairway.controllers.feeds import Feeds
from fairway.controllers.scheduler import Spread, needs_node, owner_uid, place
from fairway.controllers.working import Controller
from fairway.objects.cluster import Node, Pod
from fairway.objects.codec import Document
from fairway.objects.meta import Key
from fairway.objects.resources import PODS
from fairway.runtime.clock import rfc3339
from fairway.runtime.retry import Patience


class Binder(Controller):
    """Works on Pods without a node, by their keys."""

    def __init__(self, client: Client, feeds: Feeds, recorder: Recorder, patience: Patience) -> None:
        super().__init__("scheduler", patience)
        self._recorder = recorder
        self._client = client
        self._feeds = feeds
        self._clock = patience.clock
        self._spread = Spread()
        self._waiting: set[Key] = set()
        feeds.pods.listen(self._pod_changed)
        feeds.nodes.listen(self._node_changed)

    async def handle(self, item: Key) -> None:
        pod = self._feeds.pods.cache.get(item)
        if pod is None or not needs_node(pod):
            return
        placement = place(pod, self._feeds.nodes.cache.values(), self._spread)
        if not placement.node:
            await self._tell(pod, placement.message)
            return
        # Counted before it is written: pods that are placed at the same moment must see each other.
        self._spread.put(item, owner_uid(pod), placement.node)
        patch = {"metadata": {"uid": pod.metadata.uid}, "spec": {"nodeName": placement.node}}
        try:
            self._feeds.pods.written(await self._client.patch(PODS, item.name, patch, item.namespace))
        except Exception:
            self._spread.remove(item)
            raise
        self._recorder.record(PODS, pod, "Scheduled", f"Successfully assigned {item} to {placement.node}")

    async def _tell(self, pod: Pod, message: str) -> None:
        """Say on the pod why it waits, once."""
        current = next((one for one in pod.status.conditions or () if one.type == "PodScheduled"), None)
        wanted = ("False", "Unschedulable", message)
        if current is not None and (current.status, current.reason, current.message) == wanted:
            return
        moved = current is None or current.status != "False" or not current.last_transition_time
        condition = {
            "type": "PodScheduled",
            "status": wanted[0],
            "reason": wanted[1],
            "message": wanted[2],
            "lastTransitionTime": rfc3339(self._clock.now()) if moved or not current else current.last_transition_time,
        }
        patch: Document = {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}}
        meta = pod.metadata
        answer = await self._client.patch_status(PODS, meta.name, patch, meta.namespace, kind="strategic")
        self._feeds.pods.written(answer)
        self._recorder.record(PODS, pod, "FailedScheduling", message, type_="Warning")

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        self._waiting.discard(key)
        if new is None or new.status.phase in ("Succeeded", "Failed"):
            self._spread.remove(key)
        elif new.spec.node_name:
            self._spread.put(key, owner_uid(new), new.spec.node_name)
        elif needs_node(new):
            self._waiting.add(key)
            self.add(key)

    def _node_changed(self, key: Key, old: Node | None, new: Node | None) -> None:
        """Pods that wait may fit now; and those that still do not should say the new reason."""
        if old is None or new is None or _reading(old) != _reading(new):
            self.add(*self._waiting)


def _reading(node: Node) -> object:
    """All of a node that a placement depends on."""
    return node.ready, node.spec.unschedulable, node.spec.taints, node.metadata.labels
