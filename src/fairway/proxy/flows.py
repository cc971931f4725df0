"""Which connection-tracking entries are stale after a change: UDP only, and only those of the frontends that changed.

The kernel translates the packets of a UDP flow as it did the first one, for as long as any arrive. A client that keeps
its port (DNS resolvers, syslog, QUIC) would talk to a backend that has gone, or past a Service that has come, for ever.
TCP needs no help: the peer resets or the client gives up, and connects anew (reference, section 1.J).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeVar

from fairway.model.address import ANY, canonical, family_of
from fairway.model.view import Frontend, FrontendKey, NodeSettings
from fairway.objects.endpointslice import EndpointSlice
from fairway.objects.service import Service


class Flow(Protocol):
    """One entry of the connection-tracking table, as far as the decision needs it."""

    @property
    def destination(self) -> str:
        """Where the client sent to."""

    @property
    def port(self) -> int:
        """The port the client sent to."""

    @property
    def reply_source(self) -> str:
        """Who answers: the backend, or ``destination`` when nobody translated the flow."""

    @property
    def reply_port(self) -> int:
        """The port of who answers."""


FlowT = TypeVar("FlowT", bound=Flow)


class Suspect(NamedTuple):
    """A frontend some of whose flows may be stale: all but those that go to ``keep``."""

    frontend: FrontendKey
    keep: frozenset[tuple[str, int]]


Draining = Callable[[Frontend], frozenset[tuple[str, int]]]
"""The backends of a frontend that get no new clients but still serve the ones they have: they may keep their flows."""


def draining_endpoints(service: Service, slices: Iterable[EndpointSlice]) -> frozenset[tuple[str, str, int]]:
    """Name of the Service port, address and port of every UDP endpoint that terminates and still serves."""
    if not any(port.protocol == "UDP" for port in service.spec.ports or ()):
        return frozenset()
    return frozenset(
        (port.name, address, port.port)
        for slice_ in slices
        for port in slice_.ports or ()
        if port.protocol == "UDP" and port.name is not None and port.port
        for endpoint in slice_.endpoints or ()
        if endpoint.terminating and endpoint.serving and endpoint.addresses
        if (address := canonical(endpoint.addresses[0]))
    )


def suspects(
    before: Mapping[FrontendKey, Frontend | None],
    drained: Iterable[FrontendKey],
    now: Mapping[FrontendKey, Frontend],
    draining: Draining,
) -> list[Suspect]:
    """The UDP frontends whose change can have left stale flows behind.

    A backend that is new beside others leaves none. One that is gone does; so does the first backend of all, because
    flows from before it were not translated; and the last, and the frontend itself when it goes. ``drained`` are those
    that lost a draining backend.
    """
    found = [_suspect(key, old, now.get(key), draining) for key, old in before.items()]
    found += [Suspect(key, _keep(now[key], draining)) for key in drained if key in now]
    return [suspect for suspect in found if suspect is not None]


def everything(now: Mapping[FrontendKey, Frontend], draining: Draining) -> list[Suspect]:
    """All UDP frontends: for the start of a process that cannot know what changed while there was none."""
    return [Suspect(key, _keep(frontend, draining)) for key, frontend in now.items() if key.protocol == "UDP"]


def stale(flows: Iterable[FlowT], found: Iterable[Suspect], settings: NodeSettings) -> list[FlowT]:
    """Those of the UDP flows that must go. A node port counts only on this node's own addresses."""
    by_key = {suspect.frontend: suspect.keep for suspect in found}
    gone = []
    for flow in flows:
        keep = by_key.get(FrontendKey(flow.destination, "UDP", flow.port))
        if keep is None and settings.takes_node_ports(flow.destination):
            keep = by_key.get(FrontendKey(ANY[family_of(flow.destination)], "UDP", flow.port))
        if keep is not None and (flow.reply_source, flow.reply_port) not in keep:
            gone.append(flow)
    return gone


def _suspect(key: FrontendKey, old: Frontend | None, new: Frontend | None, draining: Draining) -> Suspect | None:
    if key.protocol != "UDP":
        return None
    had, has = _pools(old), _keep(new, draining)
    only_more = had and had <= has
    return None if only_more else Suspect(key, has)


def _keep(frontend: Frontend | None, draining: Draining) -> frozenset[tuple[str, int]]:
    return _pools(frontend) | draining(frontend) if frontend else frozenset()


def _pools(frontend: Frontend | None) -> frozenset[tuple[str, int]]:
    if frontend is None:
        return frozenset()
    return frozenset((one.address, one.port) for one in (*frontend.cluster, *frontend.local))
