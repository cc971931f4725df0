"""Where a question starts and where it goes: names as people type them, turned into addresses.

FROM   pod name, namespace/pod, the name its pods begin with, node name, or an IP address
TO     service, namespace/service, with :port or :port-name; an IP address with :port; a node with :port; a ping
       (ICMP) has no port
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from fairway.diagnose.cluster import Cluster
from fairway.model.address import canonical, family_of
from fairway.model.packet import ICMP, PROTOCOLS
from fairway.objects.cluster import Pod
from fairway.objects.service import Service, ServicePort

_PROTOCOLS = (*PROTOCOLS, ICMP)


class UnknownPlace(ValueError):
    """A name that means nothing in this cluster; the message says what would."""


@dataclass(frozen=True)
class Start:
    """Where a packet starts: an address, the node that first handles it, and whether that node itself sends it.

    ``outside``: it comes from beyond the cluster, so ``node`` is only where it comes in.
    """

    name: str
    address: str
    node: str
    local: bool
    outside: bool = False


@dataclass(frozen=True)
class Target:
    name: str
    address: str
    port: int
    protocol: str


def find_start(cluster: Cluster, text: str, target: Target, entry: str | None) -> Start:
    """Where ``text`` is. ``entry`` names the node by which a packet from outside comes in.

    Raises `UnknownPlace`.
    """
    if not cluster.nodes:
        raise UnknownPlace("the cluster has no Nodes, so no packet goes anywhere; create Node objects first")
    if entry is not None and entry not in cluster.nodes:
        raise UnknownPlace(f"no node {entry!r}; nodes are: {', '.join(sorted(cluster.nodes))}")
    address = canonical(text)
    if address is not None:
        return _start_at(cluster, address, target, entry)
    if text in cluster.nodes or text.removeprefix("node/") in cluster.nodes:
        return _start_on_node(cluster, text.removeprefix("node/"), target)
    pod = _find_pod(cluster, text.removeprefix("pod/"))
    if pod is None:
        raise UnknownPlace(f"no pod or node {text!r}{_near(text, _starting_names(cluster))}")
    return _start_in_pod(cluster, pod, target)


def _start_at(cluster: Cluster, address: str, target: Target, entry: str | None) -> Start:
    if pod := cluster.pod_at(address):
        return _start_in_pod(cluster, pod, target)
    if node := cluster.node_at(address):
        return Start(f"node {node}", address, node, local=True)
    if node := cluster.node_of_network(address):
        return Start(f"client {address}", address, node, local=False)
    node = entry or cluster.node_at(target.address) or min(cluster.nodes)
    return Start(f"outside client {address}", address, node, local=False, outside=True)


def _start_on_node(cluster: Cluster, name: str, target: Target) -> Start:
    addresses = _same_family(cluster.nodes[name].internal_addresses, target, f"node {name}")
    return Start(f"node {name}", addresses[0], name, local=True)


def _start_in_pod(cluster: Cluster, pod: Pod, target: Target) -> Start:
    if not pod.spec.node_name or not pod.addresses:
        phase = pod.status.phase or "Pending"
        raise UnknownPlace(f"pod {pod.key} has no node or no address yet (phase {phase})")
    addresses = _same_family(pod.addresses, target, f"pod {pod.key}")
    return Start(f"pod {pod.key}", addresses[0], pod.spec.node_name, local=pod.spec.host_network)


def _same_family(addresses: tuple[str, ...], target: Target, what: str) -> list[str]:
    family = family_of(target.address)
    found = [one for one in addresses if family_of(one) == family]
    if not found:
        raise UnknownPlace(f"{what} has no {family} address, and {target.address} is {family}")
    return found


def _find_pod(cluster: Cluster, text: str) -> Pod | None:
    """By its name; else the first whose name begins so (a Deployment's pods carry random endings)."""
    namespace, _, name = text.rpartition("/")
    pods = [pod for key, pod in sorted(cluster.pods.items()) if not namespace or key.namespace == namespace]
    exact = [pod for pod in pods if pod.metadata.name == name]
    begins = [pod for pod in pods if pod.metadata.name.startswith(f"{name}-") and pod.addresses and not pod.terminating]
    return next(iter(exact or begins), None)


def find_target(cluster: Cluster, text: str, protocol: str | None) -> Target:
    """What ``text`` means as a destination; a protocol may stand behind a slash. Raises `UnknownPlace`."""
    text, protocol = _split_protocol(text, protocol)
    place, port = _split_port(text)
    address = canonical(place)
    if address is None and (node := cluster.nodes.get(place.removeprefix("node/"))):
        addresses = node.internal_addresses
        if not addresses:
            raise UnknownPlace(f"node {place} has no internal address")
        address = addresses[0]
    if protocol == ICMP:
        return _pinged(cluster, place, address)
    if address is not None:
        if not port.isdigit():
            raise UnknownPlace(f"{text!r} needs a port: {place}:80")
        return Target(cluster.names().get(address, address), address, _number(port), protocol or "TCP")
    return _service_target(_find_service(cluster, place), port, protocol)


def _pinged(cluster: Cluster, place: str, address: str | None) -> Target:
    if address is None:
        service = _find_service(cluster, place)
        if not service.addresses:
            raise UnknownPlace(f"Service {service.key} has no cluster IP to ping")
        return Target(f"service {service.key}", _cluster_ip(service), 0, ICMP)
    return Target(cluster.names().get(address, address), address, 0, ICMP)


def _split_protocol(text: str, protocol: str | None) -> tuple[str, str | None]:
    head, slash, tail = text.rpartition("/")
    if slash and tail.upper() in _PROTOCOLS:
        return head, tail.upper()
    if protocol is not None and protocol.upper() not in _PROTOCOLS:
        raise UnknownPlace(f"no protocol {protocol!r}; one of {', '.join(_PROTOCOLS)}")
    return text, protocol.upper() if protocol else None


def _split_port(text: str) -> tuple[str, str]:
    if text.startswith("["):  # [fd00::1]:80
        place, _, port = text[1:].partition("]")
        return place, port.removeprefix(":")
    if text.count(":") > 1:  # a bare IPv6 address
        return text, ""
    place, _, port = text.partition(":")
    return place, port


def _number(port: str) -> int:
    if not 1 <= int(port) <= 65535:
        raise UnknownPlace(f"port {port} is not between 1 and 65535")
    return int(port)


def _find_service(cluster: Cluster, text: str) -> Service:
    namespace, _, name = text.removeprefix("svc/").removeprefix("service/").rpartition("/")
    found = [one for key, one in cluster.services.items() if key.name == name and namespace in ("", key.namespace)]
    if len(found) > 1:
        choices = ", ".join(str(one.key) for one in found)
        raise UnknownPlace(f"several Services are called {name!r}: {choices}; say which")
    if not found:
        known = [str(key) for key in cluster.services]
        raise UnknownPlace(f"no Service, node or address {text!r}{_near(text, known)}")
    return found[0]


def _service_target(service: Service, port: str, protocol: str | None) -> Target:
    if not service.addresses:
        why = "it is headless" if service.headless else f"its type is {service.spec.type}"
        raise UnknownPlace(f"Service {service.key} has no cluster IP: {why}; its clients connect to what DNS answers")
    chosen = _find_port(service, port, protocol)
    return Target(f"service {service.key}", _cluster_ip(service), chosen.port, chosen.protocol)


def _cluster_ip(service: Service) -> str:
    """The first that is one: old servers stored what nobody would accept today, and files hold anything."""
    found = next((one for text in service.addresses if (one := canonical(text))), None)
    if found is None:
        raise UnknownPlace(f"Service {service.key} has no address: its cluster IP is {service.addresses[0]!r}")
    return found


def _find_port(service: Service, port: str, protocol: str | None) -> ServicePort:
    """The port by number or name; a number that the Service does not have is a question worth answering, too."""
    ports = [one for one in service.spec.ports or () if protocol in (None, one.protocol)]
    if not port and ports:
        return ports[0]
    for one in ports:
        if port in (str(one.port), one.name):
            return one
    if port.isdigit():
        return ServicePort(port=_number(port), protocol=protocol or "TCP")
    known = ", ".join(f"{one.name or one.port}" for one in service.spec.ports or ())
    raise UnknownPlace(f"Service {service.key} has no port {port!r}; it has: {known or 'none'}")


def _starting_names(cluster: Cluster) -> list[str]:
    return [*cluster.nodes, *(key.name for key in cluster.pods), *(str(key) for key in cluster.pods)]


def _near(text: str, known: list[str]) -> str:
    close = difflib.get_close_matches(text, known, n=3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are: {', '.join(sorted(known)[:8])}" if known else ""
