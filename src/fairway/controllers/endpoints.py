"""From Pods to endpoints: who is behind a Service, on which ports, in which condition (reference, section 6.1)."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fairway.controllers.hints import hints
from fairway.objects.cluster import Node, Pod
from fairway.objects.endpointslice import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    ObjectReference,
)
from fairway.objects.meta import Key
from fairway.objects.service import IP_FAMILIES, Service, ServicePort

Ports = tuple[EndpointPort, ...]
Group = tuple[str, frozenset[EndpointPort]]
"""The endpoints of one slice share an address type and their resolved ports, whatever the order of the ports."""


@dataclass
class Wanted:
    """The endpoints of one group by what identifies them, and their ports in the Service's order."""

    ports: Ports
    endpoints: dict[object, Endpoint] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """All groups, and the nodes that pods claim to run on but nobody knows."""

    groups: dict[Group, Wanted]
    unknown_nodes: frozenset[str]


def address_types(service: Service) -> tuple[str, ...]:
    """The families that the Service wants slices for."""
    if service.spec.ip_families:
        return service.spec.ip_families
    if service.headless or not service.spec.cluster_ip:
        return IP_FAMILIES
    return (family(service.spec.cluster_ip),)


def find_endpoints(service: Service, pods: Iterable[Pod], nodes: Mapping[Key, Node]) -> Found:
    """The endpoints that the Service's pods come to. The order of the pods does not matter."""
    groups: dict[Group, Wanted] = {}
    unknown: set[str] = set()
    families = address_types(service)
    for pod in sorted(pods, key=lambda pod: pod.key):
        if not _can_answer(pod):
            continue
        node = nodes.get(Key("", pod.spec.node_name))
        if pod.spec.node_name and node is None and not service.spec.publish_not_ready_addresses:
            unknown.add(pod.spec.node_name)
            continue
        ports = resolve_ports(service, pod)
        for address_type in families:
            endpoint = _endpoint(service, pod, node, address_type)
            if endpoint is not None:
                wanted = groups.setdefault((address_type, frozenset(ports)), Wanted(ports))
                wanted.endpoints[identity(endpoint)] = endpoint
    return Found(groups, frozenset(unknown))


def resolve_ports(service: Service, pod: Pod) -> Ports:
    """The Service's ports as numbers of this pod; a name that the pod does not have is left out."""
    found: list[EndpointPort] = []
    for port in service.spec.ports or ():
        number = _number(port, pod)
        if number is not None:
            found.append(
                EndpointPort(name=port.name, protocol=port.protocol, port=number, app_protocol=port.app_protocol)
            )
    return tuple(found)


def identity(endpoint: Endpoint) -> object:
    """What makes an endpoint in a slice the same one as before, whatever its condition."""
    target = endpoint.target_ref
    return (endpoint.addresses, endpoint.hostname, (target.namespace, target.name) if target else None)


def family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


@functools.lru_cache(maxsize=1 << 16)
def canonical(address: str) -> str:
    """The one way to write an address; empty for what is none, so that one bad pod does not stop its Service."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return ""


def _can_answer(pod: Pod) -> bool:
    return bool(pod.addresses) and pod.status.phase not in ("Succeeded", "Failed")


def _endpoint(service: Service, pod: Pod, node: Node | None, address_type: str) -> Endpoint | None:
    addresses = tuple(known for ip in pod.addresses if family(ip) == address_type and (known := canonical(ip)))
    if not addresses:
        return None
    meta = pod.metadata
    serving = pod.ready
    ready = service.spec.publish_not_ready_addresses or (serving and not pod.terminating)
    # A pod gets a name of its own only in the Service that governs it.
    governed = pod.spec.hostname and pod.spec.subdomain == service.metadata.name
    zone = node.zone if node else ""
    return Endpoint(
        addresses=addresses,
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=pod.terminating),
        hostname=pod.spec.hostname if governed else None,
        target_ref=ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid),
        node_name=pod.spec.node_name or None,
        zone=zone or None,
        hints=hints(service, zone, pod.spec.node_name) if ready else None,
    )


def _number(port: ServicePort, pod: Pod) -> int | None:
    target = port.target_port
    if target is None or target == 0 or target == "":
        return port.port
    if isinstance(target, int):
        return target
    containers = [*(pod.spec.containers or ())]
    # Init containers that stay are sidecars; what the others listen on is long gone (KEP-753).
    containers += [one for one in pod.spec.init_containers or () if one.restart_policy == "Always"]
    for container in containers:
        for candidate in container.ports or ():
            if candidate.name == target and candidate.protocol == port.protocol:
                return candidate.container_port
    return None
