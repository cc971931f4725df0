"""The EndpointSlices of a Service: what is to be written, given its pods and the slices there are.

A pure function, with the semantics of the reference's section 6.1; `fairway.controllers.slicer` calls it and writes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from fairway.controllers.endpoints import Group, Ports, Wanted, address_types, find_endpoints, identity
from fairway.controllers.hints import wants_topology_mode
from fairway.controllers.packing import pack
from fairway.controllers.topology import Candidate, ZoneCPU, share
from fairway.objects.cluster import Node, Pod
from fairway.objects.endpointslice import (
    MANAGED_BY_LABEL,
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointHints,
    EndpointSlice,
    ForZone,
)
from fairway.objects.meta import Key, ObjectMeta, OwnerReference
from fairway.objects.service import HEADLESS_LABEL, Service

CONTROLLER_NAME = "endpointslice-controller.k8s.io"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
MAX_ENDPOINTS = 100
_RESERVED_LABELS = (SERVICE_NAME_LABEL, MANAGED_BY_LABEL, HEADLESS_LABEL)
_NAME_LIMIT = 253
_UNKNOWN_CPUS = ZoneCPU({}, "the CPUs of the zones are not known")


@dataclass(frozen=True)
class Changes:
    """Writes in the order in which they keep every endpoint in some slice: create, update, delete.

    ``unknown_nodes`` are nodes of pods that had to be left out because nobody knows the node. ``no_hints`` says, for
    each family of a Service that asks for topology-mode Auto, why its endpoints have no hints; empty if they have.
    """

    create: tuple[EndpointSlice, ...] = ()
    update: tuple[EndpointSlice, ...] = ()
    delete: tuple[EndpointSlice, ...] = ()
    unknown_nodes: frozenset[str] = frozenset()
    no_hints: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.create or self.update or self.delete)


def has_managed_slices(service: Service) -> bool:
    """Whether this controller makes the Service's slices; without a selector they are its owner's own business."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def is_managed(one: EndpointSlice) -> bool:
    return one.metadata.label(MANAGED_BY_LABEL) == CONTROLLER_NAME


def reconcile(
    service: Service,
    pods: Iterable[Pod],
    nodes: Mapping[Key, Node],
    slices: Iterable[EndpointSlice],
    *,
    trigger_time: str = "",
    limit: int = MAX_ENDPOINTS,
    cpus: ZoneCPU = _UNKNOWN_CPUS,
) -> Changes:
    """What to write so that ``slices`` (those we manage for this Service) hold its ``pods`` (those it selects).

    ``trigger_time`` is when the cause of the change happened, RFC 3339; ``limit`` the endpoints a slice may hold;
    ``cpus`` are those of the zones, for topology-mode Auto.
    """
    found = find_endpoints(service, pods, nodes)
    labels = slice_labels(service)
    families = address_types(service)
    doomed = [one for one in slices if one.address_type not in families or not _is_owned(one, service)]
    owned = [one for one in slices if one.address_type in families and _is_owned(one, service)]
    create: list[EndpointSlice] = []
    update: list[EndpointSlice] = []
    no_hints: dict[str, str] = {}
    for address_type in families:
        groups = {group: wanted for group, wanted in found.groups.items() if group[0] == address_type}
        mine = [one for one in owned if one.address_type == address_type]
        if wants_topology_mode(service):
            no_hints[address_type] = _hint_in_proportion(groups.values(), mine, cpus)
        one_family = _reconcile_family(service, address_type, groups, mine, labels, limit)
        create += one_family.create
        update += one_family.update
        doomed += one_family.delete
    if service.metadata.deletion_timestamp is not None:
        create = []
    create, converted, doomed = _reuse(create, doomed, service)
    return Changes(
        tuple(_triggered(one, trigger_time) for one in create),
        tuple(_triggered(one, trigger_time) for one in (*update, *converted)),
        tuple(doomed),
        found.unknown_nodes,
        no_hints,
    )


def slice_labels(service: Service) -> dict[str, str]:
    """The Service's labels, but for those that are ours to set."""
    labels = {key: value for key, value in (service.metadata.labels or {}).items() if key not in _RESERVED_LABELS}
    if service.headless or not service.spec.cluster_ip:
        labels[HEADLESS_LABEL] = ""
    return {**labels, SERVICE_NAME_LABEL: service.metadata.name, MANAGED_BY_LABEL: CONTROLLER_NAME}


