"""The networks that cluster IPs come from, and the cluster IPs that are held."""

from __future__ import annotations

from collections.abc import Iterable

from fairway.objects.meta import Condition, KubernetesObject, Value

FAMILY_LABEL = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY_LABEL = "ipaddress.kubernetes.io/managed-by"
ALLOCATOR = "ipallocator.k8s.io"
SERVICE_CIDR_FINALIZER = "networking.k8s.io/service-cidr-finalizer"
# The ServiceCIDR that the API server makes from its flag.
DEFAULT_SERVICE_CIDR = "kubernetes"


class ServiceCIDRSpec(Value):
    cidrs: tuple[str, ...] | None = None


class ServiceCIDRStatus(Value):
    conditions: tuple[Condition, ...] | None = None


class ServiceCIDR(KubernetesObject):
    spec: ServiceCIDRSpec = ServiceCIDRSpec()
    status: ServiceCIDRStatus = ServiceCIDRStatus()


def service_cidrs(declared: Iterable[ServiceCIDR]) -> list[str]:
    """The networks of all: also of one that is being deleted, for its addresses are still somebody's."""
    return [cidr for one in declared for cidr in one.spec.cidrs or ()]


class ParentReference(Value):
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""


class IPAddressSpec(Value):
    parent_ref: ParentReference | None = None


class IPAddress(KubernetesObject):
    spec: IPAddressSpec = IPAddressSpec()
