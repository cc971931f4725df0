"""A made-up cluster of any size, as the API server's own bytes: so many Services with so many backends each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from fairway.objects.codec import Document
from fairway.objects.endpointslice import SERVICE_NAME_LABEL

NODE = "bench"
CLUSTER_NETWORK = "10.128.0.0/9"
SERVICE_NETWORK = "10.0.0.0/9"
BACKEND_NETWORK = "10.128.0.0/10"
"""What backends have their addresses from; the rest of the cluster's network is for clients."""
PORT, TARGET_PORT = 80, 8080
SLICE_ENDPOINTS = 100
"""As many endpoints as the EndpointSlice controller puts into one slice."""
FIRST_REVISION = 2
"""Of the first change."""
_MOST_ADDRESSES = 1 << 22


@dataclass(frozen=True)
class Shape:
    """Raises ValueError when there are not enough addresses for it."""

    services: int
    backends: int

    def __post_init__(self) -> None:
        if self.services < 1 or self.backends < 1:
            raise ValueError("there must be at least one Service, with one backend")
        if max(self.services, self.services * self.backends) >= _MOST_ADDRESSES:
            raise ValueError(
                f"{self.services} x {self.backends} is more than the {_MOST_ADDRESSES} addresses there are"
            )

    def lists(self) -> dict[str, bytes]:
        """What the API server answers for each plural, and for the node by its name, at revision 1."""
        slices = (self.slice(number, part) for number in range(self.services) for part in range(self.slices_each))
        return {
            "nodes": _list("v1", "Node", [_node()]),
            f"nodes/{NODE}": msgspec.json.encode(_node()),
            "services": _list("v1", "Service", [_service(number) for number in range(self.services)]),
            "endpointslices": _list("discovery.k8s.io/v1", "EndpointSlice", list(slices)),
            "servicecidrs": _list("networking.k8s.io/v1", "ServiceCIDR", [_service_cidr()]),
        }

    def address(self, number: int) -> str:
        """The cluster IP of a Service."""
        return _address(10 << 24, number + 1)

    def backend_address(self, number: int) -> str:
        """Of a Service's first backend."""
        return _backend(number * self.backends)

    @property
    def slices_each(self) -> int:
        return -(-self.backends // SLICE_ENDPOINTS)

    def slice(self, number: int, part: int = 0, *, less: int = 0, revision: int = 1) -> Document:
        """One EndpointSlice of a Service; without its last ``less`` endpoints."""
        start = part * SLICE_ENDPOINTS
        count = min(SLICE_ENDPOINTS, self.backends - start) - less
        first = number * self.backends + start
        name = f"service-{number}"
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": _metadata(f"{name}-{part}", revision, {SERVICE_NAME_LABEL: name}),
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": TARGET_PORT, "protocol": "TCP"}],
            "endpoints": [_endpoint(first + index) for index in range(count)],
        }

    def toggles(self, count: int) -> Iterator[tuple[int, bool, bytes]]:
        """A Service loses all its backends, then gets them back: its number, whether they are there, the watch event.

        Raises ValueError when the backends of a Service do not fit into one slice, which is one event.
        """
        if self.slices_each > 1:
            raise ValueError(f"at most {SLICE_ENDPOINTS} backends, as many as are in one EndpointSlice")
        for number in range(count):
            which, back = number // 2 * 7919 % self.services, bool(number % 2)
            changed = self.slice(which, less=0 if back else self.backends, revision=number + FIRST_REVISION)
            yield which, back, msgspec.json.encode({"type": "MODIFIED", "object": changed}) + b"\n"

    def changes(self, count: int, *, after: int = 0) -> Iterator[bytes]:
        """Watch events: a backend leaves, then comes back; each pair at a Service far from the one before.

        ``after`` is how many there have been; a pair that was begun is left as it is.
        """
        for number in range(after + after % 2, after + after % 2 + count):
            which, last = number // 2 * 7919 % self.services, self.slices_each - 1
            changed = self.slice(which, last, less=1 - number % 2, revision=number + FIRST_REVISION)
            yield msgspec.json.encode({"type": "MODIFIED", "object": changed}) + b"\n"


def _metadata(name: str, revision: int, labels: dict[str, str] | None = None) -> Document:
    found: Document = {"name": name, "namespace": "default", "uid": name, "resourceVersion": str(revision)}
    return {**found, "labels": labels} if labels else found


def _list(api_version: str, kind: str, items: list[Document]) -> bytes:
    whole = {"apiVersion": api_version, "kind": f"{kind}List", "metadata": {"resourceVersion": "1"}, "items": items}
    return msgspec.json.encode(whole)


def _node() -> Document:
    metadata = {"name": NODE, "uid": NODE, "resourceVersion": "1"}
    status = {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status}


def _service_cidr() -> Document:
    metadata = {"name": "kubernetes", "uid": "kubernetes", "resourceVersion": "1"}
    ready = {"type": "Ready", "status": "True"}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": metadata,
        "spec": {"cidrs": [SERVICE_NETWORK]},
        "status": {"conditions": [ready]},
    }


def _service(number: int) -> Document:
    address = _address(10 << 24, number + 1)
    port = {"name": "http", "port": PORT, "targetPort": TARGET_PORT, "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(f"service-{number}", 1),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "selector": {"app": f"service-{number}"},
            "ports": [port],
        },
        "status": {"loadBalancer": {}},
    }


def _endpoint(number: int) -> Document:
    return {
        "addresses": [_backend(number)],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": "node-2",
        "targetRef": {"kind": "Pod", "namespace": "default", "name": f"pod-{number}", "uid": f"pod-{number}"},
    }


def _backend(number: int) -> str:
    return _address(10 << 24 | 128 << 16, number)


def _address(network: int, number: int) -> str:
    return ".".join(str(byte) for byte in (network + number).to_bytes(4, "big"))
