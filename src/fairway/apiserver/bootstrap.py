"""What a cluster has from its first moment: its namespaces, its roles, and the Service of the API itself."""

from __future__ import annotations

from fairway.apiserver.access.roles import builtin
from fairway.apiserver.metadata import DeleteOptions
from fairway.apiserver.presence import NAME
from fairway.apiserver.registry import Registry
from fairway.objects import resources
from fairway.objects.codec import Document
from fairway.objects.resources import Resource
from fairway.objects.status import ApiError

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def bootstrap(registry: Registry, cluster_ip: str, port: int) -> None:
    """Create what is missing and correct what has changed; ``port`` is where nodes reach us."""
    for name in _NAMESPACES:
        await _ensure(registry, resources.NAMESPACES, "", {"metadata": {"name": name}})
    await _ensure_roles(registry)
    await _ensure_service(registry, cluster_ip, port)


async def _ensure_roles(registry: Registry) -> None:
    kinds = registry.kinds
    subresources = [(kind.resource, part) for kind in kinds.rows for part in kind.subresources]
    for document in builtin([kind.resource for kind in kinds.rows], subresources):
        resource = resources.BY_KIND[document["apiVersion"], document["kind"]]
        await _ensure(registry, resource, "", document)


async def _ensure_service(registry: Registry, address: str, port: int) -> None:
    """``default/kubernetes`` at the first address of the range; made again when the range has moved."""
    kind = registry.kinds[resources.SERVICES]
    found = await registry.find(kind, "default", NAME)
    if found and found.document().get("spec", {}).get("clusterIP") not in (None, address):
        # A cluster IP cannot be changed, but a server that was given another range has to have one of its own.
        await registry.delete(kind, "default", NAME, DeleteOptions())
    await _ensure(registry, resources.SERVICES, "default", _service(address, port))


async def _ensure(registry: Registry, resource: Resource, namespace: str, document: Document) -> None:
    kind = registry.kinds[resource]
    document = {"apiVersion": resource.api_version, "kind": resource.kind, **document}
    name = document["metadata"]["name"]
    if await registry.find(kind, namespace, name) is None:
        try:
            await registry.create(kind, namespace, document)
            return
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
    content = {field: value for field, value in document.items() if field not in ("metadata", "spec")}
    await registry.update(kind, namespace, name, lambda old: {**old, **content})


def _service(address: str, port: int) -> Document:
    return {
        "metadata": {"name": NAME, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        },
    }
