"""What nobody can use of a Service and its slices, as sentences: it is left out, the rest is served, the owner is told.

Service shop/web: spec.externalIPs[0]: '10.0.0.300' is no IP address
Service shop/web, EndpointSlice web-x2b: endpoints[3].addresses[0]: '::1' is no address that others could reach
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import islice

from fairway.model.address import IPv4, canonical, canonical_network, family_of
from fairway.model.endpoints import Endpoints
from fairway.model.limits import (
    LONGEST_AFFINITY,
    MOST_BACKENDS,
    MOST_FRONTENDS,
    is_port,
    is_special,
    is_usual,
    ports_with_room,
    ranges_with_room,
)
from fairway.model.relaying import mistakes
from fairway.model.view import BALANCINGS, RANDOM, Frontend, Key, Struct
from fairway.model.weights import parse, slice_weight
from fairway.objects.endpointslice import SLICE_ANNOTATIONS, WEIGHT_ANNOTATION, EndpointSlice
from fairway.objects.printing import one_line
from fairway.objects.service import (
    BALANCING_ANNOTATION,
    HEADLESS_LABEL,
    MOST_WEIGHT,
    OWN_ANNOTATIONS,
    PROTOCOLS,
    PROXY_NAME_LABEL,
    SERVICE_ANNOTATIONS,
    STALE_CONNECTIONS,
    STALE_CONNECTIONS_ANNOTATION,
    WEIGHTS_ANNOTATION,
    Service,
)

_POLICIES = ("Cluster", "Local")
_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "")
_MOST_TOLD = 20
"""Of one object: who gets more wrong than that has one cause for it."""


class Problem(Struct):
    """Something that is not served as somebody wrote it. ``service`` is whose clients notice.

    ``slice`` is the EndpointSlice with the field, in the Service's namespace; empty when it is the Service's own.
    """

    service: Key
    field: str
    message: str
    slice: str = ""

    def __str__(self) -> str:
        where = f", EndpointSlice {self.slice}" if self.slice else ""
        field = f"{self.field}: " if self.field else ""
        return one_line(f"Service {self.service}{where}: {field}{self.message}")


def service_problems(service: Service) -> tuple[Problem, ...]:
    """What the Service itself says that cannot be; nothing of one that is not ours to serve."""
    if PROXY_NAME_LABEL in (service.metadata.labels or ()) or not service.addresses:
        return ()
    looks = (_addresses, _source_ranges, _ports, _annotations, _policies, _affinity, _size)
    found = [one for look in looks for one in look(service)]
    return tuple(Problem(service=service.key, field=field, message=message) for field, message in _some(found))


def slice_problems(service: Key, slice_: EndpointSlice, sound: EndpointSlice | None = None) -> tuple[Problem, ...]:
    """What one of its slices says that cannot be.

    Endpoints that are the very same objects in ``sound``, in which nothing was wrong, are not looked into again.
    """
    if HEADLESS_LABEL in (slice_.metadata.labels or ()):
        return ()
    if sound is not None and sound.address_type == slice_.address_type:
        known = set(map(id, sound.endpoints or ()))
    else:
        known = set()
    found = _some((*_slice_ports(slice_), *_endpoints(slice_, known), *_slice_annotations(slice_)))
    name = slice_.metadata.name
    return tuple(Problem(service=service, slice=name, field=field, message=message) for field, message in found)


def contradictions(service: Key, endpoints: Endpoints) -> tuple[Problem, ...]:
    """Slices that say different things about one address, unless one of them says that it is about to go."""
    found = []
    for used, other in islice(endpoints.contradictions(), _MOST_TOLD):
        message = (
            f"{used} is {_described(used.node, used.target)} here and "
            f"{_described(other.node, other.target)} in {other.slice}; this one counts"
        )
        found.append(Problem(service=service, slice=used.slice, field="endpoints", message=one_line(message)))
    return tuple(found)


def contested(frontend: Frontend, holder: Key) -> Problem:
    """A frontend that another Service has, which comes first by namespace and name."""
    return Problem(service=frontend.service, field=frontend.field, message=f"{frontend.key} is {holder}'s already")


def too_many(service: Service, endpoints: int) -> tuple[Problem, ...]:
    """One Service shall not cost all others their node."""
    ports = len(service.spec.ports or ())
    if ports * endpoints <= MOST_BACKENDS:
        return ()
    room = ports_with_room(endpoints)
    message = f"{ports} ports with {endpoints} endpoints are more than {MOST_BACKENDS} backends: only {room} have any"
    return (Problem(service=service.key, field="spec.ports", message=message),)


_Found = tuple[str, str]
"""A field, and what is wrong with it."""


def _some(found: Iterable[_Found]) -> list[_Found]:
    whole = list(found)
    if len(whole) > _MOST_TOLD:
        return [*whole[:_MOST_TOLD], ("", f"and {len(whole) - _MOST_TOLD} more of the kind")]
    return whole


def _addresses(service: Service) -> Iterator[_Found]:
    """An address is wrong by itself, or because the Service has none of its family inside of the cluster."""
    spec, families = service.spec, set[str]()
    for index, text in enumerate(service.addresses):
        where = f"spec.clusterIPs[{index}]"
        yield from _address(where, text)
        if address := canonical(text):
            families.add(family := family_of(address))
            said = (spec.ip_families or ())[index : index + 1]
            if said and said[0] != family:
                yield f"spec.ipFamilies[{index}]", f"{_shown(said[0])} is not the family of {address}, which counts"
    outside = [(f"spec.externalIPs[{index}]", text) for index, text in enumerate(spec.external_ips or ())]
    if spec.type == "LoadBalancer":
        listed = enumerate(service.status.load_balancer.ingress or ())
        outside += [(f"status.loadBalancer.ingress[{index}].ip", one.ip) for index, one in listed if one.ip]
    for where, text in outside:
        yield from _address(where, text)
        address = canonical(text)
        if address and families and family_of(address) not in families:
            yield where, f"{text!r} takes no traffic: the Service has no cluster IP of its family"


def _source_ranges(service: Service) -> Iterator[_Found]:
    """A list that holds nothing for a family closes nothing there, as with kube-proxy: its owner should know."""
    spec, families = service.spec, set[str]()
    for index, text in enumerate(spec.load_balancer_source_ranges or ()):
        network = canonical_network(text)
        if network is None:
            yield (
                f"spec.loadBalancerSourceRanges[{index}]",
                f"{_shown(text)} is no network in CIDR form: it is left out",
            )
        else:
            families.add(family_of(network))
    if not spec.load_balancer_source_ranges or spec.type != "LoadBalancer":
        return
    listed = service.status.load_balancer.ingress or ()
    for address in filter(None, (canonical(one.ip) for one in listed)):
        if family_of(address) not in families:
            where = "spec.loadBalancerSourceRanges"
            yield where, f"no network in it is of {address}'s family, so everybody may connect to that"
    room = ranges_with_room(len(spec.ports or ()) * len(listed))
    if len(spec.load_balancer_source_ranges) > room:
        yield "spec.loadBalancerSourceRanges", f"too many for its addresses and ports: only {room} of a family count"


def _address(where: str, text: str) -> Iterator[_Found]:
    address = canonical(text)
    if address is None:
        yield where, f"{_shown(text)} is no IP address"
    elif is_special(address):
        yield where, f"{_shown(text)} is no address that others could reach"
    elif address != text and ":" not in text:
        yield where, f"{_shown(text)} is read as {address}"


def _ports(service: Service) -> Iterator[_Found]:
    taken: dict[tuple[str, int], int] = {}
    for index, port in enumerate(service.spec.ports or ()):
        where = f"spec.ports[{index}]"
        if port.protocol not in PROTOCOLS:
            yield f"{where}.protocol", f"{_shown(port.protocol)} is none of {', '.join(PROTOCOLS)}"
        if not is_port(port.port):
            yield f"{where}.port", f"{port.port} is no port: a number from 1 to 65535"
        if port.node_port and not is_port(port.node_port):
            yield f"{where}.nodePort", f"{port.node_port} is no port: a number from 1 to 65535"
        first = taken.setdefault((port.protocol, port.port), index)
        if first != index:
            yield where, f"{port.port}/{_shown(port.protocol)[1:-1]} is that of spec.ports[{first}], which counts"


def _annotations(service: Service) -> Iterator[_Found]:
    meta = service.metadata
    _, problems = parse(meta.annotation(WEIGHTS_ANNOTATION))
    yield from ((f"metadata.annotations[{WEIGHTS_ANNOTATION}]", problem) for problem in problems)
    balancing = meta.annotation(BALANCING_ANNOTATION, RANDOM)
    if balancing not in BALANCINGS:
        where = f"metadata.annotations[{BALANCING_ANNOTATION}]"
        yield where, f"{_shown(balancing)} must be one of {', '.join(BALANCINGS)}, and counts as none of them"
    for one in mistakes(service):
        yield f"metadata.annotations[{one.annotation}]", f"{_shown(one.value)} {one.why}; what it said before counts"
    stale = meta.annotation(STALE_CONNECTIONS_ANNOTATION)
    if stale and stale not in STALE_CONNECTIONS:
        allowed = " or ".join(STALE_CONNECTIONS)
        yield f"metadata.annotations[{STALE_CONNECTIONS_ANNOTATION}]", f"{_shown(stale)} must be {allowed}"
    yield from unknown_annotations(meta.annotations or (), SERVICE_ANNOTATIONS)


def unknown_annotations(annotations: Iterable[str], known: Sequence[str]) -> Iterator[_Found]:
    """Those of ours that mean nothing where they are written, with one that does: most are slips of the pen."""
    unknown = sorted(name for name in annotations if name.startswith(OWN_ANNOTATIONS) and name not in known)
    for index, name in enumerate(unknown):
        near = get_close_matches(name, known, n=1, cutoff=0.8) if index < _MOST_TOLD else ()  # each takes 0.1 ms
        hint = f"; did you mean {near[0]}?" if near else ""
        yield f"metadata.annotations[{_shown(name)[1:-1]}]", f"means nothing to Fairway here{hint}"


def _policies(service: Service) -> Iterator[_Found]:
    spec = service.spec
    if spec.type not in _TYPES:
        yield "spec.type", f"{_shown(spec.type)} must be ClusterIP, NodePort or LoadBalancer; it is ClusterIP"
    for field, text in (
        ("spec.internalTrafficPolicy", spec.internal_traffic_policy),
        ("spec.externalTrafficPolicy", spec.external_traffic_policy),
    ):
        if text and text not in _POLICIES:
            yield field, f"{_shown(text)} must be Cluster or Local; it is Cluster"


def _affinity(service: Service) -> Iterator[_Found]:
    config = service.spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    if service.spec.session_affinity not in ("ClientIP", "None"):
        yield "spec.sessionAffinity", f"{_shown(service.spec.session_affinity)} must be ClientIP or None; it is None"
    elif service.spec.session_affinity == "ClientIP" and seconds is not None and not 0 < seconds <= LONGEST_AFFINITY:
        where = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        yield where, f"{seconds} must be from 1 to {LONGEST_AFFINITY}, and counts as the nearest of these"


def _size(service: Service) -> Iterator[_Found]:
    """Here it is only said; `fairway.model.resolve` sees to it."""
    spec = service.spec
    each = 2 + len(spec.external_ips or ()) + len(service.status.load_balancer.ingress or ())
    if len(spec.ports or ()) * each > MOST_FRONTENDS:
        yield "spec", f"more than {MOST_FRONTENDS} addresses times ports: only so many take traffic"


def _slice_ports(slice_: EndpointSlice) -> Iterator[_Found]:
    for index, port in enumerate(slice_.ports or ()):
        if port.port is not None and port.port != 0 and not is_port(port.port):
            yield f"ports[{index}].port", f"{port.port} is no port: a number from 1 to 65535"


def _endpoints(slice_: EndpointSlice, known: Collection[int]) -> Iterator[_Found]:
    """``known`` are the identities of endpoints that are as they should be."""
    kind = slice_.address_type
    for index, endpoint in enumerate(slice_.endpoints or ()):
        if id(endpoint) in known:
            continue
        text = endpoint.addresses[0] if endpoint.addresses else ""
        if not text or (kind == IPv4 and is_usual(text)):
            continue
        where = f"endpoints[{index}].addresses[0]"
        address = canonical(text)
        if address is None:
            if kind != "FQDN":
                yield where, f"{_shown(text)} is no IP address"
        elif is_special(address):
            yield where, f"{_shown(text)} is no address that others could reach"
        elif family_of(address) != kind:
            yield where, f"{_shown(text)} is no {_shown(kind)[1:-1]} address"
        elif address != text and kind == IPv4:
            yield where, f"{_shown(text)} is read as {address}"


def _slice_annotations(slice_: EndpointSlice) -> Iterator[_Found]:
    if slice_weight(slice_) is None:
        written = slice_.metadata.annotation(WEIGHT_ANNOTATION)
        where = f"metadata.annotations[{WEIGHT_ANNOTATION}]"
        yield where, f"{_shown(written)} must be a weight from 0 to {MOST_WEIGHT}; it is 1"
    yield from unknown_annotations(slice_.metadata.annotations or (), SLICE_ANNOTATIONS)


def _described(node: str, target: str) -> str:
    who = target or "somebody"
    return f"{who} on {node}" if node else who


def _shown(text: str) -> str:
    """As a user wrote it, in one line, and not all of a long one."""
    return repr(text if len(text) <= 63 else f"{text[:60]}...")
