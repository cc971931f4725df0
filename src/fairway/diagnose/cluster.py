"""A cluster as one value: what the API (or a file of manifests) says about Services, and the view of each node.

Nothing here touches a machine, so a question about a cluster far away is answered on a laptop, without root.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from fairway.model.address import canonical, contains, merged
from fairway.model.problems import Problem
from fairway.model.resolve import resolve, resolve_service
from fairway.model.view import NodeSettings, NodeView
from fairway.objects.cluster import Node, Pod
from fairway.objects.codec import DecodeError, Document, view
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.meta import Key
from fairway.objects.networking import ServiceCIDR, service_cidrs
from fairway.objects.service import Service
from fairway.proxy.cache import Cache, Cause

Member = Service | EndpointSlice | Node | Pod | ServiceCIDR
_TYPES: dict[str, type[Member]] = {
    "Service": Service,
    "EndpointSlice": EndpointSlice,
    "Node": Node,
    "Pod": Pod,
    "ServiceCIDR": ServiceCIDR,
}


@dataclass(frozen=True)
class Networks:
    """What the objects may not say: the ranges of Services, unless ServiceCIDRs tell, and of pods, unless Nodes do."""

    services: tuple[str, ...] = ()
    pods: tuple[str, ...] = ()


@dataclass
class Cluster:
    """Objects by name. ``slices`` are grouped by the Service they belong to."""

    services: dict[Key, Service] = field(default_factory=dict)
    slices: dict[Key, list[EndpointSlice]] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    pods: dict[Key, Pod] = field(default_factory=dict)
    service_cidrs: list[ServiceCIDR] = field(default_factory=list)
    networks: Networks = Networks()
    told: dict[str, NodeSettings] = field(default_factory=dict)
    """What the proxies of some nodes say themselves that they are set to."""
    modes: dict[str, str] = field(default_factory=dict)
    """The modes that these proxies say they are in."""
    relays: frozenset[str] = frozenset()
    """The nodes on which every Service is relayed, in the userspace mode; the API does not know it."""

    def add(self, one: Member) -> None:
        match one:
            case Service():
                self.services[one.key] = one
            case EndpointSlice():
                self.slices.setdefault(Key(one.metadata.namespace, one.service_name), []).append(one)
            case Node():
                self.nodes[one.metadata.name] = one
            case Pod():
                self.pods[one.key] = one
            case ServiceCIDR():
                self.service_cidrs.append(one)

    def extend(self, many: Iterable[Member]) -> None:
        for one in many:
            self.add(one)

    @property
    def pod_networks(self) -> tuple[str, ...]:
        """The ranges that pods have addresses from: as configured, else what the Nodes were given."""
        return self.networks.pods or tuple(cidr for node in self.nodes.values() for cidr in _pod_cidrs(node))

    def settings(self, name: str) -> NodeSettings:
        """A node as its proxy says it, else as the API knows it.

        The API does not know the proxy's flags: node ports are taken on the internal addresses then, as by default.
        """
        if name in self.told:
            told = self.told[name]
            return msgspec.structs.replace(told, relays=told.relays or name in self.relays)
        node = self.nodes[name]
        addresses = tuple(one for text in node.internal_addresses if (one := canonical(text)))
        return NodeSettings(
            name=name,
            zone=node.zone,
            addresses=(*addresses, "127.0.0.1", "::1"),
            pod_networks=self.pod_networks,
            service_networks=merged(service_cidrs(self.service_cidrs)) or self.networks.services,
            node_port_addresses=addresses,
            relays=name in self.relays,
        )

    def mode(self, name: str) -> str:
        """A node's mode as its proxy says it, else the one that most have: nftables."""
        return self.modes.get(name, "nftables")

    def view(self, node: str) -> NodeView:
        """What that node should do."""
        return resolve(self.services.values(), self.slices, self.settings(node))

    def problems(self, node: str) -> Mapping[Key, Sequence[Problem]]:
        """By Service, what that node's proxy would not serve as it is written: its own cache is asked."""
        return self._problems({*self.services, *self.slices}, self.settings(node))

    def problems_of(self, service: Key, view: NodeView) -> Sequence[Problem]:
        """The same of one Service of a node's view: nobody else is looked at but who has what it asks for."""
        asked = resolve_service(self.services[service], (), view.settings)
        holders = {view.frontends[one.key].service for one in asked}
        return self._problems({service, *holders}, view.settings).get(service, ())

    def _problems(self, services: Iterable[Key], settings: NodeSettings) -> Mapping[Key, Sequence[Problem]]:
        cache = Cache(settings)
        for key in services:
            if (service := self.services.get(key)) is not None:
                cache.put_service(key, service, Cause("Service", key, "", 0.0))
            for one in self.slices.get(key, ()):
                cache.put_slice(one.key, one, Cause("EndpointSlice", one.key, "", 0.0))
        cache.take()
        return {key: tuple(cache.troubles.of(key)) for key in sorted(cache.troubles.services())}

    def names(self) -> dict[str, str]:
        """A name for every address that has one: ``pod shop/cart-1``, ``node n1``, ``service shop/cart``."""
        found: dict[str, str] = {}
        for service in self.services.values():
            found.update(dict.fromkeys(service.addresses, f"service {service.key}"))
        for pod in self.pods.values():
            if not pod.spec.host_network:
                found.update(dict.fromkeys(pod.addresses, f"pod {pod.key}"))
        for node in self.nodes.values():
            found.update(dict.fromkeys(node.internal_addresses, f"node {node.metadata.name}"))
        return found

    def node_at(self, address: str) -> str | None:
        """The node that has this address."""
        return next((name for name, node in self.nodes.items() if address in node.internal_addresses), None)

    def node_of_network(self, address: str) -> str | None:
        """The node in whose pod network this address is, whoever has it."""
        return next((name for name, node in self.nodes.items() if contains(_pod_cidrs(node), address)), None)

    def pod_at(self, address: str) -> Pod | None:
        """The pod that has this address for itself."""
        for pod in self.pods.values():
            if address in pod.addresses and not pod.spec.host_network:
                return pod
        return None


def _pod_cidrs(node: Node) -> tuple[str, ...]:
    return node.spec.pod_cidrs or tuple(cidr for cidr in (node.spec.pod_cidr,) if cidr)


def from_documents(documents: Iterable[Document], networks: Networks) -> Cluster:
    """The cluster that a list of documents describes; other kinds are passed over. Raises `DecodeError`."""
    cluster = Cluster(networks=networks)
    for one in documents:
        type_ = _TYPES.get(str(one.get("kind")))
        if type_ is not None:
            cluster.add(_read(one, type_))
    return cluster


def _read(document: Document, type_: type[Member]) -> Member:
    try:
        read = view(document, type_)
    except DecodeError as error:
        metadata = document.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, Mapping) else ""
        raise DecodeError(error.problem, f"{document['kind']} {name}: {error.path}") from None
    # A manifest may leave out what the API fills in: the namespace, and the name of a slice's port.
    if isinstance(read, EndpointSlice) and read.ports:
        ports = tuple([msgspec.structs.replace(one, name=one.name or "") for one in read.ports])
        read = msgspec.structs.replace(read, ports=ports)
    if isinstance(read, Node | ServiceCIDR) or read.metadata.namespace:
        return read
    return msgspec.structs.replace(read, metadata=msgspec.structs.replace(read.metadata, namespace="default"))
