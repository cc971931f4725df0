"""What every namespace has, as programs expect: ServiceAccount ``default`` and ConfigMap ``kube-root-ca.crt``.

Kubernetes has a controller for each; here it is one, because both ask the same question: which namespace lacks what?
"""

from __future__ import annotations

from fairway.client.http import Client
from fairway.controllers.feeds import ROOT_CA_NAME, Feeds
from fairway.controllers.working import Controller, is_namespace_going
from fairway.objects.cluster import Namespace
from fairway.objects.codec import Document
from fairway.objects.meta import Key, KubernetesObject
from fairway.objects.resources import SERVICE_ACCOUNTS
from fairway.objects.status import ApiError
from fairway.runtime.retry import Patience

ACCOUNT = "default"
_FIELD = "ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class Furnisher(Controller):
    """Works on Namespaces, by their keys. ``root_ca`` is what to trust the API server by, in PEM; empty: not told."""

    def __init__(self, client: Client, feeds: Feeds, patience: Patience, root_ca: str) -> None:
        super().__init__("namespaces", patience)
        self._client = client
        self._feeds = feeds
        self._root_ca = root_ca
        feeds.namespaces.listen(self._namespace_changed)
        feeds.service_accounts.listen(self._content_changed)
        feeds.root_certificates.listen(self._content_changed)

    async def handle(self, item: Key) -> None:
        namespace = self._feeds.namespaces.cache.get(item)
        if namespace is None or _going(namespace):
            return
        try:
            await self._ensure_account(item.name)
            if self._root_ca:
                await self._ensure_certificate(item.name)
        except ApiError as error:
            if not is_namespace_going(error):
                raise

    async def _ensure_account(self, namespace: str) -> None:
        feed = self._feeds.service_accounts
        if Key(namespace, ACCOUNT) not in feed.cache:
            document: Document = {"metadata": {"name": ACCOUNT, "namespace": namespace}}
            feed.written(await self._client.create(SERVICE_ACCOUNTS, document))

    async def _ensure_certificate(self, namespace: str) -> None:
        feed = self._feeds.root_certificates
        found, data = feed.cache.get(Key(namespace, ROOT_CA_NAME)), {_FIELD: self._root_ca}
        if found is None:
            annotations = {"kubernetes.io/description": _DESCRIPTION}
            metadata = {"name": ROOT_CA_NAME, "namespace": namespace, "annotations": annotations}
            feed.written(await self._client.create(feed.resource, {"metadata": metadata, "data": data}))
        elif found.data != data:
            # All of it: a key that somebody added is not ours to keep.
            patch = [{"op": "add", "path": "/data", "value": data}]
            feed.written(await self._client.patch(feed.resource, ROOT_CA_NAME, patch, namespace, kind="json"))

    def _namespace_changed(self, key: Key, old: Namespace | None, new: Namespace | None) -> None:
        if new is not None and (old is None or _going(old) != _going(new)):
            self.add(key)

    def _content_changed(self, key: Key, old: KubernetesObject | None, new: KubernetesObject | None) -> None:
        self.add(Key("", key.namespace))


def _going(namespace: Namespace) -> bool:
    return namespace.metadata.deletion_timestamp is not None
