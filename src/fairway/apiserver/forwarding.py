"""``services/NAME/proxy`` and ``pods/NAME/proxy``: which endpoint a request through the API server goes to.

::

    /api/v1/namespaces/shop/services/https:cart:web/proxy/status?full=1
                                     scheme  name port     └ what the endpoint is asked for

A Service's port is named, or numbered, as in ``spec.ports``; the endpoint is any ready one of its EndpointSlices that
has that port. One that says that it is a Pod must be that Pod's address. `relay` does the talking.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from fairway.apiserver.access.rules import Attributes
from fairway.apiserver.registry import Registry
from fairway.objects import resources
from fairway.objects.cluster import Pod
from fairway.objects.codec import decode
from fairway.objects.endpointslice import Endpoint, EndpointSlice
from fairway.objects.service import Service
from fairway.objects.status import bad_request, unavailable

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SCHEMES = ("", "http", "https")
_RESOURCES = ("services", "pods")


@dataclass(frozen=True)
class Way:
    """What a path leads to: ``name`` as it was written, ``rest`` what is behind ``proxy``, still quoted."""

    resource: str
    namespace: str
    name: str
    rest: str

    def asked(self, method: str) -> Attributes:
        """The permission that it needs."""
        return Attributes(
            _VERBS.get(method, method.lower()), "", self.resource, "proxy", self.namespace, unquote(self.name)
        )

    @property
    def prefix(self) -> str:
        """The path that stands for the root of the endpoint."""
        return f"/api/v1/namespaces/{self.namespace}/{self.resource}/{self.name}/proxy"


@dataclass(frozen=True)
class Place:
    """Where an endpoint listens."""

    scheme: str
    address: str
    port: int

    @property
    def authority(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def find_way(path: str) -> Way | None:
    """The way that a quoted path names, None for any other path."""
    match path.split("/", 8):
        case ["", "api", "v1", "namespaces", namespace, resource, name, "proxy", *rest] if resource in _RESOURCES:
            return Way(resource, unquote(namespace), name, f"/{rest[0]}" if rest else "")
    return None


class Forwarding:
    """Finds the place that a way leads to; ``draw`` gives a random number below its argument."""

    def __init__(self, registry: Registry, draw: Callable[[int], int]) -> None:
        self._registry = registry
        self._draw = draw

    async def place(self, way: Way) -> Place:
        """Raises `ApiError`: 404 for what there is not, 503 when nothing is ready."""
        scheme, name, port = _split(way)
        if way.resource == "pods":
            return await self._pod(way, scheme, name, port)
        return await self._service(way, scheme, name, port)

    async def _service(self, way: Way, scheme: str, name: str, port: str) -> Place:
        stored = await self._registry.get(self._registry.kinds[resources.SERVICES], way.namespace, name)
        if port.isdecimal():
            ports = decode(stored.value, Service).spec.ports or ()
            names = [one.name for one in ports if one.port == int(port) and one.protocol == "TCP"]
            if not names:
                raise unavailable(f'no service port {port} found for service "{name}"')
            port = names[0]
        found = await self._endpoints(way.namespace, name, port)
        while found:
            endpoint, number = found.pop(self._draw(len(found)))
            address = endpoint.addresses[0]
            if _may_be_asked(address) and await self._is_its_own(way.namespace, endpoint, address):
                return Place(scheme, address, number)
        raise unavailable(f'no endpoints available for service "{unquote(way.name)}"')

    async def _endpoints(self, namespace: str, service: str, port: str) -> list[tuple[Endpoint, int]]:
        """The ready endpoints of a Service, with the number that the port of that name has there."""
        kind = self._registry.kinds[resources.ENDPOINT_SLICES]
        listing = await self._registry.storage.list(kind.within(namespace))
        slices = (decode(entry.value, EndpointSlice) for entry in listing.entries)
        return [
            (endpoint, number)
            for one in slices
            if one.service_name == service and one.address_type != "FQDN"
            for number in _numbers(one, port)
            for endpoint in one.endpoints or ()
            if endpoint.ready and endpoint.addresses
        ]

    async def _is_its_own(self, namespace: str, endpoint: Endpoint, address: str) -> bool:
        """Whether the address is that of the Pod that the endpoint says to be; one that says nothing is believed."""
        target = endpoint.target_ref
        if target is None or target.kind != "Pod":
            return target is None
        stored = await self._registry.find(self._registry.kinds[resources.PODS], namespace, target.name)
        return stored is not None and address in decode(stored.value, Pod).addresses

    async def _pod(self, way: Way, scheme: str, name: str, port: str) -> Place:
        stored = await self._registry.get(self._registry.kinds[resources.PODS], way.namespace, name)
        pod = decode(stored.value, Pod)
        declared = [one.container_port for container in pod.spec.containers or () for one in container.ports or ()]
        number = int(port) if port.isdecimal() else declared[0] if declared and not port else 80
        if port and not port.isdecimal():
            raise bad_request(f'invalid pod request "{unquote(way.name)}": the port of a pod is a number')
        if not pod.addresses:
            raise unavailable(f'pod "{name}" has no address yet')
        if not _may_be_asked(pod.addresses[0]):
            raise bad_request("address not allowed")
        return Place(scheme, pod.addresses[0], number)


def _split(way: Way) -> tuple[str, str, str]:
    """Scheme, name and port; raises `ApiError` for something else."""
    parts = unquote(way.name).split(":")
    scheme, name, port = parts if len(parts) == 3 else ["", *parts, ""][:3]
    if len(parts) > 3 or scheme not in _SCHEMES or not name:
        raise bad_request(f'invalid {way.resource.removesuffix("s")} request "{unquote(way.name)}"')
    return scheme or "http", name, port


def _numbers(one: EndpointSlice, port: str) -> list[int]:
    ports = (found for found in one.ports or () if found.protocol == "TCP" and (found.name or "") == port)
    return [found.port for found in ports if found.port]


def _may_be_asked(address: str) -> bool:
    """Not the API server's own machine, nor its neighbours': what is there trusts whoever can connect."""
    found = ipaddress.ip_address(address)
    return not (found.is_loopback or found.is_link_local or found.is_unspecified or found.is_multicast)
