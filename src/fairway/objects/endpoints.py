"""Endpoints, the older form of EndpointSlices: all backends of one Service in one object."""

from __future__ import annotations

from fairway.objects.endpointslice import ObjectReference
from fairway.objects.meta import KubernetesObject, Value


class EndpointAddress(Value):
    ip: str = ""
    hostname: str = ""
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointPort(Value):
    name: str = ""
    port: int = 0
    protocol: str = "TCP"
    app_protocol: str | None = None


class EndpointSubset(Value):
    """Every address of it serves every port of it."""

    addresses: tuple[EndpointAddress, ...] | None = None
    not_ready_addresses: tuple[EndpointAddress, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class Endpoints(KubernetesObject):
    subsets: tuple[EndpointSubset, ...] | None = None
