"""The node lifecycle controller: hears the nodes' Leases, and writes what `lifecycle` says of the silent ones.

Silence is measured from when *we* last saw a Lease change, so that no two clocks are compared; and only while the API
server answers, for a node cannot renew its Lease with a server that is away. A Node that never had a Lease is left
alone: nobody has promised to speak for it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from fairway.client.http import Client
from fairway.client.recorder import Recorder
from fairway.client.transport import ServerUnreachable
from fairway.controllers.feeds import Feeds
from fairway.controllers.heartbeat import NAMESPACE
from fairway.controllers.lifecycle import Changes, is_lost, judge, pod_condition
from fairway.controllers.working import Controller, all_of
from fairway.objects.cluster import Node, Pod
from fairway.objects.codec import Document
from fairway.objects.lease import Lease
from fairway.objects.meta import Key
from fairway.objects.resources import LEASES, NODES, PODS
from fairway.objects.status import ApiError
from fairway.runtime.retry import Patience

GRACE_SECONDS = 40.0


class Watchman(Controller):
    """Works on Nodes, by their keys."""

    def __init__(
        self, client: Client, feeds: Feeds, recorder: Recorder, patience: Patience, grace: float = GRACE_SECONDS
    ) -> None:
        super().__init__("nodes", patience)
        self._client = client
        self._feeds = feeds
        self._recorder = recorder
        self._clock = patience.clock
        self._grace = grace
        self._heard: dict[str, float] = {}
        self._pods_on: defaultdict[str, set[Key]] = defaultdict(set)
        feeds.leases.listen(self._lease_changed)
        feeds.nodes.listen(self._node_changed)
        feeds.pods.listen(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self._feel_the_server())

    async def handle(self, item: Key) -> None:
        node = self._feeds.nodes.cache.get(item)
        heard = self._heard.get(item.name)
        if node is None or heard is None:
            return
        left = heard + self._grace - self._clock.monotonic()
        if left > 0:
            self.add_later(item, left)
        changes = judge(node, silent=left <= 0, now=self._clock.now())
        await self._write(node, changes)
        await all_of(self._write_pod(key, silent=left <= 0) for key in sorted(self._pods_on.get(item.name, ())))

    async def _write(self, node: Node, changes: Changes) -> None:
        meta = node.metadata
        if changes.taints is not None:
            patch: Document = {
                "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
                "spec": {"taints": changes.taints or None},
            }
            self._feeds.nodes.written(await self._client.patch(NODES, meta.name, patch))
        if changes.condition is not None:
            patch = {"metadata": {"uid": meta.uid}, "status": {"conditions": [changes.condition]}}
            self._feeds.nodes.written(await self._client.patch_status(NODES, meta.name, patch, kind="strategic"))
            lost = changes.condition["status"] != "True"
            words = f"Node {meta.name} status is now: {'NodeNotReady' if lost else 'NodeReady'}"
            self._recorder.record(NODES, node, "NodeNotReady" if lost else "NodeReady", words)

    async def _write_pod(self, key: Key, *, silent: bool) -> None:
        pod = self._feeds.pods.cache.get(key)
        condition = pod_condition(pod, silent=silent, now=self._clock.now()) if pod is not None else None
        if pod is None or condition is None:
            return
        meta = pod.metadata
        # The version: should the node's agent say something right now, that counts.
        patch: Document = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"conditions": [condition]},
        }
        answer = await self._client.patch_status(PODS, meta.name, patch, meta.namespace, kind="strategic")
        self._feeds.pods.written(answer)
        if silent:
            self._recorder.record(PODS, pod, "NodeNotReady", "Node is not ready", type_="Warning")

    async def _feel_the_server(self) -> None:
        """Ask for something four times in a grace period; after an outage every node has its whole time again."""
        away = False
        while True:
            await self._clock.sleep(self._grace / 4)
            try:
                await self._client.get(LEASES, "fairway-controllers", NAMESPACE)
            except ServerUnreachable:
                away = True
            except ApiError as error:
                away = away or error.code >= 500
                if error.code < 500:
                    away = self._forgive(away)
            else:
                away = self._forgive(away)

    def _forgive(self, away: bool) -> bool:
        if away:
            now = self._clock.monotonic()
            self._heard = dict.fromkeys(self._heard, now)
        return False

    def _lease_changed(self, key: Key, old: Lease | None, new: Lease | None) -> None:
        if key.namespace != NAMESPACE or new is None:
            return
        if old is None or old.spec.renew_time != new.spec.renew_time or old.metadata.uid != new.metadata.uid:
            self._heard[key.name] = self._clock.monotonic()
            node = self._feeds.nodes.cache.get(Key("", key.name))
            if node is None or old is None or is_lost(node) or node.spec.taints:
                self.add(Key("", key.name))

    def _node_changed(self, key: Key, old: Node | None, new: Node | None) -> None:
        if new is None:
            self._heard.pop(key.name, None)
            return
        if Key(NAMESPACE, key.name) in self._feeds.leases.cache:
            self._heard.setdefault(key.name, self._clock.monotonic())
        self.add(key)

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or new.spec.node_name != old.spec.node_name):
            self._pods_on[old.spec.node_name].discard(key)
            if not self._pods_on[old.spec.node_name]:
                del self._pods_on[old.spec.node_name]
        if new is not None and new.spec.node_name:
            self._pods_on[new.spec.node_name].add(key)
            node = self._feeds.nodes.cache.get(Key("", new.spec.node_name))
            if node is not None and is_lost(node):
                self.add(node.key)
