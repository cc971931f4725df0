"""Health-check ports: what a load balancer asks before it sends traffic for a Service to this node.

Service with externalTrafficPolicy Local ──healthCheckNodePort──▶ one listener for each node address
                                          GET anything ──▶ 200 while somebody here is ready and this proxy is healthy

A node without a ready endpoint would drop what comes (reference, sections 1.A and 3.2).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from fairway.model.address import FAMILIES, canonical, family_of
from fairway.model.limits import is_port
from fairway.model.view import Key, NodeSettings
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import Service
from fairway.proxy.values import Bind
from fairway.proxy.web import Answer, WebServer
from fairway.runtime.clock import Clock

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
_ANY = {"IPv4": "0.0.0.0", "IPv6": "::"}


class HealthCheck(NamedTuple):
    """The port of a Service, and how many addresses are ready here, for each family that the Service has."""

    port: int
    ready: tuple[tuple[str, int], ...]

    def count(self, family: str) -> int:
        return dict(self.ready).get(family, 0)


class _Place(NamedTuple):
    service: Key
    bind: Bind


def health_check(service: Service, slices: Iterable[EndpointSlice], node: str) -> HealthCheck | None:
    """What the port of this Service should say on this node; None when it has none."""
    spec = service.spec
    port = spec.health_check_node_port
    if spec.type != "LoadBalancer" or spec.external_traffic_policy != "Local" or not is_port(port):
        return None
    here = {
        address
        for slice_ in slices
        for one in slice_.endpoints or ()
        if one.node_name == node and one.ready and one.addresses and (address := canonical(one.addresses[0]))
    }
    families = sorted({family_of(address) for one in service.addresses if (address := canonical(one))})
    ready = tuple((family, sum(family_of(address) == family for address in here)) for family in families)
    return HealthCheck(port, ready)


class CheckPorts:
    """Listens for every Service that `put` has named, at the addresses that `settle` has named, during `run`.

    ``healthy`` says whether this proxy keeps up; ``on_refused`` is told of a Service whose port cannot be had, and why.
    """

    def __init__(
        self,
        healthy: Callable[[], bool],
        clock: Clock,
        on_refused: Callable[[Key, str], None] = lambda service, why: None,
    ) -> None:
        self._healthy, self._clock, self._on_refused = healthy, clock, on_refused
        self._checks: dict[Key, HealthCheck] = {}
        self._addresses: tuple[str, ...] = ()
        self._open: dict[_Place, WebServer] = {}
        self._refused: dict[_Place, str] = {}
        self._wake = asyncio.Event()

    @property
    def problems(self) -> list[str]:
        """Ports that cannot be had now, as sentences."""
        return list(self._refused.values())

    def put(self, service: Key, check: HealthCheck | None) -> None:
        """The kernel has what follows from this."""
        before = self._checks.pop(service, None)
        if check is not None:
            self._checks[service] = check
        if (before and _places(before)) != (check and _places(check)):
            self._wake.set()

    def settle(self, settings: NodeSettings) -> None:
        """The addresses that take node ports answer here too; all of them, when all do."""
        addresses = settings.node_port_addresses
        found = tuple(_ANY[family] for family in FAMILIES) if addresses is None else addresses
        if found != self._addresses:
            self._addresses = found
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled; then nothing listens any more."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if not await self._reconcile():
                    await self._clock.sleep(RETRY_SECONDS)
                    self._wake.set()
        finally:
            for server in self._open.values():
                await server.close()

    def answer(self, service: Key, family: str) -> Answer:
        """What a load balancer is told, word for word as by the reference."""
        check = self._checks.get(service)
        count = check.count(family) if check else 0
        healthy = self._healthy()
        body = (
            f'{{\n\t"service": {{\n\t\t"namespace": {json.dumps(service.namespace)},\n'
            f'\t\t"name": {json.dumps(service.name)}\n\t}},\n'
            f'\t"localEndpoints": {count},\n\t"serviceProxyHealthy": {json.dumps(healthy)}\n}}'
        )
        weight = (("X-Load-Balancing-Endpoint-Weight", str(count)),)
        return Answer(200 if count and healthy else 503, "application/json", body.encode(), weight)

    def _wanted(self) -> Iterator[_Place]:
        for service, check in self._checks.items():
            families = {family for family, _ in check.ready}
            for address in self._addresses:
                if family_of(address) in families:
                    yield _Place(service, Bind(address, check.port))

    async def _reconcile(self) -> bool:
        """Open and close until all is as wanted; says whether it is."""
        wanted = dict.fromkeys(self._wanted())
        for place in [one for one in self._open if one not in wanted]:
            await self._open.pop(place).close()
        self._refused = {place: why for place, why in self._refused.items() if place in wanted}
        for place in [one for one in wanted if one not in self._open]:
            await self._listen(place)
        return all(place in self._open for place in wanted)

    async def _listen(self, place: _Place) -> None:
        family = family_of(place.bind.host)
        server = WebServer(place.bind, {}, otherwise=lambda: self.answer(place.service, family))
        try:
            await server.start()
        except OSError as error:
            if place not in self._refused:
                why = f"{place.service}: cannot listen at its health-check port {place.bind}: {error.strerror}"
                self._refused[place] = why
                log.warning("%s; trying again every %g s", why, RETRY_SECONDS)
                self._on_refused(place.service, why)
        else:
            self._refused.pop(place, None)
            self._open[place] = server


def _places(check: HealthCheck) -> tuple[int, tuple[str, ...]]:
    """What decides where it listens."""
    return check.port, tuple(family for family, _ in check.ready)
