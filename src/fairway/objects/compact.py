"""The same object in less memory, for who keeps a whole cluster: without what no proxy reads, and what is equal is one.

A hundred thousand endpoints name a few nodes and namespaces, and nearly all have the same conditions.
"""

from __future__ import annotations

from functools import lru_cache
from sys import intern
from typing import TypeVar

from msgspec import field
from msgspec.structs import replace

from fairway.objects.endpointslice import Endpoint, EndpointConditions, EndpointSlice, ObjectReference
from fairway.objects.ends import common_ends
from fairway.objects.meta import ObjectMeta
from fairway.objects.service import Service

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Where kubectl keeps a copy of what the user wrote."""

SharedT = TypeVar("SharedT")

_TELLS = (None, False, True)
_CONDITIONS = {
    (ready, serving, terminating): EndpointConditions(ready=ready, serving=serving, terminating=terminating)
    for ready in _TELLS
    for serving in _TELLS
    for terminating in _TELLS
}


class SlimReference(ObjectReference):
    """Fields under names that nobody writes are not read."""

    api_version: str = field(default="", name="-apiVersion")
    uid: str = field(default="", name="-uid")


class SlimEndpoint(Endpoint):
    """Without host name and zone: hints say what zones are for."""

    target_ref: SlimReference | None = None
    hostname: str | None = field(default=None, name="-hostname")
    zone: str | None = field(default=None, name="-zone")


class SlimSlice(EndpointSlice):
    """As a proxy reads it."""

    endpoints: tuple[SlimEndpoint, ...] | None = None


def compact_service(one: Service, before: Service | None = None) -> Service:
    """Without its selector: endpoints are what EndpointSlices say."""
    said = one.spec
    spec = replace(
        said,
        selector=None,
        type=intern(said.type),
        ip_families=_shared(said.ip_families),
        ip_family_policy=_interned(said.ip_family_policy),
        external_traffic_policy=intern(said.external_traffic_policy),
        internal_traffic_policy=_interned(said.internal_traffic_policy),
        session_affinity=intern(said.session_affinity),
        ports=_shared(said.ports),
    )
    return replace(one, metadata=_metadata(one.metadata), spec=spec)


def compact_slice(one: SlimSlice, before: SlimSlice | None = None) -> SlimSlice:
    """Equal parts once. An endpoint that is equal to one of the slice ``before`` is the very same object as there."""
    known = (before and before.endpoints) or ()
    endpoints = one.endpoints and _endpoints(one.endpoints, known)
    kind, ports = intern(one.address_type), _shared(one.ports)
    return replace(one, metadata=_metadata(one.metadata), endpoints=endpoints, address_type=kind, ports=ports)


def _endpoints(now: tuple[SlimEndpoint, ...], before: tuple[SlimEndpoint, ...]) -> tuple[SlimEndpoint, ...]:
    """So whoever follows a slice need only look into what is another object. Few changes are together."""
    ends = common_ends(before, now)
    known = {one.addresses: one for one in ends.between(before)}
    fresh = [_kept(known.get(one.addresses), one) for one in ends.between(now)]
    return (*before[: ends.first], *fresh, *before[len(before) - ends.last :])


def _kept(before: SlimEndpoint | None, one: SlimEndpoint) -> SlimEndpoint:
    return before if before is not None and before == one else _endpoint(one)


@lru_cache(maxsize=1024)
def _shared(one: SharedT) -> SharedT:
    """The first of those equal to it."""
    return one


def _interned(text: str | None) -> str | None:
    return text if text is None else intern(text)


def _endpoint(one: SlimEndpoint) -> SlimEndpoint:
    said, node, target = one.conditions, one.node_name, one.target_ref
    return SlimEndpoint(
        addresses=one.addresses,
        conditions=_CONDITIONS[said.ready, said.serving, said.terminating],
        node_name=intern(node) if node else node,
        target_ref=target
        and SlimReference(kind=intern(target.kind), namespace=intern(target.namespace), name=target.name),
        hints=one.hints,
    )


def _metadata(one: ObjectMeta) -> ObjectMeta:
    said = one.annotations
    if said and LAST_APPLIED in said:
        said = {name: text for name, text in said.items() if name != LAST_APPLIED} or None
    return ObjectMeta(
        name=one.name,
        namespace=intern(one.namespace),
        uid=one.uid,
        resource_version=one.resource_version,
        labels=one.labels,
        annotations=said,
    )
