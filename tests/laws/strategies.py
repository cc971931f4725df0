"""Hypothesis strategies that every layer of laws shares: clusters, nodes, packets, and changes of a cluster.

Names and addresses come from small stocks, so that what is hard happens often: two Services claim one address, two
slices name one endpoint, a packet goes to a port that somebody nearly has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import strategies as st

from fairway.model.address import ANY, family_of, of_family
from fairway.model.packet import ICMP, Packet
from fairway.model.resolve import resolve
from fairway.model.view import FrontendKey, NodeSettings, NodeView
from fairway.objects.endpointslice import (
    SERVICE_NAME_LABEL,
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForNode,
    ForZone,
    ObjectReference,
)
from fairway.objects.meta import Key, ObjectMeta
from fairway.objects.service import (
    PROXY_NAME_LABEL,
    WEIGHTS_ANNOTATION,
    ClientIPConfig,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)

KEYS = (Key("bank", "cart"), Key("bank", "web"), Key("shop", "cart"), Key("shop", "web"))
NODES = ("node-a", "node-b", "node-c")
ZONES = ("east", "west")
PROTOCOLS = ("TCP", "UDP", "SCTP")
PORT_NAMES = ("", "http", "dns")
PORTS = (53, 80, 443)
TARGET_PORTS = (8080, 8053)
NODE_PORTS = (30080, 30053)
SERVICE_NETWORKS = ("10.96.0.0/16", "fd00:10:96::/48")
POD_NETWORKS = ("10.244.0.0/16", "fd00:10:244::/48")
CLUSTER_IPS = {"IPv4": tuple(f"10.96.0.{n}" for n in (7, 8, 9)), "IPv6": ("fd00:10:96::7", "fd00:10:96::8")}
POD_IPS = {
    "IPv4": tuple(f"10.244.{node}.{n}" for node in (1, 2) for n in (2, 3, 4)),
    "IPv6": ("fd00:10:244:1::2", "fd00:10:244:1::3", "fd00:10:244:2::2"),
}
NODE_ADDRESSES = ("192.168.0.2", "10.244.1.1", "127.0.0.1", "2001:db8::2", "::1")
EXTERNAL_IPS = ("198.51.100.1", "198.51.100.2", "fd00:198:51:100::1")
BALANCER_IPS = ("203.0.113.10", "203.0.113.11", "fd00:203:0:113::10")
OUTSIDE = {"IPv4": ("192.0.2.9", "192.0.2.200", "192.168.0.3"), "IPv6": ("fd00:192:0:2::9",)}
WEIGHTS = ("",) * 7 + ("10.244.1.0/24=3, *=2", "10.244.1.2=0, node/node-b=5, fd00:10:244:1::2=4", "*=0, nonsense")
INTERFACES = ("", "eth0", "cni0", "cni01", "veth12ab")
SOURCE_RANGES = ("192.0.2.0/25", "192.168.0.0/24", "fd00:192:0:2::/64", "0.0.0.0/0", "10.244.0.0/16")


@dataclass(frozen=True)
class Cluster:
    """Services, the EndpointSlices of each, and the node that looks at them."""

    settings: NodeSettings
    services: Mapping[Key, Service]
    slices: Mapping[Key, tuple[EndpointSlice, ...]]

    def view(self) -> NodeView:
        return resolve(self.services.values(), self.slices, self.settings)


def settings(
    pods: st.SearchStrategy[tuple[str, ...]] | None = None, *, extras: bool = False
) -> st.SearchStrategy[NodeSettings]:
    """A node named ``node-a`` with addresses of both families; ``pods`` are the networks it knows as pods.

    ``extras`` are what not every mode does: pods told by interface, node ports of localhost, answers to pings.
    """
    pod_networks = st.sampled_from([POD_NETWORKS, POD_NETWORKS, POD_NETWORKS[:1], ()]) if pods is None else pods
    return st.builds(
        NodeSettings,
        name=st.just(NODES[0]),
        zone=st.sampled_from([*ZONES, ""]),
        addresses=st.just(NODE_ADDRESSES),
        pod_networks=pod_networks,
        service_networks=st.just(SERVICE_NETWORKS),
        node_port_addresses=st.sampled_from([None, None, ("192.168.0.2", "2001:db8::2"), ("192.168.0.2", "127.0.0.1")]),
        masquerade_all=st.booleans(),
        pod_interface=st.sampled_from(["", "", "cni0", "veth*"] if extras else [""]),
        localhost_node_ports=st.booleans() if extras else st.just(False),
        answers_ping=st.sampled_from([(), ("192.168.0.2", "2001:db8::2"), ("192.168.0.2",)] if extras else [()]),
    )


def keys() -> st.SearchStrategy[Key]:
    return st.sampled_from(KEYS)


@st.composite
def services(draw: st.DrawFn, key: Key | None = None) -> Service:
    """A Service of any type and policy that the API server could have stored."""
    where = draw(keys()) if key is None else key
    kind = draw(st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"] * 4 + ["ExternalName"]))
    families = draw(st.sampled_from([("IPv4",), ("IPv4",), ("IPv6",), ("IPv4", "IPv6")]))
    addresses = tuple(draw(st.sampled_from(CLUSTER_IPS[family])) for family in families)
    headless = draw(_seldom())
    affinity = draw(st.sampled_from(["None", "None", "ClientIP"]))
    ranges = draw(st.lists(st.sampled_from(SOURCE_RANGES), max_size=2, unique=True))
    labels = {PROXY_NAME_LABEL: "other"} if draw(_seldom()) else None
    weights = draw(st.sampled_from(WEIGHTS))
    return Service(
        api_version="v1",
        kind="Service",
        metadata=ObjectMeta(
            name=where.name,
            namespace=where.namespace,
            labels=labels,
            annotations={WEIGHTS_ANNOTATION: weights} if weights else None,
        ),
        spec=ServiceSpec(
            type=kind,
            cluster_ip="" if kind == "ExternalName" else "None" if headless else addresses[0],
            cluster_ips=None if kind == "ExternalName" else ("None",) if headless else addresses,
            ip_families=families,
            ports=draw(_service_ports(with_node_port=kind in ("NodePort", "LoadBalancer"))),
            external_ips=tuple(draw(st.lists(st.sampled_from(EXTERNAL_IPS), max_size=2, unique=True))),
            internal_traffic_policy=draw(st.sampled_from([None, "Cluster", "Local"])),
            external_traffic_policy=draw(st.sampled_from(["", "Cluster", "Local"])),
            session_affinity=affinity,
            session_affinity_config=draw(_affinity_configs()) if affinity == "ClientIP" else None,
            load_balancer_source_ranges=tuple(ranges) if kind == "LoadBalancer" else None,
        ),
        status=ServiceStatus(
            load_balancer=LoadBalancerStatus(ingress=draw(_ingress()) if kind == "LoadBalancer" else ())
        ),
    )


def _seldom() -> st.SearchStrategy[bool]:
    return st.sampled_from([False] * 15 + [True])


def _affinity_configs() -> st.SearchStrategy[SessionAffinityConfig | None]:
    seconds = st.builds(ClientIPConfig, timeout_seconds=st.sampled_from([1, 600, 86400]))
    return st.none() | st.builds(SessionAffinityConfig, client_ip=seconds)


def _ingress() -> st.SearchStrategy[tuple[LoadBalancerIngress, ...]]:
    one = st.builds(
        LoadBalancerIngress, ip=st.sampled_from(BALANCER_IPS), ip_mode=st.sampled_from([None, "VIP", "Proxy"])
    )
    return st.lists(one, max_size=2).map(tuple)


@st.composite
def _service_ports(draw: st.DrawFn, with_node_port: bool) -> tuple[ServicePort, ...]:
    names = draw(st.lists(st.sampled_from(PORT_NAMES), min_size=1, max_size=3, unique=True))
    taken: set[tuple[str, int]] = set()
    found: list[ServicePort] = []
    for name in names:
        protocol, port = draw(st.sampled_from(PROTOCOLS)), draw(st.sampled_from(PORTS))
        node_port = draw(st.sampled_from([0, *NODE_PORTS])) if with_node_port else 0
        if (protocol, port) not in taken and (protocol, node_port) not in taken:
            found.append(ServicePort(name=name, protocol=protocol, port=port, node_port=node_port))
            taken |= {(protocol, port), (protocol, node_port)} if node_port else {(protocol, port)}
    return tuple(found)


def conditions() -> st.SearchStrategy[EndpointConditions]:
    """Mostly ready endpoints; also unready, terminating, and unknown ones."""
    shapes = [(None, None, None), (True, True, False), (True, True, False), (False, False, False)]
    shapes += [(False, True, True), (False, False, True), (False, True, False), (True, None, True)]
    return st.sampled_from([EndpointConditions(ready=r, serving=s, terminating=t) for r, s, t in shapes])


def endpoints(family: str) -> st.SearchStrategy[Endpoint]:
    zones = st.lists(st.sampled_from(ZONES), max_size=2, unique=True).map(lambda some: tuple(map(_zone, some)))
    nodes = st.lists(st.sampled_from(NODES), max_size=2, unique=True).map(lambda some: tuple(map(_node, some)))
    hints = st.none() | st.builds(EndpointHints, for_zones=zones, for_nodes=nodes)
    return st.builds(
        Endpoint,
        addresses=st.sampled_from(POD_IPS[family]).map(lambda one: (one,)),
        conditions=conditions(),
        node_name=st.sampled_from([*NODES, NODES[0], None]),
        target_ref=st.none() | st.just(ObjectReference(kind="Pod", namespace="shop", name="web-1")),
        hints=hints,
    )


def _zone(name: str) -> ForZone:
    return ForZone(name=name)


def _node(name: str) -> ForNode:
    return ForNode(name=name)


@st.composite
def slices(draw: st.DrawFn, service: Key, name: str, families: tuple[str, ...] = ("IPv4", "IPv6")) -> EndpointSlice:
    """One EndpointSlice of the Service, in one of the families."""
    family = draw(st.sampled_from(families))
    names = draw(st.lists(st.sampled_from(PORT_NAMES), min_size=1, max_size=3, unique=True))
    ports = tuple(
        EndpointPort(name=one, protocol=draw(st.sampled_from(PROTOCOLS)), port=draw(st.sampled_from(TARGET_PORTS)))
        for one in names
    )
    return EndpointSlice(
        api_version="discovery.k8s.io/v1",
        kind="EndpointSlice",
        metadata=ObjectMeta(name=name, namespace=service.namespace, labels={SERVICE_NAME_LABEL: service.name}),
        address_type=family,
        ports=ports,
        endpoints=tuple(draw(st.lists(endpoints(family), min_size=draw(st.sampled_from([1, 2, 0])), max_size=5))),
    )


@st.composite
def slices_for(draw: st.DrawFn, service: Service) -> tuple[EndpointSlice, ...]:
    """Up to three EndpointSlices of the Service; their families and ports are its own more often than not."""
    families = (service.spec.ip_families or ("IPv4",)) * 3 + ("IPv6",)
    names = [f"{service.key.name}-{number}" for number in range(draw(st.sampled_from([1, 2, 3, 0])))]
    found = [draw(slices(service.key, name, families)) for name in names]
    return tuple(one if draw(_seldom()) else _with_ports_of(service, one) for one in found)


def _with_ports_of(service: Service, one: EndpointSlice) -> EndpointSlice:
    ports = tuple(
        EndpointPort(name=port.name, protocol=port.protocol, port=TARGET_PORTS[index % len(TARGET_PORTS)])
        for index, port in enumerate(service.spec.ports or ())
    )
    return EndpointSlice(
        api_version=one.api_version,
        kind=one.kind,
        metadata=one.metadata,
        address_type=one.address_type,
        endpoints=one.endpoints,
        ports=ports,
    )


@st.composite
def clusters(draw: st.DrawFn, node: st.SearchStrategy[NodeSettings] | None = None, least: int = 0) -> Cluster:
    """A node and up to four Services, at least ``least``, with their slices."""
    some = draw(st.permutations(KEYS))[: draw(st.sampled_from(range(least, len(KEYS) + 1)))]
    found = [draw(services(key)) for key in some]
    return Cluster(
        settings=draw(settings() if node is None else node),
        services={one.key: one for one in found},
        slices={one.key: draw(slices_for(one)) for one in found},
    )


@st.composite
def changes(draw: st.DrawFn) -> tuple[Cluster, Cluster]:
    """A cluster before and after: a Service came, changed, lost or gained endpoints, or went. One node, unchanged."""
    before = draw(clusters())
    key = draw(keys())
    changed, changed_slices = dict(before.services), dict(before.slices)
    what = draw(st.sampled_from(["service", "slices", "both", "gone"]))
    if what == "gone":
        changed.pop(key, None)
        changed_slices.pop(key, None)
    else:
        if what != "slices" or key not in changed:
            changed[key] = draw(services(key))
        if what != "service":
            changed_slices[key] = draw(slices_for(changed[key]))
    return before, Cluster(settings=before.settings, services=changed, slices=changed_slices)


@st.composite
def packets(draw: st.DrawFn, view: NodeView) -> Packet:
    """A packet that somebody near this node may send: half of them to a frontend, the others to nearly one."""
    key = draw(st.sampled_from(sorted(view.frontends)) | _near_keys() if view.frontends else _near_keys())
    protocol = key.protocol or draw(st.sampled_from((*PROTOCOLS, ICMP) if view.settings.answers_ping else PROTOCOLS))
    port = 0 if protocol == ICMP else key.port or draw(st.sampled_from(PORTS))
    destination = key.address
    if destination in ANY.values():
        destination = draw(st.sampled_from(of_family(NODE_ADDRESSES, family_of(destination))))
    family = family_of(destination)
    node = of_family(NODE_ADDRESSES, family)
    local = draw(st.sampled_from([False, False, True]))
    sources = node if local else (*POD_IPS[family], *OUTSIDE[family], *node, destination)
    source = draw(st.sampled_from(sources))
    interface = "" if local else draw(st.sampled_from(INTERFACES))
    return Packet(
        source=source, destination=destination, protocol=protocol, port=port, local=local, interface=interface
    )


def _near_keys() -> st.SearchStrategy[FrontendKey]:
    """Keys that a frontend may have or nearly have."""
    services = (*CLUSTER_IPS["IPv4"], *CLUSTER_IPS["IPv6"], "10.96.200.1", "fd00:96::99", *EXTERNAL_IPS, *BALANCER_IPS)
    addresses = st.sampled_from([*services, *NODE_ADDRESSES, "192.0.2.77"])
    return st.builds(FrontendKey, addresses, st.sampled_from(PROTOCOLS), st.sampled_from([*PORTS, *NODE_PORTS, 9]))
