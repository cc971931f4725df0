"""Objects to frontends: every rule of Kubernetes about who gets which backend is answered here, once.

    Service + its EndpointSlices + NodeSettings ──▶ candidates ──▶ pools ──▶ actions ──▶ Frontends

The rules are those of the reference, sections 1.A to 1.E (``pkg/proxy/topology.go`` and its neighbours).
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import msgspec

from fairway.model.address import (
    ANY,
    FAMILIES,
    IPv4,
    canonical_network,
    contains,
    family_of,
    of_family,
)
from fairway.model.candidates import NOBODY
from fairway.model.endpoints import Endpoints, PortAt
from fairway.model.limits import LONGEST_AFFINITY, MOST_FRONTENDS, is_port, ports_with_room, ranges_with_room, usable
from fairway.model.packet import ICMP
from fairway.model.policies import NOBODY_BEHIND, Actions, at_cluster_ip, elsewhere, through_relay
from fairway.model.relaying import RELAYED, relaying
from fairway.model.topology import Candidates, any_here, any_usable, cluster_pool, local_pool
from fairway.model.view import (
    RANDOM,
    ROUND_ROBIN,
    Action,
    ActionKind,
    Backend,
    Frontend,
    FrontendKey,
    FrontendKind,
    NodeSettings,
    NodeView,
    Pool,
    Relaying,
)
from fairway.model.weights import weighed, weights_of
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import Key
from fairway.objects.service import (
    BALANCING_ANNOTATION,
    PROTOCOLS,
    PROXY_NAME_LABEL,
    SCHEDULER_ANNOTATION,
    STALE_CONNECTIONS_ANNOTATION,
    Service,
    ServicePort,
)

DEFAULT_AFFINITY_SECONDS = 10800


def resolve(
    services: Iterable[Service], slices: Mapping[Key, Iterable[EndpointSlice]], settings: NodeSettings
) -> NodeView:
    """The whole NodeView of a node. ``slices`` holds the EndpointSlices of each Service."""
    frontends: dict[FrontendKey, Frontend] = {}
    for service in sorted(services, key=lambda one: one.key):
        for frontend in resolve_service(service, slices.get(service.key, ()), settings):
            frontends.setdefault(frontend.key, frontend)
    return NodeView(settings=settings, frontends=frontends)


def resolve_service(service: Service, slices: Iterable[EndpointSlice], settings: NodeSettings) -> tuple[Frontend, ...]:
    """All frontends of one Service, one a key; none for a Service that is not ours to serve."""
    return resolve_endpoints(service, Endpoints(slices), settings)


def resolve_endpoints(service: Service, endpoints: Endpoints, settings: NodeSettings) -> tuple[Frontend, ...]:
    """The same from endpoints that are kept from one change to the next: what did not change costs nothing then."""
    return tuple(frontends_of(service, endpoints, settings).values())


def frontends_of(service: Service, endpoints: Endpoints, settings: NodeSettings) -> dict[FrontendKey, Frontend]:
    """The same by their keys."""
    return filled(_listening(service, settings), service, endpoints, settings)


def filled(
    frontends: Mapping[FrontendKey, Frontend], service: Service, endpoints: Endpoints, settings: NodeSettings
) -> dict[FrontendKey, Frontend]:
    """The frontends of a Service, from those that it had with other endpoints: where it listens is the same.

    A frontend to which nothing has happened is the very same object.
    """
    pools = _Filling(service, endpoints, settings)
    return {key: one if one.kind in _ALONE else pools.fill(one) for key, one in frontends.items()}


def ports_of(frontends: Iterable[Frontend]) -> set[PortAt]:
    """The Service ports whose endpoints are behind them."""
    return {_port_of(one) for one in frontends if one.kind not in _ALONE}


_ALONE = (FrontendKind.OTHER_PORTS, FrontendKind.PING)
"""Frontends that nobody is behind."""


def _port_of(frontend: Frontend) -> PortAt:
    return _port_at(family_of(frontend.address), frontend.port_name, frontend.protocol)


_port_at = lru_cache(maxsize=4096)(PortAt)
"""Most Services have ports of the same few names."""


def _listening(service: Service, settings: NodeSettings) -> dict[FrontendKey, Frontend]:
    """Everything of the frontends that does not depend on endpoints; `filled` adds the rest."""
    if PROXY_NAME_LABEL in (service.metadata.labels or ()):
        return {}
    name = service.key
    found: dict[FrontendKey, Frontend] = {}
    room = MOST_FRONTENDS
    for family, cluster_ip in _addresses(service).items():
        outside = tuple(_outside(service, family, settings))
        for index, port in enumerate(service.spec.ports or ()):
            if port.protocol in PROTOCOLS and is_port(port.port) and room:
                listening = _PortFrontends(service, name, port, index, family, cluster_ip, outside, settings)
                for one in islice(listening.frontends(), room):
                    found.setdefault(one.key, one)
                    room -= 1
        others = _other_ports(name, cluster_ip)
        found[others.key] = others
        if settings.answers_pings(family):
            found.update((one.key, one) for one in _pings(service, family))
    return found


def _addresses(service: Service) -> dict[str, str]:
    """The cluster IP of each family the Service has one in."""
    found: dict[str, str] = {}
    for text in service.addresses:
        address = usable(text)
        if address:
            found.setdefault(family_of(address), address)
    return {family: found[family] for family in FAMILIES if family in found} if len(found) > 1 else found


class _Outside(NamedTuple):
    """An address of a Service for clients outside the cluster, whatever the port; and the field that asks for it."""

    kind: FrontendKind
    address: str
    cause: str


def _outside(service: Service, family: str, settings: NodeSettings) -> Iterable[_Outside]:
    """Each address once, for thousands of ports may ask."""
    found: dict[str, _Outside] = {}
    # An address that is both is a load balancer's: an external IP would not know the source ranges.
    for address, cause in _load_balancer_addresses(service, family):
        found.setdefault(address, _Outside(FrontendKind.LOAD_BALANCER, address, cause))
    for index, text in enumerate(service.spec.external_ips or () if settings.external_ips else ()):
        if (external := usable(text)) and family_of(external) == family:
            found.setdefault(external, _Outside(FrontendKind.EXTERNAL_IP, external, f"spec.externalIPs[{index}]"))
    return found.values()


class _Filling:
    """What is behind the frontends of one Service: its pools, and what its clients get."""

    def __init__(self, service: Service, endpoints: Endpoints, settings: NodeSettings) -> None:
        spec = service.spec
        self._endpoints, self._settings = endpoints, settings
        self._weights = weights_of(service, endpoints.weights)
        self._weighed: dict[tuple[PortAt, Pool], Sequence[Backend]] = {}
        self._internal_local = spec.internal_traffic_policy == "Local"
        self._external_local = service.externally_accessible and spec.external_traffic_policy == "Local"
        ports, room = spec.ports or (), ports_with_room(endpoints.size)
        self._roomless = {(one.name, one.protocol) for one in ports[room:]} if len(ports) > room else ()

    def fill(self, frontend: Frontend) -> Frontend:
        """The frontend with what is behind it now; the same object if that is what is there."""
        at = _port_of(frontend)
        behind = NOBODY if at.in_slices in self._roomless else self._endpoints.at(at, self._settings)
        now = self._actions(frontend, at.family, behind)
        cluster = self._pool(at, Pool.CLUSTER, behind) if now.uses_cluster else ()
        local = self._pool(at, Pool.LOCAL, behind) if now.uses_local else ()
        before = frontend.cluster, frontend.local, frontend.pod, frontend.node, frontend.outside
        if all(map(operator.is_, before, (cluster, local, now.pod, now.node, now.outside))):
            return frontend
        return msgspec.structs.replace(
            frontend, cluster=cluster, local=local, pod=now.pod, node=now.node, outside=now.outside
        )

    def _actions(self, frontend: Frontend, family: str, behind: Candidates) -> Actions:
        there, settings = (any_usable(behind), any_here(behind)), self._settings
        detects = settings.detects_pods(family)
        if frontend.kind is FrontendKind.CLUSTER_IP:
            found = at_cluster_ip(*there, self._internal_local, settings.masquerade_all, detects)
        else:
            found = elsewhere(*there, self._external_local, detects)
        return through_relay(found) if frontend.relaying else found

    def _pool(self, at: PortAt, pool: Pool, behind: Candidates) -> Sequence[Backend]:
        """Frontends of one port share it."""
        known = self._weighed.get((at, pool))
        if known is not None:
            return known
        found = cluster_pool(behind, self._settings) if pool is Pool.CLUSTER else local_pool(behind)
        if self._weights:
            found = self._weighed[at, pool] = weighed(found, self._weights)
        return found


@dataclass(slots=True)
class _PortFrontends:
    """One Service port in one family: where it listens."""

    service: Service
    name: Key
    port: ServicePort
    index: int
    family: str
    cluster_ip: str
    outside: tuple[_Outside, ...]
    settings: NodeSettings
    cause: str = field(init=False)
    """The field that asks for it."""

    def __post_init__(self) -> None:
        self.cause = f"spec.ports[{self.index}]"

    def frontends(self) -> Iterator[Frontend]:
        yield self._frontend(FrontendKind.CLUSTER_IP, self.cluster_ip, self.port.port, self.cause)
        if is_port(self.port.node_port):
            where = f"{self.cause}.nodePort"
            yield self._frontend(FrontendKind.NODE_PORT, ANY[self.family], self.port.node_port, where)
        for kind, address, cause in self.outside:
            yield self._frontend(kind, address, self.port.port, cause)

    def _frontend(self, kind: FrontendKind, address: str, port: int, cause: str) -> Frontend:
        relay = self._relaying()
        return Frontend(
            kind=kind,
            address=address,
            protocol=self.port.protocol,
            port=port,
            service=self.name,
            port_name=self.port.name,
            field=cause,
            pod=NOBODY_BEHIND,
            node=NOBODY_BEHIND,
            outside=NOBODY_BEHIND,
            affinity_seconds=_affinity_seconds(self.service),
            balancing=self.service.metadata.annotation(BALANCING_ANNOTATION, ROUND_ROBIN if relay else RANDOM),
            scheduler=self.service.metadata.annotation(SCHEDULER_ANNOTATION),
            relaying=relay,
            source_ranges=self._source_ranges(address) if kind is FrontendKind.LOAD_BALANCER else (),
            cuts_connections=cuts_connections(self.service, self.settings),
            health_check_port=self._health_check_port() if kind is FrontendKind.CLUSTER_IP else 0,
        )

    def _relaying(self) -> Relaying | None:
        if self.port.protocol not in RELAYED:
            return None
        return relaying(self.service, self.port) or (Relaying() if self.settings.relays else None)

    def _health_check_port(self) -> int:
        spec = self.service.spec
        asked = spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local"
        return spec.health_check_node_port if asked else 0

    def _source_ranges(self, address: str) -> tuple[str, ...]:
        """The networks that may connect to the load-balancer IP ``address``; empty when everybody may."""
        spec, addresses = self.service.spec, self.service.status.load_balancer.ingress or ()
        found = _networks(spec.load_balancer_source_ranges or (), self.family)
        if any(network.endswith("/0") for network in found):
            return ()
        found = found[: ranges_with_room(len(spec.ports or ()) * len(addresses))]
        # When the node itself may connect, its packet may carry the load-balancer IP as its source: the node has that
        # address on an interface if its balancer works by direct return (reference, section 1.H).
        if any(contains(found, one) for one in of_family(self.settings.addresses, self.family)):
            found += (f"{address}/{32 if self.family == IPv4 else 128}",)
        return found


@lru_cache(maxsize=64)
def _networks(texts: tuple[str, ...], family: str) -> tuple[str, ...]:
    """Those of one family; every port of a Service asks for them."""
    found = map(canonical_network, texts)
    return tuple(network for network in found if network is not None and family_of(network) == family)


def cuts_connections(service: Service, settings: NodeSettings) -> bool:
    """Whether connections to a backend that has gone are to end at once; a word that means nothing is not heard."""
    said = service.metadata.annotation(STALE_CONNECTIONS_ANNOTATION)
    return said == "cut" or (settings.cut_connections and said != "keep")


def _affinity_seconds(service: Service) -> int:
    if service.spec.session_affinity != "ClientIP":
        return 0
    config = service.spec.session_affinity_config
    seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
    return DEFAULT_AFFINITY_SECONDS if seconds is None else min(max(1, seconds), LONGEST_AFFINITY)


_REFUSE_PORT = Action(kind=ActionKind.REJECT, because="the Service has no such port")


def _pings(service: Service, family: str) -> Iterator[Frontend]:
    """The addresses of load balancers; whoever restricts who may connect does not have them answer everybody.

    External IPs do not answer: they may be addresses of other machines, which answer for themselves.
    """
    if service.spec.load_balancer_source_ranges:
        return
    answer = Action(kind=ActionKind.ANSWER, because="a Service's address")
    for address, cause in _load_balancer_addresses(service, family):
        yield Frontend(
            kind=FrontendKind.PING,
            address=address,
            protocol=ICMP,
            port=0,
            service=service.key,
            field=cause,
            pod=answer,
            node=answer,
            outside=answer,
        )


def _load_balancer_addresses(service: Service, family: str) -> Iterator[tuple[str, str]]:
    """Address and causing field."""
    if service.spec.type != "LoadBalancer":
        return
    for index, ingress in enumerate(service.status.load_balancer.ingress or ()):
        # ipMode Proxy means that the balancer itself must see the traffic (KEP-1860).
        address = usable(ingress.ip) if ingress.ip and ingress.ip_mode != "Proxy" else None
        if address and family_of(address) == family:
            yield address, f"status.loadBalancer.ingress[{index}]"


def _other_ports(service: Key, cluster_ip: str) -> Frontend:
    return Frontend(
        kind=FrontendKind.OTHER_PORTS,
        address=cluster_ip,
        protocol="",
        port=0,
        service=service,
        field="spec.clusterIPs",
        pod=_REFUSE_PORT,
        node=_REFUSE_PORT,
        outside=_REFUSE_PORT,
    )
