"""The Endpoints object of a Service, for those who still read this older form (reference, section 6.4). Pure.

All backends of one family, the Service's first, in one object. Ports that the very same addresses serve share a
subset; so the object is the same whatever the order in which pods and ports are given.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from fairway.controllers.endpoints import address_types, canonical, family, resolve_ports
from fairway.controllers.endpointslices import TRIGGER_TIME
from fairway.objects.cluster import Pod
from fairway.objects.endpoints import EndpointAddress, EndpointPort, Endpoints, EndpointSubset
from fairway.objects.endpointslice import ObjectReference
from fairway.objects.meta import ObjectMeta
from fairway.objects.service import HEADLESS_LABEL, Service

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER_NAME = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
LEADER = "control-plane.alpha.kubernetes.io/leader"
MAX_ADDRESSES = 1000


@dataclass(frozen=True)
class _Ready:
    """An address and whether it is ready, as one member of a set of addresses."""

    address: EndpointAddress
    ready: bool


def wanted(service: Service, pods: Iterable[Pod], old: Endpoints | None, *, trigger_time: str = "") -> Endpoints | None:
    """The Endpoints object to write, None when ``old`` is right; ``pods`` are those that the Service selects."""
    subsets, truncated = _truncated(repack(_parts(service, pods)))
    labels = {**(service.metadata.labels or {}), MANAGED_BY: CONTROLLER_NAME}
    labels.pop(HEADLESS_LABEL, None)
    if service.headless or not service.spec.cluster_ip:
        labels[HEADLESS_LABEL] = ""
    before = (old.metadata.annotations if old else None) or {}
    annotations = {key: value for key, value in before.items() if key not in (OVER_CAPACITY, TRIGGER_TIME)}
    if truncated:
        annotations[OVER_CAPACITY] = "truncated"
    if old is not None and _same(old, subsets, labels, truncated=truncated):
        return None
    if trigger_time:
        annotations[TRIGGER_TIME] = trigger_time
    meta = old.metadata if old else ObjectMeta(name=service.metadata.name, namespace=service.metadata.namespace)
    return Endpoints(
        metadata=msgspec.structs.replace(meta, labels=labels, annotations=annotations or None),
        subsets=subsets or None,
    )


def repack(parts: Iterable[EndpointSubset]) -> tuple[EndpointSubset, ...]:
    """The same addresses and ports in the one canonical form; a port that is ready and not ready counts as not."""
    by_port: defaultdict[EndpointPort | None, dict[tuple[str, str], _Ready]] = defaultdict(dict)
    for part in parts:
        members = [_Ready(one, True) for one in part.addresses or ()]
        members += [_Ready(one, False) for one in part.not_ready_addresses or ()]
        for port in part.ports or (None,):
            for member in members:
                uid = member.address.target_ref.uid if member.address.target_ref else ""
                known = by_port[port].get((member.address.ip, uid))
                if known is None or known.ready:
                    by_port[port][member.address.ip, uid] = member
    shared: defaultdict[tuple[frozenset[_Ready], bool], list[EndpointPort]] = defaultdict(list)
    for port, found in by_port.items():
        # Without any port is not the same as with some.
        shared[frozenset(found.values()), port is None] += [port] if port is not None else []
    subsets = [_subset(members, ports) for (members, _), ports in shared.items() if members]
    return tuple(sorted(subsets, key=lambda one: [_port_order(port) for port in one.ports or ()]))


def is_managed(one: Endpoints) -> bool:
    return one.metadata.label(MANAGED_BY) == CONTROLLER_NAME


def _parts(service: Service, pods: Iterable[Pod]) -> Iterable[EndpointSubset]:
    publish = service.spec.publish_not_ready_addresses
    primary = address_types(service)[0]
    for pod in pods:
        if pod.status.phase in ("Succeeded", "Failed") or (pod.terminating and not publish):
            continue
        address = _address(service, pod, primary)
        if address is None:
            continue
        ports = tuple(
            EndpointPort(
                name=port.name or "", port=port.port or 0, protocol=port.protocol, app_protocol=port.app_protocol
            )
            for port in resolve_ports(service, pod)
        )
        if not ports and service.spec.ports:
            continue  # None of the names that the Service asks for is the pod's.
        ready = pod.ready or publish
        yield EndpointSubset(
            addresses=(address,) if ready else None, not_ready_addresses=None if ready else (address,), ports=ports
        )


def _address(service: Service, pod: Pod, wanted_family: str) -> EndpointAddress | None:
    ip = next((known for one in pod.addresses if family(one) == wanted_family and (known := canonical(one))), None)
    if ip is None:
        return None
    meta = pod.metadata
    governed = pod.spec.hostname and pod.spec.subdomain == service.metadata.name
    return EndpointAddress(
        ip=ip,
        hostname=pod.spec.hostname if governed else "",
        node_name=pod.spec.node_name or None,
        target_ref=ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid),
    )


def _subset(members: Iterable[_Ready], ports: Iterable[EndpointPort]) -> EndpointSubset:
    ordered = sorted(members, key=lambda one: _address_order(one.address))
    return EndpointSubset(
        addresses=tuple(one.address for one in ordered if one.ready) or None,
        not_ready_addresses=tuple(one.address for one in ordered if not one.ready) or None,
        ports=tuple(sorted(ports, key=_port_order)) or None,
    )


def _address_order(address: EndpointAddress) -> tuple[object, ...]:
    known = canonical(address.ip)
    number = ipaddress.ip_address(known) if known else None
    uid = address.target_ref.uid if address.target_ref else ""
    return (number.version, int(number), "", uid) if number else (0, 0, address.ip, uid)


def _port_order(port: EndpointPort) -> tuple[str, int, str, str]:
    return port.name, port.port, port.protocol, port.app_protocol or ""


def _truncated(subsets: tuple[EndpointSubset, ...]) -> tuple[tuple[EndpointSubset, ...], bool]:
    """At most a thousand addresses, ready ones first; each subset gives up its share."""
    ready = sum(len(one.addresses or ()) for one in subsets)
    other = sum(len(one.not_ready_addresses or ()) for one in subsets)
    if ready + other <= MAX_ADDRESSES:
        return subsets, False
    shares = {"addresses": (ready, min(ready, MAX_ADDRESSES))}
    shares["not_ready_addresses"] = (other, MAX_ADDRESSES - shares["addresses"][1])
    kept = [msgspec.structs.replace(one, **_cut(one, shares)) for one in subsets]
    return tuple(one for one in kept if one.addresses or one.not_ready_addresses), True


def _cut(
    subset: EndpointSubset, shares: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[EndpointAddress, ...] | None]:
    cut: dict[str, tuple[EndpointAddress, ...] | None] = {}
    for name, (total, room) in shares.items():
        found: tuple[EndpointAddress, ...] = getattr(subset, name) or ()
        cut[name] = found[: len(found) * room // total if total else 0] or None
    return cut


def _same(old: Endpoints, subsets: tuple[EndpointSubset, ...], labels: Mapping[str, str], *, truncated: bool) -> bool:
    was_truncated = old.metadata.annotation(OVER_CAPACITY) == "truncated"
    return repack(old.subsets or ()) == subsets and (old.metadata.labels or {}) == labels and was_truncated == truncated
