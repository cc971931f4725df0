"""The kinds Fairway knows, one row each: where they live in the API and which class reads them."""

from __future__ import annotations

import builtins
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, cast

from fairway.objects.cluster import Namespace, Node, Pod
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import KubernetesObject
from fairway.objects.service import Service
from fairway.objects.workloads import Deployment, ReplicaSet

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", bound=KubernetesObject, default=KubernetesObject, covariant=True)
    Slim = TypeVar("Slim", bound=KubernetesObject)
else:
    from typing import TypeVar

    T, Slim = TypeVar("T"), TypeVar("Slim")


@dataclass(frozen=True)
class Resource(Generic[T]):
    """A kind as the API names it.

    ``plural`` is the word in the path, ``short_names`` what kubectl users type.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    type: type[T]
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def qualified(self) -> str:
        """``deployments.apps``: the name that errors and RBAC use."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def read_as(self, slim: builtins.type[Slim]) -> Resource[Slim]:
        """The same kind, decoded into another class: one with only the fields that its reader needs."""
        return cast("Resource[Slim]", replace(cast(Any, self), type=slim))

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL path of the collection, or of one object when ``name`` is given."""
        parts = ["/apis" if self.group else "/api", self.api_version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        return "/".join(parts)


NAMESPACES = Resource("", "v1", "Namespace", "namespaces", False, Namespace, ("ns",))
NODES = Resource("", "v1", "Node", "nodes", False, Node, ("no",))
PODS = Resource("", "v1", "Pod", "pods", True, Pod, ("po",))
SERVICES = Resource("", "v1", "Service", "services", True, Service, ("svc",))
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", True, EndpointSlice)
DEPLOYMENTS = Resource("apps", "v1", "Deployment", "deployments", True, Deployment, ("deploy",))
REPLICA_SETS = Resource("apps", "v1", "ReplicaSet", "replicasets", True, ReplicaSet, ("rs",))

RESOURCES: tuple[Resource, ...] = (NAMESPACES, NODES, PODS, SERVICES, ENDPOINT_SLICES, DEPLOYMENTS, REPLICA_SETS)
BY_KIND = {(r.api_version, r.kind): r for r in RESOURCES}
