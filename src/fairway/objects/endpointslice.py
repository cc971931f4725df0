"""The EndpointSlice: some of the backends of one Service, for one address family and one list of ports."""

from __future__ import annotations

import msgspec

from fairway.objects.meta import KubernetesObject, Value

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
WEIGHT_ANNOTATION = "fairway.dev/weight"
SLICE_ANNOTATIONS = (WEIGHT_ANNOTATION,)
MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"
ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")


class EndpointConditions(Value):
    """``None`` means unknown, which readers take as: ready and serving, not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Value):
    name: str = ""


class ForNode(Value):
    name: str = ""


class EndpointHints(Value):
    for_zones: tuple[ForZone, ...] | None = None
    for_nodes: tuple[ForNode, ...] | None = None


class ObjectReference(Value):
    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Endpoint(Value):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    target_ref: ObjectReference | None = None
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None

    @property
    def ready(self) -> bool:
        return self.conditions.ready is not False

    @property
    def serving(self) -> bool:
        """Serving defaults to true like ready (reference, section 1.A)."""
        return self.conditions.serving is not False

    @property
    def terminating(self) -> bool:
        return self.conditions.terminating is True


class EndpointPort(Value):
    name: str | None = None
    protocol: str = "TCP"
    port: int | None = None
    app_protocol: str | None = None


class EndpointSlice(KubernetesObject):
    # By a factory, so that it is always written: the API requires it, and a default would be left out.
    address_type: str = msgspec.field(default_factory=lambda: "IPv4")
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None

    @property
    def service_name(self) -> str:
        """The Service it belongs to, in its own namespace; empty when it belongs to none."""
        return self.metadata.label(SERVICE_NAME_LABEL)
