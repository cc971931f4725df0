"""The kinds Fairway knows, one row each: where they live in the API and which class reads them."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, cast

from fairway.objects.cluster import Namespace, Node, Pod, Secret
from fairway.objects.endpoints import Endpoints
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.lease import Lease
from fairway.objects.meta import Key, KubernetesObject
from fairway.objects.networking import IPAddress, ServiceCIDR
from fairway.objects.service import Service
from fairway.objects.workloads import Deployment, ReplicaSet

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", bound=KubernetesObject, default=KubernetesObject, covariant=True)
    Slim = TypeVar("Slim", bound=KubernetesObject)
else:
    from typing import TypeVar

    T, Slim = TypeVar("T"), TypeVar("Slim")


def _nobody(key: Key) -> None:
    """Nothing is known."""


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
    shrink: Callable[[Any, Any], Any] | None = None
    """What a reader makes of each object at once, such as the same with less in it. It is given the one that there was
    before of the same name, or None, to take from it what has not changed."""
    known: Callable[[Key], Any] = _nobody
    """The one that there was."""

    @cached_property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @cached_property
    def qualified(self) -> str:
        """``deployments.apps``: the name that errors and RBAC use."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def read_as(self, slim: builtins.type[Slim]) -> Resource[Slim]:
        """The same kind, decoded into another class: one with only the fields that its reader needs."""
        return cast("Resource[Slim]", replace(cast(Any, self), type=slim))

    def shrunk(self, how: Callable[[T, T | None], T]) -> Resource[T]:
        """The same kind, each object as ``how`` gives it back, which is told the one before, too."""
        return replace(self, shrink=how)

    def beside(self, known: Callable[[Key], object]) -> Resource[T]:
        """The same kind, read by somebody who has some objects already: these, by their names."""
        return replace(self, known=known)

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL path of the collection, or of one object when ``name`` is given."""
        parts = ["/apis" if self.group else "/api", self.api_version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        return "/".join(parts)


_COORDINATION, _DISCOVERY, _EVENTS = "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io"
_NETWORKING, _RBAC = "networking.k8s.io", "rbac.authorization.k8s.io"

NAMESPACES = Resource("", "v1", "Namespace", "namespaces", False, Namespace, ("ns",))
NODES = Resource("", "v1", "Node", "nodes", False, Node, ("no",))
PODS = Resource("", "v1", "Pod", "pods", True, Pod, ("po",))
SERVICES = Resource("", "v1", "Service", "services", True, Service, ("svc",))
ENDPOINTS = Resource("", "v1", "Endpoints", "endpoints", True, Endpoints, ("ep",))
SECRETS = Resource("", "v1", "Secret", "secrets", True, Secret)
# Nobody in the house reads more of these than their metadata: they are served for those who do.
CONFIG_MAPS = Resource("", "v1", "ConfigMap", "configmaps", True, KubernetesObject, ("cm",))
SERVICE_ACCOUNTS = Resource("", "v1", "ServiceAccount", "serviceaccounts", True, KubernetesObject, ("sa",))
EVENTS = Resource("", "v1", "Event", "events", True, KubernetesObject, ("ev",))
NETWORK_POLICIES = Resource(_NETWORKING, "v1", "NetworkPolicy", "networkpolicies", True, KubernetesObject, ("netpol",))
ENDPOINT_SLICES = Resource(_DISCOVERY, "v1", "EndpointSlice", "endpointslices", True, EndpointSlice)
LEASES = Resource(_COORDINATION, "v1", "Lease", "leases", True, Lease)
SERVICE_CIDRS = Resource(_NETWORKING, "v1", "ServiceCIDR", "servicecidrs", False, ServiceCIDR)
IP_ADDRESSES = Resource(_NETWORKING, "v1", "IPAddress", "ipaddresses", False, IPAddress, ("ip",))
DEPLOYMENTS = Resource("apps", "v1", "Deployment", "deployments", True, Deployment, ("deploy",))
REPLICA_SETS = Resource("apps", "v1", "ReplicaSet", "replicasets", True, ReplicaSet, ("rs",))
ROLES = Resource(_RBAC, "v1", "Role", "roles", True, KubernetesObject)
ROLE_BINDINGS = Resource(_RBAC, "v1", "RoleBinding", "rolebindings", True, KubernetesObject)
CLUSTER_ROLES = Resource(_RBAC, "v1", "ClusterRole", "clusterroles", False, KubernetesObject)
CLUSTER_ROLE_BINDINGS = Resource(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", False, KubernetesObject)

RESOURCES: tuple[Resource, ...] = (
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    ENDPOINTS,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    EVENTS,
    NETWORK_POLICIES,
    ENDPOINT_SLICES,
    LEASES,
    SERVICE_CIDRS,
    IP_ADDRESSES,
    DEPLOYMENTS,
    REPLICA_SETS,
    ROLES,
    ROLE_BINDINGS,
    CLUSTER_ROLES,
    CLUSTER_ROLE_BINDINGS,
)
# The same Events in their later form: another view of what is stored once, so not another kind of ours.
EVENTS_V1 = Resource(_EVENTS, "v1", "Event", "events", True, KubernetesObject, ("ev",))

BY_KIND = {(r.api_version, r.kind): r for r in (*RESOURCES, EVENTS_V1)}
