"""The namespace controller: a namespace that is deleted goes when everything in it has gone."""

from __future__ import annotations

from fairway.client.http import Client
from fairway.controllers.feeds import Feeds
from fairway.controllers.working import Controller
from fairway.objects.cluster import Namespace
from fairway.objects.meta import Key, KubernetesObject
from fairway.objects.resources import NAMESPACES, RESOURCES, Resource
from fairway.objects.status import ApiError
from fairway.runtime.retry import Patience

# Kinds that lie in namespaces although no controller reads them.
_UNREAD = (
    Resource("", "v1", "ServiceAccount", "serviceaccounts", True, KubernetesObject),
    Resource("", "v1", "Event", "events", True, KubernetesObject),
)
_CONTENTS: tuple[Resource, ...] = (*(one for one in RESOURCES if one.namespaced), *_UNREAD)
_LOOK_AGAIN = 1.0


class Sweeper(Controller):
    """Works on Namespaces, by their keys."""

    def __init__(self, client: Client, feeds: Feeds, patience: Patience) -> None:
        super().__init__("namespaces", patience)
        self._client = client
        self._feeds = feeds
        feeds.namespaces.listen(self._namespace_changed)
        feeds.pods.listen(self._content_changed)

    async def handle(self, item: Key) -> None:
        namespace = self._feeds.namespaces.cache.get(item)
        if namespace is None or namespace.metadata.deletion_timestamp is None:
            return
        left = 0
        for resource in _CONTENTS:
            left += await self._sweep(resource, item.name)
        if left:
            # Pods take their time; what has finalizers of somebody else may take for ever.
            self.add_later(item, _LOOK_AGAIN)
            return
        patch = {"metadata": {"uid": namespace.metadata.uid}, "spec": {"finalizers": []}}
        try:
            await self._client.patch(NAMESPACES, item.name, patch)
        except ApiError as error:
            if error.code != 404:
                raise

    async def _sweep(self, resource: Resource, namespace: str) -> int:
        """Delete what is there; returns how many objects still are."""
        try:
            found = (await self._client.list(resource, namespace)).items
        except ApiError as error:
            # A server that does not serve the kind has none of it.
            if error.code != 404:
                raise
            return 0
        if not found:
            return 0
        if any(one.metadata.deletion_timestamp is None for one in found):
            await self._client.delete_collection(resource, namespace)
            found = (await self._client.list(resource, namespace)).items
        return len(found)

    def _namespace_changed(self, key: Key, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None and new.metadata.deletion_timestamp is not None:
            self.add(key)

    def _content_changed(self, key: Key, old: KubernetesObject | None, new: KubernetesObject | None) -> None:
        namespace = self._feeds.namespaces.cache.get(Key("", key.namespace))
        if new is None and namespace is not None and namespace.metadata.deletion_timestamp is not None:
            self.add(namespace.metadata.key)
