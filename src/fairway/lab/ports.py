"""Which ports a pod answers on, and in which language: read from its specification. Pure.

A stand-in speaks HTTP where a probe, a port's name or a well-known number suggests it; elsewhere it is a TCP server
that says one line, or a UDP server that answers each datagram with one. Both the servers and the check read this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from fairway.objects.cluster import Container, ContainerPort, Pod, Probe

Language = Literal["http", "line"]

_HTTP_NAMES = (
    "http",
    "web",
    "metrics",
    "prom",
    "prometheus",
    "exporter",
    "health",
    "healthz",
    "ui",
    "dashboard",
    "admin",
    "management",
)
_HTTP_NUMBERS = frozenset((80, 3000, 8000, 8008, 8079, 8080, 8081, 8088, 8888, 9090, 9100))
_NOT_HTTP_NAMES = ("grpc", "https", "tcp", "tls", "http2", "h2c")


@dataclass(frozen=True, order=True)
class ServedPort:
    """A port of a pod: ``protocol`` as Kubernetes writes it (TCP, UDP, SCTP)."""

    number: int
    protocol: str = "TCP"
    name: str = ""
    language: Language = "line"


def served_ports(pod: Pod) -> tuple[ServedPort, ...]:
    """Every port that the pod's containers declare, once each, lowest first."""
    found = {
        (port.container_port, port.protocol): _served(container, port)
        for container in _running(pod)
        for port in container.ports or ()
    }
    return tuple(sorted(found.values()))


def target(pod: Pod, target_port: int | str, protocol: str) -> ServedPort | None:
    """The port of this pod that a Service port leads to; ``None`` when the pod has no such port."""
    wanted = int(target_port) if isinstance(target_port, int) or target_port.isdigit() else target_port
    for port in served_ports(pod):
        if port.protocol == protocol and wanted in (port.number, port.name):
            return port
    return None


def _running(pod: Pod) -> Iterator[Container]:
    yield from pod.spec.containers or ()
    # A sidecar is an init container that keeps running (KEP-753).
    yield from (one for one in pod.spec.init_containers or () if one.restart_policy == "Always")


def _served(container: Container, port: ContainerPort) -> ServedPort:
    protocol = port.protocol or "TCP"
    speaks_http = protocol == "TCP" and _suggests_http(container, port)
    return ServedPort(port.container_port, protocol, port.name, "http" if speaks_http else "line")


def _suggests_http(container: Container, port: ContainerPort) -> bool:
    name = port.name.split("-")
    if name[0] in _NOT_HTTP_NAMES or name[-1] == "grpc":
        return False
    probes = [p for p in (container.readiness_probe, container.liveness_probe, container.startup_probe) if p]
    if any(_same(probe.http_get.port, port) for probe in probes if probe.http_get):
        return True
    if any(_same(number, port) for number in _other_probe_ports(probes)):
        return False
    if port.name:
        return any(word in _HTTP_NAMES for word in name)
    return port.container_port in _HTTP_NUMBERS


def _other_probe_ports(probes: Iterable[Probe]) -> Iterator[int | str]:
    for probe in probes:
        if probe.grpc:
            yield probe.grpc.port
        if probe.tcp_socket:
            yield probe.tcp_socket.port


def _same(asked: int | str, port: ContainerPort) -> bool:
    return asked == port.container_port or str(asked) in (port.name or "0", str(port.container_port))
