"""Which Pods each Service has: kept for all controllers that write endpoints.

    Services ─▶ Selection ◀─ Pods        a change of either ─▶ the Services that it is about ─▶ listeners

A pod's change matters only if an endpoint could look different for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from fairway.controllers.endpointslices import has_managed_slices
from fairway.controllers.feeds import Feeds
from fairway.controllers.selection import Selection
from fairway.objects.cluster import Pod
from fairway.objects.meta import Key
from fairway.objects.service import Service

Listener = Callable[..., None]


class Membership:
    """Make it before the controllers that listen to it: then it knows of a change before they do."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds
        self._selection = Selection()
        self._pods_on: defaultdict[str, set[Key]] = defaultdict(set)
        self._listeners: list[Listener] = []
        feeds.services.listen(self._service_changed)
        feeds.pods.listen(self._pod_changed)

    def listen(self, listener: Listener) -> None:
        """``listener(*services)`` is called with the keys of the Services whose members have changed."""
        self._listeners.append(listener)

    def pods_of(self, service: Key) -> list[Pod]:
        return [self._feeds.pods.cache[key] for key in self._selection.members(service)]

    def services_on(self, node: str) -> set[Key]:
        """The Services that have a pod on the node."""
        return {service for pod in self._pods_on.get(node, ()) for service in self._selection.selected_by(pod)}

    def _service_changed(self, key: Key, old: Service | None, new: Service | None) -> None:
        managed = new is not None and has_managed_slices(new)
        self._selection.set_service(key, new.spec.selector if new is not None and managed else None)
        self._tell({key})

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
        self._tell(before | self._selection.selected_by(key))

    def _tell(self, services: set[Key] | frozenset[Key]) -> None:
        for listener in self._listeners:
            listener(*services)


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
