"""EndpointSlices for Endpoints that people write by hand, for Services without a selector (reference, 6.3). Pure.

Proxies read EndpointSlices only; so what somebody says in the older form is said again in the newer one, one slice for
each family and list of ports.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from fairway.controllers.endpoints import canonical, family
from fairway.controllers.endpointslices import TRIGGER_TIME
from fairway.controllers.subsets import LEADER, repack
from fairway.objects.endpoints import EndpointAddress, Endpoints, EndpointSubset
from fairway.objects.endpointslice import (
    MANAGED_BY_LABEL,
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
)
from fairway.objects.meta import ObjectMeta, OwnerReference
from fairway.objects.service import Service

CONTROLLER_NAME = "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
MAX_ADDRESSES = 1000
_NOT_COPIED = (TRIGGER_TIME, "kubectl.kubernetes.io/last-applied-configuration")
_NAME_LIMIT = 253
Group = tuple[str, frozenset[EndpointPort]]


@dataclass(frozen=True)
class Changes:
    """Slices to write; ``warnings`` are the reasons and messages of Events about what had to be left out."""

    create: tuple[EndpointSlice, ...] = ()
    update: tuple[EndpointSlice, ...] = ()
    delete: tuple[EndpointSlice, ...] = ()
    warnings: tuple[tuple[str, str], ...] = ()


def is_mirror(one: EndpointSlice) -> bool:
    return one.metadata.label(MANAGED_BY_LABEL) == CONTROLLER_NAME


def should_mirror(endpoints: Endpoints | None, service: Service | None) -> bool:
    """Whether these Endpoints speak for a Service that nobody else does."""
    return (
        endpoints is not None
        and service is not None
        and not service.spec.selector
        and endpoints.metadata.deletion_timestamp is None
        and endpoints.metadata.label(SKIP_MIRROR) != "true"
        and LEADER not in (endpoints.metadata.annotations or {})
    )


def reconcile(endpoints: Endpoints | None, service: Service | None, slices: Iterable[EndpointSlice]) -> Changes:
    """What to write so that ``slices``, the mirrors there are of this name, say what the Endpoints say."""
    if endpoints is None or not should_mirror(endpoints, service):
        return Changes(delete=tuple(slices))
    wanted, warnings = _wanted(endpoints)
    spare: dict[Group, list[EndpointSlice]] = defaultdict(list)
    for one in sorted(slices, key=lambda one: one.metadata.name):
        spare[one.address_type, frozenset(one.ports or ())].append(one)
    create: list[EndpointSlice] = []
    update: list[EndpointSlice] = []
    missing: list[EndpointSlice] = []
    for group, new in wanted.items():
        old = spare[group].pop(0) if spare[group] else None
        if old is None:
            missing.append(new)
        elif not _same(old, new):
            update.append(_over(old, new))
    left = [one for group in spare.values() for one in group]
    for new in missing:
        # One write instead of two: a slice that would go becomes the new one; its family can never change.
        old = next((one for one in left if one.address_type == new.address_type), None)
        if old is None:
            create.append(new)
        else:
            left.remove(old)
            update.append(_over(old, new))
    return Changes(tuple(create), tuple(update), tuple(left), warnings)


def _wanted(endpoints: Endpoints) -> tuple[dict[Group, EndpointSlice], tuple[tuple[str, str], ...]]:
    found: dict[Group, EndpointSlice] = {}
    warnings: list[tuple[str, str]] = []
    skipped = 0
    for subset in repack(endpoints.subsets or ()):
        ports = tuple(
            EndpointPort(name=port.name, port=port.port, protocol=port.protocol, app_protocol=port.app_protocol)
            for port in subset.ports or ()
        )
        by_family: defaultdict[str, list[Endpoint]] = defaultdict(list)
        members = _members(subset)
        skipped += max(0, len(members) - MAX_ADDRESSES)
        for address, ready in members[:MAX_ADDRESSES]:
            if not canonical(address.ip):
                warnings.append(("InvalidIPAddress", f"Skipping address {address.ip}: it is not an IP address"))
                continue
            by_family[family(address.ip)].append(_endpoint(address, ready=ready))
        for address_type, members_of in by_family.items():
            group = address_type, frozenset(ports)
            found[group] = _slice(endpoints, address_type, tuple(members_of), ports)
    if skipped:
        words = (
            f"A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints subset. "
            f"{skipped} addresses were skipped"
        )
        warnings.append(("TooManyAddressesToMirror", words))
    return found, tuple(warnings)


def _members(subset: EndpointSubset) -> list[tuple[EndpointAddress, bool]]:
    ready = [(one, True) for one in subset.addresses or ()]
    return ready + [(one, False) for one in subset.not_ready_addresses or ()]


def _endpoint(address: EndpointAddress, *, ready: bool) -> Endpoint:
    """Serving and terminating stay unset: the older form cannot say them."""
    return Endpoint(
        addresses=(canonical(address.ip),),
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        node_name=address.node_name,
        target_ref=address.target_ref,
    )


def _slice(
    endpoints: Endpoints, address_type: str, members: tuple[Endpoint, ...], ports: tuple[EndpointPort, ...]
) -> EndpointSlice:
    meta = endpoints.metadata
    owner = OwnerReference(
        api_version="v1", kind="Endpoints", name=meta.name, uid=meta.uid, controller=True, block_owner_deletion=True
    )
    labels = {**(meta.labels or {}), SERVICE_NAME_LABEL: meta.name, MANAGED_BY_LABEL: CONTROLLER_NAME}
    annotations = {key: value for key, value in (meta.annotations or {}).items() if key not in _NOT_COPIED}
    return EndpointSlice(
        metadata=ObjectMeta(
            generate_name=f"{meta.name}-" if len(meta.name) < _NAME_LIMIT else meta.name,
            namespace=meta.namespace,
            labels=labels,
            annotations=annotations or None,
            owner_references=(owner,),
        ),
        address_type=address_type,
        endpoints=members,
        ports=ports,
    )


def _same(old: EndpointSlice, new: EndpointSlice) -> bool:
    return (
        old.endpoints == new.endpoints
        and (old.metadata.labels or {}) == new.metadata.labels
        and old.metadata.annotations == new.metadata.annotations
        and old.metadata.owner_references == new.metadata.owner_references
    )


def _over(old: EndpointSlice, new: EndpointSlice) -> EndpointSlice:
    """The new content under the old name."""
    meta = new.metadata
    metadata = msgspec.structs.replace(
        old.metadata, labels=meta.labels, annotations=meta.annotations, owner_references=meta.owner_references
    )
    return msgspec.structs.replace(new, metadata=metadata)
