"""The EndpointSlice controller: watches Services, Pods, Nodes and slices, and writes what `endpointslices` says."""

from __future__ import annotations

import logging
from collections import defaultdict

from fairway.client.http import Client
from fairway.controllers.endpointslices import Changes, has_managed_slices, is_managed, reconcile
from fairway.controllers.feeds import Feeds
from fairway.controllers.hints import wants_topology_mode
from fairway.controllers.selection import Selection
from fairway.controllers.triggers import TriggerTimes
from fairway.controllers.working import Controller, is_namespace_going
from fairway.objects.cluster import Node, Pod
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import Key
from fairway.objects.resources import ENDPOINT_SLICES
from fairway.objects.service import Service
from fairway.objects.status import ApiError
from fairway.runtime.retry import Patience

log = logging.getLogger(__name__)


class Slicer(Controller):
    """Works on Services, by their keys."""

    def __init__(self, client: Client, feeds: Feeds, patience: Patience) -> None:
        super().__init__("endpointslices", patience)
        self._client = client
        self._feeds = feeds
        self._selection = Selection()
        self._triggers = TriggerTimes()
        self._pods_on: defaultdict[str, set[Key]] = defaultdict(set)
        self._slices_of: defaultdict[Key, set[Key]] = defaultdict(set)
        feeds.services.listen(self._service_changed)
        feeds.pods.listen(self._pod_changed)
        feeds.nodes.listen(self._node_changed)
        feeds.slices.listen(self._slice_changed)

    async def handle(self, item: Key) -> None:
        service = self._feeds.services.cache.get(item)
        if service is None or not has_managed_slices(service):
            return
        pods = [self._feeds.pods.cache[key] for key in self._selection.members(item)]
        slices = [self._feeds.slices.cache[key] for key in self._slices_of.get(item, ())]
        changes = reconcile(
            service,
            pods,
            self._feeds.nodes.cache,
            [one for one in slices if one.metadata.deletion_timestamp is None and not self._feeds.slices.is_going(one)],
            trigger_time=self._triggers.next(service, pods),
        )
        if changes.unknown_nodes:
            # The pods come in as soon as their nodes are there: that is a change, too.
            log.info("Service %s: pods left out, unknown nodes: %s", item, ", ".join(sorted(changes.unknown_nodes)))
        await self._write(changes)

    async def _write(self, changes: Changes) -> None:
        feed = self._feeds.slices
        for one in changes.create:
            try:
                feed.written(await self._client.create(ENDPOINT_SLICES, one))
            except ApiError as error:
                if not is_namespace_going(error):
                    raise
        for one in changes.update:
            feed.written(await self._client.replace(ENDPOINT_SLICES, one))
        for one in changes.delete:
            await self._client.delete_if_there(
                ENDPOINT_SLICES, one.metadata.name, one.metadata.namespace, uid=one.metadata.uid
            )
            feed.deleted(one)

    def _service_changed(self, key: Key, old: Service | None, new: Service | None) -> None:
        managed = new is not None and has_managed_slices(new)
        self._selection.set_service(key, new.spec.selector if new is not None and managed else None)
        if new is None:
            self._triggers.forget(key)
        elif wants_topology_mode(new) and (old is None or not wants_topology_mode(old)):
            log.warning(
                "Service %s: topology-mode Auto is not supported, its endpoints get no hints; use trafficDistribution",
                key,
            )
        self.add(key)

    def _pod_changed(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        if old is not None and new is not None and _reading(old) == _reading(new):
            return
        before = self._selection.selected_by(key)
        self._selection.set_pod(key, (new.metadata.labels or {}) if new is not None else None)
        if old is not None:
            self._pods_on[old.spec.node_name].discard(key)
            if not self._pods_on[old.spec.node_name]:
                del self._pods_on[old.spec.node_name]
        if new is not None:
            self._pods_on[new.spec.node_name].add(key)
        self.add(*before, *self._selection.selected_by(key))

    def _node_changed(self, key: Key, old: Node | None, new: Node | None) -> None:
        if (old is None) == (new is None) and (old.zone if old else "") == (new.zone if new else ""):
            return
        for pod in self._pods_on.get(key.name, ()):
            self.add(*self._selection.selected_by(pod))

    def _slice_changed(self, key: Key, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for one in (old, new):
            if one is None or not one.service_name:
                continue
            service = Key(key.namespace, one.service_name)
            if one is new and is_managed(one):
                self._slices_of[service].add(key)
            else:
                self._slices_of[service].discard(key)
                if not self._slices_of[service]:
                    del self._slices_of[service]
            if is_managed(one):
                self.add(service)


def _reading(pod: Pod) -> object:
    """All of a pod that an endpoint depends on."""
    return (
        pod.metadata.uid,
        pod.metadata.labels,
        pod.terminating,
        pod.spec.node_name,
        pod.spec.hostname,
        pod.spec.subdomain,
        pod.spec.containers,
        pod.spec.init_containers,
        pod.addresses,
        pod.ready,
        pod.status.phase in ("Succeeded", "Failed"),
    )