def _reconcile_family(
    service: Service,
    address_type: str,
    groups: Mapping[Group, Wanted],
    slices: list[EndpointSlice],
    labels: dict[str, str],
    limit: int,
) -> Changes:
    by_group: defaultdict[Group, list[EndpointSlice]] = defaultdict(list)
    for one in slices:
        by_group[address_type, frozenset(one.ports or ())].append(one)
    create: list[EndpointSlice] = []
    update: list[EndpointSlice] = []
    delete: list[EndpointSlice] = []
    untouched = False
    for group in [*groups, *(group for group in by_group if group not in groups)]:
        wanted = groups.get(group, Wanted(()))
        packed = pack(wanted.endpoints, by_group.get(group, ()), labels, limit)
        create += [_new_slice(service, address_type, wanted.ports, labels, new) for new in packed.new]
        update += packed.changed
        delete += packed.emptied
        untouched = untouched or bool(packed.untouched)
    if not create and not update and not untouched:
        placeholder = _new_slice(service, address_type, (), labels, ())
        same = next((one for one in delete if _is_placeholder(one, labels)), None)
        if same is not None:
            delete.remove(same)
        else:
            create.append(placeholder)
    return Changes(tuple(create), tuple(update), tuple(delete))


def _hint_in_proportion(groups: Iterable[Wanted], slices: Iterable[EndpointSlice], cpus: ZoneCPU) -> str:
    """Give the ready endpoints of one family hints for zones; returns why not, empty when they have them."""
    hinted = {
        identity(endpoint): endpoint.hints.for_zones[0].name
        for one in slices
        for endpoint in one.endpoints or ()
        if endpoint.hints and endpoint.hints.for_zones
    }
    groups = list(groups)
    candidates = {
        known: Candidate(endpoint.zone or "", hinted.get(known, ""))
        for group in groups
        for known, endpoint in group.endpoints.items()
        if endpoint.ready
    }
    shares = share(candidates, cpus)
    for group in groups:
        for known, zone in shares.zones.items():
            if known in group.endpoints:
                hints = EndpointHints(for_zones=(ForZone(name=zone),))
                group.endpoints[known] = msgspec.structs.replace(group.endpoints[known], hints=hints)
    return shares.problem


def _new_slice(
    service: Service, address_type: str, ports: Ports, labels: dict[str, str], endpoints: tuple[Endpoint, ...]
) -> EndpointSlice:
    meta = service.metadata
    owner = OwnerReference(
        api_version="v1", kind="Service", name=meta.name, uid=meta.uid, controller=True, block_owner_deletion=True
    )
    prefix = f"{meta.name}-" if len(meta.name) < _NAME_LIMIT else meta.name
    return EndpointSlice(
        metadata=ObjectMeta(generate_name=prefix, namespace=meta.namespace, labels=labels, owner_references=(owner,)),
        address_type=address_type,
        endpoints=endpoints,
        ports=ports,
    )


def _is_placeholder(one: EndpointSlice, labels: dict[str, str]) -> bool:
    return not one.endpoints and not one.ports and one.metadata.labels == labels


def _is_owned(one: EndpointSlice, service: Service) -> bool:
    owner = one.metadata.controller()
    return owner is not None and owner.uid == service.metadata.uid


def _reuse(
    create: list[EndpointSlice], doomed: list[EndpointSlice], service: Service
) -> tuple[list[EndpointSlice], list[EndpointSlice], list[EndpointSlice]]:
    """Turn pairs of a new slice and one that would go into an update: one write instead of two.

    The address type of a slice can never change, nor should its owner.
    """
    left: list[EndpointSlice] = []
    converted: list[EndpointSlice] = []
    doomed = list(doomed)
    for new in create:
        old = next((one for one in doomed if one.address_type == new.address_type and _is_owned(one, service)), None)
        if old is None:
            left.append(new)
            continue
        doomed.remove(old)
        metadata = msgspec.structs.replace(old.metadata, labels=new.metadata.labels)
        converted.append(msgspec.structs.replace(new, metadata=metadata))
    return left, converted, doomed


def _triggered(one: EndpointSlice, time: str) -> EndpointSlice:
    """With the time of the cause, or without any when there is no new one."""
    annotations = {key: value for key, value in (one.metadata.annotations or {}).items() if key != TRIGGER_TIME}
    if time:
        annotations[TRIGGER_TIME] = time
    return msgspec.structs.replace(one, metadata=msgspec.structs.replace(one.metadata, annotations=annotations or None))
